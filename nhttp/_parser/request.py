"""`RequestParser`: what a server reads from one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .body import EMPTY_BODY, LengthBody
from .chunked import ChunkedBody
from .events import CLOSED, NEED_DATA, BodyEvent, RequestHead
from .framing import body_framing, check_host, connection_options, first_values
from .grammar import METHOD_SET, REQUEST_LINE, split_fields, target_fits
from .lines import check_request_line
from .machine import Parser, State

if TYPE_CHECKING:
    from .limits import Limits

__all__ = ["RequestParser"]

# Looking a member up in its Enum costs as much as a look-up in two dictionaries.
_IDLE: Final = State.IDLE
_BODY: Final = State.BODY

_REMEMBERED = 2048  # octets of a head that is kept for comparison, for each connection


class RequestParser(Parser[RequestHead]):
    """Parses one request after another.

    Events: `RequestHead`, `bytes` any number of times, `EndOfMessage`, and so on, then `CLOSED`: at
    the end of the connection, or behind a request that said it would be the last.

    Behind the head of a CONNECT request, and of one with `RequestHead.upgrade`, the parser pauses:
    `next_event` returns `PAUSED` until the owner calls `take_rest`, because the bytes that follow
    are another protocol's, or, for an upgrade that it does not want, `resume`.
    """

    __slots__ = ("_blank_line_seen", "_current", "_last")

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits, check_request_line)
        self._current: RequestHead | None = None
        # The bytes of the last head, what they meant, and the limits that they were within: clients
        # that keep a connection open tend to repeat themselves, and equal bytes mean the same. Not
        # of one behind which the parser pauses.
        self._last: tuple[bytes, RequestHead, int, int] | None = None
        self._blank_line_seen = False

    def is_idle(self) -> bool:
        """Whether no message is under way and nothing of the next one has arrived.

        The blank line that may come in front of a request is nothing.
        """
        if self._state is not _IDLE:
            return False
        buffer = self._buffer
        waiting = len(buffer.data) - buffer.pos
        return not waiting or (waiting <= 2 and buffer.data[buffer.pos :] in (b"\r", b"\r\n"))

    def receive(self, data: bytes) -> RequestHead | BodyEvent:
        """Add bytes that have arrived and return the next event: `feed` and `next_event` at once.

        Raises:
            ValueError: As `feed`.
        """
        last, buffer, limits = self._last, self._buffer, self._limits
        if (
            last is None
            or not data.startswith(last[0])
            or self._state is not _IDLE
            or buffer.pos != len(buffer.data)
            or last[2] != limits.max_head_size
            or last[3] != limits.max_headers_count
        ):
            return super().receive(data)
        buffer.append(data)
        self._origin = buffer.dropped
        buffer.pos = len(last[0])
        self._current = head = last[1]
        self._state = self._enter_body(head)
        return head

    def resume(self) -> None:
        """Ignore the offer to upgrade, and go on with the request's body as it is framed.

        Raises:
            RuntimeError: The parser has not paused for an upgrade.
        """
        head = self._current
        if self._state is not State.PAUSED or head is None or head.method == "CONNECT":
            raise RuntimeError("resume() is for a request whose upgrade is ignored")
        self._state = self._enter_body(head)

    def _next_in_idle(self) -> RequestHead | BodyEvent:
        buffer = self._buffer
        data, pos = buffer.data, buffer.pos
        # RFC 9112, 2.2: a server should ignore at least one empty line in front of a request.
        if data.startswith(b"\r", pos) and not self._blank_line_seen:
            if data.startswith(b"\r\n", pos):
                buffer.pos += 2
                self._blank_line_seen = True
            elif len(buffer) == 1 and not self._eof:
                return NEED_DATA
        if not len(buffer):
            return CLOSED if self._eof else NEED_DATA
        self._begin_head()
        return self._next_in_head()

    def _parse_head(self, text: str) -> RequestHead | None:
        limits = self._limits
        line = REQUEST_LINE.match(text)
        if line is None:
            return None
        method, target, minor = line.groups()
        if method not in METHOD_SET or not target_fits(method, target):
            return None
        fields = split_fields(text, line.end())
        if fields is None or 0 < limits.max_headers_count < len(fields):
            return None
        lookup = {name.lower(): value for name, value in fields}
        repeats = len(lookup) != len(fields)
        if repeats:
            lookup = first_values(fields)
        minor_version = 1 if minor == "1" else 0
        check_host(fields, lookup, repeats, minor_version)
        length, chunked = body_framing(fields, lookup, repeats, minor_version)
        keep_alive, upgrade = connection_options(fields, lookup, repeats, minor_version)
        head = RequestHead(
            method,
            target,
            minor_version,
            fields,
            lookup,
            repeats,
            length,
            chunked,
            keep_alive,
            upgrade,
            (chunked or bool(length)) and method != "CONNECT",
        )
        data = self._buffer.data
        size = len(text)
        pauses = upgrade or method == "CONNECT"
        if size <= _REMEMBERED and not self._buffer.pos and isinstance(data, bytes) and not pauses:
            self._last = (data[:size], head, limits.max_head_size, limits.max_headers_count)
        return head

    def _follow_head(self, head: RequestHead) -> State:
        self._current = head
        if head.upgrade or head.method == "CONNECT":
            return State.PAUSED
        return self._enter_body(head)

    def _enter_body(self, head: RequestHead) -> State:
        if not head.has_body:  # RFC 9112, 6.3, rung 7
            self._body = EMPTY_BODY
        elif head.content_length:
            self._body = LengthBody(head.content_length)
        else:
            self._body = ChunkedBody(self._limits)
        return _BODY

    def _follow_body(self) -> State:
        assert self._current is not None
        self._blank_line_seen = False
        # RFC 9112, 9.6: what comes behind the last request must not be processed.
        return _IDLE if self._current.keep_alive else State.CLOSED
