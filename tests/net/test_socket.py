"""Socket: how it ends, how it fails, and its options."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import gc
import itertools
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from net_support import FAMILIES, reset
from support import (
    Recorder,
    accept_into,
    in_thread,
    raw_pair,
    socket_pair,
)

from nhttp import _watcher, net
from nhttp.net import Socket, _socket

if TYPE_CHECKING:
    from collections.abc import Sequence


def drained(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("family", FAMILIES)
class TestEnding:
    def test_the_end_of_the_peer_ends_this_side(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            recorder = Recorder(near, "end", "finish", "close", "data")
            far.shutdown(socket.SHUT_WR)
            recorder.wait("close")
            assert recorder.names == ["end", "finish", "close"]
            assert far.recv(1) == b""

    def test_half_open(self, family: int) -> None:
        with socket_pair(family, allow_half_open=True) as (near, far):
            recorder = Recorder(near, "close")
            far.shutdown(socket.SHUT_WR)
            assert near.read() == b""
            assert near.ready_state == "writeOnly"
            near.write("still there")
            assert far.recv(100) == b"still there"
            near.end()
            assert far.recv(1) == b""
            recorder.wait("close")
            assert near.ready_state == "closed"

    def test_read_after_end(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            near.end("question")
            assert far.recv(100) == b"question"
            far.sendall(b"answer")
            far.close()
            assert near.read() == b"answer"
            Recorder(near, "close").wait("close")

    def test_an_ended_socket_that_nobody_reads_notices_the_peer(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            recorder = Recorder(near, "end", "error", "close")
            near.end("bye")
            assert far.recv(3) == b"bye"
            far.close()
            recorder.wait("close")
            assert recorder.names == ["end", "close"]
            assert near.read() == b""

    def test_but_takes_nothing_away_from_who_reads_later(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            near.end()
            far.sendall(b"late")
            far.shutdown(socket.SHUT_WR)
            near._take_end()  # what the watcher has done, or will do
            assert not near.destroyed
            assert near._refs == 0  # and the process need not wait for that
            data = Recorder(near, "end", "data")
            assert near.readable_flowing
            data.wait("end")
            assert data.data() == b"late"

    def test_kept_octets_are_not_taken_away_either(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            near.unshift(b"kept")
            near.end()
            far.close()
            near._take_end()
            assert near.read() == b"kept"

    def test_bytes_counted(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            near.write("ä")
            near.cork()
            near.write("b")
            near.write(bytes(20000))
            near.uncork()
            assert near.bytes_written == 20003
            far.sendall(b"xyz")
            assert near.read(3) == b"xyz"
            assert near.bytes_read == 3

    @pytest.mark.parametrize("last", [1, 3_000_000])
    def test_large_gathered_writes(self, family: int, last: int) -> None:
        with socket_pair(family) as (near, far):
            receiver = in_thread(drained, far)
            pieces = [bytes([i % 251]) * (i * 7 % 200) for i in range(1500)]
            near.cork()
            for piece in pieces:
                near.write(piece)
            near.end(b"z" * last)
            assert receiver.result() == b"".join(pieces) + b"z" * last

    def test_a_slow_peer_shows_as_activity(
        self, family: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large, small = bytes(5_000_000), bytes(500_000)
        for chunks in ([large], [small, large], [small] * 10):
            with socket_pair(family) as (near, far):
                receiver = in_thread(drained, far)
                near.cork()
                for chunk in chunks:
                    near.write(chunk)
                monkeypatch.setattr(_socket, "now", itertools.count(1.0).__next__)
                near.end()
                assert near._active >= 5  # a MiB at the most in each system call
                assert len(receiver.result()) == sum(map(len, chunks))


class Sink:
    """Takes what it is sent, and notes in which pieces."""

    def __init__(self) -> None:
        self.pieces: list[list[object]] = []

    def send(self, data: bytes) -> int:
        self.pieces.append([data])
        return len(data)

    def sendmsg(self, chunks: Sequence[bytes]) -> int:
        self.pieces.append(list(chunks))
        return sum(map(len, chunks))


def test_only_small_pieces_are_copied_to_be_sent_as_one() -> None:
    large = bytes(20_000)
    sink: Any = Sink()
    with socket_pair() as (near, _):
        handle, near._handle = near._handle, sink
        for chunks in ([b"a", b"b"], [b"a", large], [large]):
            near._transmit(chunks)
        near._handle = handle
    assert sink.pieces == [[b"ab"], [b"a", large], [large]]
    assert sink.pieces[1][1] is sink.pieces[2][0] is large


class TestFailing:
    def test_the_end_can_be_said_to_a_peer_that_is_gone(self) -> None:
        with socket_pair() as (near, far):
            reset(far)
            near.end()
            assert near.writable_finished

    def test_the_end_can_be_said_where_nobody_can_watch_the_peer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def watch(_handle: object, _callback: object) -> None:
            raise RuntimeError("no thread")

        monkeypatch.setattr(_watcher, "watch", watch)
        with socket_pair() as (near, far):
            near.end()
            assert far.recv(1) == b""

    def test_a_reset_reaches_everybody(self) -> None:
        with socket_pair() as (near, far):
            recorder = Recorder(near, "error", "close")
            reader = in_thread(near.read)
            far.sendall(b"x")
            reset(far)
            with pytest.raises(ConnectionResetError) as caught:
                reader.result()
            assert caught.value is near.errored
            recorder.wait("close")
            assert recorder.names == ["error", "close"]

    def test_a_reset_that_nobody_reads_after_end(self) -> None:
        with socket_pair() as (near, far):
            recorder = Recorder(near, "end", "error", "close")
            near.end()
            reset(far)
            recorder.wait("close")
            assert recorder.names == ["error", "close"]
            with pytest.raises(ConnectionResetError):
                near.read()

    def test_writing_to_a_peer_that_is_gone(self) -> None:
        with socket_pair(socket.AF_UNIX) as (near, far):
            recorder = Recorder(near, "error", "close")
            far.close()
            with pytest.raises(BrokenPipeError) as caught:
                near.write("x")
            assert caught.value.code == "EPIPE"  # type: ignore[attr-defined]
            recorder.wait("close")
            near.cork()

    def test_ending_towards_a_peer_that_is_gone(self) -> None:
        with socket_pair() as (near, far):
            reset(far)
            with contextlib.suppress(ConnectionResetError):
                near.read()
            near.end()
            Recorder(near, "close").wait("close")

    def test_destroy_with_something_unread(self) -> None:
        with socket_pair() as (near, far):
            near.write("sent")
            far.sendall(b"unread")
            assert near.read(1) == b"u"
            far.sendall(b"more")
            near.destroy()
            with contextlib.suppress(ConnectionResetError):  # a reset may overtake what was sent
                assert far.recv(10) in (b"sent", b"")

    def test_an_error_that_nobody_saw_is_logged(
        self, unused_port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        client: Socket | None = net.connect(unused_port, "127.0.0.1")
        assert client is not None
        Recorder(client, "close").wait("close")
        gone = threading.Event()
        weakref.finalize(client, gone.set)
        client = None
        while not gone.wait(0.001):
            gc.collect()
        assert "nobody was told: connect ECONNREFUSED" in caplog.text

    @pytest.mark.parametrize("how", ["error", "late error", "write", "destroy"])
    def test_an_error_that_somebody_saw_is_not(
        self, how: str, unused_port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        client: Socket | None
        if how == "destroy":
            client = Socket()
            client.destroy(OSError("mine"))
        else:
            client = net.connect(unused_port, "127.0.0.1")
        if how == "error":
            Recorder(client, "error").wait("error")
        Recorder(client, "close").wait("close")
        if how == "late error":
            Recorder(client, "error")
        if how == "write":
            with pytest.raises(ConnectionRefusedError):
                client.write("x")
        name = repr(client)
        client = None
        gc.collect()
        # Those of other tests may be collected just now.
        assert not [each for each in caplog.messages if each.startswith(f"{name} failed")]

    def test_a_driver_s_error_that_nobody_saw(self, caplog: pytest.LogCaptureFixture) -> None:
        raw, far = raw_pair(socket.AF_INET)
        near: Socket | None = Socket(raw)
        assert near is not None
        recorder = Recorder(near, "close", "data")
        far.sendall(b"x")
        recorder.wait("data")
        reset(far)
        recorder.wait("close")
        gone = threading.Event()
        weakref.finalize(near, gone.set)
        near = None
        del recorder
        while not gone.wait(0.001):
            gc.collect()
        assert "nobody was told: read ECONNRESET" in caplog.text

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_dropped_socket_is_closed_and_lets_the_process_end(self) -> None:
        raw, far = raw_pair(socket.AF_INET)
        near: Socket | None = Socket(raw)
        del raw
        assert near is not None
        assert near._refs == 1
        near = None
        gc.collect()
        assert far.recv(1) == b""
        far.close()


@pytest.mark.parametrize(("family", "name"), [(socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")])
def test_the_family_of_the_peer(family: int, name: str) -> None:
    with socket_pair(family) as (near, _):
        assert near.remote_family == name


class TestOptions:
    def test_no_delay(self) -> None:
        with socket_pair() as (near, _):
            handle = near._open_handle()
            assert near.set_no_delay() is near
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            near.set_no_delay(False)
            assert not handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_keep_alive(self) -> None:
        with socket_pair() as (near, _):
            handle = near._open_handle()
            near.set_keep_alive(True, 7.9)
            assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
            near.set_keep_alive(False, 9)
            assert not handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            near.set_keep_alive(True)
            assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
            near.set_keep_alive(True, 0.5)
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1

    def test_set_before_there_is_a_connection(self) -> None:
        with accept_into() as (address, _), Socket() as client:
            client.set_no_delay().set_keep_alive(True)
            client.connect(address[1], address[0])
            Recorder(client, "connect").wait("connect")
            handle = client._open_handle()
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def test_ignored_on_unix_and_when_closed(self) -> None:
        with socket_pair(socket.AF_UNIX) as (near, _):
            near.set_no_delay().set_keep_alive(True)
        near.set_no_delay()
