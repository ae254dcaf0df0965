"""``nhttp get``: what is sent, what is written, and what is refused."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
import itertools
import math
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from get_support import answering, read_head, refusing, reset, scripted, until_gone
from support import port_of
from wire import serving

import nhttp
from nhttp import net
from nhttp.__main__ import main
from nhttp._get import limit
from nhttp._get.failures import Exit, Failure, of_exchange
from nhttp._get.upload import Upload
from nhttp._static import StaticFiles
from nhttp.errors import SocketTimeout, StateError

if TYPE_CHECKING:
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
BIG = bytes(range(256)) * 4096  # 1 MiB

Captured = pytest.CaptureFixture[bytes]


def get(*arguments: str) -> int:
    return main(["get", *arguments])


def fails(capfd: Captured, status: int, *said: str) -> bool:
    """Whether one line was said: the exit status, and the rest."""
    (line,) = capfd.readouterr().err.decode().splitlines()
    assert line.startswith(f"nhttp get: ({status}) "), line
    assert [each for each in said if each not in line] == [], line
    return True


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


# --- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("example.org", 3, "'example.org'"),
        ("http://a b/", 3, "percent-encoded"),
        ("http://127.0.0.1:99999/", 3, "99999"),
        ("ftp://127.0.0.1/", 1, "ftp"),
        ("http://nobody.invalid./", 6, "nobody.invalid"),
    ],
)
def test_urls_that_do_not_work(
    url: str, status: int, said: str, capfdbinary: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_args: object, **_options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert get(url) == status
    assert fails(capfdbinary, status, said)


@pytest.mark.parametrize("options", [[], ["-d", "x"]])
def test_nobody_listens(options: list[str], capfdbinary: Captured) -> None:
    with refusing() as url:
        assert get(url, *options) == 7
    assert fails(capfdbinary, 7, "connect ECONNREFUSED 127.0.0.1:", "Connection refused")


def test_fail_writes_nothing(tmp_path: Path, capfdbinary: Captured) -> None:
    with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno") as url:
        assert get(url, "--fail", "-i", "-o", str(tmp_path / "a")) == 22
    assert fails(capfdbinary, 22, "404 Not Found")
    assert not (tmp_path / "a").exists()


def test_fail_is_for_400_and_above(capfdbinary: Captured) -> None:
    with answering(b"HTTP/1.1 399 Odd\r\nContent-Length: 2\r\n\r\nok") as url:
        assert get(url, "-f") == 0
    assert capfdbinary.readouterr() == (b"ok", b"")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 52),
        (b"HTTP/1.1 200 O", 56),
        (b"SSH-2.0\r\n\r\n", 56),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 56),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 18),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 18),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", 56),
    ],
)
def test_broken_answers(answer: bytes, status: int, tmp_path: Path, capfdbinary: Captured) -> None:
    with answering(answer) as url:
        assert get(url, "-o", str(tmp_path / "a")) == status
    assert fails(capfdbinary, status)
    assert (tmp_path / "a").exists() == (b"hello" in answer)
    if status == 18:
        assert (tmp_path / "a").read_bytes() == b"hello"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"])
def test_a_reset(answer: bytes, capfdbinary: Captured) -> None:
    def script(peer: socket.socket) -> None:
        read_head(peer)
        peer.sendall(answer)
        reset(peer)

    with scripted(script) as url:
        assert get(url) == 56
    assert fails(capfdbinary, 56, "read ECONNRESET", "Connection reset by peer")


def test_a_reset_amid_the_upload(capfdbinary: Captured) -> None:
    """Who notices first, the sender or the reader, is for the kernel to say."""

    def script(peer: socket.socket) -> None:
        read_head(peer)
        reset(peer)

    with scripted(script) as url:
        assert get(url, "-d", "@/dev/zero") in (55, 56)
    assert b"nhttp get: (5" in capfdbinary.readouterr().err


def test_other_failures_of_an_exchange() -> None:
    request = nhttp.request("http://127.0.0.1:1/")
    broken = of_exchange(BrokenPipeError(32, "Broken pipe"), request, body=False)
    assert (broken.exit, str(broken)) == (Exit.SEND, "write EPIPE: Broken pipe")
    late = of_exchange(SocketTimeout("late", "ETIMEDOUT", syscall="connect"), request, body=False)
    assert late.exit == Exit.TIMEOUT
    assert of_exchange(StateError("no", "ERR"), request, body=False).exit == Exit.USAGE


def test_a_file_that_cannot_be_written(tmp_path: Path, capfdbinary: Captured) -> None:
    with answering(OK) as url:
        assert get(url, "-o", str(tmp_path)) == 23
    assert fails(capfdbinary, 23, f"cannot write {tmp_path}: Is a directory")


def test_a_file_that_cannot_be_resumed(tmp_path: Path, capfdbinary: Captured) -> None:
    (tmp_path / "a").touch()
    assert get("http://127.0.0.1:1/", "-C", "-o", str(tmp_path / "a" / "b")) == 23
    assert fails(capfdbinary, 23, "Not a directory")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk(capfdbinary: Captured) -> None:
    with answering(OK) as url:
        assert get(url, "-o", "/dev/full") == 23
    assert fails(capfdbinary, 23, "/dev/full: No space left on device")


@pytest.mark.parametrize("name", ["missing", ""])
def test_a_data_file_that_cannot_be_read(name: str, tmp_path: Path, capfdbinary: Captured) -> None:
    """Nobody is connected to."""
    assert get("http://127.0.0.1:1/", "-d", f"@{tmp_path / name}") == 26
    assert fails(capfdbinary, 26, f"cannot read {tmp_path / name}")


def test_a_pipe_that_does_not_block_is_not_taken_for_an_empty_one() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with Upload(io.FileIO(reading), "the pipe", None) as upload, io.FileIO(writing, "w"):
        with pytest.raises(Failure, match="cannot read the pipe") as failed:
            next(upload._blocks())
        assert failed.value.exit == Exit.READ


def test_a_data_file_that_shrinks(tmp_path: Path, capfdbinary: Captured) -> None:
    data = tmp_path / "data"
    data.write_bytes(BIG)

    def script(peer: socket.socket) -> None:
        """The rest of the file does not fit between the two ends."""
        read_head(peer)
        os.truncate(data, 0)
        until_gone(peer)

    with data.open("ab") as file:
        file.truncate(1 << 30)
    with scripted(script) as url:
        assert get(url, "-d", f"@{data}") == 26
    assert fails(capfdbinary, 26, "octets early")


# --- time --------------------------------------------------------------------------------------


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Setting it has the time of ``--max-time`` be over."""
    event = threading.Event()
    monkeypatch.setattr(limit, "now", lambda: math.inf if event.is_set() else 0.0)
    monkeypatch.setattr(limit, "_BEAT", 0.05)
    return event


