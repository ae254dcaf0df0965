"""Deadlines, the heap that orders them, and the thread that fires them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import math
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import exit_status

from nhttp._timers import THREAD_NAME, Deadline, Schedule, Timers, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 20.0  # a wait that takes this long has failed
OFF = math.inf


def nothing() -> None:
    """What a deadline does of which only the moment matters."""


class Scheduled(Timers):
    """Timers without a thread: a test says what time it is."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = self._schedule
        self._running = True

    def deadline(self, when: float = OFF) -> Deadline:
        deadline = Deadline(nothing, timers=self)
        deadline.set(when)
        return deadline


@pytest.fixture
def timers() -> Scheduled:
    return Scheduled()


class TestSchedule:
    def test_nothing_passes_when_there_is_nothing(self, timers: Scheduled) -> None:
        assert timers.schedule.head == OFF
        assert timers.schedule.pop(1e9) == []

    def test_deadlines_pass_in_order_once_each(self, timers: Scheduled) -> None:
        late, early, middle = timers.deadline(30), timers.deadline(10), timers.deadline(20)
        schedule = timers.schedule
        assert schedule.head == 10
        assert schedule.pop(9.9) == []
        assert schedule.pop(20) == [early, middle]
        assert (early.when, middle.when, late.when) == (OFF, OFF, 30)
        assert schedule.pop(20) == []
        assert schedule.head == 30
        assert schedule.pop(31) == [late]
        assert schedule.head == OFF

    def test_of_the_same_moment_the_first_to_be_set_passes_first(self, timers: Scheduled) -> None:
        deadlines = [timers.deadline(1) for _ in range(10)]
        assert timers.schedule.pop(1) == deadlines

    @pytest.mark.parametrize("by_assignment", [True, False])
    def test_moving_later_leaves_the_heap_alone_until_the_entry_comes_up(
        self, timers: Scheduled, by_assignment: bool
    ) -> None:
        deadline = timers.deadline(5)
        schedule = timers.schedule
        for moment in range(6, 1000):
            if by_assignment:
                deadline.when = moment
            else:
                deadline.set(moment)
        assert len(schedule) == 1
        assert schedule.head == 5
        assert schedule.pop(5) == []
        assert schedule.head == 999
        assert schedule.pop(999) == [deadline]

    def test_a_deadline_that_is_off_when_its_entry_comes_up_leaves_the_heap(
        self, timers: Scheduled
    ) -> None:
        deadline = timers.deadline(5)
        deadline.when = OFF
        assert timers.schedule.head == 5
        assert timers.schedule.pop(5) == []
        assert len(timers.schedule) == 0
        deadline.set(7)
        assert timers.schedule.pop(7) == [deadline]

    def test_a_deadline_turned_off_and_on_again_needs_no_new_entry(self, timers: Scheduled) -> None:
        deadline = timers.deadline(5)
        deadline.when = OFF
        deadline.set(6)
        assert len(timers.schedule) == 1
        assert timers.schedule.pop(5) == []
        assert timers.schedule.pop(6) == [deadline]

    def test_a_deadline_moved_earlier_passes_once(self, timers: Scheduled) -> None:
        deadline = timers.deadline(50)
        deadline.set(5)
        assert timers.schedule.head == 5
        assert timers.schedule.pop(5) == [deadline]
        assert timers.schedule.pop(50) == []
        assert len(timers.schedule) == 0

    def test_an_entry_that_was_overtaken_goes_when_its_moment_comes(
        self, timers: Scheduled
    ) -> None:
        deadline = timers.deadline(50)
        deadline.set(5)
        assert timers.schedule.pop(5) == [deadline]
        deadline.set(60)
        assert len(timers.schedule) == 2
        assert timers.schedule.pop(50) == []
        assert len(timers.schedule) == 1
        assert timers.schedule.pop(60) == [deadline]

    def test_a_deadline_moved_earlier_and_back_passes_once(self, timers: Scheduled) -> None:
        deadline = timers.deadline(50)
        deadline.set(5)
        deadline.set(50)
        assert timers.schedule.pop(5) == []
        assert timers.schedule.pop(50) == [deadline]
        assert len(timers.schedule) == 0

    def test_a_cancelled_deadline_never_passes(self, timers: Scheduled) -> None:
        deadline = timers.deadline(5)
        deadline.cancel()
        for moment in (5, 4, 7):  # its entry's, an earlier, a later one
            deadline.set(moment)
            assert len(timers.schedule) == 1
        assert timers.schedule.pop(7) == []
        assert len(timers.schedule) == 0

    def test_the_heap_stays_small_when_deadlines_move_earlier_all_the_time(
        self, timers: Scheduled
    ) -> None:
        deadlines = [timers.deadline(1e6) for _ in range(100)]
        for step in range(1, 200):
            for deadline in deadlines:
                deadline.set(1e6 - step)
                assert len(timers.schedule) <= 201
        assert timers.schedule.pop(1e6) == deadlines

    def test_the_heap_stays_small_when_deadlines_are_cancelled(self, timers: Scheduled) -> None:
        kept = timers.deadline(2e6)
        for step in range(10_000):
            timers.deadline(1e6 + step).cancel()
            assert len(timers.schedule) <= 64
        assert timers.schedule.pop(2e6) == [kept]

    def test_a_large_heap_is_tidied_seldom(
        self, timers: Scheduled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tidied: list[int] = []
        compact = timers.schedule._compact

        def noted() -> None:
            tidied.append(len(timers.schedule))
            compact()

        monkeypatch.setattr(timers.schedule, "_compact", noted)
        for _ in range(1000):
            timers.deadline(5)
        assert tidied == [64, 128, 256, 512]

    def test_cleared_deadlines_can_be_set_again(self, timers: Scheduled) -> None:
        deadline = timers.deadline(5)
        timers.schedule.clear()
        assert timers.schedule.pop(5) == []
        deadline.set(6)
        assert timers.schedule.pop(6) == [deadline]

    def test_arming_for_the_same_moment_needs_no_second_entry(self, timers: Scheduled) -> None:
        deadline = timers.deadline(5)
        timers.arm(deadline, 5)
        assert len(timers.schedule) == 1

    def test_a_thread_that_is_about_to_sleep_is_woken_once(self, timers: Scheduled) -> None:
        timers._sleeping = True
        timers.deadline(5)
        timers.deadline(4)
        assert timers._wake.acquire(blocking=False)
        assert not timers._wake.acquire(blocking=False)

    def test_push_says_whether_the_head_is_new(self) -> None:
        schedule = Schedule()
        results = [schedule.push(Deadline(nothing), when) for when in (5.0, 6.0, 5.0, 4.0)]
        assert results == [True, False, False, True]

    @given(
        steps=st.lists(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from(["set", "later", "off", "cancel", "wait"]),
                st.integers(0, 20),
            ),
            max_size=60,
        )
    )
    def test_passes_when_and_only_when_the_moment_has_come(
        self, steps: list[tuple[int, str, int]]
    ) -> None:
        timers = Scheduled()
        deadlines = [timers.deadline() for _ in range(4)]
        expected = [OFF] * 4  # when each is to pass
        cancelled: set[int] = set()
        moment = 0.0
        for which, step, amount in steps:
            deadline = deadlines[which]
            if step == "wait":
                moment += amount
                due = {i for i, when in enumerate(expected) if when <= moment}
                passed = timers.schedule.pop(moment)
                assert sorted(deadlines.index(found) for found in passed) == sorted(due)
                for i in due:
                    expected[i] = OFF
            elif step == "set":
                deadline.set(moment + amount)
                if which not in cancelled:
                    expected[which] = moment + amount
            elif step == "later":
                if expected[which] < OFF:
                    deadline.when = expected[which] = expected[which] + amount
            elif step == "off":
                deadline.when = expected[which] = OFF
            else:
                deadline.cancel()
                cancelled.add(which)
                expected[which] = OFF
            assert timers.schedule.head <= min(expected)  # it looks in time


