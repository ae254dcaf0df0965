"""`ResponseParser`: what depends on the request, and where a response ends."""

from __future__ import annotations

import pytest
from parser_cases import events_of, invalid

from nhttp._parser import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    EndOfMessage,
    Limits,
    ResponseHead,
    ResponseParser,
)


def expecting(method: str = "GET", upgrade: bool = False) -> ResponseParser:
    parser = ResponseParser()
    parser.expect(method, upgrade)
    return parser


def head_of(data: bytes, method: str = "GET", upgrade: bool = False) -> ResponseHead:
    parser = expecting(method, upgrade)
    parser.feed(data)
    event = parser.next_event()
    assert isinstance(event, ResponseHead), event
    return event


def test_a_head_in_all_its_parts() -> None:
    assert head_of(
        b"HTTP/1.0 404 Not  Found\r\nA: b\r\na: c\r\nContent-Length: 1\r\n\r\n"
    ) == ResponseHead(
        status=404,
        reason="Not  Found",
        minor_version=0,
        fields=[("A", "b"), ("a", "c"), ("Content-Length", "1")],
        lookup={"a": "b", "content-length": "1"},
        repeats=True,
        content_length=1,
        chunked=False,
        keep_alive=False,
        upgrade=False,
        has_body=True,
        until_close=False,
        interim=False,
        tunnel=False,
    )


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_no_reason(line: bytes) -> None:
    assert head_of(line + b"\r\n\r\n").reason == ""


def test_a_status_beyond_599_is_kept() -> None:
    assert head_of(b"HTTP/1.1 999 Denied\r\n\r\n").status == 999


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 099 X\r\n", "HPE_INVALID_STATUS"),
        (b"HTTP/1.1 2000\r\n", "HPE_INVALID_STATUS"),
        (b"HTTP/1.1 20\r\n", "HPE_INVALID_STATUS"),
        (b"HTTP/1.1 200 a\0", "HPE_INVALID_CONSTANT"),
        (b"HTTP/1.1 200 a\n", "HPE_CR_EXPECTED"),
        (b"HTTP/1.1 200 a\rb", "HPE_LF_EXPECTED"),
        (b"HTTP/1.1\r\n", "HPE_INVALID_VERSION"),
        (b"HTTP/2.0 200\r\n", "HPE_INVALID_VERSION"),
        (b"ICY 200 OK\r\n", "HPE_INVALID_CONSTANT"),
        (b"\r\n", "HPE_INVALID_CONSTANT"),
        (b"HTTP/1.1 2", "HPE_INVALID_EOF_STATE"),
        (b"HTTP/1.1", "HPE_INVALID_EOF_STATE"),
        (b"HTTP/1.1 200 O", "HPE_INVALID_EOF_STATE"),
        (b"HTTP/1.1 101 X\r\n\r\n", "HPE_INVALID_STATUS"),
    ],
)
def test_refused(data: bytes, code: str) -> None:
    assert invalid(events_of(expecting(), data)).code == code


def test_the_end_before_a_response() -> None:
    error = invalid(events_of(expecting()))
    assert (error.code, error.bytes_parsed) == ("HPE_INVALID_EOF_STATE", 0)
    assert error.message.startswith("connection closed before a head")


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", None),
        ("GET", b"HTTP/1.1 204 X\r\n\r\n", None),
        ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", 5),
        ("GET", b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", 0),
    ],
)
def test_no_body(method: str, data: bytes, length: int | None) -> None:
    head, end = events_of(expecting(method), data, eof=False)
    assert isinstance(head, ResponseHead)
    assert (head.has_body, head.until_close, head.content_length) == (False, False, length)
    assert isinstance(end, EndOfMessage)


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"gzip", b"identity"])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200"), ("GET", b"204"), ("GET", b"304"), ("GET", b"103")]
)
def test_no_body_is_in_any_coding(method: str, status: bytes, coding: bytes) -> None:
    data = b"HTTP/1.1 " + status + b" X\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    head = head_of(data, method)
    assert not head.has_body
    assert head.keep_alive
    assert head.chunked == (coding == b"chunked")
    error = invalid(events_of(expecting(method), data.replace(b"1.1", b"1.0")))
    assert error.code == "HPE_INVALID_TRANSFER_ENCODING"


def test_a_body_of_known_length_and_what_follows_it() -> None:
    parser = expecting()
    assert not parser.is_idle()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200")
    assert isinstance(parser.next_event(), ResponseHead)
    assert parser.next_event() == b"ok"
    assert isinstance(parser.next_event(), EndOfMessage)
    assert parser.next_event() is PAUSED
    assert parser.buffered == 12
    assert not parser.is_idle()
    parser.feed_eof()
    assert parser.next_event() is PAUSED


