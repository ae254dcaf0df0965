"""`RequestParser`: heads, states, and what its owner can ask."""

from __future__ import annotations

import pytest
from parser_cases import events_of, invalid

from nhttp._parser import (
    CLOSED,
    METHODS,
    NEED_DATA,
    PAUSED,
    EndOfMessage,
    Invalid,
    RequestHead,
    RequestParser,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def parse(head: bytes) -> RequestHead:
    parser = RequestParser()
    parser.feed(head)
    event = parser.next_event()
    assert isinstance(event, RequestHead), event
    return event


def is_idle(parser: RequestParser) -> bool:
    """Ask anew: mypy takes an attribute for constant once it was compared."""
    return parser.is_idle()


def remaining(parser: RequestParser) -> int | None:
    return parser.body_remaining


def refuse(head: bytes) -> Invalid:
    return invalid(events_of(RequestParser(), head))


def request(*lines: str, start: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


def test_methods_are_sorted_and_those_of_node() -> None:
    assert list(METHODS) == sorted(METHODS)
    assert {"GET", "M-SEARCH", "QUERY", "SOURCE"} <= set(METHODS)


def test_a_head_in_all_its_parts() -> None:
    head = parse(
        b"POST /a?b HTTP/1.1\r\nHost: a\r\nX-A:  1 \r\nx-a: \xe9\r\nContent-Length: 3\r\n\r\n"
    )
    assert head == RequestHead(
        method="POST",
        target="/a?b",
        minor_version=1,
        fields=[("Host", "a"), ("X-A", "1"), ("x-a", "\xe9"), ("Content-Length", "3")],
        lookup={"host": "a", "x-a": "1", "content-length": "3"},
        repeats=True,
        content_length=3,
        chunked=False,
        keep_alive=True,
        upgrade=False,
        has_body=True,
    )


def test_whitespace_around_a_value_is_trimmed_and_nothing_else() -> None:
    head = parse(request("Host:a", "A:\t b c\t ", "B: \xa0\x85", "C:", "D: "))
    assert head.fields[1:] == [("A", "b c"), ("B", "\xa0\x85"), ("C", ""), ("D", "")]


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [
        ([], True),
        (["Connection: keep-alive"], True),
        (["Connection: Close"], False),
        (["Connection: a ,\tclose"], False),
        (["Connection: a", "Connection: close"], False),
        (["Connection: closed"], True),
    ],
)
def test_keep_alive(lines: list[str], keep_alive: bool) -> None:
    assert parse(request("Host: a", *lines)).keep_alive is keep_alive


def test_keep_alive_in_http_1_0_must_be_asked_for() -> None:
    start = "GET / HTTP/1.0"
    assert not parse(request(start=start)).keep_alive
    assert parse(request("Connection: keep-alive", start=start)).keep_alive
    assert parse(request("Connection: a, Keep-Alive", start=start)).keep_alive
    assert not parse(request("Connection: keep-alive, close", start=start)).keep_alive


def test_the_errors_say_where() -> None:
    error = refuse(request("Host: a", "X: a\0b"))
    assert error == Invalid(
        code="HPE_INVALID_HEADER_TOKEN",
        message=r"invalid character '\x00' in header value at byte 29 (line 3)",
        status=400,
        bytes_parsed=29,
        raw=b"",
    )
    assert error.raw == request("Host: a", "X: a\0b")


def test_an_error_of_the_second_request_counts_from_its_beginning() -> None:
    error = refuse(GET + b"\r\n" + request("Host: a", "X Y: z"))
    assert error.message == "whitespace in header name at byte 26 (line 3)"
    assert error.raw.startswith(b"GET / HTTP/1.1\r\nHost: a\r\nX Y")


def test_an_error_of_the_head_as_a_whole_has_no_position() -> None:
    error = refuse(request("X: y") + b"more")
    assert error.message == "missing Host header"
    assert error.bytes_parsed == len(request("X: y"))


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        (b"GET / HTTP/2.0\r\n", "HPE_INVALID_VERSION", 505),
        (b"GET / HTTP/1.2\r\n", "HPE_INVALID_VERSION", 505),
        (b"GET / HTTP/1.1\n", "HPE_CR_EXPECTED", 400),
        (b"GET / HTTP/1.1\rX", "HPE_LF_EXPECTED", 400),
        (b"GET / HTTQ", "HPE_INVALID_CONSTANT", 400),
        (b"GET / HTTP/x", "HPE_INVALID_VERSION", 400),
        (b"GET / HTTP/1.1 ", "HPE_INVALID_VERSION", 400),
        (b"GET /\r\n", "HPE_INVALID_VERSION", 400),
        (b"GET  /", "HPE_INVALID_URL", 400),
        (b"GET /\xc3\xa9 ", "HPE_INVALID_URL", 400),
        (b"GET /#a ", "HPE_INVALID_URL", 400),
        (b"GET ftp://a/ ", "HPE_INVALID_URL", 400),
        (b"GET http://u@a/ ", "HPE_INVALID_URL", 400),
        (b"GET * ", "HPE_INVALID_URL", 400),
        (b"CONNECT / ", "HPE_INVALID_URL", 400),
        (b"CONNECT a ", "HPE_INVALID_URL", 400),
        (b"CONNECT a:0 ", "HPE_INVALID_URL", 400),
        (b"CONNECT a:65536 ", "HPE_INVALID_URL", 400),
        (b"CONNECT [:::]:80 ", "HPE_INVALID_URL", 400),
        (b"GET http://[1]/ ", "HPE_INVALID_URL", 400),
        (b"GOT / ", "HPE_INVALID_METHOD", 400),
        (b"\x16\x03", "HPE_INVALID_METHOD", 400),
        (b"\r", "HPE_INVALID_METHOD", 400),
        (b"\r\n\r\n", "HPE_INVALID_METHOD", 400),
        (b"GET / HTTP/1.1\r\n a: b\r\n", "HPE_INVALID_HEADER_TOKEN", 400),
        (b"GET / HTTP/1.1\r\na: b\r\n\tc", "HPE_INVALID_HEADER_TOKEN", 400),
        (b"GET / HTTP/1.1\r\n: b\r\n", "HPE_INVALID_HEADER_TOKEN", 400),
        (b"GET / HTTP/1.1\r\na\r\n", "HPE_INVALID_HEADER_TOKEN", 400),
        (b"GET / HTTP/1.1\r\na(: b\r\n", "HPE_INVALID_HEADER_TOKEN", 400),
        (b"GET / HTTP/1.1\r\n\n", "HPE_CR_EXPECTED", 400),
        (b"GET / HTTP/1.1\r\n\ra", "HPE_LF_EXPECTED", 400),
        (b"G", "HPE_INVALID_EOF_STATE", 400),
        (b"GET ", "HPE_INVALID_EOF_STATE", 400),
        (b"GET / ", "HPE_INVALID_EOF_STATE", 400),
        (b"GET / HTTP/1.1\r", "HPE_INVALID_EOF_STATE", 400),
    ],
)
def test_refused_without_waiting_for_the_whole_head(data: bytes, code: str, status: int) -> None:
    error = refuse(data)
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize(
    "target", ["http://a", "HTTPS://a:80/b?c", "http://[::1]:80/", "http://a%41b?x", "//a"]
)
def test_targets(target: str) -> None:
    assert parse(request("Host: a", start=f"GET {target} HTTP/1.1")).target == target


