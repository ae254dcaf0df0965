"""IncomingMessage: a request that a server got, or a response that a client got.

The head is there when the message is; the body is read from the connection as it is asked for, by
way of a `Body`, and never kept as a whole. Knows streams, headers and the parser's types; which
connection the octets come from is the business of `server` and `client`.
"""

from __future__ import annotations

import math
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, overload

from nhttp._parser import EndOfMessage, Invalid, RequestHead, ResponseHead
from nhttp.errors import ConnectionReset, ParseError, StateError
from nhttp.headers import Headers, distinct, flatten
from nhttp.streams import Callback, Readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.client import ClientRequest
    from nhttp.net import Socket

__all__ = ["IncomingMessage", "parse_error"]


_init_stream = Readable.__init__  # called in each exchange: see `streams._base`


class Body(Protocol):
    """Where the octets of a message's body come from: one message on one connection."""

    def read_body(self) -> bytes | EndOfMessage:
        """Block until there are octets, or the message is complete."""
        ...

    def body_is_over(self) -> EndOfMessage | None:
        """Tell whether the octets just read were the last ones, without blocking."""
        ...

    def watch(self) -> None:
        """Somebody wants to be told when the peer disappears; any thread."""


class IncomingMessage(Readable):
    """A message that arrived: what a ``'request'`` or ``'response'`` listener is given.

    A stream, see `streams.Readable`: pull the body with `read` and its relatives, or add a
    ``'data'`` listener and let it flow. On a server the body flows once the handler has returned,
    on the connection's thread; a handler that wants it earlier reads it. What neither flows nor was
    read when the response is finished is dropped.

    Events, beside those of `Readable`:
        aborted: () the peer broke off before the exchange was over. At most once.
        close: () the connection is gone, or nothing more is to be had from it. At most once. While
            a handler computes, both are told by a helper thread.
        timeout: (socket) nothing happened on the connection for as long as `set_timeout` said; on a
            helper thread.

    Attributes:
        socket: The connection. A `net.Socket`; reading from it is the message's business.
        method: The request's method, ``""`` for a response.
        url: The request's target as it came, ``""`` for a response: ``"/status?name=ryan"``.
        status_code: The response's status code, 0 for a request.
        status_message: The response's reason phrase, ``""`` for a request.
        http_version_major: 1.
        http_version_minor: 0 or 1.
        complete: Whether the whole message arrived.
        aborted: Whether the peer broke off.
        request: The request that this is the response to; None for a request.

    Source: http.IncomingMessage in the manual.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"end", "error", "close", "aborted"})

    if TYPE_CHECKING:

        @overload
        def on(self, event: Literal["data"], listener: Callable[[bytes], object], /) -> Self: ...
        @overload
        def on(self, event: Literal["data"], listener: Callable[[str], object], /) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["readable", "end", "close", "pause", "resume"],
            listener: Callable[[], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(self, event: Literal["aborted"], listener: Callable[[], object], /) -> Self: ...
        @overload
        def on(
            self, event: Literal["timeout"], listener: Callable[[Socket], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...  # noqa: D102

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    aborted = False
    complete = False
    http_version_major = 1

    request: ClientRequest | None = None

    # A client is told when the response is over: None at its end, or why it broke off.
    _on_over: Callable[[BaseException | None], object] | None = None
    _headers: Headers | None = None
    _trailers: list[tuple[str, str]] | None = None
    _released = False  # the response is out: the body flows only if somebody listens to it
    _given_up = False  # the connection's thread does not wait for this body any more

    def __init__(self, head: RequestHead | ResponseHead, socket: Socket, body: Body) -> None:
        _init_stream(self)
        self._head = head
        self._body = body
        self.socket = socket
        # Its own from the beginning: see `Stream.__init__`.
        self.complete = self._source_ended = self._end_emitted = False
        self._flowing = self._rest = None
        self._rest_from = self._reader = 0
        self.http_version_minor = head.minor_version
        if isinstance(head, RequestHead):
            self.method, self.url = head.method, head.target
            self.status_code, self.status_message = 0, ""
        else:
            self.method = self.url = ""
            self.status_code, self.status_message = head.status, head.reason

    # The head.

    @property
    def connection(self) -> Socket:
        """The same as `socket` (the manual's older name)."""
        return self.socket

    @property
    def http_version(self) -> str:
        """``"1.1"`` or ``"1.0"``: what the peer speaks."""
        return "1.1" if self.http_version_minor else "1.0"

    @property
    def headers(self) -> Headers:
        """The fields as a mapping: lower-case keys, duplicates by the manual's rules."""
        if self._headers is None:
            # Threads that are the first at once make one each; they are alike, and read-only.
            head = self._head
            if head.repeats:
                self._headers = Headers(head.fields)
            else:
                self._headers = Headers._from_unique(head.lookup)
        return self._headers

    @property
    def headers_distinct(self) -> dict[str, list[str]]:
        """Every value of every field in a list, nothing joined or dropped; lower-case keys."""
        return distinct(self._head.fields)

    @property
    def raw_headers(self) -> list[str]:
        """The fields exactly as they came: ``[name, value, name, value, ...]``."""
        return flatten(self._head.fields)

    @property
    def trailers(self) -> Headers:
        """The fields behind a chunked body; empty before ``'end'``."""
        return Headers(self._trailers or ())

    @property
    def trailers_distinct(self) -> dict[str, list[str]]:
        """The trailers as `headers_distinct` has the headers."""
        return distinct(self._trailers or ())

    @property
    def raw_trailers(self) -> list[str]:
        """The trailers as `raw_headers` has the headers; empty before ``'end'``."""
        return flatten(self._trailers or ())

    # The body.

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` octets, or all that is left; see `streams.Readable.read`."""
        if not self._source_ended or self._dispatching or (size is not None and size >= 0):
            return super().read(size)
        # All of it is here already: nobody has to be waited for.
        with self._lock:
            data: bytes = self._cut(math.inf)
            if self._end_emitted or self._destroyed:
                return data
            self._end_emitted = True
            if self._changed is not None:  # `_notify`, without a call
                self._changed.notify_all()
            unheard = self._latch_unheard("end")
        if not unheard:
            self._ended()
        elif self._on_over is not None:
            self._on_over(None)
        return data

    def _read(self, size: int) -> bytes:
        del size  # the connection reads as much as is there
        if self.complete:
            return b""
        data = self._body.read_body()
        if isinstance(data, EndOfMessage):
            self._completed(data)
            return b""
        over = self._body.body_is_over()
        if over is not None:
            self._completed(over)
            self._last = True
        return data

    def _start_driver(self) -> None:
        if self.request is None:
            super()._start_driver()
        else:
            self.request._start(self._drive_safely)

    def _completed(self, end: EndOfMessage) -> None:
        self._trailers = end.trailers
        self.complete = True

    def _arrived(self, data: bytes) -> None:
        """The whole body came with the head, and is kept here until it is asked for."""
        self._rest = data
        self._source_ended = self.complete = True

    def _ended(self) -> None:
        try:
            super()._ended()
        finally:
            if self._on_over is not None:
                self._on_over(None)

    def _failed(self, error: Exception) -> None:
        self._abort(error)

    def _abort(self, error: BaseException) -> None:
        """The connection broke before the exchange was over: tell everybody, once."""
        if self.complete and self._on_over is not None:
            self._tell("close")  # a response that is here in whole is beyond being broken off
        else:
            with self._lock:
                if self._failure is None:
                    self._failure = error
                self._notify()
            if not self.complete:
                self._tell("error", error)
            self._tell_aborted()
        if self._on_over is not None:
            self._on_over(error)

    def _tell_aborted(self) -> None:
        """The peer has gone; what has arrived can still be read."""
        self.aborted = True
        self._tell("aborted")
        self._tell("close")

    def _over(self) -> bool:
        # A response that has arrived is a client's to read, whatever became of the connection.
        lost = self.socket._destroyed and not (self.complete and self.request is not None)
        if self._given_up or lost or super()._over():
            return True
        # As in Node: a body that nobody consumes when the response is out is thrown away.
        return self._released and not (
            self._flowing and (self._hears("data") or self._hears("end"))
        )

    def _release(self) -> None:
        """The response is out, or never will be; any thread."""
        if self.socket._owner == get_ident():
            self._released = True  # the only thread that could be waiting for it is this one
            return
        with self._lock:
            self._released = True
            self._notify()

    def _give_up(self) -> None:
        """The body does not come in time: the connection's thread is to go on; any thread."""
        with self._lock:
            self._given_up = True
            self._notify()

    def _seize(self) -> None:
        """The response is out and the rest of the body will be dropped: no more reading for others.

        Returns when no other thread is in the source. Whoever reads later gets an error rather than
        a body with a hole.
        """
        with self._lock:
            self._refuse_late_readers()
            while self._reader:
                self._wait()

    def _drop_untouched(self) -> None:
        """The response is out: drop a body that is all here, unless somebody has begun with it."""
        with self._lock:
            if self._rest and not self._rest_from:
                self._refuse_late_readers()
                self._rest, self._source_ended = None, False

    def _refuse_late_readers(self) -> None:
        """Have those who read later get an error; `_lock` is held."""
        if self._failure is None:
            self._failure = StateError(
                "the response was finished first: the rest of the body was dropped",
                "ERR_STREAM_DESTROYED",
            )

    def _listener_added(self, event: str) -> None:
        if event in ("close", "aborted"):
            self._body.watch()
        else:
            super()._listener_added(event)

    def _destroy(self, error: BaseException | None) -> None:
        if error is not None:
            self._tell("error", error)
        if self._on_over is None:
            self.socket.destroy(error)
        # A client's socket may be another request's by now: its exchange, which is told, knows.
        self._abort(
            error
            or ConnectionReset(
                "the message was destroyed on this side", "ECONNRESET", syscall="read"
            )
        )

    def destroy(self, error: BaseException | None = None) -> Self:
        """Destroy the connection that the message came on.

        Args:
            error: Emitted as ``'error'`` to whoever listens.

        Source: message.destroy in the manual.
        """
        return super().destroy(error)

    def close(self) -> None:
        """Be done with reading (`io.IOBase`).

        Of a request, what was not read is dropped when the response is out, and the connection
        lives on if that is short: wrapping it in `io.TextIOWrapper` never tears the connection
        down. A response is destroyed: one that has not arrived to its end is given up, and its
        connection with it.
        """
        if self._on_over is not None:
            self.destroy()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Set the connection's timeout: see `net.Socket.set_timeout`.

        A response sets that of its request, which fails where nobody listens for it.

        Args:
            seconds: Of silence; 0 turns it off.
            callback: A listener for this message's ``'timeout'``; it takes no argument.

        Raises:
            InvalidArgument: `seconds` is negative or not a number, or `callback` not callable.
        """
        if callback is not None:
            self._add_listener("timeout", self._without_arguments(callback))
        request = self.request
        if request is None or request._tunnel:
            self.socket.set_timeout(seconds)
        else:  # which knows whether the connection is still its own
            request.set_timeout(seconds)
        return self

    def __repr__(self) -> str:
        what = f"{self.method} {self.url}" if self.method else f"{self.status_code}"
        return f"<{type(self).__name__} {what} HTTP/{self.http_version}>"


def parse_error(event: Invalid) -> ParseError:
    """Give the error to raise where what came is no message."""
    return ParseError(
        event.message,
        event.code,
        status=event.status,
        bytes_parsed=event.bytes_parsed,
        raw_packet=event.raw,
    )
