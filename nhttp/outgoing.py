"""OutgoingMessage: what servers answer and clients ask with. Headers, framing, body, trailers.

Theory of operation. The head is rendered as late as possible, with the first octets of the body or
with `end`: only then is it known whether the whole body is at hand, and the choice between
``Content-Length`` and chunks can be made (`_frame`, a ladder in the order of RFC 9112 section 6).
Head and first octets leave in one system call.

Knows headers, streams and sockets; what a start line looks like, and when a connection may be kept,
is said by `ServerResponse` and `ClientRequest`.
"""

from __future__ import annotations

from enum import Enum
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, ClassVar, Final, Self

from nhttp._date import format_date
from nhttp._encoding import encode
from nhttp.errors import InvalidArgument, StateError
from nhttp.headers import Field, HeaderInput, HeaderValue, checked, pairs_of, tokens_of
from nhttp.streams import BytesLike, Callback, Writable
from nhttp.streams._writable import end_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from nhttp.net import Socket

__all__ = ["OutgoingMessage"]

_LAST_CHUNK = b"0\r\n\r\n"
_MOST_DIGITS = 19  # of a length: what receivers keep in 64 bits
# Octets of a body that is copied behind its head rather than given to the kernel beside it.
_JOIN_BELOW = 16 * 1024


class Framing(Enum):
    """How the receiver finds the end of the body."""

    NONE = "there is no body"
    LENGTH = "by Content-Length"
    CHUNKED = "by chunks"
    CLOSE = "by the end of the connection"


# Looking a member up in its Enum costs as much as a look-up in two dictionaries.
_NONE: Final = Framing.NONE
_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_CLOSE: Final = Framing.CLOSE


class BodyRule(Enum):
    """Whether a message may have a body, and may say how long it is."""

    ALLOWED = "a body, and how its end is found"
    DESCRIBED = "no body, but the length of the one that a GET would have been given"
    ABSENT = "no body; what the fields say of one is left as it is"
    UNSPOKEN = "no body, and not a word of one"


_ALLOWED: Final = BodyRule.ALLOWED
_UNSPOKEN: Final = BodyRule.UNSPOKEN


class _DateCache:
    """The line of ``Date``, rendered once a second.

    Any thread may call it; two that come at the turn of the second both render the same.
    """

    def __init__(self) -> None:
        self._cached = (0, "")

    def __call__(self) -> str:
        second, text = self._cached
        current = int(time())
        if second != current:
            text = f"Date: {format_date(current)}\r\n"
            self._cached = (current, text)
        return text


date_line = _DateCache()