# The interruption may come between the making of a socket or a file and the care for it.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestTimeIsOver:
    def test_a_silent_server(self, capfdbinary: Captured, over: threading.Event) -> None:
        def script(peer: socket.socket) -> None:
            read_head(peer)
            over.set()
            until_gone(peer)

        timer, handler = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
        with scripted(script) as url:
            assert get(url, "--max-time", "7.5") == 28
        assert fails(capfdbinary, 28, "7.5 seconds")
        assert signal.getsignal(signal.SIGALRM) is handler
        assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(timer[0])

    def test_a_server_that_stops_in_the_middle(
        self,
        tmp_path: Path,
        capfdbinary: Captured,
        over: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"
        receive = net.Socket._receive

        def watched_receive(self: net.Socket, size: int) -> bytes:
            if self.bytes_read == len(half):
                over.set()
            return receive(self, size)

        def script(peer: socket.socket) -> None:
            read_head(peer)
            peer.sendall(half)
            until_gone(peer)

        monkeypatch.setattr(net.Socket, "_receive", watched_receive)
        with scripted(script) as url:
            assert get(url, "--max-time", "7", "-o", str(tmp_path / "a")) == 28
        assert (tmp_path / "a").read_bytes() == b"hello"
        assert fails(capfdbinary, 28)

    def test_a_server_that_does_not_take_the_body(
        self, capfdbinary: Captured, over: threading.Event
    ) -> None:
        kept: list[socket.socket] = []

        def script(peer: socket.socket) -> None:
            read_head(peer)
            kept.append(peer.dup())  # stays open, and nobody reads
            over.set()

        with scripted(script) as url:
            assert get(url, "--max-time", "7", "-d", "@/dev/zero") == 28
        kept[0].close()
        assert fails(capfdbinary, 28)


def test_an_interrupt(capfdbinary: Captured) -> None:
    """Python notices it although it may come just before the call that blocks."""
    main_thread = threading.get_ident()

    def script(peer: socket.socket) -> None:
        read_head(peer)
        signal.pthread_kill(main_thread, signal.SIGINT)
        until_gone(peer)

    with scripted(script) as url:
        assert get(url) == 130
    assert capfdbinary.readouterr() == (b"", b"")


def test_time_enough(capfdbinary: Captured) -> None:
    with answering(OK) as url:
        assert get(url, "--max-time", "20") == 0
    assert capfdbinary.readouterr() == (b"hello", b"")


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
