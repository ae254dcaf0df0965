"""``nhttp get``: what is sent, and what is written."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest
from get_support import BIG, OK, Captured, answering, fails, get, read_head, scripted, until_gone
from support import port_of
from wire import serving

from nhttp._static import StaticFiles

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    import nhttp

# --- what is written ---------------------------------------------------------------------------


def test_the_body_goes_to_stdout(capfdbinary: Captured) -> None:
    heads: list[str] = []
    with answering(OK, heads) as url:
        assert get(url) == 0
    assert capfdbinary.readouterr() == (b"hello", b"")
    assert heads[0].startswith("GET /file HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "\r\nUser-Agent: nhttp/" in heads[0]
    assert "\r\nAccept: */*\r\n" in heads[0]


def test_the_body_goes_to_a_file(tmp_path: Path, capfdbinary: Captured) -> None:
    (tmp_path / "a").write_bytes(b"something longer")
    with serving(lambda _, response: response.end(BIG)) as server:
        assert get(f"http://127.0.0.1:{port_of(server)}", "-o", str(tmp_path / "a")) == 0
    assert (tmp_path / "a").read_bytes() == BIG
    assert capfdbinary.readouterr() == (b"", b"")


def test_include_writes_the_head_as_it_came(capfdbinary: Captured) -> None:
    answer = b"HTTP/1.1 404 Gone \xe9\r\nx-A: 1\r\nX-a: 2\r\nContent-Length: 2\r\n\r\nno"
    with answering(answer) as url:
        assert get(url, "-i") == 0
    assert capfdbinary.readouterr() == (answer, b"")


def test_include_to_a_file(tmp_path: Path) -> None:
    with answering(OK) as url:
        assert get(url, "-i", "-o", str(tmp_path / "a")) == 0
    assert (tmp_path / "a").read_bytes() == OK


def test_a_redirect_is_an_answer_like_any(capfdbinary: Captured) -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") as url:
        assert get(url) == 0
    assert capfdbinary.readouterr() == (b"", b"")


def test_a_body_until_the_end_of_the_connection(capfdbinary: Captured) -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\nall of it") as url:
        assert get(url) == 0
    assert capfdbinary.readouterr().out == b"all of it"


# --- what is sent ------------------------------------------------------------------------------


def test_method_and_headers(capfdbinary: Captured) -> None:
    heads: list[str] = []
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", heads) as url:
        headers = ["X-A: 1", "X-A:2", "Accept:", "user-agent: me", "x-b:  c:d "]
        options = itertools.chain.from_iterable(("-H", each) for each in headers)
        assert get(url, "-X", "head", *options) == 0
    lines = heads[0].split("\r\n")
    assert lines[0] == "HEAD /file HTTP/1.1"
    assert {"X-A: 1", "X-A: 2", "user-agent: me", "x-b: c:d"} <= {*lines}
    assert not [line for line in lines if line.startswith(("Accept", "User-Agent"))]
    assert capfdbinary.readouterr() == (b"", b"")


def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    """Answer with the method, how the body came, and the body."""
    names = ("content-type", "content-length", "transfer-encoding")
    said = [str(request.headers.get(name, "-")) for name in names]
    response.end(" ".join([request.method, *said, ""]).encode() + request.read())


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["-d", "a=b"], f"POST {FORM} 3 - a=b"),
        (["-d", ""], f"POST {FORM} 0 - "),
        (["-d", "x", "-X", "PUT", "-H", "content-type: a/b"], "PUT a/b 1 - x"),
        (["-d", "x", "-H", "Content-Type:"], "POST - 1 - x"),
        (["-d", "x", "-H", "Transfer-Encoding: chunked"], f"POST {FORM} - chunked x"),
        (["-d", "x", "-H", "Content-Length:"], f"POST {FORM} - chunked x"),
        (["-d", "\xe9\udcff"], f"POST {FORM} 3 - \xe9\udcff"),
        (["-d", "x", "-X", "GET"], f"GET {FORM} 1 - x"),
    ],
)
def test_data(options: list[str], answer: str, capfdbinary: Captured) -> None:
    with serving(echo) as server:
        assert get(f"http://127.0.0.1:{port_of(server)}", *options) == 0
    assert capfdbinary.readouterr() == (os.fsencode(answer), b"")


def test_a_file_is_sent(tmp_path: Path, capfdbinary: Captured) -> None:
    (tmp_path / "data").write_bytes(BIG)
    with serving(echo) as server:
        assert get(f"http://127.0.0.1:{port_of(server)}", "-d", f"@{tmp_path / 'data'}") == 0
    assert capfdbinary.readouterr().out == f"POST {FORM} {len(BIG)} - ".encode() + BIG


def test_an_answer_that_comes_early_ends_a_refused_upload(capfdbinary: Captured) -> None:
    """The file has no end."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    def script(peer: socket.socket) -> None:
        assert "\r\nTransfer-Encoding: chunked\r\n" in read_head(peer)
        peer.sendall(refusal)
        until_gone(peer)

    with scripted(script) as url:
        assert get(url, "-d", "@/dev/zero") == 0
    assert capfdbinary.readouterr() == (b"no", b"")


