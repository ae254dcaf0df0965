"""Timeouts: deadlines that cost a float to move, and the one thread that watches over them.

A connection moves its deadlines with every request, and they hardly ever pass. So moving one must
be next to free, and only the passing of one may cost something. A heap holds an entry for each
deadline; moving a deadline to a *later* moment leaves its entry where it is. When the entry comes
up, the timer thread looks at the deadline, finds that it was moved, and puts the entry back in at
the new moment. A connection that re-arms a deadline of 5 seconds a thousand times a second costs
one heap operation in 5 seconds. Only moving it *earlier* than its entry needs a new entry.

Three classes, from the inside out: `Schedule` is the heap and knows neither clocks nor threads;
`Timers` is the thread around it; `Deadline` is what everybody else uses.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import threading
from itertools import count
from time import monotonic as now
from typing import TYPE_CHECKING

from nhttp import _cores

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadline", "Schedule", "Timers", "now"]

THREAD_NAME = "nhttp-timers"
IDLE_SECONDS = 10.0  # how long the thread stays with nothing to wait for
TICK = 0.005  # how late a deadline may be, so that thousands of them do not wake the thread each

_MIN_COMPACT = 64  # a heap this small is not worth tidying

_logger = logging.getLogger("nhttp")


class Deadline:
    """A moment, and what to do when it passes.

    `when` is the moment on the clock of `now`, `math.inf` while the deadline is off. Any thread may
    read it, call `set` and `cancel`, and assign `when`, by this rule:

    * *Assigning* is for moving an armed deadline to a later moment, or turning it off: it takes no
      lock and wakes nobody.
    * `set` is for everything: it costs the same when the new moment turns out to be the later one,
      and arms a deadline that was off, or has fired.

    A deadline fires at most once for each arming. When it does, `when` becomes `math.inf` and the
    callback is called on the timer thread, with no lock held. It must be quick and must not block:
    shut a socket down, or hand over to `_threads.run`. What it raises is logged.

    What is promised without a lock, whether the interpreter has one of its own or not: moving the
    deadline and its firing take effect one after the other. If the firing is first, a moment given
    to `set` is kept and the deadline fires again then; one that was merely assigned may be
    forgotten, as it may at any time after the firing. If moving is first, nothing fires before
    the new moment. Calls by several threads at once take effect in one order or the other.

    `Timers._lock` guards `scheduled`, which `set` reads without it; see there.
    """

    __slots__ = ("_timers", "callback", "scheduled", "when")

    def __init__(self, callback: Callable[[], object], *, timers: Timers | None = None) -> None:
        self.when = math.inf
        self.callback: Callable[[], object] | None = callback
        self._timers = _timers if timers is None else timers
        self.scheduled = math.inf  # the moment of its entry in the heap; inf when it has none

    def set(self, when: float) -> None:
        """Move the deadline to any moment, or turn it off with `math.inf`.

        Raises:
            RuntimeError: The timer thread has to be started and cannot be.
        """
        # Store, then look: the timer thread clears `scheduled` before it looks at `when`, so
        # one of the two sees what the other did. An attribute of a CPython object is stored under
        # the interpreter's lock or, without it, the object's own: both order the two steps.
        self.when = when
        if when < self.scheduled:
            self._timers.arm(self, when)

    def cancel(self) -> None:
        """Turn the deadline off for good, and let go of the callback.

        Takes no lock, so a finalizer may call it. A callback that has begun is not waited for.
        """
        self.when = math.inf
        self.callback = None

    def fire(self) -> None:
        """Call the callback, unless the deadline was cancelled; called on the timer thread."""
        callback = self.callback
        if callback is None:
            return
        try:
            callback()
        except BaseException:
            _logger.exception("a timeout's callback raised")


class Schedule:
    """The heap: which deadlines have passed at a given moment, and when to look again.

    Knows no clock, no lock and no thread: whoever calls says what time it is, and keeps other
    threads out. A call that a finalizer makes in the middle of another finds the heap in order: it
    is a heap at every step, and is looked up anew after each.

    An entry is live while its moment is its deadline's `scheduled`. An entry that was overtaken
    by an earlier one for the same deadline, or whose deadline was cancelled, stays until its
    moment comes, or until such entries outnumber the live ones.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = count()  # settles ties: deadlines cannot be compared
        self._compact_at = _MIN_COMPACT

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def head(self) -> float:
        """The moment to look again; `math.inf` when there is nothing to wait for."""
        return self._heap[0][0] if self._heap else math.inf

    def push(self, deadline: Deadline, when: float) -> bool:
        """Enter a deadline, which must have no entry before that moment.

        Returns:
            Whether `head` has become earlier.
        """
        if len(self._heap) >= self._compact_at:
            self._compact()
        earlier = when < self.head
        entry = (when, next(self._order), deadline)
        heapq.heappush(self._heap, entry)
        deadline.scheduled = when
        return earlier

    def pop(self, moment: float) -> list[Deadline]:
        """Take out the deadlines that have passed, turning them off, the earliest first."""
        passed: list[Deadline] = []
        while self._heap and self._heap[0][0] <= moment:
            scheduled, _, deadline = heapq.heappop(self._heap)
            if scheduled != deadline.scheduled or deadline.callback is None:
                continue  # overtaken, or cancelled
            # In this order; see Deadline.set().
            deadline.scheduled = math.inf
            when = deadline.when
            if when <= moment:
                deadline.when = math.inf
                passed.append(deadline)
            elif when < math.inf:
                self.push(deadline, when)
        return passed

    def clear(self) -> None:
        """Forget all deadlines; each can be set again."""
        for _, _, deadline in self._heap:
            deadline.scheduled = math.inf
        self._heap = []

    def _compact(self) -> None:
        """Drop the entries that are not live; waits until the heap has doubled to do so again."""
        old, self._heap = self._heap, []
        for entry in old:
            if entry[0] == entry[2].scheduled and entry[2].callback is not None:
                heapq.heappush(self._heap, entry)
        self._compact_at = max(_MIN_COMPACT, 2 * len(self._heap))


