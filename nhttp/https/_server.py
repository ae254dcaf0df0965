"""https.Server: an HTTP server whose connections are TLS.

What happens before a connection is safe is `tls`'s business, what HTTP does with it afterwards
`nhttp.server`'s; this is the seam between the two.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

import attrs

from nhttp import options as http_options
from nhttp import server as http
from nhttp import tls
from nhttp.errors import StateError
from nhttp.tls._serving import SecureServing

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.incoming import IncomingMessage
    from nhttp.net import Address, Socket
    from nhttp.response import ServerResponse
    from nhttp.server import RequestListener
    from nhttp.tls import TLSSocket

__all__ = ["Server", "ServerKeywords", "create_server"]


class ServerKeywords(http_options.ServerKeywords, tls.ServerKeywords, total=False):
    """The keywords of `create_server` and `Server`: those of HTTP's server, and those of TLS's."""


# What the handshake fails with where a client speaks plain HTTP to the port.
_IN_PLAIN = ("ERR_SSL_HTTP_REQUEST", "ERR_SSL_HTTPS_PROXY_REQUEST")
# What such a client is told; a browser shows it.
_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n"
    b"Connection: close\r\n\r\nThis port speaks HTTPS: use https://...\n"
)

_HTTP = {field.name for field in attrs.fields(http_options.ServerOptions)}


class Server(SecureServing, http.Server):
    """An HTTP server over TLS (Node's ``https.Server``): an `nhttp.Server` in every other respect.

    The handshake happens on the connection's own thread, within `handshake_timeout` seconds, so one
    that stalls holds up nobody. `request.socket` is a `tls.TLSSocket`.

    Args:
        request_listener: A listener for ``'request'``.
        **options: Those of `nhttp.Server`, and those of `tls.Server`: `key` and `cert`, or `pfx`,
            or `ssl_context` are needed, for instance.

    Raises:
        InvalidArgument: An option is not known, or cannot be.

    Events, beside those of `nhttp.Server`; each on its connection's own thread:
        connection: (socket) a client has connected; the handshake comes next, so nothing can be
            read or written.
        secureConnection: (socket) the handshake is done, and requests will follow.
        tlsClientError: (exception, socket) the handshake failed, or did not end in time; the socket
            is closed when the listeners have returned. ``'clientError'`` follows, as in Node.

    Example:
        >>> server = Server(handler, cert=Path("cert.pem"), key=Path("key.pem"))  # doctest: +SKIP
        >>> server.listen(8443)  # doctest: +SKIP

    Source: https.Server of Node 6.
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
            self,
            event: Literal["request", "checkContinue", "checkExpectation"],
            listener: Callable[[IncomingMessage, ServerResponse], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["connect", "upgrade"],
            listener: Callable[[IncomingMessage, Socket, bytes], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["clientError"],
            listener: Callable[[Exception, Socket], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["timeout"], listener: Callable[[Socket], object], /
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

    _arrival: ClassVar[str] = "secureConnection"

    def __init__(
        self,
        request_listener: RequestListener | None = None,
        **options: Unpack[ServerKeywords],
    ) -> None:
        given: dict[str, Any] = dict(options)
        http.Server.__init__(
            self, request_listener, **{name: given.pop(name) for name in _HTTP & given.keys()}
        )
        self._init_tls(tls.ServerOptions(**given))

    def _serve_secure(self, connection: TLSSocket) -> bool:
        self._connect(connection)
        return http.Server._serve(self, connection)

    def _handshake_failed(self, error: Exception, connection: TLSSocket) -> None:
        if getattr(error, "code", None) in _IN_PLAIN:
            connection._send_in_plain(_PLAIN)
        super()._handshake_failed(error, connection)
        # As Node's https.Server does. A listener that answers in HTTP, as the manual's does, finds
        # that it cannot; that is no mistake of its.
        with contextlib.suppress(StateError):
            self.emit("clientError", error, connection)


def create_server(
    request_listener: RequestListener | None = None, **options: Unpack[ServerKeywords]
) -> Server:
    """Make an HTTPS server.

    Args:
        request_listener: A listener for ``'request'``.
        **options: See `Server`.

    Raises:
        InvalidArgument: An option is not known, or cannot be.

    Example:
        >>> server = create_server(handler, pfx=Path("server.p12"))  # doctest: +SKIP
        >>> server.listen(8443)  # doctest: +SKIP

    Source: https.createServer of Node 6.
    """
    return Server(request_listener, **options)
