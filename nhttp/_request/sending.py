"""What a request sends: its head, its body, and the queue in which both wait for a connection.

What is written before there is a connection is queued. Whoever finds one hands the queue over, and
what he has himself behind it, under the write lock; a failure to send is kept for later, because an
answer may have come before it.
"""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from enum import Enum
from threading import get_ident
from typing import TYPE_CHECKING, ClassVar, Final, Self

from nhttp import _threads
from nhttp._encoding import encode
from nhttp.errors import InvalidArgument, StateError
from nhttp.headers import tokens_of
from nhttp.outgoing import Framing, OutgoingMessage, says_length
from nhttp.streams._writable import end_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nhttp._agent.agent import Agent
    from nhttp._agent.options import RequestOptions
    from nhttp._exchange import Exchange
    from nhttp.headers import Field
    from nhttp.streams import BytesLike, Callback

__all__ = ["BLOCKING", "CALLBACKS", "CONSUMERS", "SEND_FIRST", "UNDECIDED", "SendingRequest"]

# Who listens for one of these is driven by callbacks.
CONSUMERS = ("response", "connect", "upgrade", "continue")

# Without a body of its own, such a request says nothing of one (RFC 9110, 9.3).
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
# What a request's own thread sends itself before it reads; more is sent beside the reading, because
# a server that answers while it is being sent to may not take more before its answer is taken.
SEND_FIRST = 64 * 1024

_NONE: Final = Framing.NONE
_KEEP_ALIVE = "Connection: keep-alive\r\n"
_CLOSE = "Connection: close\r\n"


class Style(Enum):
    """How a request is driven."""

    UNDECIDED = "nothing was sent yet"
    CALLBACKS = "by a thread of its own"
    BLOCKING = "by the threads that call"


# Looking a member up in its Enum costs as much as a look-up in two dictionaries.
UNDECIDED: Final = Style.UNDECIDED
CALLBACKS: Final = Style.CALLBACKS
BLOCKING: Final = Style.BLOCKING


