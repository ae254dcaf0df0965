"""The thread of the watcher: when it starts and ends, and what a fork makes of it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support import exit_status, in_thread
from watcher_support import SECONDS, Calls, Ending, Hooked, Pairs, WatcherTests, join

from nhttp._watcher import Poller, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable


class TestThread(WatcherTests):
    def test_ends_when_nothing_is_watched_and_comes_back(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        watcher = Watcher(poller, idle_seconds=0.0)
        threads: set[threading.Thread] = set()
        for _ in range(2):
            near, far = pairs.make()
            calls = Calls()
            watcher.watch(near, calls)
            far.close()
            thread = calls.wait()
            join(thread)
            threads.add(thread)
        assert len(threads) == 2
        assert watcher._poller is None

    def test_stays_while_something_is_watched(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        hooked = Hooked(poller())
        watcher = Watcher(lambda: hooked, idle_seconds=0.0)
        idle = threading.Semaphore(0)

        def count(found: list[int]) -> None:
            if not found:
                idle.release()

        near, far = pairs.make()
        calls = Calls()
        hooked.hook = count
        with watcher._lock:
            watcher.watch(near, calls)
        for _ in range(3):
            assert idle.acquire(timeout=SECONDS)
        far.close()
        join(calls.wait())

    def test_a_thread_that_cannot_start_leaves_everything_as_it_was(
        self, watcher: Ending, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        near, far = pairs.make()
        calls = Calls()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                watcher.watch(near, calls)
        assert watcher._poller is None
        watcher.watch(near, calls)
        far.close()
        calls.wait()

    def test_everything_is_forgotten_after_a_fork(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        closed: list[Hooked] = []

        class Parents(Hooked):
            """The poller of a thread that is not in this process."""

            def __init__(self) -> None:
                super().__init__(poller())
                inner_close = self.close

                def close() -> None:
                    inner_close()
                    closed.append(self)

                self.close = close

        watcher = Ending(poller, idle_seconds=SECONDS)
        watcher.after_fork()
        parents = watcher._poller = Parents()
        near, far = pairs.make()
        first, second = Calls(), Calls()
        watch = watcher.watch(near, first)
        watcher.after_fork()
        assert closed == [parents]
        assert not watch.cancel()
        watcher.watch(near, second)
        far.close()
        second.wait()
        assert first.count == 0
        watcher.end()

    @pytest.mark.parametrize("method", ["watch", "watch_readable"])
    def test_works_in_a_forked_child(self, method: str) -> None:
        status = exit_status(
            "import os, socket, sys, threading",
            f"from nhttp._watcher import {method} as watch",
            "near, far = socket.socketpair()",
            "fired = threading.Event()",
            "watch(near, fired.set)",
            "child = os.fork()",
            "if child:",
            "    _, status = os.waitpid(child, 0)",
            "    far.close()",
            f"    if not fired.wait({SECONDS}): sys.exit(2)",
            "    sys.exit(os.waitstatus_to_exitcode(status))",
            "far.close()",
            "near, far = socket.socketpair()",
            "watch(near, fired.set)",
            "far.close()",
            f"sys.exit(0 if fired.wait({SECONDS}) else 1)",
        )
        assert status == 0


def test_a_lock_that_a_thread_of_the_parent_has_is_not_waited_for_in_the_child() -> None:
    watcher = Watcher()
    with watcher._lock:
        in_thread(watcher.after_fork).result()
        assert in_thread(lambda: watcher._lock.acquire(timeout=0)).result()
