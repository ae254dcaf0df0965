"""One large body."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from benchmarks.processes import memory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MIB", "run_transfer"]

MIB = 1024 * 1024


def run_transfer(move: Callable[[int, int], None], port: int, size: int) -> None:
    """Move a body, and print how long it took and how much memory.

    Args:
        move: Called with the port and the size in octets.
        port: Where the server is.
        size: How much.
    """
    move(port, MIB)  # what only ever grows once has grown then
    before = memory(os.getpid(), "VmRSS")
    began = time.perf_counter()
    move(port, size)
    seconds = time.perf_counter() - began
    growth = max(0, memory(os.getpid(), "VmHWM") - before)
    print(f"moved {seconds:.6f} {growth}", flush=True)
