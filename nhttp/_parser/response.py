"""`ResponseParser`: what a client reads from one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .body import EMPTY_BODY, CloseBody, LengthBody
from .chunked import ChunkedBody
from .events import CLOSED, PAUSED, BodyEvent, ResponseHead
from .framing import body_framing, connection_options, first_values
from .grammar import STATUS_LINE, split_fields
from .lines import MessageError, check_status_line
from .machine import Parser, State

if TYPE_CHECKING:
    from .limits import Limits

__all__ = ["ResponseParser"]

# Looking a member up in its Enum costs as much as a look-up in two dictionaries.
_IDLE: Final = State.IDLE
_HEAD: Final = State.HEAD
_BODY: Final = State.BODY

_REMEMBERED = 2048  # bytes of a head that is kept for comparison, for each connection


class ResponseParser(Parser[ResponseHead]):
    """Parses the responses to requests that it is told of by `expect`.

    Events of one response: `ResponseHead` with `interim` any number of times, `ResponseHead`,
    `bytes` any number of times, `EndOfMessage`. What follows that is not looked at before the next
    `expect`: nobody asked for it, so an owner that finds `buffered` bytes closes the connection.

    Behind the head that makes a tunnel of the connection, 101 or a 2xx to CONNECT, `next_event`
    returns `PAUSED` and the bytes that follow are there for `take_rest`.
    """

    __slots__ = ("_expected_method", "_interims", "_last", "_persists", "_upgrade_expected")

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits, check_status_line)
        self._expected_method = ""
        self._upgrade_expected = False
        self._interims = 0
        self._persists = True
        # The bytes of a head, what they meant behind which method, and the limits that they were
        # within: servers tend to repeat themselves, and equal bytes mean the same.
        self._last: tuple[bytes, ResponseHead, str, int, int] | None = None

    def is_idle(self) -> bool:
        """Whether no response is expected and no byte of any has arrived."""
        return self._state is State.IDLE and not len(self._buffer)

    def expect(self, method: str, upgrade: bool = False) -> None:
        """Tell that a request was sent, whose response is the next to be parsed.

        Args:
            method: Its method, on which depends where the response ends.
            upgrade: Whether it offered to change the protocol.

        Raises:
            RuntimeError: Another response is under way, or none can come any more.
        """
        if self._state is not _IDLE:
            raise RuntimeError(f"no response can be expected while {self._state.value}")
        self._expected_method = method
        self._upgrade_expected = upgrade
        self._interims = 0
        self._begin_head()

    def receive(self, data: bytes) -> ResponseHead | BodyEvent:
        """Add bytes that have arrived and return the next event: `feed` and `next_event` at once.

        Raises:
            ValueError: As `feed`.
        """
        last, buffer, limits = self._last, self._buffer, self._limits
        if (
            last is None
            or not data.startswith(last[0])
            or self._state is not _HEAD
            or buffer.pos != len(buffer.data)
            or last[2] != self._expected_method
            or last[3] != limits.max_head_size
            or last[4] != limits.max_headers_count
        ):
            return super().receive(data)
        buffer.dropped = self._origin = buffer.dropped + buffer.pos
        buffer.data, buffer.pos = data, len(last[0])
        self._state = self._follow_head(last[1])
        return last[1]

    def _next_in_idle(self) -> BodyEvent:
        return CLOSED if self._eof and not len(self._buffer) else PAUSED

    def _parse_head(self, text: str) -> ResponseHead | None:
        limits = self._limits
        line = STATUS_LINE.match(text)
        if line is None:
            return None
        minor, code, reason = line.groups("")
        fields = split_fields(text, line.end())
        if fields is None or 0 < limits.max_headers_count < len(fields):
            return None
        lookup = {name.lower(): value for name, value in fields}
        repeats = len(lookup) != len(fields)
        if repeats:
            lookup = first_values(fields)
        status = int(code)
        minor_version = 1 if minor == "1" else 0
        # RFC 9112, 6.3, rungs 1 and 2; 8 is what is left.
        bodiless = status < 200 or status in (204, 304) or self._expected_method == "HEAD"
        connected = self._expected_method == "CONNECT" and 200 <= status < 300
        if connected:  # RFC 9110, 9.3.6: both fields MUST be ignored
            length, chunked = None, False
        else:
            length, chunked = body_framing(fields, lookup, repeats, minor_version, bodiless)
        keep_alive, upgrade = connection_options(fields, lookup, repeats, minor_version)
        if status == 101 and not (upgrade and self._upgrade_expected):
            # RFC 9110, 15.2.2: the server must name a protocol, and one that was offered to it.
            raise MessageError("HPE_INVALID_STATUS", "101 response without an agreed upgrade")
        interim = status < 200 and status != 101
        if interim and self._interims == limits.max_interim_responses:
            reason = f"more than {self._interims} interim responses"
            raise MessageError("HPE_HEADER_OVERFLOW", reason, status=431)
        has_body = not (bodiless or connected or length == 0)
        until_close = has_body and length is None and not chunked
        head = ResponseHead(
            status,
            reason,
            minor_version,
            fields,
            lookup,
            repeats,
            length,
            chunked,
            keep_alive and not until_close,
            upgrade,
            has_body,
            until_close,
            interim,
            connected or status == 101,
        )
        data = self._buffer.data
        if status >= 200 and len(text) <= _REMEMBERED and isinstance(data, bytes):
            start = self._buffer.pos
            known = data[start : start + len(text)]
            method = self._expected_method
            self._last = (known, head, method, limits.max_head_size, limits.max_headers_count)
        return head

    def _follow_head(self, head: ResponseHead) -> State:
        if head.interim:
            self._interims += 1
            self._begin_head()
            return State.HEAD
        self._persists = head.keep_alive
        if head.tunnel:
            return State.PAUSED
        if not head.has_body:
            self._body = EMPTY_BODY
        elif head.chunked:
            self._body = ChunkedBody(self._limits)
        elif head.content_length is not None:
            self._body = LengthBody(head.content_length)
        else:
            self._body = CloseBody()
        return _BODY

    def _follow_body(self) -> State:
        return _IDLE if self._persists else State.CLOSED
