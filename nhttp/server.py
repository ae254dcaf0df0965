"""Server: options, events and the closing of an HTTP server.

How a connection is served, from its first octet to its last, is in `_connection`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

from nhttp import _threads, net
from nhttp._connection import Connection
from nhttp._cores import on_one_core
from nhttp._silence import tell_silence
from nhttp.incoming import IncomingMessage
from nhttp.options import ServerKeywords, ServerOptions, check_seconds
from nhttp.response import ServerResponse

if TYPE_CHECKING:
    from nhttp.net import Address, Socket
    from nhttp.streams import Callback

__all__ = ["RequestListener", "Server", "create_server"]

RequestListener = Callable[[IncomingMessage, ServerResponse], object]

_log = logging.getLogger("nhttp.server")


class Server(net.Server):
    """An HTTP server (the manual's ``http.Server``): a `net.Server` that speaks HTTP.

    A ``with`` block around it closes the server at its end: idle connections at once, running
    requests within `grace` seconds.

    Args:
        request_listener: A listener for ``'request'``.
        **options: The attributes below, to begin with.

    Raises:
        InvalidArgument: A negative duration or number, or one of the wrong kind.

    Events, beside those of `net.Server`; each on its connection's thread (see `share_thread`):
        request: (request, response) for every request.
        checkContinue: (request, response) instead of ``'request'`` for ``Expect: 100-continue``.
            Without a listener, ``100 Continue`` is sent and ``'request'`` emitted.
        checkExpectation: (request, response) instead, for other expectations. Without a listener
            they are answered with 417.
        connect: (request, socket, head) for CONNECT. Without a listener the connection is closed.
        upgrade: (request, socket, head) when the client asks for another protocol. Without a
            listener the connection is closed.
        clientError: (exception, socket) what came is not HTTP, or did not come in time: the
            listener closes the socket; without one, a bare 400, 408 or 431 is sent. Or the
            connection failed, or what came behind half an answer is not HTTP: then the socket is
            destroyed already.
        timeout: (socket) a connection was silent for `timeout` seconds, on a helper thread; or a
            request did not arrive within its bound. With a listener, closing the socket is the
            listener's business.

    Attributes:
        timeout: Seconds of silence until a connection is destroyed. 0: never. Default: 120.0. A
            change is for connections that begin after it.
        headers_timeout: Seconds for a head to arrive, from its first octet. 0: any. Default: 40.0.
            A change of this and what follows is for requests that begin after it.
        request_timeout: Seconds for a whole request, with its body, to arrive. 0: any. Default:
            300.0.
        keep_alive_timeout: Seconds that a connection is kept for the next request. 0: `timeout`
            alone counts. Default: 5.0. A change is for connections that begin after it.
        max_headers_count: Field lines that a head may have; one more is answered with 431. 0: any
            number. Default: 1000.
        max_header_size: Octets that a head may have; one more is answered with 431. Default:
            `nhttp.max_header_size`.
        pin_threads: Whether the threads of all connections stay on one core, where the operating
            system can do that. Many small answers get faster, because no turn has to cross from one
            core to another; handlers that do their work in C code with the interpreter's lock
            released (compression, hashing, NumPy) get slower, because they share the core. Threads
            that a handler starts begin on that core, too. Default: False. A change is for
            connections that begin after it.
        share_thread: Whether connections that wait for a request share one thread, which accepts
            new ones as well, and serves requests as long as that is quick; a handler that takes
            some milliseconds has a thread to itself, and the others get another one. If not, each
            connection keeps its thread, busy or idle, as with `pin_threads`, and where the system
            has no ``epoll``. Default: True. A change is for connections that begin after it.

    Example:
        >>> def handler(request, response):
        ...     response.end(f"you asked for {request.url}")
        >>> with Server(handler).listen(8000) as server:  # doctest: +SKIP
        ...     server.serve_forever()

    Source: http.Server in the manual.
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
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...  # noqa: D102

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    _arrival: ClassVar[str] = "connection"  # emitted when requests may follow

    def __init__(
        self,
        request_listener: RequestListener | None = None,
        **options: Unpack[ServerKeywords],
    ) -> None:
        checked = ServerOptions(**options)
        # Half-open: a client that has ended its side after its request still gets its answer.
        super().__init__(allow_half_open=True)
        self.max_header_size = checked.max_header_size
        self.max_headers_count = checked.max_headers_count
        self.timeout = checked.timeout
        self.headers_timeout = checked.headers_timeout
        self.request_timeout = checked.request_timeout
        self.keep_alive_timeout = checked.keep_alive_timeout
        self.pin_threads = checked.pin_threads
        self.share_thread = checked.share_thread
        self._connections: dict[Socket, Connection] = {}  # guarded by `_lock`
        if request_listener is not None:
            self.on("request", request_listener)

    def set_timeout(
        self, seconds: float, callback: Callable[[Socket], object] | None = None
    ) -> Self:
        """Set `timeout`, and add a listener for ``'timeout'``.

        Args:
            seconds: Of silence; 0 turns it off.
            callback: Given the silent socket, and from then on responsible for it.

        Raises:
            InvalidArgument: Not a number of seconds.
        """
        self.timeout = check_seconds("timeout", seconds)
        if callback is not None:
            self.on("timeout", callback)
        return self

    def close(self, callback: Callback | None = None) -> Self:
        """Stop accepting and close idle connections; running responses say that they are the last.

        Never blocks, so a handler may call it. ``'close'`` follows when the last connection is
        gone.

        Args:
            callback: A listener for ``'close'``; called at once when the server is closed already.
        """
        super().close(callback)
        self.close_idle_connections()
        return self

    def close_idle_connections(self) -> None:
        """Close the connections that wait for a next request."""
        with self._lock:
            connections = list(self._connections.values())
        for each in connections:
            each.close_if_idle()

    def handle_error(
        self, error: Exception, request: IncomingMessage, response: ServerResponse
    ) -> None:
        """Deal with what a listener raised: log it, and answer 500 if no head was sent yet.

        Meant to be overridden. Called on the connection's thread. When it returns and the response
        is not ended, the connection is closed.
        """
        _log.error("the handler of %r raised", request, exc_info=error)
        # Another thread may be just about to send the head of an answer of its own.
        if not (response._head_sent or response._write_ended or response.destroyed):
            response._reset()
            response.status_code = 500
            response.end()

    def _start(self, connection: Socket) -> bool:
        return self._connect(connection).rest_at_once() or super()._start(connection)

    def _connect(self, connection: Socket) -> Connection:
        """Make what serves a connection."""
        served = Connection(self, connection)
        with self._lock:
            self._connections[connection] = served
        return served

    def _serve(self, connection: Socket) -> bool:
        with on_one_core() if self.pin_threads else contextlib.nullcontext():
            return self._connections[connection].begin()

    def _let_go(self, connection: Socket) -> None:
        with self._lock:
            self._connections.pop(connection, None)
        super()._let_go(connection)

    def _tunnel_expired(self, socket: Socket) -> bool:
        """A tunnel was silent for too long; on the timer thread."""
        _threads.run(tell_silence, socket, self, name="nhttp-timeout")
        return True


def create_server(
    request_listener: RequestListener | None = None, **options: Unpack[ServerKeywords]
) -> Server:
    """Make an HTTP server.

    Args:
        request_listener: A listener for ``'request'``.
        **options: See `Server`.

    Raises:
        InvalidArgument: An option is negative, or of the wrong kind.

    Example:
        >>> server = create_server(lambda request, response: response.end("hi"), timeout=30.0)

    Source: http.createServer in the manual.
    """
    return Server(request_listener, **options)
