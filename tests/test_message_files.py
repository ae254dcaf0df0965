"""Messages as files: what the standard library writes into a body, and reads from one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from support import port_of
from wire import GET, answered, post, serving

import nhttp

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "line of the text\n" * 10_000


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
