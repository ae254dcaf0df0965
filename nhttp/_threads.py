"""Threads: a cache of reusable daemon threads, and the keeper that holds the process open.

A connection, an exchange, a socket that flows: each runs on a thread of its own for as long as it
lasts, and on a busy server that is not long. So threads that have done their work wait a while for
more of it: waking one costs a quarter of what starting one does. All of them are daemons. What
keeps the process alive is one thread that does nothing else: the keeper exists while somebody holds
a `ref`, and a moment longer, as Node's event loop runs while a handle is ref'd.

Knows nothing of what runs on its threads.
"""

from __future__ import annotations

import os
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING, TypeVarTuple

from nhttp import _cores

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Keeper", "ThreadCache", "drain", "ref", "run", "unref"]

IDLE_NAME = "nhttp-idle"
KEEPER_NAME = "nhttp-keeper"
DOZE_SECONDS = 0.01  # how much later than it could the process may end
IDLE_SECONDS = 10.0  # how long a thread waits for the next job
MAX_IDLE = 64  # how many wait at the same time

_Args = TypeVarTuple("_Args")


class _Worker:
    """One cached thread, with what it is to do next.

    `job` and `wake` pass between two threads at a time and need no lock: the worker owns `job`
    while it is busy; while it is idle, whoever took it off the stack owns `job` until they release
    `wake`. It is woken with ``None`` as a job when the cache was drained, for which it then ends.
    """

    __slots__ = ("epoch", "job", "thread", "wake")

    def __init__(self, cache: ThreadCache, epoch: int, name: str) -> None:
        self.epoch = epoch  # never changes: how many times the cache had been drained before
        self.job: tuple[str, Callable[..., object], tuple[object, ...]] | None = None
        self.wake = threading.Lock()  # a binary semaphore: held, except between hand-over and take
        self.wake.acquire()
        self.thread = threading.Thread(target=cache.main, args=(self,), name=name, daemon=True)

    def work(self) -> None:
        """Do the job, if there is one; called on the worker's own thread.

        Nothing here outlives the call, so that what the job used can be collected while the thread
        sleeps.
        """
        if self.job is None:
            return
        name, function, args = self.job
        self.job = None
        self.thread.name = name
        try:
            # A new thread starts with an empty context, and a reused one must look new.
            Context().run(function, *args)
        except BaseException as error:
            # No local may hold the error: its traceback holds this frame.
            try:
                threading.excepthook(
                    threading.ExceptHookArgs((type(error), error, error.__traceback__, self.thread))
                )
            except Exception as broken:
                sys.excepthook(type(broken), broken, broken.__traceback__)
        self.thread.name = IDLE_NAME


class ThreadCache:
    """Runs functions on daemon threads, and keeps the threads for a while to use them again.

    Any thread may call `run` and `drain`. `_lock` guards `_idle` and `_epoch`. It is reentrant
    because a finalizer may call `run` whenever the garbage collector pleases, on a thread that is
    in here already.
    """

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, max_idle: int = MAX_IDLE) -> None:
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._lock = threading.RLock()
        # The worker used last is used next: its stack is warm, and the others get to time out.
        self._idle: list[_Worker] = []
        self._epoch = 0

    def run(self, function: Callable[[*_Args], object], *args: *_Args, name: str) -> None:
        """Call ``function(*args)`` on another thread, and return at once.

        An exception that escapes it goes to `threading.excepthook`, as on any thread. No reference
        to the function or its arguments is kept once it has returned. It starts with an empty
        `contextvars` context; what an earlier function put in a `threading.local` is still there.

        Args:
            function: What to call.
            *args: What to call it with.
            name: The thread's name meanwhile.

        Raises:
            RuntimeError: No thread is idle and none can be started, or the interpreter is ending.
        """
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            epoch = self._epoch
        if worker is not None:
            worker.job = (name, function, args)
            worker.wake.release()
            return
        if sys.is_finalizing():  # a finalizer calls: the thread would never run, nor `start` return
            raise RuntimeError("no thread can be started any more: the interpreter is ending")
        worker = _Worker(self, epoch, name)
        worker.job = (name, function, args)
        worker.thread.start()

    def drain(self) -> None:
        """End the idle threads now and wait for them; those still busy end with their jobs."""
        with self._lock:
            self._epoch += 1
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.wake.release()
        for worker in idle:
            worker.thread.join()

    def main(self, worker: _Worker) -> None:
        """Work until there is nothing to do for too long; the life of a thread."""
        _cores.release()
        worker.work()
        while self._park(worker):
            worker.work()

    def _park(self, worker: _Worker) -> bool:
        """Wait for the next job; called on the worker's own thread.

        Returns:
            False when the thread is to end, because none came or enough others are waiting.
        """
        with self._lock:
            if worker.epoch != self._epoch or len(self._idle) >= self._max_idle:
                return False
            self._idle.append(worker)
        if worker.wake.acquire(timeout=self._idle_seconds):
            return True
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                return False
        # Taken off the stack after the wait was over: what it was taken for is on its way.
        worker.wake.acquire()
        return True

    def after_fork(self) -> None:
        """Forget the idle threads; called in the child, where they do not exist."""
        self._lock = threading.RLock()
        self._idle = []


