"""What the tests of ``nhttp get`` need: servers of one script, and the command as a process."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from support import SECONDS

from nhttp.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "BIG",
    "OK",
    "Captured",
    "answering",
    "fails",
    "get",
    "process",
    "read_head",
    "refusing",
    "reset",
    "scripted",
    "until_gone",
]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
BIG = bytes(range(256)) * 4096  # 1 MiB
Captured = pytest.CaptureFixture[bytes]


def get(*arguments: str) -> int:
    return main(["get", *arguments])


def fails(capfd: Captured, status: int, *said: str) -> bool:
    """Whether one line was said: the exit status, and the rest."""
    (line,) = capfd.readouterr().err.decode().splitlines()
    assert line.startswith(f"nhttp get: ({status}) "), line
    assert [each for each in said if each not in line] == [], line
    return True


def read_head(peer: socket.socket) -> str:
    """Give the head of a request, without reading on."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = peer.recv(1)
        assert octet, f"the client ended after {head!r}"
        head += octet
    return head.decode("latin-1")


def until_gone(peer: socket.socket) -> None:
    """Wait until the client has closed."""
    with contextlib.suppress(ConnectionError):
        while peer.recv(65536):
            pass


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@contextlib.contextmanager
def scripted(script: Callable[[socket.socket], object]) -> Generator[str]:
    """A server whose one connection, if it comes, follows a script: its URL."""
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return  # the block was over before anybody came
        try:
            with peer:
                peer.settimeout(SECONDS)
                script(peer)
        except BaseException as error:
            failed.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        finally:
            with contextlib.suppress(OSError):  # it has told whoever waits already
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)
    if failed:
        raise failed[0]


@contextlib.contextmanager
def answering(answer: bytes, heads: list[str] | None = None) -> Generator[str]:
    """A server that gives one answer and closes; the request's head is noted."""

    def script(peer: socket.socket) -> None:
        head = read_head(peer)
        if heads is not None:
            heads.append(head)
        peer.sendall(answer)

    with scripted(script) as url:
        yield url


@contextlib.contextmanager
def refusing() -> Generator[str]:
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


@contextlib.contextmanager
def process(
    *arguments: str, stdin: int | None = None, stdout: int, ignore: str | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """The command as people run it; what it wrote to stderr can be read.

    A warning fails it, or is said there; but for those that `ignore` names.
    """
    options = ["-X", "dev", "-W", "error", *([] if ignore is None else ["-W", f"ignore:{ignore}"])]
    command = [sys.executable, *options, "-m", "nhttp", "get", *arguments]
    with subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()