@pytest.mark.parametrize("target", ["a:1", "a:65535", "a:00443", "[::1]:443", "a%41b:80"])
def test_targets_of_connect(target: str) -> None:
    assert parse(request("Host: a", start=f"CONNECT {target} HTTP/1.1")).target == target


@pytest.mark.parametrize("method", ["OPTIONS", "M-SEARCH", "NOTIFY"])
def test_the_asterisk(method: str) -> None:
    assert parse(request("Host: a", start=f"{method} * HTTP/1.1")).target == "*"


@pytest.mark.parametrize(
    "host", ["", "a", "a:", "a:80", "[::1]", "[::127.0.0.1]:80", "[v1.a:b]:80", "%41"]
)
def test_hosts(host: str) -> None:
    assert parse(request(f"Host: {host}")).lookup["host"] == host


@pytest.mark.parametrize(
    "host",
    [
        *(":80", "a b", "a/b", "u@a", "a:b", "%4", "\xe9"),
        *("[]", "[::1", "[1]", "[:::]", "[1::2::3]", "[1:2:3:4:5:6:7]:80", "[::256.0.0.1]"),
    ],
)
def test_bad_hosts(host: str) -> None:
    assert refuse(request(f"Host: {host}")).code == "HPE_INVALID_HEADER_TOKEN"


def test_two_hosts() -> None:
    assert refuse(request("Host: a", "host: a")).message == "more than one Host header"


