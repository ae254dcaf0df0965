"""What every test is held to: it leaves no thread of nhttp's and no socket behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from nhttp._threads import IDLE_NAME
from nhttp._timers import THREAD_NAME as TIMERS_NAME
from nhttp._watcher import THREAD_NAME as WATCHER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTLE_SECONDS = 5.0  # what a thread has to end, or a finalizer to run, once the test is over
PATIENCE = 50  # milliseconds before the garbage is collected, which costs more than most tests

# Those wait a while for more work, and then end.
MAY_STAY = {IDLE_NAME, TIMERS_NAME, WATCHER_NAME}


def open_sockets() -> set[str]:
    """The sockets of this process, by inode: a descriptor's number says nothing."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - thousands of times
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - as above
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found.add(target)
    return found


def busy_threads() -> set[threading.Thread]:
    """The threads of nhttp's that do something, and the keeper, which somebody holds."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("nhttp-") and thread.name not in MAY_STAY
    }


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail the test that leaks a thread or a socket (Linux)."""
    if sys.platform != "linux":
        yield
        return
    sockets, threads = open_sockets(), busy_threads()
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    rounds = 0
    while leaked := [*(open_sockets() - sockets), *(busy_threads() - threads)]:
        rounds += 1
        if rounds == PATIENCE:
            gc.collect()
        assert time.monotonic() < deadline, f"left behind: {leaked}"
        time.sleep(0.001)
