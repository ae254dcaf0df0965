"""HTTP-date as it is written (RFC 9110, 5.6.7). Knows nobody.

`email.utils.formatdate` says the same, and importing it takes longer than most of nhttp.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["MONTHS", "format_date"]

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def format_date(seconds: int) -> str:
    """Give a moment, in seconds since 1970, as IMF-fixdate: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    return (
        f"{_WEEKDAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    )