class OutgoingMessage(Writable):
    """A message to be sent: the common part of `ServerResponse` and `ClientRequest`.

    Any thread may call any method. Headers belong to whoever prepares the message: setting them
    from two threads at once is for the caller to order.

    Attributes:
        send_date: Whether ``Date`` is sent when it was not set.
        should_keep_alive: Whether the connection may be used again after this message.
        use_chunked_encoding_by_default: Whether the peer understands chunks.

    Source: the manual on ServerResponse and ClientRequest, which share all of this.
    """

    send_date = False
    should_keep_alive = True
    use_chunked_encoding_by_default = True

    # What is sent without having been set, and need not be; ``Date`` has a switch of its own.
    _automatic: ClassVar[frozenset[str]] = frozenset(
        {"connection", "content-length", "transfer-encoding"}
    )

    # Of whoever prepares the message:
    _headers: dict[str, Field] | None = None  # by lower-case name
    _suppressed: frozenset[str] = frozenset()  # the automatic ones that are not to be sent
    _trailers = ""  # as they go on the wire
    _head_ready = False  # `write_head` was called, or the head was rendered: headers are fixed
    # Settled when the head is rendered; guarded by `_write_lock`:
    _head_sent = False
    _framing: Framing  # a response has it from the beginning, a request a default: see there
    _declared: int | None = None  # Content-Length as it was sent
    _body_sent = 0

    socket: Socket | None = None

    # What a subclass gives.

    def _start_line(self) -> str:
        """Give the start line with its CRLF."""
        raise NotImplementedError

    def _body_rule(self) -> BodyRule:
        """Whether this message may have a body."""
        return _ALLOWED

    def _connection_lines(self) -> str:
        """Give the field lines that tell the peer what becomes of the connection."""
        return ""

    # Headers.

    @property
    def headers_sent(self) -> bool:
        """Whether the head is out, or fixed by `write_head`: headers cannot be changed any more."""
        return self._head_ready

    def set_header(self, name: str, value: HeaderValue) -> Self:
        """Set a header, replacing what it was.

        Args:
            name: Sent as it is written here; ``Content-Type`` and ``content-type`` are one header.
            value: A str or int, or a sequence of these for as many field lines.

        Raises:
            InvalidArgument: The name is no token, or the value has a character that may not be
                there.
            StateError: The head is out (``ERR_HTTP_HEADERS_SENT``).

        Example:
            >>> response.set_header("Set-Cookie", ["type=ninja", "a=1"])  # doctest: +SKIP
        """
        self._check_head_open("set")
        key, entry = checked(name, value)
        if self._headers is None:
            self._headers = {}
        self._headers[key] = entry
        return self

    def append_header(self, name: str, value: HeaderValue) -> Self:
        """Add field lines for a header behind those that are set.

        Args:
            name: As for `set_header`.
            value: As for `set_header`.

        Raises:
            InvalidArgument: As for `set_header`.
            StateError: The head is out (``ERR_HTTP_HEADERS_SENT``).
        """
        self._check_head_open("append")
        key, field = checked(name, value)
        if self._headers is None:
            self._headers = {}
        present = self._headers.get(key)
        self._headers[key] = field if present is None else present.and_also(field)
        return self

    def get_header(self, name: str) -> str | list[str] | None:
        """Give what a header was set to, as text; None if it was not. In any case of letters."""
        field = self._headers.get(name.lower()) if self._headers else None
        return None if field is None else field.value

    def get_headers(self) -> dict[str, str | list[str]]:
        """Give all headers that were set, by lower-case name."""
        return {key: field.value for key, field in (self._headers or {}).items()}

    def get_header_names(self) -> list[str]:
        """Give the names of the headers that were set, in lower case."""
        return list(self._headers or ())

    def get_raw_header_names(self) -> list[str]:
        """Give the names of the headers that were set, as they will be sent."""
        return [field.name for field in (self._headers or {}).values()]

    def has_header(self, name: str) -> bool:
        """Whether a header was set."""
        return self._headers is not None and name.lower() in self._headers

    def remove_header(self, name: str) -> None:
        """Take a header back that was set, or keep one from being sent by itself.

        That goes for ``Date``, ``Connection``, ``Content-Length`` (the body is sent in chunks then)
        and a response's ``Transfer-Encoding`` (the end of the connection is the end of the body).

        Raises:
            StateError: The head is out (``ERR_HTTP_HEADERS_SENT``).

        Source: response.removeHeader in the manual.
        """
        self._check_head_open("remove")
        key = name.lower()
        if self._headers is not None:
            self._headers.pop(key, None)
        if key == "date":
            self.send_date = False
        elif key in self._automatic:
            self._suppressed |= {key}

    def add_trailers(self, headers: HeaderInput) -> None:
        """Set fields to be sent behind the body.

        They are sent only if the body is chunked, and dropped silently otherwise. HTTP wants them
        announced in a ``Trailer`` header.

        Args:
            headers: A mapping, or pairs; added to those of earlier calls.

        Raises:
            InvalidArgument: As for `set_header`.
        """
        more = [Field.of(name, value).lines for name, value in pairs_of(headers)]
        self._trailers += "".join(more)

    def _check_head_open(self, doing: str) -> None:
        if self._head_ready:
            raise StateError(
                f"cannot {doing} headers after they were sent", "ERR_HTTP_HEADERS_SENT"
            )

    # Framing and rendering.

    def _render_head(self, body_size: int | None) -> bytes:
        """Give the head as octets, and settle the framing. `_write_lock` is held.

        Args:
            body_size: Octets of the whole body, None when more may come.
        """
        headers = self._headers or {}
        rule = self._body_rule()
        if rule is _UNSPOKEN or not self.use_chunked_encoding_by_default:
            headers = _without_framing(headers, rule)
        self._head_ready = self._head_sent = True
        if rule is _ALLOWED:
            self._frame(headers, body_size)
        else:
            self._framing = _NONE
            said = says_length(headers) or "content-length" in self._suppressed
            if rule is BodyRule.DESCRIBED and body_size and not said:
                self._declared = body_size
        head = self._start_line()
        for field in headers.values():
            head += field.lines
        if self.send_date and "date" not in headers:
            head += date_line()
        head += self._connection_lines()
        if self._framing is _CHUNKED and "transfer-encoding" not in headers:
            head += "Transfer-Encoding: chunked\r\n"
        elif self._declared is not None and "content-length" not in headers:
            head += f"Content-Length: {self._declared}\r\n"
        return (head + "\r\n").encode("latin-1")

    def _frame(self, headers: dict[str, Field], body_size: int | None) -> None:
        """Decide how the receiver finds the end of the body."""
        length = headers.get("content-length")
        coding = headers.get("transfer-encoding")
        if coding is not None:
            # RFC 9112, 6.3, rung 4: the last coding counts.
            chunked = tokens_of(coding.value)[-1:] == ["chunked"]
            self._framing = _CHUNKED if chunked else _CLOSE
        elif length is not None:
            self._framing = _LENGTH
            self._declared = _length_of(length.value)
        elif body_size is not None and self._says_size(headers):
            self._framing = _LENGTH
            self._declared = body_size
        elif not self.use_chunked_encoding_by_default or "transfer-encoding" in self._suppressed:
            self._framing = _CLOSE
        else:
            self._framing = _CHUNKED
        if self._framing is _CLOSE:
            self.should_keep_alive = False

    def _says_size(self, headers: dict[str, Field]) -> bool:
        """Whether ``Content-Length`` says how long a body is that is known whole."""
        if "content-length" in self._suppressed:
            return False
        trailers = "trailer" in headers or self._trailers
        return not (trailers and self.use_chunked_encoding_by_default)

    def _check_head(self) -> None:
        """Refuse a head that cannot be sent, before anything has changed."""
        if self._headers:
            check_framing(self._headers)

    def _frame_chunk(self, data: BytesLike) -> list[BytesLike]:
        """Give what goes on the wire for a piece of the body."""
        size = len(data)
        framing = self._framing
        if not size or framing is _NONE:
            return []
        self._body_sent += size
        return [b"%x\r\n" % size, data, b"\r\n"] if framing is _CHUNKED else [data]

    def _frame_end(self) -> list[BytesLike]:
        """Give what goes on the wire behind the body."""
        if self._framing is not _CHUNKED:
            if self._framing is _LENGTH and self._body_sent != self._declared:
                # The manual: nobody checks. But the receiver now takes what follows for the rest of
                # this body, or this body for what follows.
                self.should_keep_alive = False
                self._log.warning(
                    "%r said Content-Length: %s, and its body had %d octets",
                    self,
                    self._declared,
                    self._body_sent,
                )
            return []
        if not self._trailers:
            return [_LAST_CHUNK]
        return [b"0\r\n", self._trailers.encode("latin-1"), b"\r\n"]

    # Writing.

    def tell(self) -> int:
        """Give how many octets of the body were written so far (`io.IOBase`): for `zipfile`."""
        return self._body_sent + self.writable_length

    def _writing(self) -> AbstractContextManager[object]:
        socket = self.socket
        if socket is None:
            raise self._destroyed_error("write")
        # The thread that holds it all the time is asked without a call: most messages are its own.
        return self._write_lock if socket._owner == get_ident() else socket._writing()

    def _connected(self) -> Socket:
        """Give the socket; raise if there is none (any more)."""
        socket = self.socket
        if socket is None:
            raise self._destroyed_error("write")
        return socket

    def _writev(self, chunks: Sequence[BytesLike]) -> None:
        """Send pieces of the body, behind the head if that is not out. `_write_lock` is held."""
        out: list[BytesLike] = []
        if not self._head_sent:
            self._check_head()
            out.append(self._render_head(None))
        for chunk in chunks:
            out += self._frame_chunk(chunk)
        if out:
            self._connected()._writev(out)

    def end(
        self,
        chunk: str | BytesLike | Callback | None = None,
        encoding: str | Callback | None = None,
        callback: Callback | None = None,
    ) -> Self:
        """Send the last of the message, and the head with it if it is not out.

        When nothing was written before, the body's length is known, and ``Content-Length`` says it.

        Args:
            chunk: The last octets, or all; the callback may stand in its place.
            encoding: How text becomes octets. Default: ``"utf8"``.
            callback: A listener for ``'finish'``.

        Raises:
            InvalidArgument: The chunk is neither text nor octets, or the headers cannot be sent
                together; nothing was sent.
            StateError: A chunk is given after an earlier `end` (``ERR_STREAM_WRITE_AFTER_END``), or
                after `destroy`.
            OSError: The peer is gone.
        """
        if encoding is not None or callback is not None or callable(chunk):
            chunk, encoding, callback = end_arguments(chunk, encoding, callback)
            if callback is not None:
                self.once("finish", callback)
        if type(chunk) is bytes:  # as `encode` gives it back
            data: BytesLike = chunk
        else:
            data = b"" if chunk is None else encode(chunk, encoding or self._default_encoding)
        with self._lock:
            if self._write_ended or self._destroyed:
                if chunk is None:
                    return self
                self._check_writable()
            if not self._head_sent:
                self._check_head()
            self._write_ended = True
            self._corked = 0
        try:
            with self._writing():
                callbacks = self._send_end(data)
        except BaseException as error:  # Ctrl-C, say: nobody else will end it
            if not self._is_loss(error):
                self.destroy()
            raise
        try:
            for each in callbacks:
                each()
        finally:  # the message is out, whatever they raise
            self._finish()
        return self

    def _send_end(self, data: BytesLike) -> Sequence[Callback]:
        """Send what is left: the last octets, and whatever is still missing around them."""
        callbacks: Sequence[Callback] = ()
        size = len(data)
        out: list[BytesLike]
        if self._pending is None and not self._head_sent:
            # The whole message is at hand, as most are: head and body as one piece.
            head = self._render_head(size)
            if self._framing is _LENGTH and size < _JOIN_BELOW:
                self._body_sent = size
                out = [head + data]
            else:
                out = [head, *self._frame_chunk(data)]
        else:
            chunks, callbacks = self._take_pending()
            if size:
                chunks.append(data)
            out = []
            if not self._head_sent:
                out.append(self._render_head(sum(map(len, chunks))))
            for chunk in chunks:
                out += self._frame_chunk(chunk)
        if self._framing is not _LENGTH or self._body_sent != self._declared:
            out += self._frame_end()
        if out:
            self._connected()._writev(out)
        self._sealed = True
        return callbacks

    def flush_headers(self) -> None:
        """Send the head now, instead of with the first octets of the body.

        Does nothing when it is out, or when `end` was called.

        Raises:
            InvalidArgument: The headers cannot be sent together.
            StateError: The message was destroyed (``ERR_STREAM_DESTROYED``).
            OSError: The peer is gone.
        """
        with self._lock:
            if self._head_sent or self._write_ended:
                return
            self._check_writable()
        with self._writing():
            if not self._head_sent:
                self._writev([])

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Set the connection's timeout: see `net.Socket.set_timeout`.

        Args:
            seconds: Of silence; 0 turns it off.
            callback: A listener for this message's ``'timeout'``; it takes no argument.

        Raises:
            InvalidArgument: `seconds` is negative or not a number, or `callback` not callable.
        """
        if callback is not None:
            self._add_listener("timeout", self._without_arguments(callback))
        if self.socket is not None:
            self.socket.set_timeout(seconds)
        return self

    @property
    def connection(self) -> Socket | None:
        """The same as `socket` (the manual's older name)."""
        return self.socket

    @property
    def finished(self) -> bool:
        """Whether `end` was called (the manual's name for `writable_ended`)."""
        return self._write_ended


def says_length(headers: dict[str, Field]) -> bool:
    """Whether the headers say how the end of the body is found."""
    return "content-length" in headers or "transfer-encoding" in headers


def _without_framing(headers: dict[str, Field], rule: BodyRule) -> dict[str, Field]:
    """Leave out what a message must not say about its body."""
    # RFC 9112, 6.1: never to a peer that does not speak HTTP/1.1.
    forbidden = {"transfer-encoding"}
    if rule is BodyRule.UNSPOKEN:
        forbidden.add("content-length")
    return {key: entry for key, entry in headers.items() if key not in forbidden}


def check_framing(headers: dict[str, Field]) -> None:
    """Refuse headers that two receivers could read in two ways.

    Raises:
        InvalidArgument: Both lengths are set, Content-Length is no number, or there is a coding
            behind chunked.
    """
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None and "chunked" in tokens_of(coding.value)[:-1]:
        raise InvalidArgument(
            f"Transfer-Encoding has chunked once, as the last coding, not {coding.value!r}",
            "ERR_INVALID_ARG_VALUE",
        )
    if length is None:
        return
    if coding is not None:
        raise InvalidArgument(
            "Content-Length and Transfer-Encoding cannot both be set: "
            "receivers would not agree where the body ends",
            "ERR_INVALID_ARG_VALUE",
        )
    _length_of(length.value)


def _length_of(value: str | list[str]) -> int:
    """Give the number that a ``Content-Length`` header says."""
    text = value if isinstance(value, str) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InvalidArgument(
            f"Content-Length is a number of octets, not {value!r}", "ERR_INVALID_ARG_VALUE"
        )
    return int(text)
