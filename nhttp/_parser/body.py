"""Bodies that end after a number of bytes, or with the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .events import END_OF_MESSAGE, EndOfMessage
from .lines import MessageError

if TYPE_CHECKING:
    from .buffer import Buffer

__all__ = ["EMPTY_BODY", "Body", "CloseBody", "LengthBody", "truncated"]


class Body(Protocol):
    """What reads the body of one message."""

    @property
    def remaining(self) -> int | None:
        """The bytes still to come, if their number is known."""
        ...

    def read(self, buffer: Buffer, /) -> bytes | EndOfMessage | None:
        """Consume the next block, or the end; None while more bytes are needed.

        Raises:
            MessageError: The body is malformed.
        """
        ...

    def read_eof(self, buffer: Buffer, /) -> EndOfMessage:
        """Say what the end of the connection means, now that `read` wants more.

        Raises:
            MessageError: The body is incomplete.
        """
        ...


def truncated(buffer: Buffer, where: str) -> MessageError:
    """Return the error for a connection that ends too early."""
    reason = f"connection closed {where}"
    return MessageError("HPE_INVALID_EOF_STATE", reason, len(buffer.data))


class LengthBody:
    """As many bytes as Content-Length says."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    def read(self, buffer: Buffer, /) -> bytes | EndOfMessage | None:
        """Take what belongs to the body."""
        if not self.remaining:
            return END_OF_MESSAGE
        block = buffer.take(self.remaining)
        if not block:
            return None
        self.remaining -= len(block)
        return block

    def read_eof(self, buffer: Buffer, /) -> EndOfMessage:
        """Refuse."""
        raise truncated(buffer, f"{self.remaining} bytes before the end of a body")


EMPTY_BODY: Final = LengthBody(0)
"""No body. It never changes, so that all messages share one."""


class CloseBody:
    """All that comes until the connection is closed (RFC 9112, 6.3, rung 8)."""

    __slots__ = ()
    remaining = None

    def read(self, buffer: Buffer, /) -> bytes | None:
        """Take everything."""
        return buffer.take(len(buffer)) or None

    def read_eof(self, _buffer: Buffer, /) -> EndOfMessage:
        """Return the end."""
        return END_OF_MESSAGE
