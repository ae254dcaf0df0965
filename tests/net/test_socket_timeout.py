"""Socket: silence."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import queue
import threading
from typing import Any

import pytest
from support import (
    SECONDS,
    Recorder,
    accept_into,
    socket_pair,
)

from nhttp import _threads
from nhttp._timers import now
from nhttp.errors import InvalidArgument
from nhttp.net import Socket
from nhttp.net._descriptor import Hold


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

    def test_a_connection_that_stands_puts_it_off(self) -> None:
        with accept_into() as (address, _), Socket() as client:
            client.set_timeout(1000)
            client._active -= 2000
            before = client._active
            client.connect(address[1], address[0])
            Recorder(client, "connect").wait("connect")
            assert client._active > before + 1000

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

    def test_the_next_look_is_a_whole_silence_behind_one_that_was_told(self) -> None:
        with socket_pair() as (near, _):
            near._on_idle = lambda _: True
            near.set_timeout(1000)
            deadline = near._deadline
            assert deadline is not None
            near._active -= 2000
            before = now()
            near._look_at_clock()
            assert deadline.when >= before + 1000

    def test_a_callback_is_for_one_silence(self) -> None:
        with socket_pair() as (near, _):
            called: list[int] = []
            near.set_timeout(1000, lambda: called.append(1))
            near.emit("timeout")
            near.emit("timeout")
            assert called == [1]

    def test_silence_that_is_allowed_for_longer_touches_no_timer(self) -> None:
        with socket_pair() as (near, _):
            near._allow_silence(0)
            assert near._deadline is None
            near._allow_silence(1000)
            deadline: Any = near._deadline
            armed = deadline.when
            assert near.timeout == 1000
            for seconds in (2000, 0):
                near._allow_silence(seconds)
                assert (near.timeout, deadline.when) == (seconds, armed)
            near._allow_silence(500)
            assert deadline.when == near._active + 500

    def test_a_limit_passes_without_silence(self) -> None:
        with socket_pair() as (near, _):
            told: list[Socket] = []

            def deal(each: Socket) -> bool:
                told.append(each)
                return True

            near._on_idle = deal
            near._set_limit(now() + 1000)
            deadline: Any = near._deadline
            near._look_at_clock()
            assert told == []
            near._limit = now()
            deadline.set(math.inf)
            near._look_at_clock()
            assert told == [near]
            assert deadline.when == math.inf  # and it is not looked at again

    def test_a_limit_that_nothing_puts_off(self) -> None:
        with socket_pair() as (near, _):
            near._set_limit(math.inf)
            assert not near._deadline
            near._set_limit(5e9)
            near.write("x")
            deadline: Any = near._deadline
            assert deadline.when == 5e9

    def test_who_deals_with_it_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket_pair() as (near, _):
            recorder = Recorder(near, "timeout")
            dealt: list[Socket] = []

            def deal(each: Socket) -> bool:
                dealt.append(each)
                return True

            near._on_idle = deal
            with monkeypatch.context() as patch:
                patch.setattr(_threads, "run", None)  # nobody is told
                near._expire()
            assert dealt == [near]
            near._on_idle = lambda each: False
            near._expire()
            recorder.wait("timeout")
            near.remove_all_listeners("timeout")
            near._expire()

    def test_off_while_somebody_still_uses_what_is_destroyed(self) -> None:
        with socket_pair() as (near, _), Hold(near):
            near.set_timeout(1000)
            deadline = near._deadline
            near.destroy()
            assert deadline is not None
            assert deadline.callback is None

    def test_off_once_retired(self) -> None:
        with socket_pair() as (near, _):
            with Hold(near):
                near.set_timeout(1000)
                near._retire()
            deadline = near._deadline
            assert deadline is not None
            assert deadline.callback is None

    def test_off_once_destroyed(self) -> None:
        with socket_pair() as (near, _):
            near.set_timeout(1000)
            deadline = near._deadline
            near.destroy()
            assert deadline is not None
            assert deadline.callback is None

    def test_set_when_it_is_destroyed_already(self) -> None:
        with socket_pair() as (near, _):
            near.destroy()
            near.set_timeout(1000)
            deadline = near._deadline
            assert deadline is not None
            assert deadline.callback is None

    @pytest.mark.parametrize("seconds", [-1, math.nan, "5", None, True])
    def test_refused(self, seconds: Any) -> None:
        with pytest.raises(InvalidArgument, match="seconds, not"):
            Socket().set_timeout(seconds)