class SendingRequest(OutgoingMessage, ABC):
    """The first layer of `ClientRequest`. Any thread may call any method."""

    _log: ClassVar[logging.Logger] = logging.getLogger("nhttp.client")

    options: RequestOptions
    agent: Agent
    method: str
    path: str

    # Not Transfer-Encoding: the end of the connection cannot be the end of a request.
    _automatic = frozenset({"connection", "content-length"})

    # Looked at once or twice in a request, which has no room for one more attribute of its own.
    _framing = _NONE

    # Guarded by `_lock`:
    _style: Style  # no default of the class: CPython 3.11 specialises no access past an Enum's
    _issuer = 0  # ident of the thread that sent it, or had it sent
    _exchange: Exchange | None = None  # the present one; another one if the request is repeated
    _direct = False  # there is a socket, and what was queued before it is sent
    _flush_wanted = False  # the head is to go out although nothing is behind it yet
    _bodiless = False  # and it says nothing of a body
    _own_thread = 0  # ident of the request's own thread, while it runs
    _close_due = False  # the answer was over first: 'close' is told when the request is
    # The body was begun with `write`: its length is not to be known (as in Node). Set by who writes
    # and by who sends, under the lock of each; it becomes True and stays it.
    _streams = False
    # Set by the thread that sends the last of it, under `_write_lock`:
    _end_sent = False

    # What the layers above give.

    @abstractmethod
    def _begin(self) -> None:
        """Get a socket, in the style that this thread has just decided on."""

    # The head.

    def _render_head(self, body_size: int | None) -> bytes:
        headers = self._headers or {}
        host = headers.get("host")
        more = len(headers) > 1 or self.send_date or self._suppressed or body_size != 0
        if host is None or more or self.method not in _BODILESS:
            return super()._render_head(body_size)
        self._head_ready = self._head_sent = True
        return _plain_head(self.method, self.path, host.lines, self.should_keep_alive)

    def _start_line(self) -> str:
        return f"{self.method} {self.path} HTTP/1.1\r\n"

    def _connection_lines(self) -> str:
        said = self.get_header("connection")
        if said is None:
            line = _KEEP_ALIVE if self.should_keep_alive else _CLOSE
            return "" if "connection" in self._suppressed else line
        tokens = tokens_of(said)
        if "close" in tokens:
            self.should_keep_alive = False
        elif "keep-alive" in tokens:
            self.should_keep_alive = True
        return ""

    def _check_head(self) -> None:
        super()._check_head()
        coding = self._headers.get("transfer-encoding") if self._headers else None
        if coding is not None and tokens_of(coding.value)[-1:] != ["chunked"]:
            # RFC 9112, 6.1: nobody could find the end of the body.
            raise InvalidArgument(
                f"the last Transfer-Encoding of a request is chunked, not {coding.value!r}",
                "ERR_INVALID_ARG_VALUE",
            )

    def _frame(self, headers: dict[str, Field], body_size: int | None) -> None:
        said = "content-length" in headers or "transfer-encoding" in headers
        if not said and self.method in _BODILESS and not body_size and not self._streams:
            self._framing = _NONE
        else:
            super()._frame(headers, body_size)

    def _wants_upgrade(self) -> bool:
        if not self._headers or "upgrade" not in self._headers:
            return False
        return "upgrade" in tokens_of(self.get_header("connection") or "")

    # Writing.

    def write(
        self,
        chunk: str | BytesLike,
        encoding: str | Callback | None = None,
        callback: Callback | None = None,
    ) -> bool:
        """Send a piece of the body, and the head with it if it is not out.

        In callback style what comes before the socket is queued. In blocking style, and once there
        is a socket, this blocks until the kernel has the octets.

        Args:
            chunk: Text or anything bytes-like.
            encoding: How text becomes octets. Default: ``"utf8"``.
            callback: Called when the octets are with the kernel, by the thread that sent them.

        Returns:
            False when the octets were queued; ``'drain'`` follows.

        Raises:
            InvalidArgument: `chunk` is of another kind, `callback` cannot be called, or the head
                cannot be sent.
            StateError: After `end`; or the head went out and promised no body.
            OSError: The request has failed, and nobody listens for ``'error'``.
        """
        if callable(encoding):
            encoding, callback = None, encoding
        if callback is not None:
            self._check_listener(callback)
        data: BytesLike
        if type(chunk) is bytes and encoding is None:
            data = chunk  # as in `Writable.write`
        else:
            data = encode(chunk, encoding or self._default_encoding)
        begins = False
        with self._lock:
            if self._write_ended or self._destroyed:
                if self._has_failed():
                    return False
                self._check_writable()
            if self._framing is _NONE:  # as long as the head is not out, or if it says so
                begins = self._begin_body(data)
            exchange = self._exchange
            failure = None if exchange is None else exchange.send_failure
            if failure is not None and self._style is BLOCKING and not self.listener_count("error"):
                raise failure  # the answer, if one came before, is still to be had
            # The request's own thread may have to have it sent beside its reading: see `_send_now`.
            at_once = self._direct and not self._corked and self._own_thread != get_ident()
            if not at_once:
                self._queue(bytes(data), callback)
        if at_once:
            self._send_queue(data, callback)
            return True
        if begins:
            self._begin()
        return self._send_now(drain=True)

    def end(
        self,
        chunk: str | BytesLike | Callback | None = None,
        encoding: str | Callback | None = None,
        callback: Callback | None = None,
    ) -> Self:
        """Send the last of the request. Every request must be ended, also one without a body.

        Network errors are not raised here: they are for ``'error'`` listeners and `get_response`.

        Args:
            chunk: The last octets, or all; the callback may stand in its place.
            encoding: How text becomes octets. Default: ``"utf8"``.
            callback: A listener for ``'finish'``.

        Raises:
            InvalidArgument: `chunk` is of another kind, or the head cannot be sent.
            StateError: A chunk is given after an earlier `end`; or the head went out and promised
                no body.
        """
        if encoding is not None or callback is not None or callable(chunk):
            chunk, encoding, callback = end_arguments(chunk, encoding, callback)
            if callback is not None:
                self.once("finish", callback)
        data = b"" if chunk is None else bytes(encode(chunk, encoding or self._default_encoding))
        with self._lock:
            if self._write_ended or self._destroyed:
                if self._write_ended and chunk is not None and not self._has_failed():
                    self._check_writable()
                return self
            if data:
                self._check_body()
            if not self._head_sent and self._headers and says_length(self._headers):
                self._check_head()
            if data:
                self._queue(data, None)
            self._write_ended = True
            self._corked = 0
            begins = self._decide_style()
        if begins:
            self._begin()
        self._send_now()
        return self

    def _decide_style(self) -> bool:
        """Decide how the request is driven, once, by who listens for its answer; `_lock` is held.

        Returns:
            Whether it was decided now: then `_begin` must follow.
        """
        if self._style is not UNDECIDED:
            return False
        listeners = self._listeners
        heard = listeners and any(each in listeners for each in CONSUMERS)
        self._style = CALLBACKS if heard else BLOCKING
        self._issuer = get_ident()
        return True

    def _begin_body(self, data: BytesLike) -> bool:
        """See to what comes before the first piece of the body; `_lock` is held.

        Returns:
            Whether `_begin` must follow.
        """
        if data:
            self._check_body()
        if not self._head_sent:
            self._check_head()
        # Whether there is a socket yet, and so whether `end` comes before the head goes out, is a
        # matter of luck; what is sent must not be.
        self._streams = self._streams or not (self._corked or self._bodiless)
        return self._decide_style()

    def _check_body(self) -> None:
        """Refuse a body behind a head that says nothing of one; `_lock` is held."""
        if self._bodiless:
            raise StateError(
                f"the head of this {self.method} went out without a body: set Content-Length "
                "or Transfer-Encoding before it does",
                "ERR_HTTP_BODY_NOT_ALLOWED",
            )

    def _has_failed(self) -> bool:
        """Whether the request has failed and somebody was told: writing is of no use, no error."""
        return self._destroyed and self.listener_count("error") > 0

    def flush_headers(self) -> None:
        """Send the head now, instead of with the first octets of the body.

        Raises:
            InvalidArgument: It cannot be sent.

        Source: request.flushHeaders in the manual.
        """
        with self._lock:
            if self._head_sent or self._destroyed:
                return
            self._check_head()
            self._flush_wanted = True
            bodiless = not (self._streams or self._pending or says_length(self._headers or {}))
            self._bodiless = bodiless and self.method in _BODILESS
            begins = self._decide_style()
        if begins:
            self._begin()
        self._send_now()

    def flush(self) -> None:
        """Send what was written while corked, if there is a socket (`io.IOBase`)."""
        with self._lock:
            waits = self._pending or (self._flush_wanted and not self._head_sent)
            if not waits or self._destroyed:
                return
            begins = self._decide_style()
        if begins:
            self._begin()
        self._send_now(corked=False)

    def _send_now(self, *, drain: bool = False, corked: bool = True) -> bool:
        """Send what is queued if there is a socket.

        Args:
            drain: Whether ``'drain'`` is to follow when it stays queued.
            corked: Whether it stays queued while corked.

        Returns:
            False when it stays queued for now.
        """
        # Without the lock: once writers send themselves, they do so to the end.
        if self._direct and not self._corked and not self._own_thread:
            self._send_queue()
            return True
        with self._lock:
            while self._style is BLOCKING and not self._direct and not self._destroyed:
                self._wait()  # another thread is connecting
            if not self._direct or (self._corked and corked):
                self._need_drain = self._need_drain or drain
                # Not when a socket happens to come: whoever sets a header now is late (as in Node).
                self._head_ready = self._head_ready or not self._corked
                return False
            beside = self._own_thread == get_ident() and self.writable_length > SEND_FIRST
            if beside:
                self._need_drain = self._need_drain or drain
        if beside:
            _threads.run(self._send_queue, name="nhttp-upload")
            return False
        self._send_queue()
        return True

    def _send_first(self) -> None:
        """Send what was queued before there was a socket; from then on writers send themselves."""
        while True:
            if not self._corked:
                self._send_queue()
            with self._lock:
                corked = self._corked
                if not corked and (self._pending or self._end_sent != self._write_ended):
                    continue
                self._direct = True
            if corked:
                return  # `uncork` or `end` sends it
            if self._need_drain and self._take_drain() and not self._end_sent:
                self.emit("drain")
            return

    def _send_queue(self, data: BytesLike | None = None, callback: Callback | None = None) -> None:
        """Hand over everything that is queued; any thread, several in turn.

        Args:
            data: What comes behind it, and need not be queued for that.
            callback: Called when `data` is sent.
        """
        chunks: list[BytesLike] = []
        callbacks: Sequence[Callback] = ()
        exchange: Exchange | None = None
        overtaken = False
        try:
            with self._write_lock:
                exchange = self._exchange
                # Looked at first: nothing is queued behind the end.
                last = self._write_ended and not self._end_sent
                if self._pending:
                    chunks, callbacks = self._take_pending()
                if data is not None:
                    overtaken = self._end_sent  # by a thread that came later and was faster
                    if not overtaken:
                        chunks.append(data)
                if exchange is not None:
                    out = self._compose(chunks, last=last)
                    if out:
                        exchange.transmit(out)
        except BaseException:  # Ctrl-C, say: nobody knows how much of it went out
            self.destroy()
            raise
        finally:
            if exchange is not None and exchange.socket._destroyed:
                exchange.socket._left()
        if overtaken:
            raise self._late("write", "ERR_STREAM_WRITE_AFTER_END")
        if exchange is None:
            return
        for each in callbacks:
            each()
        if callback is not None:
            callback()
        if last:
            self._all_sent(exchange)
        if self._need_drain and self._take_drain() and not last:
            self.emit("drain")

    def _take_drain(self) -> bool:
        """Whether ``'drain'`` is due; whoever is told so emits it."""
        with self._lock:
            due, self._need_drain = self._need_drain, False
        return due

    def _compose(self, chunks: Sequence[BytesLike], *, last: bool) -> list[BytesLike]:
        """Give what goes on the wire for pieces of the body, and what is missing around them.

        `_write_lock` is held.
        """
        out: list[BytesLike] = []
        if not self._head_sent and (chunks or last or self._flush_wanted):
            if chunks and not last:
                self._streams = True
            known = last and not self._streams
            out.append(self._render_head(sum(map(len, chunks)) if known else None))
        for chunk in chunks:
            out += self._frame_chunk(chunk)
        if last:
            self._end_sent = True
            if self._framing is not _NONE:
                out += self._frame_end()
        return out

    def _all_sent(self, exchange: Exchange) -> None:
        """The last octets went out, unless the connection failed before."""
        failed = exchange.send_failure is not None
        exchange.sent(keep_alive=self.should_keep_alive and not failed)
        if not failed:
            self._finish()
        if self._close_due:
            self._tell("close")

    def _may_finish(self) -> bool:
        """Whether `_all_sent` is still to come, and may well send the rest; `_lock` is held."""
        exchange = self._exchange
        failed = exchange is not None and exchange.send_failure is not None
        if self._write_finished or self._destroyed or failed:
            return False
        return self._end_sent or (exchange is not None and not exchange.over)


@functools.lru_cache(maxsize=256)
def _plain_head(method: str, path: str, host: str, keep_alive: bool) -> bytes:
    """Give the head of a request without a body that says nothing but its host."""
    connection = _KEEP_ALIVE if keep_alive else _CLOSE
    return f"{method} {path} HTTP/1.1\r\n{host}{connection}\r\n".encode("latin-1")