class Keeper:
    """Keeps the process alive while anybody holds a reference.

    The interpreter ends when its main thread and all threads that are no daemons have ended. While
    the count is above 0 there is one such thread, which waits for the count to be 0 again.

    A client that makes one request after the other takes the count from 0 to 1 and back each time,
    and to end and start a thread costs more than the request. So the keeper dozes at first: it
    looks again and again after a moment, wakes for nobody, and ends when it has found the count at
    0 for a moment. Once the count has been above 0 for as long, it sleeps until it is woken.

    Any thread may call `ref` and `unref`. `_lock` guards the fields; it is reentrant because a
    finalizer may call `unref` on a thread that is in here already.

    Ctrl-C while the main thread waits for the keeper at the end of a script ends the process at
    once. CPython then prints the `KeyboardInterrupt`, with a traceback into `threading`, and exits
    with 0; a script that waits in its own code instead has both in its hands. CPython 3.12.0 and
    3.12.1 start no threads once the main thread has ended, so there `ThreadCache.run` raises then.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0
        self._inherited = 0  # references taken before a fork, by what does not run in this process
        self._gate: threading.Lock | None = None  # the keeper's, while there is one: wakes it
        self._left_zero = False  # since the keeper looked last
        self._asleep = False  # the keeper waits for the gate, however long

    def ref(self) -> None:
        """Keep the process alive until the matching `unref`.

        Raises:
            RuntimeError: The keeper cannot be started; nothing has changed.
        """
        with self._lock:
            if self._count == 0:
                if self._gate is None:
                    self._gate = self._start()
                self._left_zero = True
            self._count += 1

    def unref(self) -> None:
        """Give back one `ref`; with the last one, the process may end."""
        with self._lock:
            if self._count == 0 and self._inherited > 0:
                self._inherited -= 1
                return
            assert self._count > 0, "unref() without ref()"
            self._count -= 1
            if self._count == 0 and self._asleep and self._gate is not None:
                self._asleep = False
                self._gate.release()

    def _start(self) -> threading.Lock:
        gate = threading.Lock()
        gate.acquire()
        threading.Thread(target=self._main, args=(gate,), name=KEEPER_NAME, daemon=False).start()
        return gate

    def _main(self, gate: threading.Lock) -> None:
        """Doze, sleep and look; the life of the keeper."""
        while self._look(gate):
            gate.acquire(timeout=-1 if self._asleep else DOZE_SECONDS)

    def _look(self, gate: threading.Lock) -> bool:
        """Decide how to go on; False when the keeper is to end."""
        with self._lock:
            if self._gate is not gate:
                return False  # Ctrl-C came while the thread started: nobody knows of it
            if self._count == 0 and not self._left_zero:
                self._gate = None
                return False
            self._asleep = not self._left_zero
            self._left_zero = False
            return True

    def after_fork(self) -> None:
        """Start at 0 again; called in the child, where neither the keeper nor its holders run."""
        self._lock = threading.RLock()
        self._inherited += self._count
        self._count = 0
        self._gate = None
        self._left_zero = self._asleep = False


_cache = ThreadCache()
_keeper = Keeper()

run = _cache.run
drain = _cache.drain
ref = _keeper.ref
unref = _keeper.unref

os.register_at_fork(after_in_child=_cache.after_fork)
os.register_at_fork(after_in_child=_keeper.after_fork)
