"""A bound on everything that the main thread does, whatever it waits for."""

from __future__ import annotations

import contextlib
import math
import signal
from time import monotonic as now
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

__all__ = ["Expired", "time_limit"]

# Seconds between two looks. A signal that comes between Python's last look for one and a system
# call that blocks is noticed when the call ends, which may be never: so the call is interrupted
# again and again. That is for Ctrl-C as much as for the time.
_BEAT = 0.2


class Expired(BaseException):
    """The time is over. Like `KeyboardInterrupt` it comes anywhere, and nobody may mistake it."""


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Generator[None]:
    """Raise `Expired` in the block when it takes longer, and let no Ctrl-C be lost.

    Main thread only. Until the end the alarm is the block's.

    Args:
        seconds: None: as long as it takes.
    """
    end = math.inf if seconds is None else now() + seconds

    def beat(_signal: int, _frame: FrameType | None) -> None:
        left = end - now()
        if left <= 0:
            raise Expired
        if left < _BEAT:
            signal.setitimer(signal.ITIMER_REAL, left, _BEAT)

    handler = signal.signal(signal.SIGALRM, beat)
    before = signal.setitimer(signal.ITIMER_REAL, min(seconds or _BEAT, _BEAT), _BEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)
