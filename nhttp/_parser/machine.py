"""The states that requests and responses have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import Final, Generic, TypeVar

from .body import EMPTY_BODY, Body, truncated
from .buffer import Buffer
from .events import (
    CLOSED,
    END_OF_MESSAGE,
    NEED_DATA,
    PAUSED,
    BodyEvent,
    EndOfMessage,
    Invalid,
    RequestHead,
    ResponseHead,
)
from .limits import Limits
from .lines import LineCheck, MessageError
from .section import Section

__all__ = ["Parser", "State"]

HeadT = TypeVar("HeadT", RequestHead, ResponseHead)

_LF = b"\n"


class State(Enum):
    """What a parser does next."""

    IDLE = "between two messages"
    HEAD = "reading a head"
    BODY = "reading a body"
    PAUSED = "waiting for the owner to say what follows"
    CLOSED = "done: no message follows"
    INVALID = "done: the peer has sent something wrong"


_IDLE: Final = State.IDLE
_HEAD: Final = State.HEAD
_BODY: Final = State.BODY
_PAUSED: Final = State.PAUSED
_CLOSED: Final = State.CLOSED


class Parser(ABC, Generic[HeadT]):
    """Turns bytes into events, one message after another.

    Not thread-safe: one owner feeds it and takes its events.
    """

    __slots__ = ("_body", "_buffer", "_eof", "_head", "_invalid", "_limits", "_origin", "_state")

    def __init__(self, limits: Limits | None, check_start_line: LineCheck) -> None:
        self._limits = Limits() if limits is None else limits
        self._buffer = Buffer()
        self._state = State.IDLE
        self._eof = False
        self._head = Section("head", check_start_line)
        self._body: Body = EMPTY_BODY
        self._origin = 0  # the stream offset at which the current message begins
        self._invalid: Invalid | None = None

    # --- what the owner puts in ---

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived.

        Raises:
            ValueError: There are none: that would be the end, which `feed_eof` is for.
        """
        if not data:
            raise ValueError("feed() takes at least one byte; see feed_eof()")
        self._buffer.append(data)

    def receive(self, data: bytes) -> HeadT | BodyEvent:
        """Add bytes that have arrived and return the next event: `feed` and `next_event` at once.

        Raises:
            ValueError: As `feed`.
        """
        self.feed(data)
        return self.next_event()

    def feed_eof(self) -> None:
        """Tell that no more bytes will come."""
        self._eof = True

    # --- what the owner takes out ---

    def next_event(self) -> HeadT | BodyEvent:
        """Return the next event; the same again where nothing can follow it.

        After ``NEED_DATA`` more bytes must be fed, or the end, before anything else is returned.
        """
        state = self._state
        try:
            # Not a `match`: looking a member up in its Enum costs more than all of these.
            if state is _IDLE:
                return self._next_in_idle()
            if state is _BODY:
                if self._body is EMPTY_BODY:
                    self._state = self._follow_body()
                    return END_OF_MESSAGE
                return self._next_in_body()
            if state is _HEAD:
                return self._next_in_head()
            if state is _PAUSED:
                return PAUSED
            if state is _CLOSED:
                return CLOSED
            assert state is State.INVALID
            assert self._invalid is not None
            return self._invalid
        except MessageError as error:
            self._invalid = self._describe(error)
            self._state = State.INVALID
            return self._invalid

    @property
    def buffered(self) -> int:
        """The number of bytes fed and not consumed."""
        return len(self._buffer.data) - self._buffer.pos

    def take_body(self) -> bytes | None:
        """Return the whole body, if it has arrived with the head; its end goes without saying.

        None when some of it is still to come, or when only the bytes tell where it ends.
        """
        if self._state is not _BODY:
            return None
        data = b""
        if self._body is not EMPTY_BODY:
            remaining, buffer = self._body.remaining, self._buffer
            if remaining is None or remaining > len(buffer.data) - buffer.pos:
                return None
            data = buffer.take(remaining)
        self._state = self._follow_body()
        return data

    def take_rest(self) -> bytes:
        """Return all that was not consumed, for whoever has the connection from now on.

        The parser is finished: it will return ``CLOSED``.
        """
        self._state = State.CLOSED
        return self._buffer.take(len(self._buffer))

    @abstractmethod
    def is_idle(self) -> bool:
        """Whether no message is under way and nothing of the next one has arrived."""

    @property
    def body_remaining(self) -> int | None:
        """The bytes still to come of a body whose length is known; None outside of one."""
        return self._body.remaining if self._state is _BODY else None

    @property
    def body_at_hand(self) -> bool:
        """Whether all that is still to come of a body was fed already; False if it cannot tell."""
        remaining = self._body.remaining
        return self._state is _BODY and remaining is not None and remaining <= self.buffered

    # --- the states ---

    @abstractmethod
    def _next_in_idle(self) -> HeadT | BodyEvent:
        """Go on between two messages."""

    @abstractmethod
    def _parse_head(self, text: str) -> HeadT | None:
        """Parse a whole head.

        Returns:
            The head, or None when a line of it is wrong, as `Section.refuse` can tell.

        Raises:
            MessageError: The lines are right, but not together.
        """

    @abstractmethod
    def _follow_head(self, head: HeadT) -> State:
        """Return the state behind `head`, with `_body` set when that is its body."""

    def _begin_head(self) -> None:
        self._state = _HEAD
        self._origin = self._buffer.dropped + self._buffer.pos

    def _next_in_head(self) -> HeadT | BodyEvent:
        buffer = self._buffer
        text = self._head.read(buffer, self._limits.max_head_size, self._limits)
        if text is None:
            if not self._eof:
                return NEED_DATA
            self._head.check(buffer, len(buffer), self._limits)
            raise truncated(buffer, "inside a head" if len(buffer) else "before a head")
        head = self._parse_head(text)
        if head is None:
            self._head.refuse(buffer, len(text), self._limits)
        buffer.pos += len(text)
        self._head.reset()  # for the next one
        self._state = self._follow_head(head)
        return head

    def _next_in_body(self) -> BodyEvent:
        event = self._body.read(self._buffer)
        if event is None:
            if not self._eof:
                return NEED_DATA
            event = self._body.read_eof(self._buffer)
        if isinstance(event, EndOfMessage):
            self._state = self._follow_body()
        return event

    @abstractmethod
    def _follow_body(self) -> State:
        """Return the state behind the end of a message."""

    # --- errors ---

    def _describe(self, error: MessageError) -> Invalid:
        """Say where in the message the error is."""
        data, begin = self._buffer.data, self._buffer.pos
        raw = bytes(data[begin : begin + 1024])
        if error.at is None:  # a rule that the head breaks as a whole
            offset = data.find(b"\r\n\r\n", begin) + 4 - begin
            return Invalid(error.code, error.reason, error.status, offset, raw)
        offset = self._buffer.dropped + error.at - self._origin
        where = f"byte {offset}"
        if self._state is State.HEAD:
            where += f" (line {data.count(_LF, begin, error.at) + 1})"
        return Invalid(error.code, f"{error.reason} at {where}", error.status, offset, raw)
