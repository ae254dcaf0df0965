"""File: a stream as the `io` module knows files, for what does not take a duck for one.

Streams have the methods of files, and most of the standard library is content with that. Two things
are not as `io` has them: `write` says whether to wait for ``'drain'``, as in Node, where `io` wants
the number of octets; and type checkers ask for methods that a stream cannot have.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from nhttp.streams._base import Stream

__all__ = ["make_file"]

_BUFFERED = 64 * 1024  # octets; what is written goes out in such pieces, or when it is flushed


class File(io.RawIOBase):
    """A stream, unbuffered; closing the file leaves the stream as it is."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return bool(self._stream.readable())

    def writable(self) -> bool:
        return bool(self._stream.writable())

    def readinto(self, buffer: Buffer, /) -> int:
        count: int = self._stream.readinto1(buffer)
        return count

    def write(self, data: Buffer, /) -> int:
        octets = bytes(data)  # the caller uses its buffer again
        self._stream.write(octets)
        return len(octets)


def make_file(
    stream: Stream, mode: str, encoding: str, errors: str | None, newline: str | None
) -> io.BufferedReader | io.BufferedWriter | io.TextIOWrapper:
    """Make what `makefile` returns.

    Raises:
        InvalidArgument: `mode` is none that the stream has.
    """
    modes = (("r", "rb") if stream.readable() else ()) + (("w", "wb") if stream.writable() else ())
    if mode not in modes:
        known = ", ".join(map(repr, modes))
        raise InvalidArgument(f"the mode is one of {known}, not {mode!r}", "ERR_INVALID_ARG_VALUE")
    raw = File(stream)
    buffered: io.BufferedReader | io.BufferedWriter
    if mode.startswith("r"):
        buffered = io.BufferedReader(raw, _BUFFERED)
    else:
        buffered = io.BufferedWriter(raw, _BUFFERED)
    if mode.endswith("b"):
        return buffered
    return io.TextIOWrapper(buffered, encoding, errors, newline)
