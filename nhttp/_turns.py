"""Turns: connections that rest until a request comes, and the thread that serves all of them.

With a thread for each connection a handler may block as long as it likes. But where fifty threads
have something to do at every moment, the interpreter's lock changes hands, and mostly cores, with
each system call: that costs more than a small request does, and as the lock is not handed out in
order, one request in a hundred waits for a fraction of a second.

So a connection that waits for a request can *rest* here. One thread, the leader, waits for octets
on all that rest, and takes their turns by itself, one after the other: it reads what has come, and
calls the handler. That is right for as long as turns are short. One that is about to block says so
(`step_aside`), and one that lasts is noticed (`Turns._look`, on the timer thread). In both cases
another thread becomes the leader, and the one that was it keeps the connection whose turn it is,
alone, for as long as it takes. Where that happens again and again, connections are kept *apart* for
a while: none rests, and each has a thread.

To accept new connections can be a turn, too: what rests then is who accepts.

Knows sockets by their descriptors, and nothing of what is done in a turn.
"""

from __future__ import annotations

import logging
import math
import os
import select
import threading
from contextlib import suppress
from time import process_time
from typing import Final, Protocol

from nhttp import _threads
from nhttp._timers import Deadline, now

__all__ = ["AVAILABLE", "Resting", "Turns", "excuse", "is_served", "leave", "rest", "step_aside"]

_log = logging.getLogger("nhttp.server")

THREAD_NAME = "nhttp-connections"  # the leader's
APART_NAME = "nhttp-connection"
# How long a turn may take: at least one look apart from the next, at the most two.
LOOK_SECONDS = 0.005
# So many looks without a turn between them, and the next one is after the next turn.
QUIET_LOOKS = 10
# Connections are kept apart where two turns last within so short a time, or where turns take longer
# than this on average: waiting for the others then costs more than sharing the interpreter's lock
# with them. First for so long, and twice as long each time that nothing has changed.
OFTEN_SECONDS = 0.05
LONG_SECONDS = 0.00025
APART_SECONDS = (1.0, 2.0, 4.0, 8.0)
# How long turns must have taken to judge by: one that is held up now and then, because some
# thread of the process has to wait for a core with the interpreter's lock in hand, proves nothing.
ENOUGH_SECONDS = 0.02
# How long nothing is concluded when somebody begins to lead: while many connections have threads of
# their own, and come to rest one by one, turns take long because of them.
GRACE_SECONDS = 0.1


class Resting(Protocol):
    """A connection that can rest."""

    def fileno(self) -> int:
        """Give its descriptor, the same one until it has left."""
        ...

    def turn(self) -> bool:
        """Serve what has come; on the thread that takes the turn.

        Returns:
            Whether the connection rests again; if so, it may be another thread's turn already.
        """
        ...