class Wake:
    """A lock in the place of `Timers._wake` that says when the timer thread goes to sleep."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.release = self._lock.release
        self.asleep = threading.Event()
        self.instead: Callable[[], None] | None = None  # a sleep that is over at once, done so

    def acquire(self, timeout: float = -1) -> bool:
        if timeout >= 0 and self.instead is not None:
            instead, self.instead = self.instead, None
            instead()
            return False
        self.asleep.set()
        return self._lock.acquire(timeout=timeout)


class Running(Timers):
    """Timers whose thread ends with the test."""

    def __init__(self, *, idle_seconds: float = SECONDS) -> None:
        super().__init__(idle_seconds=idle_seconds)
        self.wake = Wake()
        self._wake = self.wake  # type: ignore[assignment]

    def deadline(self, callback: Callable[[], object]) -> Deadline:
        return Deadline(callback, timers=self)

    def end(self) -> None:
        """Let the thread find nothing to do."""
        self._idle_seconds = 0.0
        with self._lock:
            self._schedule.clear()
        self.deadline(nothing).set(now())


@pytest.fixture
def running() -> Iterator[Running]:
    before = set(threading.enumerate())
    timers = Running()
    yield timers
    timers.end()
    for thread in set(threading.enumerate()) - before:
        thread.join(SECONDS)
        assert not thread.is_alive()


class TestTimers:
    def test_fires_on_the_timer_thread(self, running: Running) -> None:
        seen: list[tuple[str, bool, float]] = []
        fired = threading.Event()

        def callback() -> None:
            thread = threading.current_thread()
            seen.append((thread.name, thread.daemon, deadline.when))
            fired.set()

        deadline = running.deadline(callback)
        start = now()
        deadline.set(start + 0.02)
        assert fired.wait(SECONDS)
        assert now() - start >= 0.02
        assert seen == [(THREAD_NAME, True, OFF)]

    def test_an_earlier_deadline_wakes_the_thread(self, running: Running) -> None:
        fired = threading.Event()
        running.deadline(nothing).set(now() + 1e18)
        assert running.wake.asleep.wait(SECONDS)
        running.deadline(fired.set).set(now())
        assert fired.wait(SECONDS)

    def test_two_earlier_deadlines_wake_it_once(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        woken: list[int] = []
        release = running.wake.release

        def wake_up() -> None:
            woken.append(1)
            release()

        running.deadline(nothing).set(now() + 1e6)
        assert running.wake.asleep.wait(SECONDS)
        monkeypatch.setattr(running.wake, "release", wake_up)
        with running._lock:  # it cannot go back to sleep in between
            running.deadline(nothing).set(now() + 2e5)
            running.deadline(nothing).set(now() + 1e5)
        assert woken == [1]

    def test_a_later_deadline_does_not(self, running: Running) -> None:
        fired = threading.Event()
        running.deadline(nothing).set(now() + 1e6)
        assert running.wake.asleep.wait(SECONDS)
        running.deadline(fired.set).set(now() + 2e6)
        assert running._sleeping
        assert not fired.is_set()

    def test_a_deadline_set_while_the_sleep_runs_out_is_not_lost(self, running: Running) -> None:
        fired = threading.Event()
        running.wake.instead = lambda: running.deadline(fired.set).set(now())
        running.deadline(nothing).set(now() + 1e6)
        assert fired.wait(SECONDS)

    def test_a_callback_may_set_deadlines_its_own_too(self, running: Running) -> None:
        fired: list[int] = []
        done = threading.Event()

        def callback() -> None:
            fired.append(len(fired))
            if len(fired) == 3:
                done.set()
            else:
                deadline.set(now())

        deadline = running.deadline(callback)
        deadline.set(now())
        assert done.wait(SECONDS)
        assert fired == [0, 1, 2]

    def test_no_lock_is_held_while_a_callback_runs(self, running: Running) -> None:
        entered, leave, fired = threading.Event(), threading.Event(), threading.Event()

        def callback() -> None:
            entered.set()
            leave.wait(SECONDS)

        running.deadline(callback).set(now())
        assert entered.wait(SECONDS)
        running.deadline(fired.set).set(now())
        leave.set()
        assert fired.wait(SECONDS)

    def test_a_moment_set_while_the_deadline_fires_is_kept(self, running: Running) -> None:
        # What set() does when the timer thread turns the deadline off between its two steps.
        fired = threading.Event()
        deadline = running.deadline(fired.set)
        moment = now() + 0.01
        deadline.when = moment
        deadline.when = OFF
        running.arm(deadline, moment)
        assert deadline.when in {moment, OFF}
        assert fired.wait(SECONDS)

    def test_arming_at_a_later_moment_than_its_entry_adds_none(self, running: Running) -> None:
        deadline = running.deadline(nothing)
        deadline.set(now() + 1e6)
        running.arm(deadline, now() + 2e6)
        assert len(running._schedule) == 1

    def test_fires_for_each_arming_however_close_they_come(self, running: Running) -> None:
        fired = threading.Semaphore(0)
        deadline = running.deadline(fired.release)
        for _ in range(500):
            deadline.set(now())
            assert fired.acquire(timeout=SECONDS)
            assert not fired.acquire(blocking=False)

    def test_the_last_of_many_threads_to_set_a_deadline_is_not_lost(self, running: Running) -> None:
        fired = threading.Semaphore(0)
        deadline = running.deadline(fired.release)
        start = threading.Barrier(4)

        def move() -> None:
            start.wait(SECONDS)
            for _ in range(300):
                deadline.set(now())
                deadline.set(now() + 1e6)
            deadline.set(now())

        threads = [threading.Thread(target=move) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while fired.acquire(blocking=False):
            pass
        deadline.set(now())
        assert fired.acquire(timeout=SECONDS)

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
    def test_a_callback_that_raises_is_logged(
        self,
        running: Running,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
    ) -> None:
        fired = threading.Event()

        def callback() -> None:
            raise error

        with running._lock:
            running.deadline(callback).set(now())
            running.deadline(fired.set).set(now())
        assert fired.wait(SECONDS)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("nhttp", logging.ERROR)
        assert record.exc_info is not None
        assert record.exc_info[1] is error

    def test_a_deadline_cancelled_by_the_one_before_it_does_not_fire(
        self, running: Running
    ) -> None:
        fired: list[str] = []
        done = threading.Event()
        with running._lock:
            second = running.deadline(lambda: fired.append("second"))
            first = running.deadline(second.cancel)
            third = running.deadline(done.set)
            for deadline in (first, second, third):
                deadline.set(now())
        assert done.wait(SECONDS)
        assert fired == []

    def test_cancelled_in_the_moment_in_which_it_would_fire(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        deadline = Deadline(nothing)
        deadline.when = 5.0
        deadline.cancel()
        deadline.fire()
        assert deadline.when == math.inf
        assert caplog.records == []

    def test_a_cancelled_deadline_keeps_nothing_alive(self, running: Running) -> None:
        class Connection:
            def time_out(self) -> None:
                pass

        connection = Connection()
        reference = weakref.ref(connection)
        deadline = running.deadline(connection.time_out)
        deadline.set(now() + 1e6)
        deadline.cancel()
        del connection
        assert reference() is None
        assert len(running._schedule) == 1

    def test_the_thread_ends_when_idle_and_comes_back(self) -> None:
        timers = Running(idle_seconds=0.0)
        threads: list[threading.Thread] = []
        fired = threading.Event()

        def callback() -> None:
            threads.append(threading.current_thread())
            fired.set()

        deadline = timers.deadline(callback)
        for _ in range(2):
            fired.clear()
            deadline.set(now())
            assert fired.wait(SECONDS)
            threads[-1].join(SECONDS)
            assert not threads[-1].is_alive()
        assert threads[0] is not threads[1]

    def test_a_thread_that_cannot_start_leaves_the_deadline_to_be_set_again(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        fired = threading.Event()
        deadline = running.deadline(fired.set)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                deadline.set(now())
        deadline.set(now())
        assert fired.wait(SECONDS)

    def test_starts_again_after_a_fork(self, running: Running) -> None:
        running._running = running._sleeping = True  # a thread that is not in this process
        fired = threading.Event()
        deadline = running.deadline(fired.set)
        deadline.set(now() + 1e6)
        running.after_fork()
        deadline.set(now())
        assert fired.wait(SECONDS)

    def test_works_in_a_forked_child(self) -> None:
        status = exit_status(
            "import os, sys, threading",
            "from nhttp._timers import Deadline, now",
            "fired = threading.Event()",
            "deadline = Deadline(fired.set)",
            "deadline.set(now() + 1e6)",
            "child = os.fork()",
            "if child:",
            "    _, status = os.waitpid(child, 0)",
            "    sys.exit(os.waitstatus_to_exitcode(status))",
            "deadline.set(now())",
            f"sys.exit(0 if fired.wait({SECONDS}) else 1)",
        )
        assert status == 0
