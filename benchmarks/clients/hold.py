"""A crowd of idle connections."""

from __future__ import annotations

import resource
import socket
import sys

__all__ = ["hold", "raise_limit"]

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PER_ADDRESS = 20_000  # fewer than there are ports for outgoing connections


def hold(port: int, count: int) -> None:
    """Open connections, see each answered once, and keep them."""
    raise_limit()
    socks: list[socket.socket] = []
    for index in range(count):
        source = f"127.0.0.{2 + index // PER_ADDRESS}"
        sock = socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0))
        socks.append(sock)
        sock.sendall(REQUEST)
        assert sock.recv(65536)
    print(f"holding {len(socks)}", flush=True)
    sys.stdin.read()


def raise_limit() -> None:
    """Allow as many open files as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
