"""The limits of a head, and what reading one may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from parser_cases import events_of, invalid

from nhttp._parser import EndOfMessage, Limits, RequestHead, RequestParser, lines, section
from nhttp._parser.buffer import Buffer
from nhttp._parser.section import Section

if TYPE_CHECKING:
    from nhttp._parser import Event

START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def padded(size: int) -> bytes:
    return START + b"X: " + b"x" * (size - len(START) - 7) + b"\r\n\r\n"


def both_ways(data: bytes, limits: Limits) -> list[Event]:
    whole = events_of(RequestParser(limits), data)
    blocks = [data[i : i + 1] for i in range(len(data))]
    assert events_of(RequestParser(limits), *blocks) == whole
    return whole


def test_a_head_is_limited() -> None:
    limits = Limits(max_head_size=100)
    assert isinstance(both_ways(padded(100), limits)[-1], EndOfMessage)
    for data in (padded(101), padded(200), padded(105)[:-4]):
        error = invalid(both_ways(data, limits))
        assert (error.code, error.status) == ("HPE_HEADER_OVERFLOW", 431)
        assert error.message.startswith("head of more than 100 bytes at byte 100")
        assert error.bytes_parsed == 100


def test_the_blank_line_in_front_does_not_count() -> None:
    assert len(both_ways(b"\r\n" + padded(100), Limits(max_head_size=100))) == 2


def test_an_error_comes_before_a_limit_behind_it() -> None:
    limits = Limits(max_head_size=100)
    error = invalid(both_ways(padded(200).replace(b"X:", b"X Y:"), limits))
    assert error.code == "HPE_INVALID_HEADER_TOKEN"
    error = invalid(both_ways(padded(200).replace(b"x\r\n", b"\0\r\n"), limits))
    assert error.code == "HPE_HEADER_OVERFLOW"


def test_fields_are_limited_in_number() -> None:
    data = START + b"a: b\r\n" * 4 + b"\r\n"
    assert len(both_ways(data, Limits(max_headers_count=5))) == 2
    assert len(both_ways(data, Limits(max_headers_count=0))) == 2
    error = invalid(both_ways(data, Limits(max_headers_count=4)))
    assert (error.code, error.status) == ("HPE_HEADER_OVERFLOW", 431)
    assert error.message == "head of more than 4 fields at byte 43 (line 6)"


def test_limits_may_change_between_messages() -> None:
    limits = Limits(max_head_size=100)
    parser = RequestParser(limits)
    limits.max_head_size = 200
    parser.feed(padded(200))
    assert isinstance(parser.next_event(), RequestHead)


def test_an_octet_is_looked_at_a_fixed_number_of_times() -> None:
    """However small the blocks are: each line is checked once, and searched once for its end."""
    checked: list[int] = []

    def check_field_line(data: bytes, pos: int, end: int) -> int:
        checked.append(end - pos)
        return lines.check_field_line(data, pos, end)

    data = START + (b"X: " + b"x" * 1000 + b"\r\n") * 50
    parser = RequestParser(Limits(max_head_size=100_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section, "check_field_line", check_field_line)
        for i in range(len(data)):
            parser.feed(data[i : i + 1])
            parser.next_event()
    # Each line as a whole when its end is there, and the nothing behind it.
    assert sorted(checked) == sorted([9] + [1005] * 50 + [0] * 52)


def test_what_is_refused_must_be_explained() -> None:
    buffer = Buffer()
    buffer.append(b"X: y\r\n\r\n")
    with pytest.raises(AssertionError, match="nothing is wrong"):
        Section("head", None).refuse(buffer, len(buffer), Limits())