def test_one_request_after_another_and_the_end() -> None:
    parser = RequestParser()
    assert is_idle(parser)
    parser.feed(GET + b"\r\n" + GET)
    assert not is_idle(parser)
    for _ in range(2):
        assert isinstance(parser.next_event(), RequestHead)
        assert not is_idle(parser)
        assert isinstance(parser.next_event(), EndOfMessage)
    assert is_idle(parser)
    assert parser.next_event() is NEED_DATA
    for octet in (b"\r", b"\n"):
        parser.feed(octet)
        assert parser.next_event() is NEED_DATA
        assert is_idle(parser)
    parser.feed_eof()
    assert parser.next_event() is CLOSED
    assert parser.next_event() is CLOSED


def test_nothing_is_parsed_behind_the_last_request() -> None:
    parser = RequestParser()
    parser.feed(request("Host: a", "Connection: close") + b"!")
    assert isinstance(parser.next_event(), RequestHead)
    assert isinstance(parser.next_event(), EndOfMessage)
    assert parser.next_event() is CLOSED
    assert not is_idle(parser)
    assert parser.buffered == 1


def test_an_error_is_returned_for_ever() -> None:
    parser = RequestParser()
    parser.feed(b"?")
    parser.feed_eof()
    error = parser.next_event()
    assert isinstance(error, Invalid)
    assert parser.next_event() is error
    parser.feed(GET)
    assert parser.next_event() is error


def test_feeding_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="feed_eof"):
        RequestParser().feed(b"")


def test_a_block_that_is_all_body_is_passed_through() -> None:
    parser = RequestParser()
    parser.feed(request("Host: a", "Content-Length: 25", start="PUT / HTTP/1.1"))
    assert remaining(parser) is None
    assert isinstance(parser.next_event(), RequestHead)
    assert remaining(parser) == 25
    assert parser.next_event() is NEED_DATA
    for block in (b"0123456789", b"abcdefghij"):
        parser.feed(block)
        assert parser.next_event() is block
    assert remaining(parser) == 5
    parser.feed(b"VWXYZ" + GET)
    assert parser.next_event() == b"VWXYZ"
    assert remaining(parser) == 0
    assert isinstance(parser.next_event(), EndOfMessage)
    assert remaining(parser) is None
    assert isinstance(parser.next_event(), RequestHead)


def test_a_body_cut_short() -> None:
    events = events_of(
        RequestParser(), request("Host: a", "Content-Length: 5", start="PUT / HTTP/1.1"), b"abc"
    )
    error = invalid(events)
    assert events[1] == b"abc"
    assert error.code == "HPE_INVALID_EOF_STATE"
    assert error.message == "connection closed 2 bytes before the end of a body at byte 49"


def test_connect_pauses_for_good() -> None:
    parser = RequestParser()
    parser.feed(request("Host: a", "Content-Length: 4", start="CONNECT a:1 HTTP/1.1") + b"tun")
    head = parser.next_event()
    assert isinstance(head, RequestHead)
    assert not head.has_body
    assert parser.next_event() is PAUSED
    parser.feed(b"nel")
    assert parser.next_event() is PAUSED
    with pytest.raises(RuntimeError, match="upgrade"):
        parser.resume()
    assert parser.buffered == 6
    assert parser.take_rest() == b"tunnel"
    assert parser.take_rest() == b""
    assert parser.next_event() is CLOSED


UPGRADE = ("Host: a", "Connection: x, Upgrade", "Upgrade: foo", "Content-Length: 4")


def test_an_upgrade_taken() -> None:
    parser = RequestParser()
    parser.feed(request(*UPGRADE) + b"tunnel")
    head = parser.next_event()
    assert isinstance(head, RequestHead)
    assert head.upgrade
    assert parser.next_event() is PAUSED
    assert parser.take_rest() == b"tunnel"


def test_an_upgrade_ignored() -> None:
    parser = RequestParser()
    with pytest.raises(RuntimeError, match="upgrade"):
        parser.resume()
    parser.feed(request(*UPGRADE) + b"body" + GET)
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is PAUSED
    parser.resume()
    assert parser.next_event() == b"body"
    assert isinstance(parser.next_event(), EndOfMessage)
    assert isinstance(parser.next_event(), RequestHead)


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: upgrade"],
        ["Connection: upgrade", "Upgrade:"],
        ["Connection: upgrade", "Upgrade: , ,"],
        ["Upgrade: foo"],
        ["Connection: keep-alive", "Upgrade: foo"],
    ],
)
def test_no_upgrade(lines: list[str]) -> None:
    assert not parse(request("Host: a", *lines)).upgrade


def test_no_upgrade_in_http_1_0() -> None:
    lines = ("Connection: upgrade", "Upgrade: foo")
    assert not parse(request(*lines, start="GET / HTTP/1.0")).upgrade
