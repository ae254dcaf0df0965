"""connect, create_connection, create_server: Node's functions around the two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nhttp.net._server import Server
from nhttp.net._socket import Socket

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from nhttp.streams import Callback

__all__ = ["connect", "create_connection", "create_server"]


def connect(
    port: int | str | None = None,
    host: str | Callback | None = None,
    listener: Callback | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    family: int = 0,
    local_address: str | None = None,
    local_port: int = 0,
    allow_half_open: bool = False,
    timeout: float = 0,
) -> Socket:
    """Make a `Socket` and have it connect: ``connect(port, host, listener)``, as in Node.

    Args:
        port: See `Socket.connect`, as for all that is not listed here.
        host: Name or address; the listener may stand in its place. Default: ``"localhost"``.
        listener: A listener for ``'connect'``.
        path: The path of a Unix socket, instead of `port`.
        family: 4 or 6 for one kind of address only.
        local_address: The local address to connect from.
        local_port: The local port to connect from.
        allow_half_open: Whether writing goes on after the peer has ended its side.
        timeout: Seconds of silence until ``'timeout'``; 0: never.

    Raises:
        InvalidArgument: No port and no path, or a port that is none.

    Example:
        >>> s = connect(8000, "127.0.0.1", lambda: s.end("hello"))  # doctest: +SKIP

    Source: net.connect of Node 6, as the HTTP manual uses it.
    """
    made = Socket(allow_half_open=allow_half_open)
    if timeout:
        made.set_timeout(timeout)
    return made.connect(
        port,
        host,
        listener,
        path=path,
        family=family,
        local_address=local_address,
        local_port=local_port,
    )


create_connection = connect


def create_server(
    connection_listener: Callable[[Socket], object] | None = None,
    *,
    allow_half_open: bool = False,
) -> Server:
    """Make a `Server`.

    Args:
        connection_listener: A listener for ``'connection'``.
        allow_half_open: Whether sockets may be written to after their peer has ended.

    Source: net.createServer of Node 6.
    """
    return Server(connection_listener, allow_half_open=allow_half_open)
