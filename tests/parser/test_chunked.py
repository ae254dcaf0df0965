"""Chunked bodies, extensions and trailers."""

from __future__ import annotations

import pytest
from parser_cases import COMPILED, events_of, joined

from nhttp._parser import (
    NEED_DATA,
    EndOfMessage,
    Invalid,
    RequestHead,
    RequestParser,
    chunked,
    lines,
)
from nhttp._parser.buffer import Buffer
from nhttp._parser.chunked import ChunkedBody
from nhttp._parser.events import END_OF_MESSAGE
from nhttp._parser.limits import Limits

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def body(data: bytes, limits: Limits | None = None) -> tuple[bytes, EndOfMessage | Invalid]:
    """Return a chunked body and how it ended, after trying it whole and octet by octet."""
    whole = joined(events_of(RequestParser(limits), HEAD + data))
    single = [HEAD, *(data[i : i + 1] for i in range(len(data)))]
    assert joined(events_of(RequestParser(limits), *single)) == whole
    content = whole[1] if isinstance(whole[1], bytes) else b""
    end = whole[-1]
    assert isinstance(end, EndOfMessage | Invalid)
    return content, end


def error_of(data: bytes, limits: Limits | None = None) -> Invalid:
    end = body(data, limits)[1]
    assert isinstance(end, Invalid)
    return end


def test_chunks_and_trailers() -> None:
    content, end = body(b"3\r\nabc\r\nA\r\n0123456789\r\n000\r\nX: y \r\nx: z\r\n\r\n")
    assert content == b"abc0123456789"
    assert end == EndOfMessage([("X", "y"), ("x", "z")])


def test_each_chunk_is_a_block() -> None:
    events = events_of(RequestParser(), HEAD + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
    assert events[1:] == [b"a", b"bc", EndOfMessage([])]


def test_messages_without_trailers_share_their_end() -> None:
    assert events_of(RequestParser(), HEAD + b"0\r\n\r\n")[-1] is END_OF_MESSAGE


def test_a_block_that_is_all_data_is_passed_through() -> None:
    parser = RequestParser()
    parser.feed(HEAD + b"10\r\n")
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() is NEED_DATA
    assert parser.body_remaining is None
    for block in (b"01234567", b"89abcdef"):
        parser.feed(block)
        assert parser.next_event() is block
    assert parser.next_event() is NEED_DATA


@pytest.mark.parametrize(
    "extension",
    [
        b";a",
        b";a=b",
        b";a=b;c;d=e",
        b' ;\ta = "b c" ; d',
        b';a=""',
        b';a="\\"\\\\\xe9;,"',
        b';a="b";c="d"',
    ],
)
def test_extensions_are_skipped(extension: bytes) -> None:
    assert body(b"1" + extension + b"\r\nx\r\n0" + extension + b"\r\n\r\n") == (
        b"x",
        EndOfMessage([]),
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"x\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b" 5\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"5 \r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"5 x\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"5\xff\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"1" + b"0" * 16, "HPE_INVALID_CHUNK_SIZE"),
        (b"0" * 40 + b"1" + b"0" * 16, "HPE_INVALID_CHUNK_SIZE"),
        (b"8000000000000000\r\n", "HPE_INVALID_CHUNK_SIZE"),
        (b"5\n", "HPE_CR_EXPECTED"),
        (b"5\rx", "HPE_LF_EXPECTED"),
        (b"5\r\r", "HPE_LF_EXPECTED"),
        (b"5;\r\n", "HPE_STRICT"),
        (b"5;;a\r\n", "HPE_STRICT"),
        (b"5;a=\r\n", "HPE_STRICT"),
        (b"5;a b\r\n", "HPE_STRICT"),
        (b"5;a \r\n", "HPE_STRICT"),
        (b"5;a=b\t\r\n", "HPE_STRICT"),
        (b'5;a="b\r\n', "HPE_STRICT"),
        (b'5;a="\\\0"\r\n', "HPE_STRICT"),
        (b'5;a="b"c\r\n', "HPE_STRICT"),
        (b"5;a\n", "HPE_CR_EXPECTED"),
        (b"5;a\rb", "HPE_LF_EXPECTED"),
    ],
)
def test_bad_chunk_lines(line: bytes, code: str) -> None:
    assert error_of(line + b"hello\r\n0\r\n\r\n").code == code


