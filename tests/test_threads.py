"""The cache of threads, and the keeper."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextvars
import sys
import threading
import weakref
from typing import TYPE_CHECKING, TypeAlias

import pytest
from support import in_thread

from nhttp import _threads
from nhttp._threads import IDLE_NAME, KEEPER_NAME, Keeper, ThreadCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Caches: TypeAlias = "Callable[..., tuple[ThreadCache, Stack]]"

SECONDS = 20.0  # a wait that takes this long has failed


class Stack(list[_threads._Worker]):
    """A stack of idle workers that says when one is put on it."""

    def __init__(self) -> None:
        super().__init__()
        self.parked = threading.Semaphore(0)

    def append(self, worker: _threads._Worker, /) -> None:
        super().append(worker)
        self.parked.release()

    def wait(self) -> None:
        assert self.parked.acquire(timeout=SECONDS)


@pytest.fixture
def caches() -> Iterator[Caches]:
    before = set(threading.enumerate())
    made: list[ThreadCache] = []

    def make(**options: float) -> tuple[ThreadCache, Stack]:
        cache = ThreadCache(**options)  # type: ignore[arg-type]
        stack = cache._idle = Stack()
        made.append(cache)
        return cache, stack

    yield make
    for cache in made:
        cache.drain()
    for thread in set(threading.enumerate()) - before:
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def cannot_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let no thread start until the function is called."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch.undo


def run_and_wait(cache: ThreadCache) -> threading.Thread:
    """Run something, and give the thread that it ran on."""
    threads: list[threading.Thread] = []
    done = threading.Event()

    def job() -> None:
        threads.append(threading.current_thread())
        done.set()

    cache.run(job, name="job")
    assert done.wait(SECONDS)
    return threads[0]


class TestThreadCache:
    def test_runs_with_arguments_on_a_named_daemon_thread(self, caches: Caches) -> None:
        cache, stack = caches()
        seen: list[object] = []
        done = threading.Event()

        def job(number: int, text: str) -> None:
            thread = threading.current_thread()
            seen.extend([number, text, thread.name, thread.daemon])
            done.set()

        cache.run(job, 1, "a", name="first")
        assert done.wait(SECONDS)
        assert seen == [1, "a", "first", True]
        stack.wait()
        assert stack[0].thread.name == IDLE_NAME

        done.clear()
        cache.run(job, 2, "b", name="second")
        assert done.wait(SECONDS)
        assert seen[4:] == [2, "b", "second", True]

    def test_uses_the_thread_again_that_became_idle_last(self, caches: Caches) -> None:
        cache, stack = caches()
        gates = [threading.Event(), threading.Event()]
        for gate in gates:
            cache.run(gate.wait, SECONDS, name="gate")
        for gate in gates:
            gate.set()
            stack.wait()
        first, second = (worker.thread for worker in stack)
        assert run_and_wait(cache) is second
        stack.wait()
        assert run_and_wait(cache) is second
        stack.wait()
        assert [worker.thread for worker in stack] == [first, second]

    def test_an_idle_thread_ends_after_a_while(self, caches: Caches) -> None:
        cache, stack = caches(idle_seconds=0.001)
        thread = run_and_wait(cache)
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert not stack
        assert run_and_wait(cache) is not thread

    def test_keeps_only_so_many_idle(self, caches: Caches) -> None:
        cache, stack = caches(max_idle=1)
        workers: list[threading.Thread] = []
        running = threading.Barrier(3)

        def job() -> None:
            workers.append(threading.current_thread())
            running.wait(SECONDS)

        cache.run(job, name="job")
        cache.run(job, name="job")
        running.wait(SECONDS)
        stack.wait()
        (kept,) = stack
        (ended,) = set(workers) - {kept.thread}
        ended.join(SECONDS)
        assert not ended.is_alive()
        assert kept.thread.is_alive()

    def test_a_job_handed_over_while_the_wait_runs_out_is_done(
        self,
        caches: Caches,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        cache, stack = caches()
        threads: list[threading.Thread] = []
        done = threading.Event()

        def job() -> None:
            threads.append(threading.current_thread())
            done.set()

        class Late:
            """A lock on which the first wait runs out just before something is handed over."""

            def __init__(self) -> None:
                self._lock = threading.Lock()
                self._late = True
                self.release = self._lock.release

            def acquire(self, timeout: float = -1) -> bool:
                if timeout > 0 and self._late:
                    self._late = False
                    cache.run(job, name="late")
                    return False
                return self._lock.acquire(timeout=timeout)

        class LateWorker(_threads._Worker):
            def __init__(self, cache: ThreadCache, epoch: int, name: str) -> None:
                super().__init__(cache, epoch, name)
                self.wake = Late()  # type: ignore[assignment]
                self.wake.acquire()

        monkeypatch.setattr(_threads, "_Worker", LateWorker)
        thread = run_and_wait(cache)
        assert done.wait(SECONDS)
        assert threads == [thread]
        stack.wait()
        stack.wait()

    def test_no_job_is_lost_or_done_twice_when_waits_run_out_all_the_time(
        self, caches: Caches
    ) -> None:
        cache, _ = caches(idle_seconds=0.0)
        done: list[int] = []
        finished = threading.Semaphore(0)

        def job(number: int) -> None:
            done.append(number)
            finished.release()

        def issue(numbers: range) -> None:
            for number in numbers:
                cache.run(job, number, name="job")

        issuers = [
            threading.Thread(target=issue, args=(range(start, 400, 4),)) for start in range(4)
        ]
        for issuer in issuers:
            issuer.start()
        for _ in range(400):
            assert finished.acquire(timeout=SECONDS)
        for issuer in issuers:
            issuer.join()
        assert sorted(done) == list(range(400))

    def test_an_exception_goes_to_the_excepthook_and_the_thread_survives(
        self,
        caches: Caches,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        cache, stack = caches()
        seen: list[tuple[object, ...]] = []

        def hook(args: threading.ExceptHookArgs) -> None:
            assert args.thread is not None
            seen.append((args.exc_type, str(args.exc_value), args.thread.name, args.thread))

        def job() -> None:
            raise KeyboardInterrupt("no")

        monkeypatch.setattr(threading, "excepthook", hook)
        cache.run(job, name="raises")
        stack.wait()
        thread = stack[0].thread
        assert seen == [(KeyboardInterrupt, "no", "raises", thread)]
        assert run_and_wait(cache) is thread

    def test_an_excepthook_that_raises_does_not_end_the_thread(
        self,
        caches: Caches,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        cache, stack = caches()
        seen: list[object] = []

        def hook(args: threading.ExceptHookArgs) -> None:
            raise ZeroDivisionError("the hook")

        def last_hook(kind: object, error: BaseException, traceback: object) -> None:
            seen.extend([kind, str(error), str(error.__context__)])

        def job() -> None:
            raise ValueError("the job")

        monkeypatch.setattr(threading, "excepthook", hook)
        monkeypatch.setattr(sys, "excepthook", last_hook)
        cache.run(job, name="raises")
        stack.wait()
        assert seen == [ZeroDivisionError, "the hook", "the job"]
        thread = stack[0].thread
        assert run_and_wait(cache) is thread

    @pytest.mark.parametrize("raises", [False, True])
    def test_keeps_no_reference_to_what_it_ran(
        self,
        caches: Caches,
        monkeypatch: pytest.MonkeyPatch,
        raises: bool,
    ) -> None:
        cache, stack = caches()

        class Object:
            def method(self, other: object) -> None:
                assert not raises

        def hook(args: threading.ExceptHookArgs) -> None:
            pass

        monkeypatch.setattr(threading, "excepthook", hook)
        this, other = Object(), Object()
        references = [weakref.ref(this), weakref.ref(other)]
        cache.run(this.method, other, name="job")
        stack.wait()
        del this, other
        assert [reference() for reference in references] == [None, None]

    def test_each_job_starts_with_an_empty_context(self, caches: Caches) -> None:
        cache, stack = caches()
        variable = contextvars.ContextVar("variable", default="unset")
        seen: list[str] = []

        def job() -> None:
            seen.append(variable.get())
            variable.set("set by a job")

        variable.set("set by the caller")
        for _ in range(2):
            cache.run(job, name="job")
            stack.wait()
        assert len(stack) == 1
        assert seen == ["unset", "unset"]

    def test_a_thread_that_cannot_start_leaves_everything_as_it_was(
        self,
        caches: Caches,
        cannot_start: Callable[[], None],
    ) -> None:
        cache, stack = caches()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            cache.run(print, name="never")
        cannot_start()
        thread = run_and_wait(cache)
        stack.wait()
        assert [worker.thread for worker in stack] == [thread]

    def test_no_thread_is_started_for_a_finalizer_when_the_interpreter_ends(
        self, caches: Caches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache, _ = caches()
        monkeypatch.setattr(sys, "is_finalizing", lambda: True)
        with pytest.raises(RuntimeError, match="the interpreter is ending"):
            cache.run(print, name="late")

    def test_a_finalizer_may_run_something_in_the_middle_of_it(self, caches: Caches) -> None:
        cache, _ = caches()
        with cache._lock:
            done = threading.Event()
            cache.run(done.set, name="from a finalizer")
            assert done.wait(SECONDS)

    def test_drain_ends_the_idle_and_then_the_busy(self, caches: Caches) -> None:
        cache, stack = caches()
        gate = threading.Event()
        workers: list[threading.Thread] = []
        running = threading.Event()

        def job() -> None:
            workers.append(threading.current_thread())
            running.set()
            gate.wait(SECONDS)

        cache.run(job, name="busy")
        assert running.wait(SECONDS)
        run_and_wait(cache)
        stack.wait()
        idle = stack[0].thread
        cache.drain()
        assert not idle.is_alive()
        (busy,) = workers
        assert busy.is_alive()
        gate.set()
        busy.join(SECONDS)
        assert not busy.is_alive()

    def test_idle_threads_are_forgotten_after_a_fork(self, caches: Caches) -> None:
        cache, stack = caches()
        thread = run_and_wait(cache)
        stack.wait()
        cache.after_fork()
        assert run_and_wait(cache) is not thread
        for worker in stack:
            worker.wake.release()

    def test_a_lock_that_was_held_at_a_fork_is_not_waited_for(self, caches: Caches) -> None:
        cache, _ = caches()
        with cache._lock:
            cache.after_fork()
            in_thread(run_and_wait, cache).result()


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == KEEPER_NAME]


class TestKeeper:
    def test_one_thread_exists_while_the_count_is_above_0(self) -> None:
        keeper = Keeper()
        before = keepers()
        keeper.ref()
        (thread,) = set(keepers()) - set(before)
        assert not thread.daemon
        keeper.ref()
        keeper.unref()
        assert set(keepers()) - set(before) == {thread}
        keeper.unref()
        thread.join(SECONDS)
        assert not thread.is_alive()

    def test_comes_back(self) -> None:
        keeper = Keeper()
        before = set(keepers())
        for _ in range(10):
            keeper.ref()
            assert set(keepers()) - before
            keeper.unref()
        for thread in set(keepers()) - before:
            thread.join(SECONDS)
        assert not set(keepers()) - before

    def test_one_thread_serves_references_that_come_and_go(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper, gate = Keeper(), threading.Lock()
        monkeypatch.setattr(keeper, "_start", lambda: gate)
        for _ in range(3):
            keeper.ref()
            keeper.unref()
            assert keeper._look(gate)  # the count was at 0, but only just now
            assert not keeper._asleep
        assert not keeper._look(gate)
        assert keeper._gate is None

    def test_it_sleeps_until_a_reference_that_lasts_is_given_back(self) -> None:
        keeper = Keeper()
        before = set(keepers())
        keeper.ref()
        (thread,) = set(keepers()) - before
        while not keeper._asleep:
            thread.join(0.001)
        keeper.unref()
        thread.join(SECONDS)
        assert not thread.is_alive()

    def test_it_is_woken_once_by_references_that_are_given_back_before_it_looks(self) -> None:
        keeper = Keeper()
        gate = keeper._gate = threading.Lock()
        gate.acquire()
        keeper._count, keeper._asleep = 1, True
        keeper.unref()
        keeper.ref()
        keeper.unref()
        assert gate.acquire(blocking=False)

    def test_the_count_is_never_negative(self) -> None:
        keeper = Keeper()
        with pytest.raises(AssertionError, match="without ref"):
            keeper.unref()

    def test_a_thread_that_cannot_start_leaves_the_count_as_it_was(
        self, cannot_start: Callable[[], None]
    ) -> None:
        keeper = Keeper()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            keeper.ref()
        cannot_start()
        keeper.ref()
        keeper.unref()
        with pytest.raises(AssertionError, match="without ref"):
            keeper.unref()

    def test_references_from_before_a_fork_may_be_given_back_after_it(self) -> None:
        keeper = Keeper()
        keeper.ref()
        gate = keeper._gate
        assert gate is not None
        keeper.after_fork()
        keeper.ref()
        keeper.unref()
        keeper.unref()
        with pytest.raises(AssertionError, match="without ref"):
            keeper.unref()
        gate.release()

    def test_a_lock_that_was_held_at_a_fork_is_not_waited_for(self) -> None:
        keeper = Keeper()
        with keeper._lock:
            keeper.after_fork()
            in_thread(keeper.ref).result()
            keeper.unref()
