"""Chunked bodies and their trailer section (RFC 9112, 7.1)."""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from .body import truncated
from .events import END_OF_MESSAGE, EndOfMessage
from .grammar import CHUNK_LINE, STRAY, split_fields
from .lines import MAX_LENGTH, IncompleteError, MessageError, check_chunk_line
from .section import Section

if TYPE_CHECKING:
    from .buffer import Buffer, Data
    from .limits import Limits

__all__ = ["ChunkedBody"]


class _Phase(Enum):
    SIZE = "a chunked body"
    DATA = "a chunk"
    DATA_END = "a chunk's end"
    TRAILERS = "a trailer section"


class ChunkedBody:
    """A body in chunks. Each chunk is handed on when it comes, in parts where it comes in parts."""

    __slots__ = ("_extensions", "_left", "_limits", "_phase", "_seen", "_trailers")

    remaining = None

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._phase = _Phase.SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._extensions = 0  # bytes of chunk extensions so far
        self._seen = 0  # how much has arrived of a line that was incomplete
        self._trailers: Section | None = None

    def read(self, buffer: Buffer, /) -> bytes | EndOfMessage | None:
        """Consume framing up to the next data or the end."""
        while True:
            match self._phase:
                case _Phase.DATA:
                    block = buffer.take(self._left)
                    if not block:
                        return None
                    self._left -= len(block)
                    if not self._left:
                        self._phase = _Phase.DATA_END
                    return block
                case _Phase.DATA_END:
                    if not _read_data_end(buffer):
                        return None
                    self._phase = _Phase.SIZE
                case _Phase.SIZE:
                    if not self._read_size(buffer):
                        return None
                case _Phase.TRAILERS:
                    return self._read_trailers(buffer)
                case _:
                    assert_never(self._phase)

    def read_eof(self, buffer: Buffer, /) -> EndOfMessage:
        """Refuse."""
        if self._phase is _Phase.SIZE:
            _check_line(buffer.data, buffer.pos, len(buffer.data))
        if self._trailers is not None:
            self._trailers.check(buffer, len(buffer), self._limits)
        raise truncated(buffer, f"inside {self._phase.value}")

    def _read_size(self, buffer: Buffer) -> bool:
        """Consume a line of size and extensions, if it is there.

        As in `Section`, an octet is looked at a fixed number of times however the line arrives.
        """
        data, pos, limits = buffer.data, buffer.pos, self._limits
        limit = pos + limits.max_chunk_line
        if self._seen and STRAY.search(data, pos + self._seen, limit) is None:
            line = None  # there is still no end to it
        else:
            line = CHUNK_LINE.match(data, pos, limit)
        if line is None or (size := int(line[1], 16)) > MAX_LENGTH:
            end = min(len(data), limit)
            if STRAY.search(data, pos + self._seen, end) is not None:
                _check_line(data, pos, end)
                raise AssertionError("a chunk line was refused in which nothing is wrong")
            if end == limit:
                _check_line(data, pos, end)
                raise _too_many_extensions(end)
            self._seen = end - pos
            return False
        self._seen = 0
        end = line.end()
        # Zeros that no size needs are no better than extensions.
        self._extensions += end - 2 - min(line.end(1), pos + 16)
        if self._extensions > limits.max_chunk_extensions:
            raise _too_many_extensions(end)
        buffer.pos = end
        self._left = size
        self._phase = _Phase.DATA if size else _Phase.TRAILERS
        return True

    def _read_trailers(self, buffer: Buffer) -> EndOfMessage | None:
        """Consume the trailer section, if it is there."""
        if buffer.data.startswith(b"\r\n", buffer.pos):
            buffer.pos += 2
            return END_OF_MESSAGE
        if self._trailers is None:
            self._trailers = Section("trailer section", None)
        limits = self._limits
        text = self._trailers.read(buffer, limits.max_trailer_size, limits)
        if text is None:
            return None
        fields = split_fields(text, 0)
        if fields is None or 0 < limits.max_headers_count < len(fields):
            self._trailers.refuse(buffer, len(text), limits)
        buffer.pos += len(text)
        return EndOfMessage(fields)


def _check_line(data: Data, pos: int, end: int) -> None:
    """Find what is wrong with a line of which no more may have come than `data[pos:end]`."""
    with contextlib.suppress(IncompleteError):
        check_chunk_line(data, pos, end)


def _read_data_end(buffer: Buffer) -> bool:
    """Consume the CRLF behind a chunk's data, if it is there."""
    data, pos = buffer.data, buffer.pos
    if data.startswith(b"\r\n", pos):
        buffer.pos = pos + 2
        return True
    for at, expected in zip(range(pos, len(data)), b"\r\n", strict=False):
        if data[at] != expected:
            code = "HPE_CR_EXPECTED" if data[at] == 0x0A else "HPE_STRICT"
            raise MessageError(code, "chunk data not followed by CRLF", at)
    return False


def _too_many_extensions(at: int) -> MessageError:
    return MessageError("HPE_CHUNK_EXTENSIONS_OVERFLOW", "too many chunk extensions", at, 413)