@pytest.mark.parametrize(
    ("end", "code"),
    [(b"\n", "HPE_CR_EXPECTED"), (b"\rx", "HPE_STRICT"), (b"x\r\n", "HPE_STRICT")],
)
def test_data_without_its_line_end(end: bytes, code: str) -> None:
    error = error_of(b"1\r\na" + end)
    assert error.code == code
    assert error.message == f"chunk data not followed by CRLF at byte {error.bytes_parsed}"
    assert error.bytes_parsed - len(HEAD) in (4, 5)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"", "a chunked body"),
        (b"5", "a chunked body"),
        (b"5 ", "a chunked body"),
        (b"5\r", "a chunked body"),
        (b"5;a", "a chunked body"),
        (b"5;a ", "a chunked body"),
        (b"5;a=", "a chunked body"),
        (b'5;a="b', "a chunked body"),
        (b'5;a="b\\', "a chunked body"),
        (b"5\r\nhel", "a chunk"),
        (b"5\r\nhello", "a chunk's end"),
        (b"5\r\nhello\r", "a chunk's end"),
        (b"0\r\n", "a trailer section"),
        (b"0\r\n\r", "a trailer section"),
        (b"0\r\nX: y\r\n", "a trailer section"),
    ],
)
def test_cut_short(data: bytes, where: str) -> None:
    error = error_of(data)
    assert error.code == "HPE_INVALID_EOF_STATE"
    assert error.message.startswith(f"connection closed inside {where} at byte")
    assert error.bytes_parsed == len(HEAD + data)


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        (b"X : y\r\n\r\n", "HPE_INVALID_HEADER_TOKEN"),
        (b"X: y\r\n z\r\n\r\n", "HPE_INVALID_HEADER_TOKEN"),
        (b"X: y\0\r\n\r\n", "HPE_INVALID_HEADER_TOKEN"),
        (b"X: y\nZ", "HPE_CR_EXPECTED"),
        (b"\n", "HPE_CR_EXPECTED"),
        (b"\rX", "HPE_LF_EXPECTED"),
        (b"X Y", "HPE_INVALID_HEADER_TOKEN"),  # found at the end of the connection
    ],
)
def test_bad_trailers(trailers: bytes, code: str) -> None:
    assert error_of(b"0\r\n" + trailers).code == code


def test_a_chunk_line_is_limited() -> None:
    limits = Limits(max_chunk_line=10)
    assert body(b"1;" + b"a" * 6 + b"\r\nx\r\n0\r\n\r\n", limits)[0] == b"x"
    error = error_of(b"1;" + b"a" * 7 + b"\r\nx\r\n0\r\n\r\n", limits)
    assert (error.code, error.status) == ("HPE_CHUNK_EXTENSIONS_OVERFLOW", 413)


def test_extensions_are_limited_in_sum() -> None:
    limits = Limits(max_chunk_extensions=6)
    assert body(b"1;aa\r\nx\r\n0;bb\r\n\r\n", limits)[0] == b"x"
    error = error_of(b"1;aa\r\nx\r\n0;bbb\r\n\r\n", limits)
    assert (error.code, error.status) == ("HPE_CHUNK_EXTENSIONS_OVERFLOW", 413)


@pytest.mark.parametrize("zeros", [15, 16, 17, 400])
def test_a_size_may_have_any_number_of_leading_zeros(zeros: int) -> None:
    padding = b"0" * zeros
    assert body(padding + b"1\r\nx\r\n" + padding + b"0\r\n\r\n") == (b"x", EndOfMessage([]))


def test_zeros_that_no_size_needs_count_as_extensions() -> None:
    limits = Limits(max_chunk_extensions=6)
    assert body(b"0" * 20 + b"1\r\nx\r\n0\r\n\r\n", limits)[0] == b"x"
    error = error_of(b"0" * 20 + b"1;a\r\nx\r\n0\r\n\r\n", limits)
    assert (error.code, error.status) == ("HPE_CHUNK_EXTENSIONS_OVERFLOW", 413)


def test_the_trailer_section_is_limited() -> None:
    limits = Limits(max_trailer_size=10)
    assert body(b"0\r\nX: yyy\r\n\r\n", limits)[1] == EndOfMessage([("X", "yyy")])
    error = error_of(b"0\r\nX: yyyy\r\n\r\n", limits)
    assert (error.code, error.status) == ("HPE_HEADER_OVERFLOW", 431)
    assert error.message.startswith("trailer section of more than 10 bytes")


def test_trailers_are_limited_in_number() -> None:
    limits = Limits(max_headers_count=3)
    assert isinstance(body(b"0\r\n" + b"a:b\r\n" * 3 + b"\r\n", limits)[1], EndOfMessage)
    error = error_of(b"0\r\n" + b"a:b\r\n" * 4 + b"\r\n", limits)
    assert error.message.startswith("trailer section of more than 3 fields")


@pytest.mark.skipif(COMPILED, reason="its functions cannot be replaced")
def test_a_line_in_small_pieces_is_walked_through_once() -> None:
    walks: list[int] = []

    def check_chunk_line(data: bytes, pos: int, end: int) -> int:
        walks.append(end - pos)
        return lines.check_chunk_line(data, pos, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "check_chunk_line", check_chunk_line)
        parser = RequestParser()
        parser.feed(HEAD)
        assert isinstance(parser.next_event(), RequestHead)
        for octet in b"1" + b";a" * 1000:
            parser.feed(bytes([octet]))
            assert parser.next_event() is NEED_DATA
        parser.feed(b"\n")
        error = parser.next_event()
    assert isinstance(error, Invalid)
    assert error.code == "HPE_CR_EXPECTED"
    assert walks == [2002]


@pytest.mark.skipif(COMPILED, reason="its constants cannot be replaced")
def test_what_is_refused_must_be_explained() -> None:
    buffer = Buffer()
    buffer.append(b"5\r\n")
    chunked_body = ChunkedBody(Limits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nhttp._parser.chunked.MAX_LENGTH", 0)
        with pytest.raises(AssertionError, match="nothing is wrong"):
            chunked_body.read(buffer)
