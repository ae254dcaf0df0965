"""wrk and ab against our server: not how fast it is, but that nothing goes wrong under load.

How fast it is, is the business of ``python -m benchmarks server``.
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from interop_support import SECONDS, Origin, program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nhttp import IncomingMessage, ServerResponse


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


@pytest.mark.parametrize("path", ["/", "/drip?n=3&size=100"])
def test_wrk(origin: Origin, path: str) -> None:
    enough = threading.Event()
    asked = itertools.count(1)

    def on_request(_request: IncomingMessage, _response: ServerResponse) -> None:
        # wrk makes one connection more, to see whether anybody is there.
        if next(asked) >= 1000 and origin.connections == 40 + 1:
            enough.set()

    origin.server.on("request", on_request)
    command = [program("wrk"), "-t1", "-c40", f"-d{SECONDS:.0f}s", origin.url(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        try:
            assert enough.wait(SECONDS)
        finally:
            wrk.send_signal(signal.SIGINT)  # it then says what it has found
        output, _ = wrk.communicate(timeout=SECONDS)
    assert wrk.returncode == 0
    assert "Socket errors" not in output
    assert "Non-2xx" not in output
    requests = re.search(r"(\d+) requests in", output)
    assert requests is not None
    assert int(requests[1]) >= 1000 - 40  # it does not count those that it was waiting for
    assert origin.connections == 40 + 1


@pytest.mark.parametrize("options", [["-k"], []], ids=["keep-alive", "close"])
@pytest.mark.parametrize("path", ["/", "/drip?n=2&size=3000"])
def test_ab(origin: Origin, options: list[str], path: str) -> None:
    # ab speaks HTTP/1.0, and closes first where the answer has no length.
    output = run(
        [program("ab"), "-q", "-n1000", "-c20", *options, origin.url(path)]
    ).stdout.decode()
    assert figure("Complete requests", output) == 1000
    assert figure("Failed requests", output) == 0
    assert "Non-2xx" not in output
    kept = figure("Keep-Alive requests", output) if options else 0
    assert kept == (1000 if options and path == "/" else 0)


def test_ab_posts(origin: Origin, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"z" * 10_000)
    arguments = ["-q", "-k", "-n500", "-c10", "-p", str(body), "-T", "text/plain"]
    output = run([program("ab"), *arguments, origin.url("/echo")]).stdout.decode()
    assert figure("Complete requests", output) == 500
    assert figure("Failed requests", output) == 0
    assert figure("HTML transferred", output) == 5_000_000


def figure(name: str, output: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])
