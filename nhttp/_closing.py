"""How a server's connection is closed, so that what was said last arrives.

Closing a socket on octets that nobody has read makes the kernel send a reset, which may overtake
the answer. So this side ends first, and what the client is still sending is dropped for a while
(RFC 9112, 9.6). All of this runs on the connection's thread, which holds the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nhttp._timers import now
from nhttp.status import STATUS_CODES

if TYPE_CHECKING:
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket

__all__ = ["answer_bare", "await_listener", "linger"]

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0


def answer_bare(socket: Socket, status: int) -> None:
    """Send a response of nothing but its head, the last one, and end this side."""
    line = f"HTTP/1.1 {status} {STATUS_CODES[status]}\r\nConnection: close\r\n\r\n"
    with socket._ignoring_loss():
        socket.end(line, "latin1")


def linger(socket: Socket, unread: IncomingMessage | None = None) -> None:
    """Say that nothing more comes, and drop for a while what the client is still sending.

    Args:
        socket: The connection.
        unread: The request whose body that is: not beside a thread that still reads it.
    """
    socket._set_limit(now() + LINGER_SECONDS)
    with socket._ignoring_loss():
        socket.end()
        if unread is not None:
            unread._seize()
        budget = LINGER_BYTES
        while budget > 0 and (data := socket._receive(65536)):
            budget -= len(data)


def await_listener(socket: Socket) -> None:
    """A listener has the socket and will end or destroy it: drop what comes until then.

    One that never does so is helped by the socket's timeout.
    """
    with socket._ignoring_loss():
        while not socket._done_writing() and socket._receive(65536):
            pass
    with socket._lock:
        while not socket._done_writing():
            socket._wait()
    linger(socket)
