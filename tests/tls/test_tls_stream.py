"""What TLS adds to a stream: its own end, being cut short, and octets that are not data."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import SECONDS, Recorder, in_thread, listening, port_of
from tls_support import CA, Peer, accepting, echo_server, server_context

from nhttp import _threads, tls
from nhttp.errors import ConnectionReset
from nhttp.net._descriptor import Hold
from nhttp.tls._wire import KernelWire

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp.tls._wire import Wire

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MIB = 1024 * 1024


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def pair(request: pytest.FixtureRequest) -> Any:
    """A client's socket, and a peer of it, with either version."""
    with connected(request.param) as pair:
        yield pair


@contextlib.contextmanager
def connected(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, allow_half_open: bool = True
) -> Generator[tuple[tls.TLSSocket, Peer]]:
    with accepting() as (port, accept):
        stream = tls.connect(port, "127.0.0.1", ca=CA, allow_half_open=allow_half_open)
        try:
            peer = Peer(accept(), server_context(version))
            peer.shake()
            yield stream, peer
        finally:
            stream.destroy()


class TestTheEnd:
    def test_reading_goes_on_behind_our_own(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        stream.end(b"question")
        assert peer.receive_all() == b"question"
        peer.send(b"answer")
        peer.end()
        assert stream.read() == b"answer"
        assert stream.destroyed

    def test_what_has_come_is_not_lost_by_ending(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        data = os.urandom(200_000)
        sender = in_thread(peer.send, data)
        assert stream.read(1) == data[:1]  # some of it is there now
        stream.end()
        sender.result()
        peer.end()
        assert stream.read() == data[1:]

    def test_writing_goes_on_behind_the_peers(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        peer.end()
        assert stream.read() == b""
        stream.write(b"still ")
        stream.end(b"here")
        assert peer.receive_all() == b"still here"

    def test_it_answers_the_peers_by_itself(self) -> None:
        with connected(allow_half_open=False) as (stream, peer):
            recorder = Recorder(stream, "end", "finish", "close")
            peer.end()
            assert stream.read() == b""
            assert peer.receive_all() == b""
            recorder.wait("close")
            assert recorder.names == ["end", "finish", "close"] or stream.writable_finished

    def test_ending_twice_says_it_once(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        stream.end()
        stream._goodbye()
        assert peer.receive_all() == b""
        assert peer.plain.recv(10) == b""

    def test_destroy_says_no_goodbye(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        stream.write(b"a")
        stream.destroy()
        assert peer.receive(1) == b"a"
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            peer.receive(1)

    def test_goodbye_and_destroy_say_it(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        stream.write(b"a")
        stream._goodbye()
        stream.destroy()
        assert peer.receive_all() == b"a"

    def test_nobody_reads_and_it_closes_nevertheless(self) -> None:
        with connected() as (stream, peer):
            recorder = Recorder(stream, "close", "end")
            stream.end(b"x")
            assert peer.receive_all() == b"x"
            peer.end()
            peer.cut()
            recorder.wait("close")
            assert recorder.names == ["end", "close"]

    def test_nobody_reads_what_stands_before_the_end(self) -> None:
        with connected() as (stream, peer):
            stream.end(b"x")
            assert peer.receive_all() == b"x"
            peer.send(b"left")
            peer.end()
            peer.cut()
            assert stream.read() == b"left"


class TestBeingCutShort:
    def test_reading_says_so(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        recorder = Recorder(stream, "end", "error", "close")
        peer.send(b"not all")
        peer.cut()
        with pytest.raises(ConnectionReset) as caught:
            stream.read()
        assert caught.value.code == "ERR_SSL_UNEXPECTED_EOF_WHILE_READING"
        assert isinstance(caught.value, ConnectionResetError)
        assert stream.read1() == b"not all"
        recorder.wait("close")
        assert recorder.names == ["error", "close"]

    def test_within_a_record(self) -> None:
        with connected() as (stream, peer):
            with peer.lock:
                peer.object.write(b"data")
                peer.plain.sendall(peer.outgoing.read()[:-1])
            peer.cut()
            with pytest.raises(ConnectionReset):
                stream.read()

    def test_flowing_ends_with_an_error(self) -> None:
        with connected() as (stream, peer):
            recorder = Recorder(stream, "end", "error", "close", "data")
            peer.send(b"x")
            recorder.wait("data")
            peer.cut()
            recorder.wait("close")
            assert recorder.names == ["data", "error", "close"]

    def test_who_frames_messages_itself_is_left_to_decide(self) -> None:
        with connected() as (stream, peer):
            stream._open_handle()
            peer.cut()
            assert stream._receive(100) == b""
            assert stream._truncated


class TestWhatIsNoTLS:
    def test_octets_that_were_altered(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        peer.send(b"good")
        assert stream.read(4) == b"good"
        with peer.lock:
            peer.object.write(b"evil")
            out = bytearray(peer.outgoing.read())
        out[-1] ^= 1
        peer.plain.sendall(out)
        with pytest.raises(tls.TLSError) as caught:
            stream.read(1)
        assert caught.value.code == "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        assert stream.destroyed

    def test_what_came_before_them_is_given_first(self) -> None:
        with connected() as (stream, peer):
            with peer.lock:
                peer.object.write(b"good")
                good = peer.outgoing.read()
            peer.plain.sendall(good + b"\x17\x03\x03\x00\x20" + bytes(32))
            assert stream.read(4) == b"good"
            with pytest.raises(tls.TLSError):
                stream.read(1)
            with pytest.raises(ssl.SSLError):
                peer.receive(1)  # it was told by an alert


class TestBothWaysAtOnce:
    SIZE = 8 * MIB

    def test_two_threads_on_one_socket(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair

        def send(write: Callable[[bytes], object], end: Callable[[], object], seed: int) -> str:
            digest, numbers = hashlib.sha256(), random.Random(seed)
            left = self.SIZE
            while left:
                block = numbers.randbytes(min(left, numbers.choice([1, 700, 16384, 300_000])))
                left -= len(block)
                digest.update(block)
                write(block)
            end()
            return digest.hexdigest()

        def receive(blocks: Any) -> str:
            digest = hashlib.sha256()
            for block in blocks:
                digest.update(block)
            return digest.hexdigest()

        ours = in_thread(send, stream.write, stream.end, 1)
        theirs = in_thread(send, peer.send, peer.end, 2)
        there = in_thread(lambda: receive([peer.receive_all()]))
        here = in_thread(receive, stream)
        assert there.result() == ours.result()
        assert here.result() == theirs.result()

    def test_each_write_of_several_threads_stays_in_one_piece(self) -> None:
        size, count = 50_000, 20
        with connected() as (stream, peer):
            writers = [
                in_thread(stream.writelines, [bytes([each]) * size] * count) for each in range(4)
            ]
            got = peer.receive(4 * size * count)
            for each in writers:
                each.result()
        pieces = [got[at : at + size] for at in range(0, len(got), size)]
        assert all(len(set(piece)) == 1 for piece in pieces)
        assert sorted(piece[0] for piece in pieces) == sorted([0, 1, 2, 3] * count)

    def test_a_reader_does_not_wait_for_a_writer_that_is_stuck(
        self, pair: tuple[tls.TLSSocket, Peer]
    ) -> None:
        stream, peer = pair
        stuck = in_thread(stream.write, bytes(32 * MIB))
        assert peer.receive(1) == b"\0"
        data = os.urandom(4 * MIB)
        sender = in_thread(peer.send, data)
        assert stream.read(len(data)) == data
        sender.result()
        rest = in_thread(peer.receive, 32 * MIB - 1)
        stuck.result()
        assert len(rest.result()) == 32 * MIB - 1

    def test_pipe_both_ways_with_a_server(self) -> None:
        data = os.urandom(4 * MIB)
        with (
            listening(echo_server()) as server,
            tls.connect(port_of(server), "localhost", ca=CA) as stream,
        ):
            writer = in_thread(stream.end, data)
            assert stream.read() == data
            writer.result()


def test_silence_is_told() -> None:
    with listening(echo_server()) as server:
        stream = tls.connect(port_of(server), "localhost", ca=CA, timeout=0.05)
        recorder = Recorder(stream, "timeout")
        recorder.wait("timeout")
        stream.destroy()


class TestRecords:
    def test_octet_by_octet(self, pair: tuple[tls.TLSSocket, Peer]) -> None:
        stream, peer = pair
        with peer.lock:
            peer.object.write(b"hello")
            peer.object.write(b" there")
            out = peer.outgoing.read()
        reader = in_thread(stream.read, 11)
        for octet in out:
            peer.plain.sendall(bytes([octet]))
        assert reader.result() == b"hello there"

    def test_many_in_one_go_are_given_in_one_go(self) -> None:
        with connected() as (stream, peer):
            with peer.lock:
                for _ in range(100):
                    peer.object.write(b"x" * 10)
                peer.plain.sendall(peer.outgoing.read())
            assert stream.read(1) == b"x"
            assert stream.readable_length == 999

    @pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 256 * 1024, 256 * 1024 + 1])
    def test_writes_of_any_size(self, size: int) -> None:
        data = os.urandom(size)
        with connected() as (stream, peer):
            writer = in_thread(stream.write, memoryview(data))
            assert peer.receive(size) == data
            writer.result()
            stream.cork()
            for at in range(0, size, 1000):
                stream.write(data[at : at + 1000])
            writer = in_thread(stream.end)
            assert peer.receive_all() == data
            writer.result()
        assert stream.bytes_written == 2 * size

    def test_a_ticket_is_not_something_to_read(self) -> None:
        with connected() as (stream, peer):
            stream.write(b"x")
            assert peer.receive(1) == b"x"  # the tickets are behind the handshake, in this order
            assert stream._is_quiet()
            assert not stream._await_readable(0)
            peer.send(b"y")
            assert stream._await_readable(SECONDS)
            assert not stream._is_quiet()
            assert stream.read(1) == b"y"
            assert stream._is_quiet()
            peer.end()
            assert stream._await_readable(SECONDS)
            assert stream.read() == b""

    def test_sending_a_file(self, tmp_path: Any) -> None:
        with connected() as (stream, _):
            stream._open_handle()
            assert stream._sendfile(0, 0, 1) is None


class TestWhatReadingSends:
    """A reader that has something to send never waits for that."""

    def test_alerts_go_behind_a_writer_that_is_stuck(self) -> None:
        with connected(ssl.TLSVersion.TLSv1_3) as (stream, peer):
            stuck = in_thread(stream.write, bytes(32 * MIB))
            assert peer.receive(1) == b"\0"
            peer.plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises(tls.TLSError):
                stream.read(1)
            with pytest.raises((OSError, ssl.SSLError)):
                stuck.result()

    def test_what_the_kernel_does_not_take_is_sent_by_a_helper(self) -> None:
        with connected() as (stream, peer):
            engine, wire = stream._opened()
            narrow = Narrow(wire)
            engine.object.write(b"aside")
            assert engine.turn.acquire(blocking=False)
            stream._send_aside(engine, narrow)
            writer = in_thread(stream.end, b" and behind")
            peer.send(b"read meanwhile")
            assert stream.read(14) == b"read meanwhile"
            narrow.gate.set()
            assert peer.receive_all() == b"aside and behind"
            writer.result()

    def test_answers_that_nobody_reads_do_not_fill_the_memory(self) -> None:
        with connected() as (stream, peer):
            engine, _ = stream._opened()
            with engine.turn:  # somebody is stuck with it
                with engine.lock:
                    engine.object.write(bytes(60_000))
                peer.send(b"one")
                assert stream.read(3) == b"one"
                with engine.lock:
                    engine.object.write(bytes(10_000))
                peer.send(b"two")
                with pytest.raises(tls.TLSError, match="does not read them"):
                    stream.read(3)

    def test_destroy_ends_the_helper(self) -> None:
        with connected() as (stream, _):
            engine, wire = stream._opened()
            narrow = Narrow(wire)
            recorder = Recorder(stream, "close")
            engine.object.write(b"aside")
            assert engine.turn.acquire(blocking=False)
            stream._send_aside(engine, narrow)
            stream.destroy()
            assert recorder.names == []  # it still has the descriptor
            narrow.gate.set()
            recorder.wait("close")
            assert engine.turn.acquire(timeout=SECONDS)

    @pytest.mark.parametrize("why", ["destroyed", "no thread"])
    def test_the_turn_is_given_back_when_there_is_no_helper(
        self, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_arguments: object, **_options: object) -> None:
            raise RuntimeError("no thread")

        with connected() as (stream, _):
            engine, wire = stream._opened()
            engine.object.write(b"aside")
            assert engine.turn.acquire(blocking=False)
            with Hold(stream):
                if why == "destroyed":
                    stream.destroy(LookupError("for reasons of its own"))
                else:
                    monkeypatch.setattr(_threads, "run", refuse)
                stream._send_aside(engine, Narrow(wire))
            assert stream.destroyed
            assert engine.turn.acquire(blocking=False)

    def test_an_interrupted_write_leaves_nothing_to_go_on_with(self) -> None:
        with connected() as (stream, _):
            _, wire = stream._opened()

            def interrupted(data: bytes, /) -> None:
                raise KeyboardInterrupt

            wire.send = interrupted  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                stream.write(b"x")
            assert stream.destroyed


class TestWantingToReadFirst:
    """OpenSSL does not encrypt while a message of its own has come in part. Such are rare."""

    def test_the_writer_reads_if_nobody_does(self) -> None:
        with connected(ssl.TLSVersion.TLSv1_2) as (stream, peer):
            engine, _ = stream._opened()
            reluctant(engine)
            writer = in_thread(stream.write, b"data")
            peer.send(b"the rest")
            assert peer.receive(4) == b"data"
            writer.result()
            assert stream.read(8) == b"the rest"

    def test_it_leaves_that_to_a_reader(self) -> None:
        with connected(ssl.TLSVersion.TLSv1_2) as (stream, peer):
            engine, _ = stream._opened()
            reader = in_thread(stream.read, 8)
            reluctant(engine)
            writer = in_thread(stream.write, b"data")
            peer.send(b"the rest")
            assert reader.result() == b"the rest"
            peer.send(b"!")  # should the writer have been late
            assert peer.receive(4) == b"data"
            writer.result()
            assert stream.read(1) == b"!"

    def test_it_ends_with_the_connection(self) -> None:
        with connected(ssl.TLSVersion.TLSv1_2) as (stream, peer):
            engine, _ = stream._opened()
            reluctant(engine)
            writer = in_thread(stream.write, b"data")
            peer.cut()
            with pytest.raises(ConnectionReset):
                writer.result()


def reluctant(engine: Any) -> None:
    """Have an engine encrypt nothing until more has come."""
    encrypt, decrypt, supply = engine.encrypt, engine.decrypt, engine.supply

    def willing(function: Any, *args: Any) -> Any:
        engine.encrypt = encrypt
        return function(*args)

    def unwilling(parts: list[Any]) -> None:
        del parts

    engine.encrypt = unwilling
    engine.decrypt = functools.partial(willing, decrypt)
    engine.supply = functools.partial(willing, supply)


class Narrow(KernelWire):
    """A wire that takes an octet without blocking, and the rest when it may."""

    def __init__(self, wire: Wire) -> None:
        assert isinstance(wire, KernelWire)
        super().__init__(wire._handle)
        self.gate = threading.Event()
        self.send = self.send_slowly  # type: ignore[assignment]

    def send_now(self, data: bytes, /) -> int:
        return super().send_now(data[:1])

    def send_slowly(self, data: bytes, /) -> None:
        assert self.gate.wait(SECONDS)
        self._handle.sendall(data)
