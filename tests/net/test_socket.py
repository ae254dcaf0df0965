"""Socket: connecting, the life of its descriptor, timeouts, options, addresses."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import errno
import gc
import math
import os
import queue
import random
import socket
import struct
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from support import (
    NO_THREADS_AT_EXIT,
    SECONDS,
    Recorder,
    accept_into,
    in_thread,
    raw_pair,
    socket_pair,
)

from nhttp import _threads, _watcher, net
from nhttp.errors import InvalidArgument, LookupFailed, StateError
from nhttp.net import Address, Socket
from nhttp.streams import Readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAMILIES = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]


def reset(far: socket.socket) -> None:
    """Close a plain socket with a reset."""
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound and nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class TestConnect:
    def test_every_form(self, tmp_path: Path) -> None:
        called: list[int] = []
        forms: list[Callable[[int], Socket]] = [
            lambda port: net.connect(port, "127.0.0.1", lambda: called.append(1)),
            lambda port: net.connect(port, lambda: called.append(2), family=4),
            lambda port: net.connect(str(port), "127.0.0.1", lambda: called.append(3)),
            lambda port: net.connect(
                port=port, host="127.0.0.1", listener=lambda: called.append(4)
            ),
            lambda port: Socket().connect(port, "127.0.0.1", lambda: called.append(5)),
            lambda port: net.create_connection(port, "127.0.0.1").on(
                "connect", lambda: called.append(6)
            ),
        ]
        with accept_into() as ((_, port), accept):
            for count, form in enumerate(forms, 1):
                with form(port) as client:
                    Recorder(client, "connect").wait("connect")
                    accept()
                    Recorder(client, "ready").wait("ready")
                    assert called[-1] == count

    @pytest.mark.parametrize("keyword", [True, False])
    def test_unix(self, tmp_path: Path, keyword: bool) -> None:
        path = tmp_path / "s"
        with accept_into(path) as (_, accept):
            client = net.connect(path=str(path)) if keyword else net.connect(str(path))
            with client:
                far = accept()
                far.sendall(b"x")
                assert client.read(1) == b"x"
                remote = (client.remote_address, client.remote_port, client.remote_family)
                assert remote == (None, None, None)
                assert (client.local_address, client.local_port) == (None, None)
                assert client.address() == ""

    def test_the_state_on_the_way(self) -> None:
        client: Any = Socket()  # states change where no type checker sees it
        assert client.pending
        assert not client.connecting
        assert client.ready_state == "closed"
        assert client.address() is None
        assert (client.remote_address, client.local_port) == (None, None)
        assert client.fileno() == -1
        assert repr(client) == "<Socket closed>"
        gate = threading.Event()
        states: list[object] = []

        def on_connect() -> None:
            states.extend((client.connecting, client.pending, client.ready_state))
            gate.set()

        with accept_into() as (address, accept):
            client.connect(address[1], address[0], on_connect)
            assert gate.wait(SECONDS)
            assert states == [False, False, "open"]
            far = accept()
            host, port = far.getpeername()
            assert client.address() == Address(host, port, "IPv4")
            assert client.local_address == "127.0.0.1"
            assert client.local_port == far.getpeername()[1]
            assert (client.remote_address, client.remote_port) == address
            assert client.remote_family == "IPv4"
            assert repr(client) == f"<Socket 127.0.0.1:{address[1]} open>"
            assert client.fileno() >= 0
            client.end()
            assert client.ready_state == "readOnly"
            client.destroy()
            assert client.ready_state == "closed"
            assert not client.pending
            assert client.fileno() == -1
            assert client.address() is None

    def test_opening(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving, go = threading.Event(), threading.Event()

        def resolve(*args: Any) -> Any:
            resolving.set()
            assert go.wait(SECONDS)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        client = net.connect(80, "host.invalid")
        recorder = Recorder(client, "close", "error")
        assert resolving.wait(SECONDS)
        assert client.connecting
        assert client.pending
        assert client.ready_state == "opening"
        reader = in_thread(client.read)
        client.destroy()
        with pytest.raises(StateError):
            reader.result()
        go.set()
        recorder.wait("close")
        assert recorder.names == ["close"]
        assert not client.connecting

    def test_what_is_called_before_the_connection_stands_waits_for_it(self) -> None:
        with accept_into() as (address, accept), Socket() as client:
            client.connect(address[1], address[0])
            client.write("hello")
            far = accept()
            assert far.recv(5) == b"hello"

    def test_connect_is_latched(self) -> None:
        with accept_into() as (address, accept), net.connect(address[1], address[0]) as client:
            accept()
            client.write("x")
            assert Recorder(client, "connect", "ready").wait("ready") == ()

    def test_not_twice(self) -> None:
        with accept_into() as (address, _), net.connect(address[1], address[0]) as client:
            with pytest.raises(StateError) as caught:
                client.connect(address[1])
            assert caught.value.code == "EISCONN"
        with pytest.raises(StateError):
            client.connect(address[1])

    def test_refused(self, unused_port: int) -> None:
        client = net.connect(unused_port, "127.0.0.1")
        recorder = Recorder(client, "connect", "error", "close")
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        ((error,),) = recorder.all("error")
        assert isinstance(error, ConnectionRefusedError)
        assert f"connect ECONNREFUSED 127.0.0.1:{unused_port}" in str(error)
        with pytest.raises(ConnectionRefusedError):
            client.write("x")
        with pytest.raises(ConnectionRefusedError):
            client.read()

    def test_refused_by_unix(self, tmp_path: Path) -> None:
        client = net.connect(str(tmp_path / "nobody"))
        (error,) = Recorder(client, "error").wait("error")
        assert error.code == "ENOENT"

    def test_a_full_unix_queue_is_an_error(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(path)
            listener.listen(0)
            codes: list[str] = []
            for _ in range(4):
                recorder = Recorder(stack.enter_context(net.connect(path)), "connect", "error")
                recorder.wait_until(lambda noted=recorder.noted: bool(noted))  # type: ignore[misc]
                codes.extend(error.code for (error,) in recorder.all("error"))
            assert set(codes) == {"EAGAIN"}

    @pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 100 + ".invalid"])
    def test_unresolvable(self, host: str) -> None:
        client = net.connect(80, host)
        (error,) = Recorder(client, "error").wait("error")
        assert isinstance(error, LookupFailed)
        assert error.code in ("ENOTFOUND", "EAI_AGAIN")
        assert f"{host}:80" in str(error)

    def test_every_address_of_a_name_is_tried(
        self, unused_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with accept_into() as (address, accept):
            found = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", unused_port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", address),
            ]
            asked: list[Any] = []

            def resolve(*args: Any) -> Any:
                asked.append(args)
                return found

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            with net.connect(1, "two.invalid", family=4) as client:
                Recorder(client, "connect").wait("connect")
                accept()
                assert client.remote_port == address[1]
            assert asked == [("two.invalid", 1, socket.AF_INET, socket.SOCK_STREAM)]
            found[1] = found[0]
            (error,) = Recorder(net.connect(1, "two.invalid"), "error").wait("error")
            assert error.code == "ECONNREFUSED"

    def test_local_address(self) -> None:
        with (
            accept_into() as (address, accept),
            net.connect(address[1], address[0], local_address="127.0.0.2") as client,
        ):
            assert accept().getpeername()[0] == "127.0.0.2"
            Recorder(client, "connect").wait("connect")
            assert client.local_address == "127.0.0.2"

    def test_local_port(self, unused_port: int) -> None:
        with accept_into() as (address, _):
            client = net.connect(address[1], address[0], local_port=unused_port)
            (error,) = Recorder(client, "error").wait("error")
            assert error.code == "EADDRINUSE"

    @pytest.mark.parametrize(
        ("arguments", "options"),
        [
            ((), {}),
            ((70000,), {}),
            ((-1,), {}),
            ((True,), {}),
            (("",), {}),
            ((80,), {"family": 5}),
            ((80,), {"local_port": 70000}),
        ],
    )
    def test_bad_arguments(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        client = Socket()
        with pytest.raises(InvalidArgument):
            client.connect(*arguments, **options)
        assert client.pending

    def test_destroy_while_connecting(self) -> None:
        # Nobody accepts and the queue is full: the kernel keeps trying.
        with (
            socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
            contextlib.ExitStack() as stack,
        ):
            address = listener.getsockname()
            stack.enter_context(socket.create_connection(address))
            for _ in range(2):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            stuck = stack.enter_context(net.connect(address[1], address[0]))
            recorder = Recorder(stuck, "error", "close", "connect")
            while stuck._handle is None:  # until it is in the kernel, or about to be
                pass
            writer = in_thread(stuck.write, b"x")
            stuck.destroy()
            with pytest.raises((StateError, OSError)):
                writer.result()
            recorder.wait("close")
            assert "error" not in recorder.names

    def test_destroyed_between_two_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client = Socket()

        def resolve(*args: Any) -> Any:
            client.destroy()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        recorder = Recorder(client, "error", "close", "connect")
        client.connect(9, "x.invalid")
        recorder.wait("close")
        assert recorder.names == ["close"]

    def test_a_connect_listener_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        def listener() -> None:
            raise ValueError("a bug")

        with accept_into() as (address, _):
            client = net.connect(address[1], address[0], listener)
            recorder = Recorder(client, "close")
            recorder.wait("close")
            assert isinstance(client.errored, ValueError)
            assert "a bug" in caplog.text

    def test_no_thread_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(*args: Any, **options: Any) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(_threads, "run", run)
        client = Socket()
        with pytest.raises(RuntimeError, match="new thread"):
            client.connect(80, "127.0.0.1")
        assert client.destroyed
        assert Recorder(client, "close").names == ["close"]

    @pytest.mark.parametrize("moment", range(8))
    def test_resume_at_any_moment_of_connecting_gives_one_driver(self, moment: int) -> None:
        with accept_into() as (address, accept):
            client = Socket()
            barrier = threading.Barrier(2)
            order = Recorder(client, "connect")

            def resume() -> None:
                barrier.wait(SECONDS)
                for _ in range(moment * 20):
                    pass
                client.on("data", lambda chunk: order.note("data", chunk))

            other = in_thread(resume)
            barrier.wait(SECONDS)
            client.connect(address[1], address[0])
            far = accept()
            far.sendall(b"one")
            order.wait("data")
            far.sendall(b"two")
            order.wait_until(lambda: b"".join(a[0] for a in order.all("data")) == b"onetwo")
            assert order.names[0] == "connect"
            other.result()
            client.destroy()

    def test_data_wanted_before_connect_is_called(self) -> None:
        client = Socket()
        recorder = Recorder(client, "end", "data")
        with accept_into() as (address, accept):
            client.connect(address[1], address[0])
            with accept() as far:
                far.sendall(b"x")
            recorder.wait("end")
            assert recorder.data() == b"x"

    def test_timeout_option(self) -> None:
        with (
            accept_into() as (address, accept),
            net.connect(address[1], address[0], timeout=0.01) as client,
        ):
            accept()
            assert Recorder(client, "timeout").wait("timeout") == ()


class TestTakenOver:
    def test_by_descriptor(self) -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        with far, Socket(fd=near.detach()) as stream:
            reader = in_thread(stream.read, 1)  # it blocks again
            far.send(b"x")
            assert reader.result() == b"x"

    def test_what_is_no_socket(self, tmp_path: Path) -> None:
        with (tmp_path / "f").open("wb") as file, pytest.raises(OSError, match="non-socket"):
            Socket(fd=file.fileno())

    def test_wrong_arguments_leave_nothing(self) -> None:
        with pytest.raises(TypeError):
            Socket(nothing=1)  # type: ignore[call-arg]
        gc.collect()

    def test_nothing_to_use(self) -> None:
        for call in (lambda: Socket().read(), lambda: Socket().write("x")):
            with pytest.raises(StateError) as caught:
                call()
            assert caught.value.code == "ENOTCONN"


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

    def test_large_gathered_writes(self, family: int) -> None:
        with socket_pair(family) as (near, far):
            receiver = in_thread(lambda: b"".join(iter(lambda: far.recv(65536), b"")))
            pieces = [bytes([i % 251]) * (i * 7 % 2000) for i in range(1500)]
            near.cork()
            for piece in pieces:
                near.write(piece)
            near.end(b"z" * 3_000_000)
            assert receiver.result() == b"".join(pieces) + b"z" * 3_000_000


class TestFailing:
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
        client = None
        gc.collect()
        assert "nobody was told" not in caplog.text

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


class TestHolding:
    def test_stop_reading(self) -> None:
        with socket_pair() as (near, far):
            far.sendall(b"x")
            assert near.read(1) == b"x"
            reader = in_thread(near.read)
            near.write("meanwhile")
            near._stop_reading()
            assert reader.result() == b""

    def test_stop_reading_of_what_is_closed_or_never_was_open(self) -> None:
        stream = Socket()
        stream._stop_reading()
        stream.destroy()
        stream._stop_reading()

    def test_stop_reading_never_tells_on_its_own_thread(self) -> None:
        with socket_pair() as (near, _):
            recorder = Recorder(near, "close")
            handle = near._open_handle()

            class Slow:
                def shutdown(self, how: int) -> None:
                    if how == socket.SHUT_RD:
                        near.destroy()  # by another thread, just now

                def close(self) -> None:
                    handle.close()

            near._handle = Slow()  # type: ignore[assignment]
            near._stop_reading()
            recorder.wait("close")
            assert recorder.threads != [threading.current_thread()]

    def test_the_owner_need_not_hold_again(self) -> None:
        with socket_pair() as (near, _):
            near._hold()
            near._owner = threading.get_ident()
            with near._writing():
                assert near._holders == 1
            near._owner = 0
            with near._writing():
                assert near._holders == 2
            near._release()

    def test_the_last_to_let_go_closes_once(self) -> None:
        with socket_pair() as (near, _):
            closed: list[Any] = []
            near._on_closed = closed.append
            told: list[int] = []
            near._on_destroyed = lambda: told.append(1)
            near._hold()
            near.destroy()
            assert (closed, told) == ([], [1])
            assert near.fileno() >= 0
            near._release()
            assert closed == [near]
            with pytest.raises(StateError):
                near._hold()

    def test_nobody_uses_a_closed_descriptor(self) -> None:
        """Threads write, read and destroy at random; no octet may reach another connection."""
        seed = random.randrange(1 << 32)
        rounds = 12

        def work(number: int) -> None:
            rng = random.Random(f"{seed}/{number}")
            mark = bytes([number])
            for _ in range(rounds):
                with socket_pair(rng.choice(FAMILIES)) as (near, far):
                    writer = in_thread(self.pump, near, mark)
                    reader = in_thread(self.drain, near)
                    far.settimeout(SECONDS)
                    for _ in range(rng.randrange(4)):
                        with contextlib.suppress(OSError):
                            far.sendall(mark * 100)
                            assert set(far.recv(1000)) <= {number}
                    near.destroy()
                    writer.result()
                    assert reader.result() <= {number}
                    with contextlib.suppress(OSError):
                        while block := far.recv(65536):
                            assert set(block) <= {number}

        for each in [in_thread(work, number) for number in range(1, 9)]:
            each.result()

    @staticmethod
    def pump(near: Socket, mark: bytes) -> None:
        with contextlib.suppress(StateError, OSError):
            while True:
                near.write(mark * 500)
                near.set_no_delay()
                near.address()

    @staticmethod
    def drain(near: Socket) -> set[int]:
        seen: set[int] = set()
        with contextlib.suppress(StateError, OSError):
            for block in near:
                seen |= set(block)
        return seen


class TestTimeout:
    def test_silence(self) -> None:
        with socket_pair() as (near, _):
            recorder = Recorder(near, "close")
            called = threading.Event()
            assert near.set_timeout(0.01, called.set) is near
            assert near.timeout == 0.01
            assert called.wait(SECONDS)
            assert not near.destroyed
            assert recorder.names == []

    def test_zero_turns_it_off(self) -> None:
        with socket_pair() as (near, _):
            called: list[int] = []

            def listener() -> None:
                called.append(1)

            near.set_timeout(10, listener)
            near.set_timeout(0, listener)
            assert near.timeout == 0
            assert near.listener_count("timeout") == 0
            assert near._deadline is not None
            assert near._deadline.when == math.inf
            Socket().set_timeout(0)

    def test_activity_puts_it_off(self) -> None:
        with socket_pair() as (near, far):
            near.set_timeout(1000)
            deadline = near._deadline
            assert deadline is not None
            far.sendall(b"x")
            for act in (lambda: near.write("x"), lambda: near.read(1)):
                near._active -= 2000
                before = near._active
                act()
                assert near._active > before + 1000
                deadline.set(math.inf)
                near._look_at_clock()  # as the timer thread does when the deadline passes
                assert deadline.when == near._active + 1000

    def test_silence_is_told_again_behind_the_next_activity(self) -> None:
        with socket_pair() as (near, _):
            told: queue.SimpleQueue[str] = queue.SimpleQueue()
            near.on("timeout", lambda: told.put("timeout"))
            near.set_timeout(0.01)
            for _ in range(3):
                assert told.get(timeout=SECONDS) == "timeout"
                near.write("x")

    def test_one_silence_is_told_once(self) -> None:
        with socket_pair() as (near, _):
            told: list[float] = []
            looked = threading.Semaphore(0)

            def deal(each: Socket) -> bool:
                told.append(each._active)
                return True

            look = near._look_at_clock

            def look_and_tell() -> None:
                look()
                looked.release()

            near._look_at_clock = look_and_tell  # type: ignore[method-assign]
            near._on_idle = deal
            near.set_timeout(0.01)
            for _ in range(4):
                assert looked.acquire(timeout=SECONDS)
            assert len(told) == 1

    def test_a_limit_that_nothing_puts_off(self) -> None:
        with socket_pair() as (near, _):
            near._set_limit(math.inf)
            assert not near._deadline
            near._set_limit(5e9)
            near.write("x")
            deadline: Any = near._deadline
            assert deadline.when == 5e9

    def test_who_deals_with_it_first(self) -> None:
        with socket_pair() as (near, _):
            recorder = Recorder(near, "timeout")
            dealt: list[Socket] = []

            def deal(each: Socket) -> bool:
                dealt.append(each)
                return True

            near._on_idle = deal
            near._expire()
            assert dealt == [near]
            near._on_idle = lambda each: False
            near._expire()
            recorder.wait("timeout")
            near.remove_all_listeners("timeout")
            near._expire()

    def test_off_once_destroyed(self) -> None:
        with socket_pair() as (near, _):
            near.set_timeout(1000)
            deadline = near._deadline
            near.destroy()
            assert deadline is not None
            assert deadline.callback is None
        near._deadline = None
        near.set_timeout(1000)
        assert near._deadline.callback is None

    @pytest.mark.parametrize("seconds", [-1, math.nan])
    def test_refused(self, seconds: float) -> None:
        with pytest.raises(InvalidArgument):
            Socket().set_timeout(seconds)


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
            near.set_keep_alive()
            assert not handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            near.set_keep_alive(True)

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


class TestRaces:
    """What a thread finds when another one was faster."""

    def test_destroyed_before_the_driver_starts(self) -> None:
        with socket_pair() as (near, _):
            near.destroy()
            near._run_driver()
            near._watch_peer()
            near._take_end()

    def test_somebody_else_watches_already(self) -> None:
        with socket_pair() as (near, far):
            watch = _watcher.watch(near._open_handle(), lambda: None)
            near.end()
            watch.cancel()
            far.close()
            assert near.read() == b""

    def test_the_watcher_was_wrong(self) -> None:
        with socket_pair() as (near, _):
            near._take_end()
            assert not near.destroyed

    def test_the_kernel_fails_what_was_destroyed(self) -> None:
        with socket_pair() as (near, _):
            near._hold()
            near.destroy()
            with pytest.raises(StateError):
                near._receive(1)
            with pytest.raises(StateError):
                near._writev([b"x"])
            near._release()

    def test_paused_with_a_block_under_way(self) -> None:
        with socket_pair() as (near, far):
            far.sendall(b"x")
            near.unshift(b"kept")
            near.pause()
            near._flow()  # the driver, which had been told to emit it
            assert near.read(5) == b"keptx"

    def test_done_writing(self) -> None:
        with socket_pair() as (near, _):
            assert not near._done_writing()
            near.end()
            assert near._done_writing()

    def test_an_end_listener_that_raises_leaves_nothing_open(self) -> None:
        def listener() -> None:
            raise ValueError("a bug")

        with socket_pair() as (near, far):
            near.on("end", listener)
            far.close()
            with pytest.raises(ValueError, match="a bug"):
                near.read()
            Recorder(near, "close").wait("close")

    def test_end_while_the_end_is_told(self) -> None:
        with socket_pair() as (near, far):
            recorder = Recorder(near, "close")
            near.on("end", near.end)
            far.close()
            assert near.read() == b""
            recorder.wait("close")

    def test_the_end_comes_while_this_side_is_ending(self) -> None:
        with socket_pair() as (near, far):
            recorder = Recorder(near, "close", "finish")
            far.shutdown(socket.SHUT_WR)
            near._write_ended = True  # another thread is in `end`
            assert near.read() == b""
            assert recorder.names == []
            near._finish()
            recorder.wait("close")


class TestSendfile:
    def test_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"0123456789")
        with socket_pair() as (near, far), path.open("rb") as file:
            assert near._sendfile(file.fileno(), 2, 4) == 4
            assert far.recv(10) == b"2345"
            assert near.bytes_written == 4
            assert near._sendfile(file.fileno(), 10, 4) == 0

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
    def test_what_the_kernel_cannot_do(self, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> int:
            raise OSError(code, "no")

        monkeypatch.setattr(os, "sendfile", refuse)
        with socket_pair() as (near, _):
            assert near._sendfile(0, 0, 1) is None

    def test_where_there_is_no_such_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "sendfile")
        with socket_pair() as (near, _):
            assert near._sendfile(0, 0, 1) is None

    def test_to_a_peer_that_is_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"x")
        with socket_pair(socket.AF_UNIX) as (near, far), path.open("rb") as file:
            far.close()
            with pytest.raises(BrokenPipeError):
                near._sendfile(file.fileno(), 0, 1)
            assert near.destroyed


class TestPipes:
    def test_socket_to_socket_and_back(self) -> None:
        big = os.urandom(2_000_000)
        with socket_pair() as (left, left_far), socket_pair() as (right, right_far):
            left.pipe(right)
            right.pipe(left)

            def exchange(end: socket.socket) -> bytes:
                sender = in_thread(end.sendall, big)
                received = b""
                while len(received) < len(big):
                    received += end.recv(65536)
                sender.result()
                end.shutdown(socket.SHUT_WR)
                return received + end.recv(1)

            other = in_thread(exchange, right_far)
            assert exchange(left_far) == big
            assert other.result() == big

    def test_from_a_stream_of_one_s_own(self) -> None:
        class Once(Readable):
            def _read(self, size: int) -> bytes:
                self._source_ended = True
                return b"hello"

        with socket_pair() as (near, far):
            Once().pipe(near)
            assert far.recv(10) == b"hello"
            assert far.recv(10) == b""


KEPT = """
import sys, threading
from nhttp import net
lines = []
server = net.create_server(lambda s: s.on("end", lambda: print("end")).resume())
server.listen(0, "127.0.0.1").unref()
client = net.Socket()
{then}
"""


def run(then: str, *, timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KEPT.format(then=then)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@NO_THREADS_AT_EXIT
class TestKeepingTheProcessAlive:
    def test_until_the_connection_is_closed(self) -> None:
        done = run(
            "client.connect(server.address().port, '127.0.0.1')\n"
            "threading.Timer(0.05, lambda: (print('timer'), client.end())).start()"
        )
        assert "timer\nend" in done.stdout

    def test_not_after_unref(self) -> None:
        then = """
done = threading.Event()
server.on("connection", lambda s: (s.unref(), done.set()))
client.unref().ref().unref()
client.connect(server.address().port, "127.0.0.1")
assert done.wait(10)
client.write("still open")
"""
        assert run(then).returncode == 0

    def test_ref_and_unref(self) -> None:
        with socket_pair() as (near, _):
            assert near._refs == 1
            near.unref()
            assert near._refs == 0
            near.ref().ref()
            assert near._refs == 1
        near.ref()
        assert near._refs == 0
        unconnected = Socket().unref().ref()
        assert unconnected._refs == 0
