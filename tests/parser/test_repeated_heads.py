"""A head that comes twice on one connection means what it meant the first time, and no more."""

from __future__ import annotations

import pytest
from parser_cases import events_of, joined

from nhttp._parser import CLOSED, PAUSED, EndOfMessage, Invalid, Limits, RequestHead, RequestParser

GET = b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def feed(parser: RequestParser, *blocks: bytes) -> list[object]:
    """Feed each block and take what it gives at once, as a connection does."""
    events: list[object] = []
    for block in blocks:
        event = parser.receive(block)
        while True:
            if not isinstance(event, (RequestHead, bytes, EndOfMessage, Invalid)):
                break
            events.append(event)
            if isinstance(event, Invalid) or (
                isinstance(event, EndOfMessage) and not parser.buffered
            ):
                break
            event = parser.next_event()
    return events


@pytest.mark.parametrize(
    "blocks", [(GET,), (POST, b"hi"), (CHUNKED, b"2\r\nhi\r\n0\r\nT: v\r\n\r\n")]
)
def test_the_same_octets_give_the_same_events_again(blocks: tuple[bytes, ...]) -> None:
    parser = RequestParser()
    first = feed(parser, *blocks)
    assert feed(parser, *blocks) == first
    assert feed(parser, *blocks) == first
    assert first == joined(events_of(RequestParser(), b"".join(blocks)))[: len(first)]


def test_a_head_that_differs_in_one_octet_is_another_head() -> None:
    parser = RequestParser()
    feed(parser, GET)
    (head, end) = feed(parser, GET.replace(b"/a", b"/x"))
    assert isinstance(head, RequestHead)
    assert head.target == "/x"
    assert isinstance(end, EndOfMessage)


def test_a_repeated_head_is_read_behind_a_pipelined_one() -> None:
    parser = RequestParser()
    feed(parser, GET)
    heads = [each for each in feed(parser, GET + GET) if isinstance(each, RequestHead)]
    assert len(heads) == 2


def test_a_limit_that_was_lowered_counts_for_a_repeated_head() -> None:
    limits = Limits()
    parser = RequestParser(limits)
    feed(parser, GET)
    limits.max_head_size = len(GET) - 1
    (event,) = feed(parser, GET)
    assert isinstance(event, Invalid)
    assert event.code == "HPE_HEADER_OVERFLOW"


def test_a_count_that_was_lowered_counts_for_a_repeated_head() -> None:
    limits = Limits()
    parser = RequestParser(limits)
    feed(parser, GET)
    limits.max_headers_count = 1
    (event,) = feed(parser, GET)
    assert isinstance(event, Invalid)
    assert event.status == 431


def test_a_long_head_is_not_kept_and_is_read_again() -> None:
    long = GET.replace(b"X-A: 1", b"X-A: " + b"1" * 3000)
    parser = RequestParser()
    assert feed(parser, long) == feed(parser, long)


def test_a_repeated_upgrade_pauses_again() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    parser = RequestParser()
    for _ in range(2):
        assert isinstance(parser.receive(upgrade), RequestHead)
        assert parser.next_event() is PAUSED
        parser.resume()
        assert isinstance(parser.next_event(), EndOfMessage)


def test_behind_a_last_request_a_repeated_head_is_not_read() -> None:
    last = GET.replace(b"X-A: 1", b"Connection: close")
    parser = RequestParser()
    feed(parser, last)
    assert parser.receive(last) is CLOSED


def test_a_repeated_head_is_the_very_same() -> None:
    parser = RequestParser()
    assert feed(parser, GET)[0] is feed(parser, GET)[0]


def test_what_is_wrong_behind_a_repeated_head_is_found_where_it_is() -> None:
    parser = RequestParser()
    feed(parser, GET, GET)
    event = parser.receive(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n")
    assert isinstance(event, Invalid)
    assert event.bytes_parsed == len("GET / HTTP/1.1\r\nHost")
