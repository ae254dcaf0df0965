"""Dates and preconditions."""

from __future__ import annotations

import os

import pytest

from nhttp._static.conditional import Validators, precondition, range_counts
from nhttp._static.dates import parse_date
from nhttp.headers import Headers

MOMENT = 784111777
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
FILE = Validators('"a"', MOMENT)


@pytest.mark.parametrize(
    "text",
    [IMF, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_a_date_is_read_in_all_three_forms(text: str) -> None:
    assert parse_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "now",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        f"{IMF}, {IMF}",
        f" {IMF}",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


def test_a_leap_second_is_the_last_of_its_minute() -> None:
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_date(
        "Sat, 31 Dec 2016 23:59:59 GMT"
    )


@pytest.mark.parametrize(
    ("year", "full"), [("26", 2026), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)]
)
def test_two_digits_of_a_year_are_at_most_fifty_years_ahead(year: str, full: int) -> None:
    now = parse_date("Sun, 01 Nov 2026 00:00:00 GMT")
    assert now is not None
    # The day of the week is not checked: RFC 9110 gives it no meaning.
    short = parse_date(f"Sunday, 01-Nov-{year} 00:00:00 GMT", now=now)
    assert short == parse_date(f"Sun, 01 Nov {full} 00:00:00 GMT")


def status_of(*, modified_ns: int, size: int = 3) -> os.stat_result:
    fields = {"st_mtime_ns": modified_ns, "st_mtime": modified_ns / 1e9}
    plain = [0o100644, 1, 1, 1, 0, 0, size, 0, modified_ns // 10**9, 0]
    return os.stat_result(plain, fields)


def test_validators_of_a_file() -> None:
    first = Validators.of(status_of(modified_ns=MOMENT * 10**9 + 5), now=MOMENT + 10)
    assert first.modified == MOMENT
    assert first.fields == {"ETag": first.etag, "Last-Modified": IMF}
    assert first.etag.startswith('"')
    same_second = Validators.of(status_of(modified_ns=MOMENT * 10**9 + 6), now=MOMENT + 10)
    assert same_second.etag != first.etag
    longer = Validators.of(status_of(modified_ns=MOMENT * 10**9 + 5, size=4), now=MOMENT + 10)
    assert longer.etag != first.etag


@pytest.mark.parametrize(("modified", "said"), [(2**40, MOMENT), (-5, 0), (-(2**60), 0)])
def test_last_modified_is_neither_in_the_future_nor_before_1970(modified: int, said: int) -> None:
    status = status_of(modified_ns=modified * 10**9)
    assert Validators.of(status, now=MOMENT).modified == said


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, None),
        # 1. If-Match: strong comparison.
        ({"If-Match": '"a"'}, None),
        ({"If-Match": '"b", "a"'}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": '"b"'}, 412),
        ({"If-Match": 'W/"a"'}, 412),
        ({"If-Match": "a"}, 412),
        ({"If-Match": ""}, 412),
        # 2. If-Unmodified-Since, only without If-Match.
        ({"If-Unmodified-Since": IMF}, None),
        ({"If-Unmodified-Since": LATER}, None),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": "yesterday"}, None),
        ({"If-Match": '"a"', "If-Unmodified-Since": EARLIER}, None),
        # 3. If-None-Match: weak comparison.
        ({"If-None-Match": '"a"'}, 304),
        ({"If-None-Match": 'W/"a"'}, 304),
        ({"If-None-Match": '"b" ,\t"a"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"b"'}, None),
        ({"If-None-Match": '"a,b"'}, None),
        ({"If-None-Match": "a"}, None),
        # 4. If-Modified-Since, only without If-None-Match.
        ({"If-Modified-Since": IMF}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": EARLIER}, None),
        ({"If-Modified-Since": "yesterday"}, None),
        ({"If-None-Match": '"b"', "If-Modified-Since": IMF}, None),
        # The first step that fails decides; those that hold lead to the next.
        ({"If-Match": '"a"', "If-None-Match": '"a"'}, 304),
        ({"If-Match": '"b"', "If-None-Match": '"a"'}, 412),
        ({"If-Match": '"a"', "If-Modified-Since": IMF}, 304),
        ({"If-Unmodified-Since": IMF, "If-Modified-Since": IMF}, 304),
        ({"If-Unmodified-Since": EARLIER, "If-None-Match": '"a"'}, 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions(fields: dict[str, str], status: int | None, method: str) -> None:
    assert precondition(method, Headers(fields.items()), FILE) == status


def test_what_is_not_a_read_fails_where_a_read_is_not_modified() -> None:
    assert precondition("PUT", Headers([("If-None-Match", "*")]), FILE) == 412
    assert precondition("PUT", Headers([("If-Modified-Since", IMF)]), FILE) is None


def test_tags_of_several_field_lines_count() -> None:
    headers = Headers([("If-None-Match", '"b"'), ("If-None-Match", '"a"')])
    assert precondition("GET", headers, FILE) == 304


def test_a_tag_may_hold_a_comma() -> None:
    file = Validators('"a,b"', MOMENT)
    assert precondition("GET", Headers([("If-None-Match", '"x","a,b"')]), file) == 304


@pytest.mark.parametrize(
    ("condition", "counts"),
    [
        (None, True),
        ('"a"', True),
        ('W/"a"', False),
        ('"b"', False),
        ('"b", "a"', False),  # If-Range holds one tag
        ("*", False),
        (IMF, True),
        (EARLIER, False),
        (LATER, False),
        ("yesterday", False),
    ],
)
def test_if_range(condition: str | None, counts: bool) -> None:
    fields = [] if condition is None else [("If-Range", condition)]
    assert range_counts(Headers(fields), FILE) is counts