def test_an_answer_that_comes_early_is_kept(tmp_path: Path, capfdbinary: Captured) -> None:
    (tmp_path / "data").write_bytes(BIG)

    def script(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nfine: ")
        left = len(BIG)
        while left:
            left -= len(peer.recv(min(left, 65536)))
        peer.sendall(b"all")

    with scripted(script) as url:
        assert get(url, "-d", f"@{tmp_path / 'data'}") == 0
    assert capfdbinary.readouterr() == (b"fine: all", b"")


# --- resuming ----------------------------------------------------------------------------------


def partial(tmp_path: Path, data: bytes = b"hel") -> Path:
    (tmp_path / "part").write_bytes(data)
    return tmp_path / "part"


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (b"206 P\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\n\r\nlo", b"hello"),
        (b"206 P\r\nContent-Range: bytes 3-4/*\r\nContent-Length: 2\r\n\r\nlo", b"hello"),
        (b"200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"416 R\r\nContent-Range: bytes */3\r\nContent-Length: 2\r\n\r\nno", b"hel"),
    ],
)
def test_resume(answer: bytes, content: bytes, tmp_path: Path, capfdbinary: Captured) -> None:
    part, heads = partial(tmp_path), list[str]()
    with answering(b"HTTP/1.1 " + answer, heads) as url:
        assert get(url, "-f", "-C", "-o", str(part)) == 0
    assert part.read_bytes() == content
    assert "\r\nRange: bytes=3-\r\n" in heads[0]
    assert capfdbinary.readouterr() == (b"", b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"206 P\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
        b"206 P\r\nContent-Length: 2\r\n\r\nlo",
        b"416 R\r\nContent-Range: bytes */2\r\nContent-Length: 0\r\n\r\n",
        b"404 N\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_a_file_that_cannot_be_resumed_stays(
    answer: bytes, tmp_path: Path, capfdbinary: Captured
) -> None:
    part = partial(tmp_path)
    with answering(b"HTTP/1.1 " + answer) as url:
        assert get(url, "-C", "-o", str(part)) == 33
    assert part.read_bytes() == b"hel"
    assert fails(capfdbinary, 33, "cannot resume at 3", answer[:5].decode())


def test_resume_without_a_file(tmp_path: Path) -> None:
    heads: list[str] = []
    with answering(OK, heads) as url:
        assert get(url, "-C", "-o", str(tmp_path / "new")) == 0
    assert (tmp_path / "new").read_bytes() == b"hello"
    assert "Range" not in heads[0]


def test_resume_what_was_cut_short(tmp_path: Path, capfdbinary: Captured) -> None:
    (tmp_path / "whole").write_bytes(BIG)
    part = tmp_path / "part"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BIG)}\r\n\r\n".encode()
    with answering(head + BIG[:100_000]) as url:
        assert get(url, "-o", str(part)) == 18
    assert part.read_bytes() == BIG[:100_000]
    with serving(StaticFiles(tmp_path)) as server:
        for _ in range(2):  # the second time there is nothing left to do
            url = f"http://127.0.0.1:{port_of(server)}/whole"
            assert get(url, "-C", "-o", str(part)) == 0
            assert part.read_bytes() == BIG
    assert fails(capfdbinary, 18)


# --- progress ----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes = OK) -> str:
    """Give what a download shows on a terminal."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with answering(answer) as url, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        assert get(url, "-o", str(path)) == 0
    assert path.read_bytes() == b"hello"
    return terminal.getvalue()


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_a_progress_bar(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    shown = watched(tmp_path / "[a]", monkeypatch, answer)
    assert "[a]" in shown
    assert "bytes" in shown


@pytest.mark.parametrize(
    ("answer", "total"), [(OK, " of 5"), (b"HTTP/1.1 200 OK\r\n\r\nhello", "")]
)
def test_numbers_without_the_extra(
    answer: bytes, total: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    shown = watched(tmp_path / "a", monkeypatch, answer)
    assert shown.endswith(f"\ra: 5{total} octets\n")


# --- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["-H", "no colon"], "'no colon' is not 'NAME: VALUE'"),
        (["-H", "a b: c"], "a b"),
        (["-H", ": c"], "argument -H"),
        (["-H", "a: b\r\nc: d"], "argument -H"),
        (["-H", "Content-Length: some"], "'some' is not a number of octets"),
        (["-X", "FETCH"], "'FETCH' is not a known method"),
        (["--max-time", "0"], "'0' is not a number of seconds"),
        (["--max-time", "soon"], "'soon' is not a number of seconds"),
        (["--max-time", "inf"], "'inf' is not a number of seconds"),
        (["-C"], "-C needs a FILE"),
        (["-C", "-o", "-"], "-C needs a FILE"),
        (["-C", "-o", "a", "-i"], "-C and -i"),
        (["-C", "-o", "a", "-H", "range: bytes=1-"], "-C says the Range itself"),
    ],
)
def test_usage_errors(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        get("http://127.0.0.1:1/", *options)
    assert caught.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("usage: nhttp get")
    assert complaint in stderr
