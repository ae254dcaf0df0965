"""A head or a trailer section: lines up to an empty one, read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .grammar import STRAY
from .lines import IncompleteError, LineCheck, MessageError, check_field_line

if TYPE_CHECKING:
    from .buffer import Buffer
    from .limits import Limits

__all__ = ["Section"]

_END = b"\r\n\r\n"


class Section:
    """Waits for the empty line that ends a section, and meanwhile looks for errors in it.

    An octet is looked at a fixed number of times however the section arrives: the search for the
    empty line goes on where it stopped, what is new is searched for line ends and stray octets,
    and a line is checked once its end is there. One object serves one section after another.
    """

    __slots__ = ("_check_first", "_checked", "_fields", "_name", "_seen")

    def __init__(self, name: str, check_first: LineCheck | None) -> None:
        """Make a section.

        Args:
            name: What it is called in messages.
            check_first: What checks the line in front of the fields, if there is one.
        """
        self._name = name
        self._check_first = check_first
        self.reset()

    def reset(self) -> None:
        """Begin anew, at the buffer's position."""
        self._seen = 0  # how far was searched, counted from the section's beginning
        self._checked = 0  # where the first line begins that was not checked
        # The number of field lines in front of that; -1 while there is not even a start line.
        self._fields = 0 if self._check_first is None else -1

    def read(self, buffer: Buffer, max_size: int, limits: Limits) -> str | None:
        """Return the section, which stays in the buffer, or None while more is needed.

        Raises:
            MessageError: Something is wrong with what has arrived so far.
        """
        data, start = buffer.data, buffer.pos
        seen = self._seen
        found = data.find(_END, start + seen - 3 if seen > 3 else start, start + max_size)
        if found >= 0:
            return data[start : found + 4].decode("latin-1")
        arrived = min(len(data) - start, max_size)
        if STRAY.search(data, start + seen, start + arrived) is not None:
            self.check(buffer, arrived, limits)
        self._seen = arrived
        if arrived == max_size:
            self.check(buffer, arrived, limits)
            raise _overflow(f"{self._name} of more than {max_size} bytes", start + arrived)
        return None

    def check(self, buffer: Buffer, size: int, limits: Limits) -> None:
        """Check what was not checked yet of the section's first `size` bytes.

        Raises:
            MessageError: The first thing wrong, in the order of the bytes.
        """
        data, start = buffer.data, buffer.pos
        end = start + size
        try:
            while True:
                pos = start + self._checked
                first = self._check_first if self._fields < 0 else None
                next_line = (first or check_field_line)(data, pos, end)
                if next_line == pos + 2:  # the empty line
                    return
                self._checked = next_line - start
                self._fields += 1
                if 0 < limits.max_headers_count < self._fields:
                    reason = f"{self._name} of more than {limits.max_headers_count} fields"
                    raise _overflow(reason, pos)
        except IncompleteError:
            return

    def refuse(self, buffer: Buffer, size: int, limits: Limits) -> NoReturn:
        """Say what is wrong with a section of `size` bytes that the regular expressions refused.

        Raises:
            MessageError: Always.
        """
        self.check(buffer, size, limits)
        raise AssertionError("a section was refused in which nothing is wrong")


def _overflow(reason: str, at: int) -> MessageError:
    return MessageError("HPE_HEADER_OVERFLOW", reason, at, 431)
