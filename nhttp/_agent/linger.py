"""Linger: the process's keeper is held a moment longer than the last socket in use.

Kept sockets are unref'd and ref'd again around each request. For one request after the other that
would end and start the keeper thread each time, which cost five times the request itself (330 µs
beside 60 µs, measured with sequential requests in blocking style).
"""

from __future__ import annotations

import contextlib
import os
import threading

from nhttp import _threads
from nhttp._timers import Deadline, now

__all__ = ["linger"]

LINGER_SECONDS = 0.02  # how much later the process ends than it could


class Linger:
    """Holds the keeper until nobody has called for a while. Any thread; `_lock` guards `_held`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._deadline = Deadline(self._over)

    def __call__(self) -> None:
        """Hold the keeper from now on for `LINGER_SECONDS`."""
        if not self._held:
            self._hold()
        try:
            self._deadline.set(now() + LINGER_SECONDS)
        except RuntimeError:  # no timer thread can be started: nobody would ever let go
            self._over()

    def _hold(self) -> None:
        # Where no thread can be started any more, there is nothing to be kept alive either.
        with contextlib.suppress(RuntimeError), self._lock:
            if not self._held:
                _threads.ref()
                self._held = True

    def _over(self) -> None:
        """On the timer thread. Who calls just now may miss it, and holds it the next time."""
        with self._lock:
            held, self._held = self._held, False
        if held:
            _threads.unref()

    def after_fork(self) -> None:
        """Start anew; called in the child, where neither timers nor keeper run."""
        self.__init__()  # type: ignore[misc]


linger = Linger()

os.register_at_fork(after_in_child=linger.after_fork)
