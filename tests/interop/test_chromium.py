"""A browser at ``nhttp serve``: a page with a script, an image, and audio in which it seeks.

The page says what it saw by posting it to a second server: nothing here waits for time to pass.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from interop_support import browsing, needs_chromium, process_group

import nhttp
from nhttp.net import Address

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SECONDS = 45.0  # a browser that takes this long has failed

PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<title>Interop</title>
<link rel="icon" href="data:,">
<img src="image.png">
<audio src="tone.wav" preload="metadata"></audio>
<script type="module">
  import { answer } from "./module.mjs";
  const happens = (target, name) => new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener("error", () => reject(new Error(`no ${name}`)), { once: true });
  });
  const seen = { answer };
  try {
    seen.data = await (await fetch("data.json")).json();
    const image = document.querySelector("img");
    await image.decode();
    seen.image = [image.naturalWidth, image.naturalHeight];
    const audio = document.querySelector("audio");
    if (audio.readyState < 1) await happens(audio, "loadedmetadata");
    seen.duration = audio.duration;
    audio.currentTime = audio.duration - 1;
    await happens(audio, "seeked");
    seen.time = audio.currentTime;
  } catch (error) {
    seen.error = String(error);
  }
  await fetch(RESULT, { method: "POST", mode: "no-cors", body: JSON.stringify(seen) });
</script>
"""

RATE = 48000
SECONDS_OF_SOUND = 600  # long enough that the browser does not fetch all of it in advance


def png(width: int, height: int) -> bytes:
    """Give a grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = (b"\0" + b"\x80" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_silence(path: Path) -> None:
    """Write a WAV file of 16 bits, mono; sparse where the file system can."""
    size = RATE * 2 * SECONDS_OF_SOUND
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + form + b"data"
    with path.open("wb") as file:
        file.write(header + struct.pack("<I", size))
        file.truncate(44 + size)


@contextlib.contextmanager
def collecting() -> Generator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A server that is told results; its URL, and where they come out."""
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    def collect(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        results.put(json.loads(request.read()))
        response.end()

    with nhttp.create_server(collect) as server:
        server.listen(0, "127.0.0.1")
        address = server.address()
        assert isinstance(address, Address)
        yield f"http://127.0.0.1:{address.port}/", results


@needs_chromium
@pytest.mark.timeout(120)
def test_a_page_with_a_script_an_image_and_audio(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "image.png").write_bytes(png(31, 17))
    (root / "module.mjs").write_text("export const answer = 6 * 7;\n")
    (root / "data.json").write_text('{"text": "grün"}', encoding="utf-8")
    write_silence(root / "tone.wav")
    with (
        collecting() as (collector, results),
        process_group(
            [sys.executable, "-m", "nhttp", "serve", str(root), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as server,
    ):
        page = PAGE.replace("RESULT", json.dumps(collector))
        (root / "index.html").write_text(page, encoding="utf-8")
        assert server.stdout is not None
        greeting = server.stdout.readline()
        match = re.search(r"http://\S+", greeting)
        assert match is not None, greeting
        autoplay = "--autoplay-policy=no-user-gesture-required"
        with browsing(match[0], tmp_path / "profile", "--mute-audio", autoplay):
            seen = results.get(timeout=SECONDS)
        server.terminate()
        _, log = server.communicate(timeout=SECONDS)
    assert seen == {
        "answer": 42,
        "data": {"text": "grün"},
        "image": [31, 17],
        "duration": SECONDS_OF_SOUND,
        "time": SECONDS_OF_SOUND - 1,
    }
    assert server.returncode == 0
    assert re.search(r'"GET / HTTP/1.1" 200 \d', log)
    # The first request asks for all from 0 on, and seeking for what is near the end.
    assert len(re.findall(r'"GET /tone\.wav HTTP/1\.1" 206 ', log)) >= 2, log
    assert "Traceback" not in log
