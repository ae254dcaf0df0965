"""``nhttp serve`` and ``nhttp get`` over TLS."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from https_support import EXPIRED, SERVER, identity, serving, trusting, url_of
from support import SECONDS, accept_into, in_thread, port_of
from tls_support import CA

import nhttp
from nhttp import https
from nhttp.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "nhttp"]

Captured = pytest.CaptureFixture[bytes]


def hello(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end("hello")


@pytest.fixture
def ca(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_bytes(CA)
    return str(tmp_path / "ca.pem")


def get(*arguments: str) -> int:
    return main(["get", *arguments])


def said(captured: Captured, status: int) -> str:
    (line,) = captured.readouterr().err.decode().splitlines()
    assert line.startswith(f"nhttp get: ({status}) "), line
    return line


# --- get ---------------------------------------------------------------------------------------


def test_get_trusts_the_authorities_that_it_is_told(ca: str, capfdbinary: Captured) -> None:
    with serving(hello) as server:
        assert get(url_of(server), "--cacert", ca) == 0
    assert capfdbinary.readouterr() == (b"hello", b"")


def test_get_trusts_nobody_else(capfdbinary: Captured) -> None:
    with serving(hello) as server:
        assert get(url_of(server)) == 60
    assert "-k goes on without trust" in said(capfdbinary, 60)


def test_get_insecurely(capfdbinary: Captured) -> None:
    with serving(hello) as server:
        assert get(url_of(server).replace("https", "HTTPS"), "-k") == 0
    assert capfdbinary.readouterr() == (b"hello", b"")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cert": EXPIRED.cert, "key": EXPIRED.key}, "expired"),
        ({"cert": identity("b").cert, "key": identity("b").key}, "localhost"),
    ],
)
def test_get_says_why_it_does_not_trust(
    ca: str, capfdbinary: Captured, options: dict[str, Any], word: str
) -> None:
    with serving(hello, **options) as server:
        assert get(url_of(server), "--cacert", ca) == 60
    assert word in said(capfdbinary, 60)


def test_get_from_a_server_without_tls(capfdbinary: Captured) -> None:
    with nhttp.create_server(hello).listen(0, "127.0.0.1") as server:
        assert get(f"https://127.0.0.1:{port_of(server)}/") == 35
    assert "does not speak TLS" in said(capfdbinary, 35)


def test_get_from_a_server_that_goes_in_the_handshake(capfdbinary: Captured) -> None:
    def go(accept: Callable[[], socket.socket]) -> None:
        far = accept()
        assert far.recv(65536)[0] == 0x16
        far.close()

    with accept_into() as (address, accept):
        going = in_thread(go, accept)
        assert get(f"https://127.0.0.1:{address[1]}/") == 35
        going.result()
    said(capfdbinary, 35)


def test_get_from_a_server_that_wants_a_certificate(ca: str, capfdbinary: Captured) -> None:
    with serving(hello, ca=CA, request_cert=True) as server:
        status = get(url_of(server), "--cacert", ca)
    assert status in (35, 56)  # in TLS 1.3 the client is done before it is refused
    said(capfdbinary, status)


def test_get_gives_up_in_the_handshake(capfdbinary: Captured) -> None:
    with accept_into() as (address, _):
        assert get(f"https://127.0.0.1:{address[1]}/", "--max-time", "0.1") == 28
    said(capfdbinary, 28)


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_get_with_authorities_that_cannot_be_read(
    tmp_path: Path, capfdbinary: Captured, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    assert get("https://localhost/", "--cacert", str(tmp_path / "ca.pem")) == 77
    assert "ca.pem" in said(capfdbinary, 77)


def test_get_sends_a_body(ca: str, capfdbinary: Captured) -> None:
    def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.end(f"{request.method} {request.read().decode()}")

    with serving(echo) as server:
        assert get(url_of(server), "--cacert", ca, "-d", "some data") == 0
    assert capfdbinary.readouterr().out == b"POST some data"


# --- serve -------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(*arguments: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A server that has said where it listens: the process and the port."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            match = re.search(r" on https://127\.0\.0\.1:(\d+)/ ", greeting)
            assert match is not None, greeting
            yield process, int(match[1])
        finally:
            process.kill()


@pytest.mark.parametrize("files", ["two", "one"])
def test_serve(tmp_path: Path, files: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.txt").write_text("some text")
    cert, key = SERVER.write(tmp_path)
    options = ["--cert", cert, "--key", key]
    if files == "one":
        (tmp_path / "both.pem").write_bytes(SERVER.cert + SERVER.key)
        options = ["--cert", str(tmp_path / "both.pem")]
    with running(str(tmp_path / "root"), *options) as (process, port):
        url = f"https://127.0.0.1:{port}/a.txt"
        assert https.get(url, **trusting()).get_response(SECONDS).read() == b"some text"
        with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 400 ")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    lines = log.splitlines()
    assert len(lines) == 2, log
    assert any('"GET /a.txt HTTP/1.1" 200 9 ' in line for line in lines)
    assert any(line.startswith("127.0.0.1 - TLS") and "plain HTTP" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["--cert", "{folder}/nothing.pem"], 1, "nothing.pem"),
        (["--cert", "{folder}/key.pem", "--key", "{folder}/key.pem"], 1, "cert"),
        (["--key", "{folder}/key.pem"], 2, "--cert"),
    ],
)
def test_serve_refuses_what_cannot_be(
    tmp_path: Path, arguments: list[str], status: int, word: str
) -> None:
    SERVER.write(tmp_path)
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", *(each.format(folder=tmp_path) for each in arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == status
    line = done.stderr.splitlines()[-1]
    assert line.startswith("nhttp")
    assert word in line
    assert "Traceback" not in done.stderr
