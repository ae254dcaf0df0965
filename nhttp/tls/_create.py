"""connect, create_server: Node's functions around the two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nhttp.tls._options import ClientOptions
from nhttp.tls._server import Server
from nhttp.tls._socket import TLSSocket

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Unpack

    from nhttp.net import Socket
    from nhttp.streams import Callback
    from nhttp.tls._options import ClientKeywords, ServerKeywords

__all__ = ["connect", "create_server"]


def connect(
    port: int | str | None = None,
    host: str | Callback | None = None,
    listener: Callback | None = None,
    *,
    socket: Socket | None = None,
    path: str | os.PathLike[str] | None = None,
    family: int = 0,
    local_address: str | None = None,
    local_port: int = 0,
    allow_half_open: bool = False,
    timeout: float = 0,
    **options: Unpack[ClientKeywords],
) -> TLSSocket:
    """Make a `TLSSocket` and have it connect: ``connect(port, host, listener)``, as in Node.

    Args:
        port: See `net.connect`, as for all that is not listed here.
        host: Name or address; the listener may stand in its place. Default: ``"localhost"``.
        listener: A listener for ``'secureConnect'``.
        socket: A socket to speak TLS over, instead of connecting; see `TLSSocket.connect_over`.
        path: The path of a Unix socket, instead of `port`.
        family: 4 or 6 for one kind of address only.
        local_address: The local address to connect from.
        local_port: The local port to connect from.
        allow_half_open: Whether writing goes on after the peer has ended its side.
        timeout: Seconds of silence until ``'timeout'``; 0: never.
        **options: See `ClientOptions`.

    Raises:
        InvalidArgument: An option cannot be; the message names it.

    Example:
        >>> s = connect(8443, "localhost", lambda: s.end("hello"))  # doctest: +SKIP

    Source: tls.connect in Node.
    """
    if callable(host):
        host, listener = None, host
    made = TLSSocket(ClientOptions(**options), allow_half_open=allow_half_open)
    if timeout:
        made.set_timeout(timeout)
    if socket is not None:
        return made.connect_over(socket, listener)
    if listener is not None:
        made.once("secureConnect", listener)
    return made.connect(
        port, host, path=path, family=family, local_address=local_address, local_port=local_port
    )


def create_server(
    secure_connection_listener: Callable[[TLSSocket], object] | None = None,
    *,
    allow_half_open: bool = False,
    **options: Unpack[ServerKeywords],
) -> Server:
    """Make a `Server`.

    Args:
        secure_connection_listener: A listener for ``'secureConnection'``.
        allow_half_open: Whether sockets may be written to after their peer has ended.
        **options: See `ServerOptions`.

    Raises:
        InvalidArgument: An option cannot be; the message names it.

    Source: tls.createServer in Node.
    """
    return Server(secure_connection_listener, allow_half_open=allow_half_open, **options)
