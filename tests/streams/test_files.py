"""What `makefile` gives: files of the `io` module over streams."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Any

import pytest
from conformance_support import Collected
from support import socket_pair

from nhttp.errors import InvalidArgument
from nhttp.streams import Readable


class Source(Readable):
    """Gives what it was made with."""

    def __init__(self, *blocks: bytes) -> None:
        super().__init__()
        self.blocks = list(blocks)

    def _read(self, size: int) -> bytes:
        return self.blocks.pop(0) if self.blocks else b""


def test_octets_are_read_in_any_pieces() -> None:
    source = Source(b"ab", b"cdef", b"g")
    with source.makefile("rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read(3) == b"abc"
        assert file.read() == b"defg"
        assert file.read() == b""


def test_text_is_read_in_lines() -> None:
    source = Source("grün\nwe".encode(), "iß".encode())
    assert list(source.makefile("r")) == ["grün\n", "weiß"]


def test_text_in_another_encoding_with_the_line_ends_that_csv_wants() -> None:
    source = Source('a,"b\r\n'.encode("utf-16-le"), 'c"\r\n'.encode("utf-16-le"))
    rows = csv.reader(source.makefile("r", encoding="utf-16-le", newline=""))
    assert list(rows) == [["a", "b\r\nc"]]


def test_what_is_no_text_is_treated_as_asked() -> None:
    assert Source(b"a\xff").makefile("r", errors="replace").read() == "a\N{REPLACEMENT CHARACTER}"
    with pytest.raises(UnicodeDecodeError):
        Source(b"a\xff").makefile("r").read()


def test_a_break_is_raised() -> None:
    class Broken(Readable):
        def _read(self, size: int) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Broken().makefile("rb").read()


def test_octets_are_counted_and_gathered() -> None:
    sink = Collected()
    with sink.makefile("wb") as file:
        assert isinstance(file, io.BufferedWriter)
        assert [file.write(b"ab"), file.write(b"c")] == [2, 1]
        assert sink.taken == []
        file.flush()
        assert sink.taken == [b"abc"]
        large = bytes(200_000)
        assert file.write(large) == len(large)
        file.write(b"end")
    assert sink.data == b"abc" + large + b"end"


def test_what_was_written_does_not_change_when_its_buffer_is_used_again() -> None:
    sink = Collected()
    sink.cork()
    raw = sink.makefile("wb").raw
    buffer = bytearray(b"first")
    assert raw.write(buffer) == 5
    buffer[:] = b"other"
    sink.uncork()
    assert sink.data == b"first"


def test_text_is_written() -> None:
    sink = Collected()
    with sink.makefile("w", newline="") as text:
        csv.writer(text).writerow(["grün", 1])
    with sink.makefile("w", encoding="latin-1", newline="\n") as text:
        print("weiß", file=text)
    assert sink.data == "grün,1\r\n".encode() + "weiß\n".encode("latin-1")


def test_closing_the_file_leaves_the_stream() -> None:
    sink, source = Collected(), Source(b"ab", b"cd")
    sink.makefile("wb").close()
    sink.end("still")
    assert (sink.data, sink.finals) == (b"still", 1)
    with source.makefile("rb") as file:
        assert file.read1(10) == b"ab"
    assert source.read() == b"cd"


def test_an_archive_is_written_to_what_has_no_positions() -> None:
    sink = Collected()
    with sink.makefile("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "A" * 100_000)
        archive.writestr("b.txt", "B")
    with zipfile.ZipFile(io.BytesIO(sink.data)) as archive:
        assert archive.testzip() is None
        assert archive.read("b.txt") == b"B"


def test_a_socket_is_read_and_written() -> None:
    with socket_pair() as (near, far):
        far.sendall(b"question\n")
        assert near.makefile("r").readline() == "question\n"
        with near.makefile("w", newline="\n") as answer:
            print("answer", file=answer)
        assert far.recv(10) == b"answer\n"
        near.makefile("wb").close()
        with near.makefile("rb") as file:
            assert not file.closed
        assert not near.destroyed


@pytest.mark.parametrize(
    ("stream", "mode"),
    [(Source(), "w"), (Source(), "wb"), (Collected(), "r"), (Collected(), "rb"), (Source(), "x")],
)
def test_another_mode_is_refused(stream: Any, mode: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the mode is one of .*, not '{mode}'"):
        stream.makefile(mode)
