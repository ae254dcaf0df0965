"""Socket: several threads and one descriptor, and how long it keeps the process alive."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from net_support import FAMILIES
from support import (
    NO_THREADS_AT_EXIT,
    SECONDS,
    Recorder,
    accept_into,
    eventually,
    in_thread,
    raw_pair,
    socket_pair,
)

from nhttp import _threads, _watcher
from nhttp.errors import StateError
from nhttp.net import Socket
from nhttp.net._descriptor import Hold


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

    def test_stop_reading_if_that_is_still_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ran: list[Any] = []

        def run(*args: Any, **_: Any) -> None:
            ran.append(args)

        monkeypatch.setattr(_threads, "run", run)
        with socket_pair(allow_half_open=True) as (near, far):
            near._stop_reading(lambda _: False)
            assert near._is_quiet()
            far.sendall(b"x")
            assert near.read(1) == b"x"
            near._stop_reading(lambda _: True)
            assert near.read(1) == b""
            near.write("x")
            assert ran == []  # it is not closed by that

    def test_stop_reading_leaves_what_is_destroyed_to_who_uses_it(self) -> None:
        with socket_pair() as (near, _):
            near._hold()
            near.destroy()
            near._stop_reading()
            assert near.fileno() >= 0
            near._release()
            assert near.fileno() == -1

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

    def test_ctrl_c_in_the_wait_for_a_turn_to_write_lets_go(self) -> None:
        class Interrupted:
            def acquire(self) -> None:
                raise KeyboardInterrupt

        with socket_pair() as (near, _):
            near._write_lock = Interrupted()  # type: ignore[assignment]
            with pytest.raises(KeyboardInterrupt):
                near.write("x")
            assert near._holders == 0

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

    def test_the_last_to_let_go_in_the_middle_of_a_destroy_closes_once(self) -> None:
        class Late(Socket):
            def _destroy(self, error: BaseException | None) -> None:
                self._release()
                super()._destroy(error)

        raw, far = raw_pair(socket.AF_INET)
        with far:
            near = Late(raw)
            closed: list[Any] = []
            near._on_closed = closed.append
            near._hold()
            near.destroy()
            assert closed == [near]

    def test_what_nobody_else_uses_is_retired_by_closing_it(self) -> None:
        with socket_pair() as (near, far):
            near._hold()
            near._retire()
            assert near.destroyed
            near._release()
            assert near.fileno() == -1
            assert far.recv(1) == b""

    def test_retiring_wakes_whoever_else_uses_it(self) -> None:
        with socket_pair() as (near, far), Hold(near):
            near._hold()
            near._retire()
            assert near.destroyed
            assert far.recv(1) == b""  # although two still hold it
            near._release()

    def test_what_was_destroyed_is_not_destroyed_again_by_retiring_it(self) -> None:
        with socket_pair() as (near, _), Hold(near):
            told: list[int] = []
            near._on_destroyed = lambda: told.append(1)
            near.destroy()
            near._retire()
            assert near.destroyed
            assert told == [1]

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

    def test_what_is_destroyed_for_whatever_reason_may_still_be_asked(self) -> None:
        with socket_pair() as (near, _), Hold(near):
            near.destroy(ValueError("because"))
            assert near.address() is None
            assert near.set_no_delay() is near
            assert near.set_keep_alive(True, 1) is near
            near._stop_reading()


class TestRaces:
    """What a thread finds when another one was faster."""

    def test_destroyed_while_the_peer_is_watched(self) -> None:
        with socket_pair() as (near, _):
            near.end()
            watch = near._watch
            assert watch is not None
            near.destroy()
            assert watch.callback is None

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


class TestDriver:
    def test_one_that_comes_when_the_socket_was_destroyed_lets_go_of_nothing(self) -> None:
        with socket_pair() as (near, _):
            near.destroy()
            near._run_driver()
            assert near._holders == 0


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

    def test_again_when_what_an_ended_peer_has_left_is_wanted(self) -> None:
        with socket_pair() as (near, far):
            near.end()
            far.sendall(b"left")
            far.shutdown(socket.SHUT_WR)
            eventually(lambda: near._refs == 0, "the process is kept alive for nothing")
            refs: list[int] = []
            near.on("data", lambda _: refs.append(near._refs))
            Recorder(near, "close").wait("close")
            assert refs == [1]

    def test_ref_and_unref(self) -> None:
        with socket_pair() as (near, _):
            assert near._refs == 1
            near.unref()
            assert near._refs == 0
            near.ref().ref()
            assert near._refs == 1
        near.ref()
        assert near._refs == 0
        near._keep_alive_while_open()
        assert near._refs == 0
        unconnected = Socket().unref().ref()
        assert unconnected._refs == 0

    def test_unref_before_there_is_a_connection(self) -> None:
        with accept_into() as (address, _), Socket() as client:
            client.unref()
            client.connect(address[1], address[0])
            Recorder(client, "connect").wait("connect")
            assert client._refs == 0
