"""Messages as files: what the standard library writes into a body, and reads from one."""

from __future__ import annotations

import codecs
import configparser
import csv
import email.parser
import gzip
import hashlib
import io
import json
import logging
import pickle
import plistlib
import shutil
import tarfile
import tomllib
import xml.sax
import zipfile
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

import pytest
from support import in_thread, port_of
from wire import GET, answered, post, serving

import nhttp

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "line of the text\n" * 10_000
BLOCK = bytes(range(256)) * 1000


def zipped(response: nhttp.ServerResponse) -> None:
    with zipfile.ZipFile(response, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.txt", "B")
    response.end()


def zipped_into_a_file(response: nhttp.ServerResponse) -> None:
    with response.makefile("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.txt", "B")
    response.end()


def zipped_while_corked(response: nhttp.ServerResponse) -> None:
    response.cork()
    zipped(response)


@pytest.mark.parametrize("write", [zipped, zipped_into_a_file, zipped_while_corked])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_archive_can_be_made_on_the_way_out(
    write: Callable[[nhttp.ServerResponse], object], version: str
) -> None:
    answer = answered(write, GET.replace("1.1", version))
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert archive.read("a.txt").decode() == TEXT
        assert archive.read("b.txt") == b"B"


def test_tell_counts_the_octets_of_the_body() -> None:
    def write(response: nhttp.ServerResponse) -> None:
        assert response.tell() == 0
        response.write("äb")
        assert response.tell() == 3
        response.cork()
        response.write(b"1234")
        assert response.tell() == 7
        response.uncork()
        assert response.tell() == 7
        response.end("xyz")
        assert response.tell() == 10

    assert answered(write).body == "äb1234xyz".encode()


def test_tell_counts_what_a_request_has_queued() -> None:
    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.end(request.read())

    with serving(listener) as server:
        request = nhttp.request(f"http://127.0.0.1:{port_of(server)}/", method="POST")
        request.cork()
        request.write("abc")
        assert request.tell() == 3
        request.end("de")
        assert request.get_response().read() == b"abcde"
        assert request.tell() == 5


def test_an_archive_of_tar_can_be_made_on_the_way_out() -> None:
    def write(response: nhttp.ServerResponse) -> None:
        with response.makefile("wb") as file, tarfile.open(None, "w|gz", file) as archive:
            info = tarfile.TarInfo("a.txt")
            info.size = len(TEXT)
            archive.addfile(info, io.BytesIO(TEXT.encode()))
        response.end()

    with tarfile.open(fileobj=io.BytesIO(answered(write).body)) as archive:
        member = archive.extractfile("a.txt")
        assert member is not None
        assert member.read().decode() == TEXT


def test_a_body_is_compressed_on_the_way_out_and_expanded_on_the_way_in() -> None:
    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        with (
            gzip.open(request.makefile("rb"), "rt") as text,
            response.makefile("wb") as file,
            gzip.open(file, "wt") as packed,
        ):
            packed.write(text.read().upper())
        response.end()

    with serving(listener) as server:
        request = nhttp.request(f"http://127.0.0.1:{port_of(server)}/", method="POST")
        request.end(gzip.compress(TEXT.encode()))
        with request.get_response() as response:
            assert gzip.decompress(response.read()).decode() == TEXT.upper()


def test_rows_and_objects_are_read_and_written() -> None:
    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        rows = list(csv.reader(request.makefile("r", newline="")))
        with response.makefile("w") as file:
            json.dump(rows, file)
        response.end()

    with (
        serving(listener) as server,
        nhttp.request(f"http://127.0.0.1:{port_of(server)}/", method="POST").end(
            "a,b\r\n1,ü\r\n"
        ) as response,
    ):
        assert json.load(response.makefile("r")) == [["a", "b"], ["1", "ü"]]
        assert response.readable_ended


def test_a_body_is_copied_through_files() -> None:
    def write(response: nhttp.ServerResponse) -> None:
        with response.makefile("wb") as file:
            shutil.copyfileobj(io.BytesIO(TEXT.encode()), file)
        response.end()

    assert answered(write, post("x")).body.decode() == TEXT


def members_of(mode: Any, file: Any) -> list[tuple[str, bytes]]:
    archive: tarfile.TarFile
    found: list[tuple[str, bytes]] = []
    with tarfile.open(None, mode, file) as archive:
        for each in archive:
            member = archive.extractfile(each)
            assert member is not None
            found.append((each.name, member.read()))
    return found


def an_archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(None, "w|gz", file) as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    return file.getvalue()


def a_config(file: Any) -> str:
    parser = configparser.ConfigParser()
    parser.read_file(io.TextIOWrapper(file, "utf-8"))
    return parser["a"]["b"]


def a_copy(file: Any) -> bytes:
    copy = io.BytesIO()
    shutil.copyfileobj(file, copy)
    return copy.getvalue()


def rows(file: Any) -> list[list[str]]:
    return list(csv.reader(io.TextIOWrapper(file, "utf-8", newline="")))


READERS: list[tuple[bytes, Callable[[Any], object], object]] = [
    (b"a\nbc\nd", lambda file: file.readlines(), [b"a\n", b"bc\n", b"d"]),
    (b"a\nbc\nd", lambda file: file.readlines(3), [b"a\n", b"bc\n"]),
    ("a,\u00fc\r\n".encode(), rows, [["a", "\u00fc"]]),
    (b'{"a": [1]}', json.load, {"a": [1]}),
    (pickle.dumps(["x", BLOCK]), pickle.load, ["x", BLOCK]),
    (pickle.dumps(bytearray(BLOCK), 5), pickle.load, BLOCK),
    (BLOCK, a_copy, BLOCK),
    (b"<r>" + b"<a/>" * 5000 + b"</r>", lambda f: sum(1 for _ in ET.iterparse(f)), 5001),
    (b"<r><a/></r>", lambda file: ET.parse(file).getroot()[0].tag, "a"),
    (b"<r><a/></r>", lambda file: xml.sax.parse(file, xml.sax.ContentHandler()), None),
    (b"A: b\r\n\r\nc", lambda file: email.parser.BytesParser().parse(file)["a"], "b"),
    (an_archive(), lambda file: members_of("r|gz", file), [("a.txt", b"hello")]),
    (an_archive(), lambda file: members_of("r|*", file), [("a.txt", b"hello")]),
    (gzip.compress(b"a"), lambda file: gzip.GzipFile(fileobj=file).read(), b"a"),
    (BLOCK, lambda f: hashlib.file_digest(f, "md5").digest(), hashlib.md5(BLOCK).digest()),
    (b"a = 1", tomllib.load, {"a": 1}),
    (b"[a]\nb=1\n", a_config, "1"),
    (b"a\nb", lambda file: list(io.BufferedReader(file)), [b"a\n", b"b"]),
    (b"a\nb", lambda file: list(codecs.getreader("utf-8")(file)), ["a\n", "b"]),
]


@pytest.mark.parametrize(("body", "read", "expected"), READERS, ids=range(len(READERS)))
def test_what_the_standard_library_reads_from_a_body(body: bytes, read: Any, expected: Any) -> None:
    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        for start in range(0, len(body), 50_000):  # in pieces, some of them small
            response.write(body[start : start + 3])
            response.write(body[start + 3 : start + 50_000])
        response.end()

    with serving(listener) as server, nhttp.get(f"http://127.0.0.1:{port_of(server)}/") as response:
        assert read(response) == expected


def packed(file: Any) -> None:
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as archive:
        archive.write(b"a")


def written_by(write: Callable[[Any], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def wrapped(file: Any) -> None:
    text = io.TextIOWrapper(file, "utf-8")
    text.write("\u00fc" * 20_000)
    text.detach()


WRITERS: list[tuple[Callable[[Any], object], bytes]] = [
    (lambda file: print("a", 1, file=file), b"a 1\n"),
    (lambda file: json.dump({"a": [1]}, file), b'{"a": [1]}'),
    (lambda file: csv.writer(file).writerows([["a", "b"], [1, 2]]), b"a,b\r\n1,2\r\n"),
    (lambda file: pickle.dump(BLOCK, file), pickle.dumps(BLOCK)),
    (lambda file: plistlib.dump({"a": 1}, file), plistlib.dumps({"a": 1})),
    (lambda file: ET.ElementTree(ET.Element("a")).write(file), b"<a />"),
    (
        lambda file: logging.StreamHandler(file).emit(logging.makeLogRecord({"msg": "x"})),
        b"x\n",
    ),
    (lambda file: codecs.getwriter("utf-8")(file).write("\u00fc"), "\u00fc".encode()),
    (lambda file: shutil.copyfileobj(io.BytesIO(BLOCK), file), BLOCK),
    (lambda file: file.writelines(iter([b"a", "b"])), b"ab"),
    (packed, written_by(packed)),
    (wrapped, ("\u00fc" * 20_000).encode()),
]


@pytest.mark.parametrize(("write", "expected"), WRITERS, ids=range(len(WRITERS)))
def test_what_the_standard_library_writes_into_a_body(write: Any, expected: bytes) -> None:
    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        request.pipe(response)

    with serving(listener) as server:
        request = nhttp.request(f"http://127.0.0.1:{port_of(server)}/", method="POST")
        uploading = in_thread(lambda: (write(request), request.end()))
        with request as response:
            assert response.read() == expected
        uploading.result()

    def answer(response: nhttp.ServerResponse) -> None:
        write(response)
        response.end()

    assert answered(answer).body == expected


def test_what_only_files_on_a_disk_can_do_is_refused_as_io_has_it() -> None:
    with (
        serving(lambda _, response: response.end("x")) as server,
        nhttp.get(f"http://127.0.0.1:{port_of(server)}/") as response,
    ):
        request = response.request
        assert request is not None
        for stream in (response, request):
            with pytest.raises(io.UnsupportedOperation, match="seek"):
                stream.seek(0)
            with pytest.raises(io.UnsupportedOperation, match="truncate"):
                stream.truncate()
            with pytest.raises(io.UnsupportedOperation, match="fileno"):
                stream.fileno()
            assert not stream.seekable()
            assert not stream.isatty()
        with pytest.raises(io.UnsupportedOperation):
            response.tell()
        assert response.socket.fileno() > 0
        with pytest.raises(io.UnsupportedOperation, match="seek"):
            plistlib.load(cast("Any", response))
