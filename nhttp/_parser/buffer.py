"""The bytes that were fed and not consumed yet."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Buffer", "Data"]

Data: TypeAlias = bytes | bytearray


class Buffer:
    """A block of bytes with a position, that copies only where blocks must be joined.

    A block fed into an empty buffer is kept as it is, so that a block which belongs to a body as a
    whole is handed on as the very same object. When a block finds bytes waiting, both are joined in
    a `bytearray`, which grows in amortised constant time however small the blocks are.

    Attributes:
        data: What is held. Everything in front of `pos` is consumed.
        pos: Where the unconsumed bytes begin.
        dropped: The number of bytes that were consumed before `data[0]`.
    """

    __slots__ = ("data", "dropped", "pos")

    def __init__(self) -> None:
        self.data: Data = b""
        self.pos = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.data) - self.pos

    @property
    def offset(self) -> int:
        """The position in the stream of all bytes ever fed."""
        return self.dropped + self.pos

    def append(self, block: bytes) -> None:
        """Add `block` behind what is there."""
        data = self.data
        if self.pos == len(data):
            self.dropped += self.pos
            self.data = block
        elif isinstance(data, bytearray):
            self.dropped += self.pos
            del data[: self.pos]
            data += block
        else:
            self.dropped += self.pos
            joined = bytearray(memoryview(data)[self.pos :])
            joined += block
            self.data = joined
        self.pos = 0

    def take(self, count: int) -> bytes:
        """Consume and return `count` bytes, or as many as there are."""
        data, pos = self.data, self.pos
        end = pos + count
        if end < len(data):
            self.pos = end
            return bytes(memoryview(data)[pos:end])
        self.dropped += len(data)
        self.data = b""
        self.pos = 0
        # Slicing the whole of a bytes object gives that object, bytes() of it too.
        return bytes(data[pos:])
