"""Keeping threads on one core: what `Server(pin_threads=True)` does.

Threads of one interpreter take turns. On several cores, each turn has to cross from one core to
another, and waking a thread there can cost more than the request that it serves. On one core a turn
is an ordinary switch. What is lost are the moments in which two threads of the process could have
run at the same time: in the kernel, in compression, in hashing.

Knows the operating system's calls, and nothing of the project.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["on_one_core", "release"]

# The cores of threads before the first one was pinned; empty until then. A thread inherits those of
# the thread that starts it, so that what a pinned thread starts has to be told. No lock: threads
# that race here append the same, and the first counts.
_before: list[set[int]] = []


@contextmanager
def on_one_core() -> Generator[None]:
    """Keep the calling thread on one core for the length of a ``with`` block.

    It is the same one for all threads of the process: of those that it may use, which one follows
    from the process's number, so that several processes spread. Does nothing where the operating
    system has no such call, or refuses it.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    if not _before:
        _before.append(allowed)
    _set({sorted(allowed)[os.getpid() % len(allowed)]})
    try:
        yield
    finally:
        _set(allowed)


def release() -> None:
    """Let a new thread run on every core, whoever started it."""
    if _before:
        _set(_before[0])


def _set(cores: set[int]) -> None:
    with suppress(OSError):  # not in this container: then the thread stays as it is
        os.sched_setaffinity(0, cores)
