"""The parser alone: microseconds for a head, and gigabytes per second of chunks.

Heads differ from each other in their target, unless *repeated* is said: the parser recognises the
octets of the head before, which is what a client that keeps a connection open mostly sends, and all
that wrk ever sends. h11 takes part when it is installed.
"""

from __future__ import annotations

import importlib.util
import io
import time
from collections import defaultdict
from http.client import parse_headers
from typing import TYPE_CHECKING

from benchmarks.report import Report, median, progress, ratio
from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, RequestHead, RequestParser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add_arguments", "run"]

BROWSER = """\
Host: www.example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br
Connection: keep-alive
Cookie: session=0123456789abcdef; theme=dark
Upgrade-Insecure-Requests: 1
Cache-Control: max-age=0
Referer: https://www.example.com/somewhere/else
DNT: 1
Sec-Fetch-Mode: navigate
"""
HEADS = {"1 header": 1, "9 headers": 9, "12 headers": 12}
CHUNKS = {"chunks of 64 KiB": 65536, "chunks of 1 KiB": 1024}
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's own options."""
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--heads", type=int, default=1000, help="in each round")
    parser.add_argument("--mib", type=int, default=64, help="of chunked body in each round")


def run(options: argparse.Namespace) -> Report:
    """Parse the same octets with each parser, in turns."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    peers = ["nhttp", "nhttp, repeated", "h11", "http.client"]
    parsers: dict[str, Callable[[list[bytes]], None]] = {
        "nhttp": parse_heads,
        "nhttp, repeated": parse_heads,
        "http.client": parse_heads_stdlib,
    }
    decoders: dict[str, Callable[[list[bytes]], int]] = {"nhttp": decode}
    if importlib.util.find_spec("h11") is not None:
        parsers["h11"] = parse_heads_h11
        decoders["h11"] = decode_h11
    for turn in range(options.rounds):
        for name, count in HEADS.items():
            for peer, parse in parsers.items():
                progress(f"round {turn + 1}: {name}, {peer}")
                heads = make_heads(count, options.heads, alike=peer.endswith("repeated"))
                began = time.perf_counter()
                parse(heads)
                took = time.perf_counter() - began
                found[name, peer].append(took / len(heads) * 1e6)
        for name, size in CHUNKS.items():
            for peer, decode_all in decoders.items():
                progress(f"round {turn + 1}: {name}, {peer}")
                # A slow decoder is given less: it is not worth the wait.
                total = options.mib * 1024 * 1024 // (1 if peer == "nhttp" else 8)
                pieces = make_chunks(size, total)
                began = time.perf_counter()
                assert decode_all(pieces) == total // size * size
                found[name, peer].append(total / (time.perf_counter() - began) / 1e9)
    progress("")
    report = Report(
        f"parsing, median of {options.rounds} rounds", ["what", "unit", *peers, "h11 / nhttp"]
    )
    for name in (*HEADS, *CHUNKS):
        figures = [median(found[name, peer]) for peer in peers]
        unit = "µs per head" if name in HEADS else "GB/s"
        report.add(name, unit, *figures, ratio(figures[2], figures[0]))
    return report


def make_heads(fields: int, count: int, *, alike: bool) -> list[bytes]:
    """Give heads with so many fields."""
    section = "".join(f"{line}\r\n" for line in BROWSER.splitlines()[:fields])
    return [
        f"GET /path/{0 if alike else n}?q=1 HTTP/1.1\r\n{section}\r\n".encode()
        for n in range(count)
    ]


def make_chunks(size: int, total: int) -> list[bytes]:
    """Give a chunked body as it comes from a socket, in blocks of 64 KiB."""
    wire = (b"%x\r\n%b\r\n" % (size, bytes(size))) * (total // size) + b"0\r\n\r\n"
    return [wire[start : start + 65536] for start in range(0, len(wire), 65536)]


def parse_heads(heads: list[bytes]) -> None:
    """Parse with ours: one connection after another request."""
    parser = RequestParser()
    for head in heads:
        parser.feed(head)
        event = parser.next_event()
        assert isinstance(event, RequestHead)
        end = parser.next_event()
        assert isinstance(end, EndOfMessage)


def parse_heads_h11(heads: list[bytes]) -> None:
    """Parse with h11: a connection for each, as starting the next cycle takes an answer."""
    import h11  # not everybody has it

    for head in heads:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        event = connection.next_event()
        assert isinstance(event, h11.Request)
        end = connection.next_event()
        assert isinstance(end, h11.EndOfMessage)


def parse_heads_stdlib(heads: list[bytes]) -> None:
    """Parse as `http.server` does."""
    for head in heads:
        file = io.BytesIO(head)
        assert len(file.readline(65537).split()) == 3
        assert parse_headers(file)


def decode(pieces: list[bytes]) -> int:
    """Decode with ours, and count."""
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


def decode_h11(pieces: list[bytes]) -> int:
    """Decode with h11, and count."""
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
