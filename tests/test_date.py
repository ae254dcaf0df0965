"""The date as it is sent."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhttp._date import format_date


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784111777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951782399, "Mon, 28 Feb 2000 23:59:59 GMT"),
        (951782400, "Tue, 29 Feb 2000 00:00:00 GMT"),
    ],
)
def test_a_date_is_written_as_imf_fixdate(seconds: int, text: str) -> None:
    assert format_date(seconds) == text


@given(st.integers(0, 253402300799))  # up to the end of the year 9999
def test_every_second_is_written_as_the_standard_library_does(seconds: int) -> None:
    assert format_date(seconds) == formatdate(seconds, usegmt=True)
