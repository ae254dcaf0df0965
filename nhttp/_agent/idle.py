"""Idle: what becomes of the sockets that an agent keeps.

One that its server closes leaves the pool by itself: sockets that have been idle for a moment are
given to the watcher thread. One that has been idle for longer than the server promised to wait is
closed. Busy agents use their sockets again long before either, so that it costs them nothing.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING

from nhttp import _threads
from nhttp._timers import Deadline, now

if TYPE_CHECKING:
    from nhttp._agent.channel import Channel
    from nhttp._agent.sharing import Sharing

__all__ = ["WATCH_AFTER", "Sweeper"]

WATCH_AFTER = 0.25  # seconds that a socket is idle before it is watched


class Sweeper:
    """Looks after the idle sockets of an agent, for as long as somebody holds the agent.

    `expect` is called with the agent's lock held, everything else by helper threads without it. The
    lock guards `due`, but for the store in `_passed`: the sweep that follows it sees all that was
    kept before, and says when to come again.
    """

    def __init__(self, agent: Sharing) -> None:
        self._agent = weakref.ref(agent)
        self.due = math.inf  # when the idle sockets are looked at next; inf: there are none
        self._deadline = Deadline(self._passed)

    def expect(self, moment: float) -> None:
        """Look at the idle sockets by that moment; the agent's lock is held."""
        if moment < self.due:
            self.due = moment
            try:
                self._deadline.set(moment)
            except RuntimeError:  # no thread can be started: they are checked when used again
                self.due = math.inf

    def _passed(self) -> None:
        """On the timer thread: hand over."""
        self.due = math.inf  # who expects something from now on arms the deadline again
        _threads.run(self._sweep, name="nhttp-agent")

    def _sweep(self) -> None:
        """Close what has expired, watch what has become idle, and say when to come again."""
        agent = self._agent()
        if agent is None:
            return
        moment = now()
        again = math.inf
        for channel in agent._idle_channels():
            due = channel.idle_since + WATCH_AFTER
            if channel.expires <= moment:
                agent._drop_if_idle(channel)
            elif due <= moment:
                self._watch(agent, channel)
                again = min(again, channel.expires)
            else:
                again = min(again, channel.expires, due)
        with agent._lock:
            self.expect(again)

    def _watch(self, agent: Sharing, channel: Channel) -> None:
        weak = self._agent

        def gone() -> None:
            alive = weak()
            if alive is not None:
                _threads.run(alive._drop_if_idle, channel, name="nhttp-agent")

        try:
            with agent._lock:
                # Whoever takes it out of the pool does so under this lock, and then cancels.
                if agent._is_idle(channel):
                    channel.begin_watch(gone)
        except (OSError, ValueError, RuntimeError):  # closed just now, or no thread to be had
            agent._drop_if_idle(channel)
