"""HTTP-date (RFC 9110 section 5.6.7), read in all three of its forms; `nhttp._date` writes it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from nhttp._date import MONTHS

__all__ = ["parse_date"]

_MONTH = rf"(?P<month>{'|'.join(MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY = r"(?P<day>[0-9]{2})"
_YEAR = r"(?P<year>[0-9]{4})"
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"

_FORMS = (
    # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(rf"{_WEEKDAY}, {_DAY} {_MONTH} {_YEAR} {_TIME} GMT"),
    # rfc850-date: Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(rf"{_LONG_WEEKDAY}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    # asctime-date: Sun Nov  6 08:49:37 1994
    re.compile(rf"{_WEEKDAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} {_YEAR}"),
)


def parse_date(text: str, *, now: float | None = None) -> int | None:
    """Read an HTTP-date in any of its three forms.

    Args:
        text: The field's value.
        now: The present, from which the century of a two-digit year is told. Default: the clock's.

    Returns:
        Seconds since 1970; None when it is no HTTP-date.
    """
    match = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, time.time() if now is None else now)
    month = MONTHS.index(match["month"]) + 1
    day, hour, minute, second = (int(match[each]) for each in ("day", "hour", "minute", "second"))
    if second == 60:  # a leap second, which `datetime` does not know
        second = 59
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:  # 31 February
        return None


def _full_year(two_digits: int, now: float) -> int:
    """Give the year that is at most 50 years ahead, and otherwise the last one that ended so."""
    this_year = datetime.fromtimestamp(now, UTC).year
    year = this_year - this_year % 100 + two_digits
    if year > this_year + 50:
        return year - 100
    return year