def test_one_response_after_another() -> None:
    parser = ResponseParser()
    assert parser.next_event() is PAUSED
    for _ in range(2):
        assert parser.is_idle()
        parser.expect("GET")
        assert parser.next_event() is NEED_DATA
        with pytest.raises(RuntimeError, match="reading a head"):
            parser.expect("GET")
        parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert isinstance(parser.next_event(), ResponseHead)
        assert isinstance(parser.next_event(), EndOfMessage)
    parser.feed_eof()
    assert parser.next_event() is CLOSED


def test_a_body_that_the_end_ends() -> None:
    parser = expecting()
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    head = parser.next_event()
    assert isinstance(head, ResponseHead)
    assert (head.has_body, head.until_close, head.keep_alive) == (True, True, False)
    assert parser.body_remaining is None
    assert parser.next_event() is NEED_DATA
    block = b"HTTP/1.1 200 OK\r\n\r\n"
    parser.feed(block)
    assert parser.next_event() is block
    parser.feed_eof()
    assert isinstance(parser.next_event(), EndOfMessage)
    assert parser.next_event() is CLOSED
    with pytest.raises(RuntimeError, match="no message follows"):
        parser.expect("GET")


def test_nothing_can_be_expected_behind_the_last_response() -> None:
    parser = expecting()
    parser.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(parser.next_event(), ResponseHead)
    assert isinstance(parser.next_event(), EndOfMessage)
    assert parser.next_event() is CLOSED


def test_interim_responses() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"
    events = events_of(expecting(), interim * 2 + b"HTTP/1.1 204 X\r\n\r\n")
    *heads, end = events
    assert [(h.status, h.interim) for h in heads if isinstance(h, ResponseHead)] == [
        (100, True),
        (100, True),
        (204, False),
    ]
    assert isinstance(end, EndOfMessage)


def test_interim_responses_are_limited_for_each_request() -> None:
    parser = ResponseParser(Limits(max_interim_responses=2))
    interim = b"HTTP/1.1 102 X\r\n\r\n"
    for _ in range(2):
        parser.expect("GET")
        assert len(events_of(parser, interim * 2 + b"HTTP/1.1 204 X\r\n\r\n", eof=False)) == 4
    parser.expect("GET")
    error = invalid(events_of(parser, interim * 3))
    assert error.code == "HPE_HEADER_OVERFLOW"
    assert error.message == "more than 2 interim responses"


SWITCH = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"


def test_an_agreed_upgrade() -> None:
    parser = expecting(upgrade=True)
    parser.feed(SWITCH + b"tunnel")
    head = parser.next_event()
    assert isinstance(head, ResponseHead)
    assert (head.upgrade, head.interim, head.has_body) == (True, False, False)
    assert parser.next_event() is PAUSED
    assert parser.take_rest() == b"tunnel"
    assert parser.next_event() is CLOSED


@pytest.mark.parametrize(
    ("data", "upgrade"),
    [
        (SWITCH, False),
        (SWITCH.replace(b"Upgrade:", b"X:"), True),
        (SWITCH.replace(b"foo", b","), True),
        (SWITCH.replace(b"Connection:", b"X:"), True),
        (SWITCH.replace(b"1.1", b"1.0"), True),
    ],
)
def test_an_upgrade_not_agreed(data: bytes, upgrade: bool) -> None:
    error = invalid(events_of(expecting(upgrade=upgrade), data))
    assert error.message == "101 response without an agreed upgrade"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: x\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ],
)
def test_a_tunnel_begins_behind_the_head_whatever_its_fields_say(fields: bytes) -> None:
    parser = expecting("CONNECT")
    parser.feed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\ntunnel")
    head = parser.next_event()
    assert isinstance(head, ResponseHead)
    assert not head.has_body
    assert parser.next_event() is PAUSED
    assert parser.take_rest() == b"tunnel"


def test_a_tunnel_refused() -> None:
    events = events_of(expecting("CONNECT"), b"HTTP/1.1 407 X\r\nContent-Length: 2\r\n\r\nno")
    assert events[1] == b"no"


def test_an_offer_to_upgrade_changes_nothing() -> None:
    data = b"HTTP/1.1 200 X\r\nConnection: upgrade\r\nUpgrade: h2\r\nContent-Length: 2\r\n\r\nok"
    assert events_of(expecting(), data)[1] == b"ok"