class Turns:
    """Those who rest, and who leads.

    `rest` is called by the thread that a connection has, `leave` by the same before its descriptor
    is closed, `step_aside` by any thread. `_lock` guards all fields. It is held while a thread is
    started, and never during a turn.

    A thread leads while `_epoll` is there, which is as long as somebody rests or has a turn as one
    who does. `_reign` tells a leader whether it still is: whoever takes its place counts on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoll: select.epoll | None = None
        self._resting: dict[int, Resting] = {}  # by descriptor; who has a turn stays in it
        self._reign = 0  # read without the lock by leaders: see `_take`
        self._turn: Resting | None = None  # whose turn the leader takes; a hint without the lock
        self._count = 0  # turns taken
        self._began = 0.0  # when the present one began; the leader's alone
        # Seconds that `_timed` turns have taken, since there were enough of them; that was at
        # `_since`, when the process had spent so much CPU time.
        self._busy = 0.0
        self._timed = 0
        self._since = self._spent = 0.0
        self._held_up = 0.0  # how long the leader has waited for a core since then
        # What the timer thread does: see `_look`.
        self._guard = Deadline(self._look)
        self._guarded = False
        self._seen: int = 0  # `_count`, when it looked last
        self._quiet = 0  # looks since the last turn
        self._leader = 0  # the system's number of the thread that leads
        self._waited = 0.0  # what `_waited_for_a_core` has said of it last
        self._lasted = -math.inf  # when a turn was found to last
        self._apart_until = -math.inf
        self._apart = 0  # how many times in a row they were kept apart
        self._judge_from = -math.inf  # when it is known how long turns take by themselves

    # For connections.

    def rest(self, connection: Resting) -> bool:
        """Have the connection's next turn taken when there is something to read, or the end.

        Returns:
            False: it cannot rest now, and its thread has to wait for what comes.
        """
        with self._lock:
            moment = now()
            if self._turn is connection:  # it has not left in the meantime
                self._turn = None
                self._busy += moment - self._began
                self._timed += 1
                self._began = moment  # of the next one, if it follows at once
                return True
            if moment < self._apart_until:
                return False
            # No thread, no descriptor or no memory for it: not now.
            with suppress(RuntimeError, OSError):
                self._add(connection)
                return True
            return False

    def leave(self, connection: Resting) -> None:
        """The connection is over, or will not rest any more; while its descriptor is open."""
        with self._lock:
            self._remove(connection)

    def excuse(self, connection: Resting) -> None:
        """However long the turn has taken so far, nothing is concluded from it."""
        with self._lock:
            if self._turn is connection:
                self._began = now()
                self._timed -= 1

    def is_served(self, connection: Resting) -> bool:
        """Whether others may be waiting for the end of this turn."""
        return self._turn is connection

    def step_aside(self, connection: Resting) -> None:
        """The connection's turn is about to block: have others served by another thread."""
        if self._turn is not connection:  # told without the lock by the thread that takes the turn
            return
        with self._lock:
            if self._turn is connection:
                self._pass_on(connection)

    # With the lock.

    def _add(self, connection: Resting) -> None:
        descriptor = connection.fileno()
        leads = self._epoll is not None
        epoll = self._epoll or select.epoll()
        try:
            epoll.register(descriptor, select.EPOLLIN)
            if not leads:
                self._begin_reign(epoll)
        except BaseException:  # no thread, no memory, Ctrl-C: nobody is to lead with it
            if not leads:
                epoll.close()
            raise
        if not leads:
            self._judge_from = now() + GRACE_SECONDS
        self._epoll = epoll
        self._resting[descriptor] = connection

    def _remove(self, connection: Resting) -> None:
        descriptor = connection.fileno()
        if self._epoll is not None and self._resting.get(descriptor) is connection:
            del self._resting[descriptor]
            with suppress(OSError):  # somebody has closed it behind the connection's back
                self._epoll.unregister(descriptor)

    def _begin_reign(self, epoll: select.epoll) -> None:
        """Have another thread lead.

        Raises:
            RuntimeError: There is no thread for that; everything is as it was.
        """
        _threads.run(self._lead, epoll, self._reign + 1, name=THREAD_NAME)
        self._reign += 1

    def _pass_on(self, connection: Resting) -> None:
        """Leave the connection to the thread that takes its turn, and have another one lead.

        Where there is no thread for that the others have to wait, until `_look` tries again.
        """
        others = len(self._resting) - (self._resting.get(connection.fileno()) is connection)
        if others and self._epoll is not None:
            try:
                self._begin_reign(self._epoll)
            except RuntimeError:
                return
        self._remove(connection)
        self._turn = None
        if not others:
            self._abdicate()

    def _abdicate(self) -> None:
        """Nobody rests: nobody leads."""
        epoll, self._epoll = self._epoll, None
        self._reign += 1
        if epoll is not None:
            epoll.close()

    # The leader.

    def _lead(self, epoll: select.epoll, reign: int) -> None:
        """Wait for octets and take turns, until another thread does so or nobody rests."""
        number = threading.get_native_id()
        waited = _waited_for_a_core(number)
        with self._lock:
            if self._reign == reign:
                self._leader, self._waited = number, waited
        leads = True
        while leads:
            try:
                leads = self._take_all(epoll, reign)
            except BaseException:  # a turn wants this thread to end
                if self._is_succeeded(epoll, reign):
                    raise
                _log.exception("a turn raised, and there is no other thread to lead")

    def _is_succeeded(self, epoll: select.epoll, reign: int) -> bool:
        """Whether this thread may end: nobody rests, or another one leads."""
        with self._lock:
            if self._reign == reign:
                try:
                    self._begin_reign(epoll)
                except RuntimeError:
                    return False
            return True

    def _take_all(self, epoll: select.epoll, reign: int) -> bool:
        """Take the turns of those for whom something has come; False: this thread leads no more."""
        ready = epoll.poll()
        self._began = now()
        for descriptor, _ in ready:  # noqa: SIM110 - a generator takes longer than the loop
            if not self._take(descriptor, reign):
                return False
        return True

    def _take(self, descriptor: int, reign: int) -> bool:
        """Take one turn; False: this thread leads no more."""
        with self._lock:
            # Another connection may have got the descriptor since the kernel spoke of it. Its turn
            # is then one that lasts, which does no harm.
            connection = self._resting.get(descriptor)
            if connection is None:
                return True
            if self._began < self._apart_until and self._set_apart(connection):
                return self._reign == reign
            self._turn = connection
            self._count += 1
            if not self._guarded:
                self._measure_anew()
                self._come_back()
        rests = False
        try:
            rests = connection.turn()
        finally:
            if not rests:
                self._turn_is_over(reign)
        # Without the lock: between two turns nobody takes this thread's place, and who did so
        # during this one did it before the turn's end was told, which takes the lock.
        return self._reign == reign

    def _set_apart(self, connection: Resting) -> bool:
        """Give the connection a thread; False when there is none. `_lock` is held."""
        try:
            _threads.run(connection.turn, name=APART_NAME)
        except RuntimeError:
            return False
        self._remove(connection)
        if not self._resting:
            self._abdicate()
        return True

    def _turn_is_over(self, reign: int) -> None:
        """The leader's turn has ended, and the connection with it."""
        with self._lock:
            if self._reign == reign:
                self._turn = None
                moment = now()
                self._busy += moment - self._began
                self._timed += 1
                self._began = moment
                if not self._resting:
                    self._abdicate()

    # The timer thread.

    def _look(self) -> None:
        """See whether turns last, and come back while there are turns."""
        leader = self._leader
        waited = _waited_for_a_core(leader)
        with self._lock:
            lately = 0.0
            if leader == self._leader:
                lately, self._waited = waited - self._waited, waited
            self._held_up += lately
            self._guarded = False
            connection = self._turn
            often = long = enough = False
            if self._count != self._seen:
                self._quiet = 0
            elif connection is None:
                self._quiet += 1
            else:
                self._pass_on(connection)
                moment = now()
                often, self._lasted = moment - self._lasted < OFTEN_SECONDS, moment
            if self._busy >= ENOUGH_SECONDS:
                enough, long = True, self._take_long()
                self._measure_anew()
            # If not, it is not the turns that take long.
            had_a_core = lately < LOOK_SECONDS / 2
            if had_a_core and now() >= self._judge_from:
                if often or long:
                    self._keep_apart()
                elif enough:
                    self._apart = 0
            self._seen = self._count
            if self._quiet < QUIET_LOOKS:
                self._come_back()

    def _take_long(self) -> bool:
        """Whether turns have taken long, not counting what the leader waited for a core."""
        # A process that computes all the time has turns wait for the interpreter's lock.
        passed = now() - self._since - self._held_up
        idle = process_time() - self._spent < passed / 2
        return idle and self._busy - self._held_up > self._timed * LONG_SECONDS

    def _measure_anew(self) -> None:
        """Forget how long turns have taken; `_lock` is held."""
        self._busy, self._timed = 0.0, 0
        self._since, self._spent = now(), process_time()
        self._held_up = 0.0

    def _keep_apart(self) -> None:
        """Let nobody rest for a while; `_lock` is held."""
        seconds = APART_SECONDS[min(self._apart, len(APART_SECONDS) - 1)]
        self._apart += 1
        self._apart_until = now() + seconds
        self._judge_from = self._apart_until + GRACE_SECONDS

    def _come_back(self) -> None:
        """Have the timer thread look again; `_lock` is held."""
        with suppress(RuntimeError):  # there is no such thread, nor can there be one
            self._guard.set(now() + LOOK_SECONDS)
            self._guarded = True

    def after_fork(self) -> None:
        """Forget everything; called in the child, where no thread leads.

        Nothing is unregistered: an epoll is shared with the parent.
        """
        self._lock = threading.Lock()
        self._resting = {}
        self._turn = None
        self._guarded = False
        self._abdicate()


def _waited_for_a_core(thread: int) -> float:
    """How many seconds a thread was ready to run and others ran; 0.0 where nobody knows."""
    try:
        with open(f"/proc/self/task/{thread}/schedstat") as file:  # noqa: PTH123 - often
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


_turns = Turns()

rest = _turns.rest
leave = _turns.leave
excuse = _turns.excuse
is_served = _turns.is_served
step_aside = _turns.step_aside

AVAILABLE: Final = hasattr(select, "epoll")
"""Whether connections can rest on this system."""

os.register_at_fork(after_in_child=_turns.after_fork)
