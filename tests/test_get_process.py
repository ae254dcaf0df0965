"""``nhttp get`` as a process: pipes, terminals and signals."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from get_support import answering, process, read_head, scripted, until_gone
from support import SECONDS, port_of
from wire import serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

    import nhttp

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def test_the_standard_input_is_sent_as_it_comes() -> None:
    """The server has the first piece before there is a second."""
    first = threading.Event()

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert request.headers["transfer-encoding"] == "chunked"
        assert request.read(3) == b"one"
        first.set()
        response.end(request.read())

    with (
        serving(listener) as server,
        process(
            f"http://127.0.0.1:{port_of(server)}", "-d", "@-",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as running,
    ):  # fmt: skip
        assert running.stdin is not None
        running.stdin.write(b"one")
        running.stdin.flush()
        assert first.wait(SECONDS)
        assert running.communicate(b"two", timeout=SECONDS) == (b"two", b"")
        assert running.returncode == 0


def test_a_vanished_reader_is_no_news() -> None:
    def script(peer: socket.socket) -> None:
        read_head(peer)
        with contextlib.suppress(ConnectionError):
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                peer.sendall(bytes(65536))

    with scripted(script) as url, process(url, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.read(1) == b"\0"
        running.stdout.close()
        assert running.wait(SECONDS) == 23
        assert running.stderr is not None
        assert running.stderr.read() == b""


@pytest.mark.parametrize("answer", [b"", OK % 2 + b"a"])
def test_an_interrupt(answer: bytes) -> None:
    asked = threading.Event()

    def script(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(answer)
        asked.set()
        until_gone(peer)

    # The interruption may come between the taking hold of the socket and the care for that.
    unclosed = "unclosed:ResourceWarning"
    with scripted(script) as url, process(url, stdout=subprocess.PIPE, ignore=unclosed) as running:
        assert asked.wait(SECONDS)
        if answer:
            assert running.stdout is not None
            assert running.stdout.read(1) == b"a"
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=SECONDS) == (b"", b"")
        assert running.returncode == 130


def test_max_time_bounds_the_standard_input() -> None:
    with (
        scripted(until_gone) as url,
        process(
            url, "-d", "@-", "--max-time", "0.3", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as running,
    ):
        assert running.stdin is not None
        running.stdin.write(b"one")
        running.stdin.flush()
        assert running.wait(SECONDS) == 28


@contextlib.contextmanager
def terminal() -> Generator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("body", "options", "status", "shown"),
    [
        (b"text", [], 0, b"text"),
        (b"a\0b", [], 23, b""),
        (b"a\0b", ["-o", "-"], 0, b"a\0b"),
    ],
)
def test_a_terminal(body: bytes, options: list[str], status: int, shown: bytes) -> None:
    with (
        terminal() as (ours, theirs),
        answering(OK % len(body) + body) as url,
        process(url, *options, stdout=theirs) as running,
    ):
        _, stderr = running.communicate(timeout=SECONDS)
        assert running.returncode == status
        assert (b"nhttp get: (23) binary data" in stderr) == (status == 23)
        assert len(stderr.splitlines()) == (status != 0)
        os.write(theirs, b"!")
        said = b""
        while not said.endswith(b"!"):
            said += os.read(ours, 100)
        assert said == shown + b"!"