class Timers:
    """The timer thread, which runs while there are deadlines to wait for, and a little longer.

    Any thread calls `arm`, through `Deadline.set`. `_lock` guards all fields, and the `scheduled`
    of every deadline. It is reentrant because a finalizer may set a deadline on a thread that is in
    here already; it is never held while a callback runs.
    """

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.RLock()
        self._schedule = Schedule()
        self._running = False  # the thread exists, or is being started
        self._sleeping = False  # it waits on `_wake`, and nobody has woken it yet
        self._wake = threading.Lock()  # a binary semaphore: held, except while waking the thread
        self._wake.acquire()

    def arm(self, deadline: Deadline, when: float) -> None:
        """Have the timer thread look at a deadline at a moment earlier than it would have.

        Raises:
            RuntimeError: The thread has to be started and cannot be.
        """
        with self._lock:
            if deadline.callback is None:
                return
            # Once more: the deadline may have fired since, which turned it off.
            deadline.when = when
            if when >= deadline.scheduled:
                return
            if not self._running:
                self._start()
            if self._schedule.push(deadline, when) and self._sleeping:
                self._sleeping = False
                self._wake.release()

    def _start(self) -> None:
        self._running = True
        try:
            threading.Thread(target=self._main, name=THREAD_NAME, daemon=True).start()
        except Exception:
            self._running = False
            raise

    def _main(self) -> None:
        """Fire and sleep in turns; the life of the thread."""
        _cores.release()
        while True:
            self._fire()
            if not self._sleep():
                return

    def _fire(self) -> None:
        """Fire what has passed; a call of its own, so that no deadline is held while sleeping."""
        with self._lock:
            passed = self._schedule.pop(now())
        for deadline in passed:
            deadline.fire()

    def _sleep(self) -> bool:
        """Wait until the first entry's moment, or for an earlier one.

        Returns:
            False when there was nothing to wait for, for so long that the thread is to end.
        """
        with self._lock:
            self._sleeping = True
            head = self._schedule.head
        if head < math.inf:
            timeout = min(max(head - now(), TICK), threading.TIMEOUT_MAX)
        else:
            timeout = self._idle_seconds
        if self._wake.acquire(timeout=timeout):
            return True
        with self._lock:
            if not self._sleeping:
                self._wake.acquire()  # woken after the wait was over: take the signal
                return True
            self._sleeping = False
            self._running = head < math.inf
            return self._running

    def after_fork(self) -> None:
        """Forget everything; called in the child, where the thread does not exist."""
        self._lock = threading.RLock()
        self._schedule.clear()
        self._running = False
        self._sleeping = False
        self._wake = threading.Lock()
        self._wake.acquire()


_timers = Timers()

os.register_at_fork(after_in_child=_timers.after_fork)
