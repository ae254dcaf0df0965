"""``nhttp get`` where it fails: how it says so, and when its time is over."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
import math
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from get_support import (
    BIG,
    OK,
    Captured,
    answering,
    fails,
    get,
    read_head,
    refusing,
    reset,
    scripted,
    until_gone,
)

import nhttp
from nhttp import net
from nhttp._get import limit
from nhttp._get.failures import Exit, Failure, of_exchange
from nhttp._get.upload import Upload
from nhttp.errors import SocketTimeout, StateError

if TYPE_CHECKING:
    from pathlib import Path


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
