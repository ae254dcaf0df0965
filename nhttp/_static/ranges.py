"""Range requests (RFC 9110 section 14): which octets, and how several ranges share one body.

Pure functions. A range of octets is a Python `range`: ``range(0, 500)`` is ``bytes=0-499``.
Knows nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["content_range", "multipart", "parse_range"]

# Section 14.2 lets a server ignore requests for many ranges, which are cheap to ask for.
MAX_RANGES = 64

# The framing of a part takes some 130 octets: a smaller gap is cheaper sent than skipped.
_GAP = 128

_SPEC = re.compile(r"[ \t]*(?:(?P<first>[0-9]*)-(?P<last>[0-9]*))?[ \t]*")


def parse_range(field: str, size: int) -> list[range] | None:
    """Read a ``Range`` field for a file of `size` octets.

    Ranges that overlap, or nearly touch, are made one (section 15.3.7.2); the order stays.

    Args:
        field: The field's value.
        size: How long the whole is.

    Returns:
        The ranges to send; none of them when no range is satisfiable (416); None when the field is
        to be ignored, being malformed or of another unit, or asking for too much.
    """
    unit, equals, specs = field.partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    ranges: list[range] = []
    count = 0
    for text in specs.split(","):
        spec = _SPEC.fullmatch(text)
        if spec is None:
            return None
        if spec["first"] is None:  # an empty element of the list (section 5.6.1.2)
            continue
        count += 1
        wanted = _resolve(spec["first"], spec["last"], size)
        if wanted is None or count > MAX_RANGES:
            return None
        if wanted:
            _add(ranges, wanted)
    return ranges if count else None


def _resolve(first: str, last: str, size: int) -> range | None:
    """Give what one range-spec means (section 14.1.2); empty: unsatisfiable; None: malformed."""
    if first:
        start = _number(first)
        stop = _number(last) + 1 if last else max(size, start + 1)
        if stop <= start:
            return None
        return range(start, min(stop, size))
    if last:
        length = _number(last)
        if size == 0 and length:  # satisfiable, but Content-Range cannot say "nothing of nothing"
            return None
        return range(max(size - length, 0), size)
    return None


def _number(digits: str) -> int:
    """Give a position; for thousands of digits, which `int` refuses, one beyond all files."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 20 else 10**19


def _add(ranges: list[range], new: range) -> None:
    """Add a range; with those it overlaps or nearly touches it becomes one, in their place."""
    place = len(ranges)
    for index in reversed(range(len(ranges))):
        other = ranges[index]
        if new.start <= other.stop + _GAP and other.start <= new.stop + _GAP:
            new = range(min(new.start, other.start), max(new.stop, other.stop))
            del ranges[index]
            place = index
    ranges.insert(place, new)


def content_range(part: range | None, size: int) -> str:
    """Give the ``Content-Range`` field: of one part, or of the 416 that sends none."""
    return f"bytes */{size}" if part is None else f"bytes {part.start}-{part.stop - 1}/{size}"


def multipart(
    ranges: Sequence[range], size: int, content_type: str, boundary: str
) -> list[bytes | range]:
    """Give a ``multipart/byteranges`` body (section 14.6): framing, and the ranges in between."""
    pieces: list[bytes | range] = []
    for part in ranges:
        head = (
            f"--{boundary}\r\nContent-Type: {content_type}\r\n"
            f"Content-Range: {content_range(part, size)}\r\n\r\n"
        )
        # The CRLF before a boundary belongs to the boundary (RFC 2046, 5.1.1).
        pieces += [f"\r\n{head}".encode() if pieces else head.encode(), part]
    return [*pieces, f"\r\n--{boundary}--\r\n".encode()]
