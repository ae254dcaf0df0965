"""A response's head that comes twice on one connection, and a body that comes with its head."""

from __future__ import annotations

import pytest

from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, Limits, ResponseHead, ResponseParser

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def answer(parser: ResponseParser, data: bytes, method: str = "GET") -> list[object]:
    parser.expect(method)
    events: list[object] = [parser.receive(data)]
    while not isinstance(events[-1], (EndOfMessage, Invalid)) and events[-1] is not NEED_DATA:
        events.append(parser.next_event())
    return events


@pytest.mark.parametrize("data", [OK + b"ok", CHUNKED])
def test_the_same_octets_give_the_same_events_again(data: bytes) -> None:
    parser = ResponseParser()
    first = answer(parser, data)
    assert answer(parser, data) == answer(parser, data) == first
    assert first == answer(ResponseParser(), data)


def test_the_same_head_means_something_else_behind_another_method() -> None:
    parser = ResponseParser()
    head, *_ = answer(parser, OK + b"ok")
    again, end = answer(parser, OK, "HEAD")
    assert isinstance(head, ResponseHead)
    assert isinstance(again, ResponseHead)
    assert (head.has_body, again.has_body) == (True, False)
    assert isinstance(end, EndOfMessage)


def test_a_limit_that_was_lowered_counts_for_a_repeated_head() -> None:
    limits = Limits()
    parser = ResponseParser(limits)
    answer(parser, OK + b"ok")
    limits.max_head_size = 20
    [refused] = answer(parser, OK + b"ok")
    assert isinstance(refused, Invalid)


def test_a_body_that_came_with_its_head_can_be_taken_at_once() -> None:
    parser = ResponseParser()
    for _ in range(2):
        parser.expect("GET")
        assert isinstance(parser.receive(OK + b"ok"), ResponseHead)
        assert parser.take_body() == b"ok"
        assert parser.is_idle()


@pytest.mark.parametrize("data", [OK, OK + b"o", CHUNKED])
def test_a_body_that_did_not_or_might_not_is_left_alone(data: bytes) -> None:
    parser = ResponseParser()
    parser.expect("GET")
    assert isinstance(parser.receive(data), ResponseHead)
    assert parser.take_body() is None
    assert parser.next_event() in (b"ok", b"o", NEED_DATA)


def test_what_has_no_body_is_over_with_its_head() -> None:
    parser = ResponseParser()
    parser.expect("HEAD")
    assert isinstance(parser.receive(OK), ResponseHead)
    assert parser.take_body() == b""
    assert parser.is_idle()
