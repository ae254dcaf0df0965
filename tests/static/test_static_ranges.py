"""Range fields and multipart bodies."""

from __future__ import annotations

from email import message_from_bytes
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhttp._static.ranges import MAX_RANGES, content_range, multipart, parse_range


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("bytes=0-499", [range(500)]),
        ("bytes=500-999", [range(500, 1000)]),
        ("bytes=-500", [range(9500, 10000)]),
        ("bytes=9500-", [range(9500, 10000)]),
        ("bytes=0-", [range(10000)]),
        ("bytes=0-0", [range(1)]),
        ("bytes=-1", [range(9999, 10000)]),
        ("bytes=9999-9999", [range(9999, 10000)]),
        ("bytes=9000-20000", [range(9000, 10000)]),  # the end is cut
        ("bytes=-20000", [range(10000)]),
        ("Bytes=0-1", [range(2)]),
        ("bytes= 0-1 ", [range(2)]),
        ("bytes=,0-1,\t,", [range(2)]),
        ("bytes=00-0001", [range(2)]),
        ("bytes=0-" + "9" * 5000, [range(10000)]),
        ("bytes=0-0,-1", [range(1), range(9999, 10000)]),
        ("bytes=9000-9999, 0-99", [range(9000, 10000), range(100)]),  # in the order asked for
        # Unsatisfiable ones are left out.
        ("bytes=0-1,10000-", [range(2)]),
        ("bytes=20000-20001,-5", [range(9995, 10000)]),
        # Those that overlap, touch or nearly touch become one.
        ("bytes=0-99,50-149", [range(150)]),
        ("bytes=0-99,100-199", [range(200)]),
        ("bytes=0-99,150-199", [range(200)]),
        ("bytes=100-199,0-99", [range(200)]),
        ("bytes=0-9999,5-6,7-8", [range(10000)]),
        ("bytes=5000-5001,0-1,9000-9001,1-5000", [range(5002), range(9000, 9002)]),
        ("bytes=0-99,1000-1099,90-1010", [range(1100)]),
    ],
)
def test_ranges(field: str, ranges: list[range]) -> None:
    assert parse_range(field, 10000) == ranges


@pytest.mark.parametrize(
    "field", ["bytes=10000-", "bytes=10000-20000", "bytes=-0", "bytes=" + "9" * 5000 + "-"]
)
def test_unsatisfiable(field: str) -> None:
    assert parse_range(field, 10000) == []


@pytest.mark.parametrize(
    "field",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=5-2",
        "bytes=10-1,0-1",
        "bytes=0-1,x",
        "bytes=0--1",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=1",
        "bytes=0 - 1",
        "bytes 0-1",
        "bytes =0-1",
        "items=0-1",
        "bytes=\u0661-\u0662",
        "bytes=+0-1",
        "bytes=0-1;2-3",
    ],
)
def test_what_is_malformed_or_of_another_unit_is_ignored(field: str) -> None:
    assert parse_range(field, 10000) is None


def test_asking_for_many_ranges_is_ignored() -> None:
    specs = [f"{each * 1000}-{each * 1000}" for each in range(MAX_RANGES + 1)]
    assert parse_range("bytes=" + ",".join(specs), 10**6) is None
    assert len(parse_range("bytes=" + ",".join(specs[1:]), 10**6) or ()) == MAX_RANGES


def test_of_an_empty_file() -> None:
    assert parse_range("bytes=0-", 0) == []
    assert parse_range("bytes=-0", 0) == []
    assert parse_range("bytes=-5", 0) is None  # all of nothing: an ordinary 200


specs = st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted)


@given(st.lists(specs, min_size=1, max_size=8), st.integers(1, 100))
def test_all_that_was_asked_for_is_sent_once(wanted: list[list[int]], size: int) -> None:
    scale = 50  # so that some gaps are closed and others are not
    field = ",".join(f"{first * scale}-{last * scale}" for first, last in wanted)
    ranges = parse_range(f"bytes={field}", size * scale)
    assert ranges is not None
    sent = [octet for each in ranges for octet in each]
    asked = {
        octet for first, last in wanted for octet in range(first * scale, last * scale + 1)
    } & set(range(size * scale))
    assert len(sent) == len(set(sent))
    assert asked <= set(sent)
    for before, after in pairwise(sorted(ranges, key=lambda each: each.start)):
        assert after.start - before.stop > 64


def test_content_range() -> None:
    assert content_range(range(5, 8), 10) == "bytes 5-7/10"
    assert content_range(None, 10) == "bytes */10"


def test_a_multipart_body_is_one_that_a_mail_reader_takes_apart() -> None:
    content = bytes(range(256)) * 4
    pieces = multipart([range(10, 20), range(500, 600)], len(content), "image/png", "limit")
    body = b"".join(
        content[each.start : each.stop] if isinstance(each, range) else each for each in pieces
    )
    assert len(body) == sum(map(len, pieces))
    message = message_from_bytes(
        b"Content-Type: multipart/byteranges; boundary=limit\r\n\r\n" + body
    )
    assert not message.defects
    assert body.startswith(b"--limit\r\n")
    assert body.endswith(b"\r\n--limit--\r\n")
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [(part["Content-Type"], part["Content-Range"]) for part in parts] == [
        ("image/png", "bytes 10-19/1024"),
        ("image/png", "bytes 500-599/1024"),
    ]
    assert [part.get_payload(decode=True) for part in parts] == [content[10:20], content[500:600]]
