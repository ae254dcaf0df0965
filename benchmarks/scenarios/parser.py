"""The parser alone: microseconds for a head, and gigabytes per second of chunks.

Heads differ from each other in their target and their cookie, or are the same again and again,
which is what wrk sends: a parser may recognise the octets of the head before.
"""

from __future__ import annotations

import importlib.util
import io
import time
from functools import partial
from http.client import parse_headers
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchmarks.options import Options, Step, interleave
from benchmarks.results import OURS, Metric
from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, RequestHead, RequestParser

if TYPE_CHECKING:
    from benchmarks.results import Results

__all__ = ["measure"]

TIME = Metric("time", "µs", higher_is_better=False)
RATE = Metric("rate", "heads/s", higher_is_better=True)
THROUGHPUT = Metric("throughput", "GB/s", higher_is_better=True)
ROUNDS = 9
HEADS = 1000
SIZE = 64
SMALL = "Host: www.example.com\r\n"
BROWSER = """\
Host: www.example.com\r
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r
Accept-Language: en-US,en;q=0.5\r
Accept-Encoding: gzip, deflate, br\r
Connection: keep-alive\r
Cookie: session=0123456789abcdef; number={}\r
Upgrade-Insecure-Requests: 1\r
Cache-Control: max-age=0\r
Referer: https://www.example.com/somewhere/else\r
DNT: 1\r
Sec-Fetch-Mode: navigate\r
"""
SECTIONS = {"small head": SMALL, "browser's head": BROWSER}
CHUNKS = {"chunks of 64 KiB": 65536, "chunks of 1 KiB": 1024}
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Parser(Protocol):
    """What is measured."""

    def heads(self, heads: list[bytes]) -> None:
        """Parse heads of requests without bodies."""


@runtime_checkable
class Decoder(Protocol):
    """A parser that knows chunks, too."""

    def decode(self, pieces: list[bytes]) -> int:
        """Decode a chunked body behind `CHUNKED_HEAD`, and give its size."""
        ...


class Ours:
    """nhttp's: one connection, one request after the other."""

    def heads(self, heads: list[bytes]) -> None:
        """Parse."""
        parser = RequestParser()
        for head in heads:
            event = parser.receive(head)
            assert isinstance(event, RequestHead)
            end = parser.next_event()
            assert isinstance(end, EndOfMessage)

    def decode(self, pieces: list[bytes]) -> int:
        """Decode."""
        parser = RequestParser()
        parser.feed(CHUNKED_HEAD)
        assert isinstance(parser.next_event(), RequestHead)
        size = 0
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next_event()) is not NEED_DATA:
                if isinstance(event, EndOfMessage):
                    return size
                assert not isinstance(event, (Invalid, RequestHead))
                assert isinstance(event, bytes)
                size += len(event)
        raise AssertionError("the body has no end")


class H11:
    """h11: a connection for each head, as starting the next cycle takes an answer."""

    def heads(self, heads: list[bytes]) -> None:
        """Parse."""
        import h11  # not everybody has it

        for head in heads:
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(head)
            event = connection.next_event()
            assert isinstance(event, h11.Request)
            end = connection.next_event()
            assert isinstance(end, h11.EndOfMessage)

    def decode(self, pieces: list[bytes]) -> int:
        """Decode."""
        import h11  # not everybody has it

        connection = h11.Connection(h11.SERVER)
        connection.receive_data(CHUNKED_HEAD)
        assert isinstance(connection.next_event(), h11.Request)
        size = 0
        for piece in pieces:
            connection.receive_data(piece)
            while (event := connection.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.EndOfMessage):
                    return size
                assert isinstance(event, h11.Data)
                size += len(event.data)
        raise AssertionError("the body has no end")


class Httptools:
    """httptools, which is C and tells what it finds by callbacks, used as uvicorn does."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.url = b""
        self.method = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        """Start another."""
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the head."""
        import httptools  # not everybody has it

        httptools.parse_url(self.url)
        self.count += 1

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.size += len(body)

    def heads(self, heads: list[bytes]) -> None:
        """Parse."""
        import httptools  # not everybody has it

        self.count = 0
        parser = httptools.HttpRequestParser(self)
        for head in heads:
            parser.feed_data(head)
            self.method = parser.get_method()
        assert self.count == len(heads)

    def decode(self, pieces: list[bytes]) -> int:
        """Decode."""
        import httptools  # not everybody has it

        self.size = 0
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(CHUNKED_HEAD)
        for piece in pieces:
            parser.feed_data(piece)
        return self.size


class Stdlib:
    """What `http.server` does to a head; it knows no chunks."""

    def heads(self, heads: list[bytes]) -> None:
        """Parse."""
        for head in heads:
            file = io.BytesIO(head)
            assert len(file.readline(65537).split()) == 3
            assert parse_headers(file)


PARSERS: dict[str, Parser] = {
    OURS: Ours(),
    "h11": H11(),
    "httptools": Httptools(),
    "http.client": Stdlib(),
}
SLOW = "h11"  # gets an eighth of the chunks


def measure(options: Options, results: Results) -> None:
    """Have each parser parse the same octets, in turns."""
    steps: list[Step] = []
    for name, parser in PARSERS.items():
        if not options.invites(name):
            continue
        if importlib.util.find_spec(name) is None:
            results.skip(name, f"{name} is not installed")
            continue
        for section, fields in SECTIONS.items():
            for alike in (False, True):
                case = f"{section}, {'the same again' if alike else 'heads differ'}"
                if options.wants(case):
                    heads = make_heads(fields, HEADS, alike=alike)
                    one = partial(time_heads, results, case, name, parser, heads)
                    steps.append(Step(case, name, one))
        for case, size in CHUNKS.items():
            if options.wants(case) and isinstance(parser, Decoder):
                total = (options.mib or SIZE) * 1024 * 1024 // (8 if name == SLOW else 1)
                decode = partial(time_chunks, results, case, name, parser, size, total)
                steps.append(Step(case, name, decode))
    interleave(options, results, options.rounds or ROUNDS, steps)


def time_heads(results: Results, case: str, name: str, parser: Parser, heads: list[bytes]) -> None:
    """Measure heads."""
    began = time.perf_counter()
    parser.heads(heads)
    each = (time.perf_counter() - began) / len(heads)
    results.add(case, "free", name, RATE, 1 / each)
    results.add(case, "free", name, TIME, each * 1e6)


def time_chunks(
    results: Results, case: str, name: str, parser: Decoder, size: int, total: int
) -> None:
    """Measure chunks."""
    pieces = make_chunks(size, total)
    began = time.perf_counter()
    decoded = parser.decode(pieces)
    took = time.perf_counter() - began
    assert decoded == total // size * size
    results.add(case, "free", name, THROUGHPUT, decoded / took / 1e9)


def make_heads(section: str, count: int, *, alike: bool) -> list[bytes]:
    """Give heads; new octets each time, as a socket would."""
    heads: list[bytes] = []
    for index in range(count):
        number = 1000 + (0 if alike else index)
        text = f"GET /path/{number}?q=1 HTTP/1.1\r\n{section.format(number)}\r\n"
        heads.append(text.encode())
    return heads


def make_chunks(size: int, total: int) -> list[bytes]:
    """Give a chunked body as it comes from a socket, in blocks of 64 KiB."""
    wire = (b"%x\r\n%b\r\n" % (size, bytes(size))) * (total // size) + b"0\r\n\r\n"
    return [wire[start : start + 65536] for start in range(0, len(wire), 65536)]
