"""Preconditions (RFC 9110 section 13): may the answer be 304 or 412, and does a Range count?

Pure functions of the request's fields and a file's validators; knows HTTP-dates.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Literal

import attrs

from nhttp._date import format_date
from nhttp._static.dates import parse_date

if TYPE_CHECKING:
    import os

    from nhttp.headers import Headers

__all__ = ["Validators", "precondition", "range_counts"]

# Section 8.8.3: entity-tag. A comma may be part of one, so a list of them is searched, not split.
_ENTITY_TAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\xff]*")')


@attrs.frozen
class Validators:
    """What tells one state of a file from another (section 8.8).

    Attributes:
        etag: A strong entity tag.
        modified: When it was last modified, in seconds since 1970.
    """

    etag: str
    modified: int

    @classmethod
    def of(cls, status: os.stat_result, *, now: float | None = None) -> Validators:
        """Give those of a file.

        Args:
            status: What `os.stat` says of it.
            now: The present. Default: the clock's.
        """
        # Section 8.8.2.1: Last-Modified is never later than the response itself.
        modified = min(status.st_mtime_ns // 10**9, int(time.time() if now is None else now))
        # Nanoseconds, so that two changes within a second differ: that makes the tag a strong one.
        return cls(f'"{status.st_mtime_ns:x}-{status.st_size:x}"', max(modified, 0))

    @property
    def fields(self) -> dict[str, str]:
        """The two as header fields."""
        return {"ETag": self.etag, "Last-Modified": format_date(self.modified)}


def precondition(method: str, headers: Headers, validators: Validators) -> Literal[304, 412] | None:
    """Evaluate a request's preconditions in the order of section 13.2.2.

    Args:
        method: The request's method.
        headers: The request's fields.
        validators: Those of what would be sent.

    Returns:
        The status to answer with; None when the request is to be carried out.
    """
    is_read = method in {"GET", "HEAD"}
    # 1 and 2: is it still what the client knows? Where there are tags, no date counts.
    if (tags := headers.get("if-match")) is not None:
        if not _lists(tags, validators.etag, weakly=False):
            return 412
    elif _changed_since(headers.get("if-unmodified-since"), validators) is True:
        return 412
    # 3 and 4: is it still what the client has a copy of?
    if (tags := headers.get("if-none-match")) is not None:
        if _lists(tags, validators.etag, weakly=True):
            return 304 if is_read else 412
    elif is_read and _changed_since(headers.get("if-modified-since"), validators) is False:
        return 304
    return None


def range_counts(headers: Headers, validators: Validators) -> bool:
    """Tell whether ``If-Range`` lets the request's ``Range`` count (step 5; section 13.1.5).

    It does when the client's part is of the same state of the file; without an ``If-Range`` always.
    """
    condition = headers.get("if-range")
    if condition is None:
        return True
    tag = _ENTITY_TAG.fullmatch(condition)
    if tag is not None:
        return not tag["weak"] and tag["opaque"] == validators.etag
    # "Exactly matches", not "earlier or equal": a file put back to an older state differs as well.
    return parse_date(condition) == validators.modified


def _lists(tags: str, etag: str, *, weakly: bool) -> bool:
    """Tell whether a list of entity tags holds this strong one (section 8.8.3.2)."""
    if tags.strip() == "*":  # any state will do, and the file exists
        return True
    return any(
        each["opaque"] == etag and (weakly or not each["weak"])
        for each in _ENTITY_TAG.finditer(tags)
    )


def _changed_since(date: str | None, validators: Validators) -> bool | None:
    """Tell whether the file changed after a field's date.

    None where there is no such field, or what it says is no date: both mean "do not ask" (sections
    13.1.3 and 13.1.4).
    """
    seconds = None if date is None else parse_date(date)
    return None if seconds is None else validators.modified > seconds
