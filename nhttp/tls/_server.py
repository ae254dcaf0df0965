"""Server: `net.Server` over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, overload

from nhttp.tls._options import ServerOptions
from nhttp.tls._serving import SecureServing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from nhttp.net import Address, Socket
    from nhttp.tls._options import ServerKeywords
    from nhttp.tls._socket import TLSSocket

__all__ = ["Server"]


class Server(SecureServing):
    """A TLS server (Node's ``tls.Server``): a `net.Server` whose connections are `TLSSocket`.

    The handshake is made on the connection's own thread, so that one who stalls it holds up nobody.

    Args:
        secure_connection_listener: A listener for ``'secureConnection'``.
        allow_half_open: As for `net.Server`. Default: False.
        **options: The attributes of `ServerOptions`.

    Raises:
        InvalidArgument: An option cannot be; the message names it.

    Events, beside those of `net.Server`; each on its connection's own thread:
        connection: (socket) accepted; the handshake comes next, so nothing can be read or written.
        secureConnection: (socket) the handshake is done.
        tlsClientError: (exception, socket) the handshake failed; the socket is destroyed when the
            listeners have returned.

    Example:
        >>> server = Server(lambda s: s.pipe(s), cert=cert, key=key)  # doctest: +SKIP
        >>> server.listen(8443)  # doctest: +SKIP

    Source: tls.Server of Node.
    """

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["listening", "close"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["connection"], listener: Callable[[Socket], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["drop"], listener: Callable[[Address | str], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["secureConnection"], listener: Callable[[TLSSocket], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["tlsClientError"],
            listener: Callable[[Exception, TLSSocket], object],
            /,
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    def __init__(
        self,
        secure_connection_listener: Callable[[TLSSocket], object] | None = None,
        *,
        allow_half_open: bool = False,
        **options: Unpack[ServerKeywords],
    ) -> None:
        super().__init__(allow_half_open=allow_half_open)
        self._init_tls(ServerOptions(**options))
        if secure_connection_listener is not None:
            self.on("secureConnection", secure_connection_listener)

    def _serve_secure(self, connection: TLSSocket) -> bool:
        self.emit("secureConnection", connection)
        connection._drive_safely()
        return False
