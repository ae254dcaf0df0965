"""Progress on a terminal: a bar of rich's (the extra ``cli``), or plain numbers without it."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["progress"]

_PAUSE = 0.1  # seconds between two numbers


@contextlib.contextmanager
def progress(name: str, done: int, total: int | None) -> Generator[Callable[[int], None]]:
    """Show on stderr how far a download is, for as long as the block takes.

    Args:
        name: Of what.
        done: Octets that were there before.
        total: Octets of the whole; None when nobody knows.

    Returns:
        To be called with the octets that came.
    """
    try:
        # Deferred: it may not be installed, and is not always wanted.
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
    except ImportError:
        with _numbers(name, done, total) as advance:
            yield advance
        return
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(name), total=total, completed=done)
        yield lambda count: bar.advance(task, count)


@contextlib.contextmanager
def _numbers(name: str, done: int, total: int | None) -> Generator[Callable[[int], None]]:
    of_total = "" if total is None else f" of {total}"
    due = 0.0

    def show() -> None:
        sys.stderr.write(f"\r{name}: {done}{of_total} octets")
        sys.stderr.flush()

    def advance(count: int) -> None:
        nonlocal done, due
        done += count
        if time.monotonic() >= due:
            due = time.monotonic() + _PAUSE
            show()

    try:
        yield advance
    finally:
        show()
        sys.stderr.write("\n")
