"""Clock: when a socket has been silent for too long, or a request has taken too long to arrive.

Octets that come and go only store the moment at which they did; the one deadline of a socket is
looked at by the timer thread, which then finds out whether anything is due.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

from nhttp import _threads
from nhttp._timers import Deadline, now
from nhttp.errors import InvalidArgument
from nhttp.net._descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.streams import Callback

__all__ = ["Clock"]


class Clock(Descriptor):
    """A stream over a file descriptor that emits ``'timeout'``: see `Socket`."""

    # What happens when a deadline passes; on the timer thread. True: it was dealt with.
    _on_idle: Callable[[Any], bool] | None = None
    # When the deadline is due follows from these: see `_arm`. Each is stored by itself, without a
    # lock, by whoever moves octets or sets it; `_told` by the timer thread.
    _active = 0.0  # the moment of the last octets
    _told = -1.0  # the moment from which on the silence lasted that was told last
    _timeout = 0.0  # seconds of silence; 0: any number
    _limit = math.inf  # a moment that no activity puts off: a server's bounds on a request
    _deadline: Deadline | None = None

    @property
    def timeout(self) -> float:
        """Seconds of silence until ``'timeout'``; 0: never."""
        return self._timeout

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Emit ``'timeout'`` after so many seconds without anything read or written.

        The connection is not ended by that: whoever listens does it, if at all.

        Args:
            seconds: 0 turns it off.
            callback: A listener for the next ``'timeout'`` (removed again when `seconds` is 0).

        Raises:
            InvalidArgument: `seconds` is negative or not a number.
        """
        _check_seconds(seconds)
        if callback is not None:
            if seconds:
                self._add_listener("timeout", callback, once=True)
            else:
                self._remove_listener("timeout", callback)
        self._timeout = seconds
        self._active = now()
        self._arm()
        return self

    def _allow_silence(self, seconds: float) -> None:
        """Let the deadline pass after so many seconds of silence, beginning now; 0: never."""
        self._timeout = seconds
        self._active = moment = now()
        # Stored first, then looked: the timer thread does both the other way round. So one of the
        # two sees what the other did, and mostly there is nothing to be done. Not `scheduled`: what
        # is entered there for an earlier moment is put off to `when` without a look at this clock.
        deadline = self._deadline
        if seconds and (deadline is None or moment + seconds < deadline.when):
            self._arm()

    def _set_limit(self, moment: float) -> None:
        """Set a moment that no activity puts off; `math.inf`: none."""
        self._limit = moment
        self._arm()

    def _arm(self) -> None:
        """Have the timer thread look when the silence, or the limit, may be over.

        Octets that come and go only store `_active`. They put the end of the silence off, and it
        suffices that the timer thread finds so when it looks.
        """
        due = self._limit
        if self._timeout:
            begin = now() if self._active == self._told else self._active
            due = min(begin + self._timeout, due)
        deadline = self._deadline
        if deadline is None:
            if due == math.inf:
                return
            deadline = self._deadline = Deadline(self._look_at_clock)
            if self._destroyed:
                deadline.cancel()
        deadline.set(due)

    def _look_at_clock(self) -> None:
        """On the timer thread, where nothing may block: see whether anything is due."""
        moment, active = now(), self._active
        if self._timeout and active + self._timeout <= moment and active != self._told:
            self._told = active
            self._expire()
        elif self._limit <= moment:
            self._expire()
        if self._limit > moment:
            self._arm()  # for what is still to come: octets, and another silence behind them

    def _expire(self) -> None:
        on_idle = self._on_idle  # once: another thread may be taking it away
        if on_idle is not None and on_idle(self):
            return
        if self._hears("timeout"):
            _threads.run(self.emit, "timeout", name="nhttp-timeout")

    def _destroy(self, error: BaseException | None) -> None:
        self._stop_clock()
        super()._destroy(error)

    def _close_handle(self) -> None:
        self._stop_clock()
        super()._close_handle()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


def _check_seconds(seconds: object) -> None:
    # NaN is not 0 or more, either.
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise InvalidArgument(
            f"a timeout is 0 or more seconds, not {seconds!r}", "ERR_INVALID_ARG_VALUE"
        )
