"""No HTTP at all: the most that a blocking client can do in Python."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BLOCK = memoryview(bytes(64 * 1024))


def connect(port: int) -> socket.socket:
    """Connect."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def bare_get(port: int, _threads: int) -> Callable[[], object]:
    """Send the same octets, and receive whatever comes; a connection for each thread."""
    local = threading.local()

    def get() -> object:
        try:
            sock = local.sock
        except AttributeError:
            sock = local.sock = connect(port)
        sock.sendall(REQUEST)
        return sock.recv(65536)

    return get


def bare_download(port: int, size: int) -> None:
    """Receive until the other side is done."""
    with connect(port) as sock:
        sock.sendall(b"GET /length/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
        received = 0
        while data := sock.recv(65536):
            received += len(data)
    assert received > size, received


def bare_upload(port: int, size: int) -> None:
    """Send, and wait for the answer."""
    with connect(port) as sock:
        sock.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(BLOCK)):
            sock.sendall(BLOCK)
        assert sock.recv(65536).endswith(b"%d" % size)
