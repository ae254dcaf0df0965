"""Many small requests from several threads."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_get"]

WARM_UP = 0.2  # seconds


def run_get(
    make: Callable[[int, int], Callable[[], object]], port: int, seconds: int, threads: int
) -> None:
    """Send requests for so long, and print how many there were, in what time, with how much CPU.

    Args:
        make: Called once with the port and the number of threads, and then by every thread: what it
            gives sends one request and reads its answer.
        port: Where the server is.
        seconds: How long.
        threads: How many at the same time.
    """
    get = make(port, threads)
    counts = [0] * threads
    ends = [0.0] * threads
    began = before = 0.0
    ready = threading.Barrier(threads)

    def work(index: int) -> None:
        nonlocal began, before
        warm = time.perf_counter() + WARM_UP
        while time.perf_counter() < warm:
            get()
        ready.wait(30)
        if index == 0:
            began = time.perf_counter()
            before = time.process_time()
        end = time.perf_counter() + seconds
        count = 0
        while time.perf_counter() < end:
            get()
            count += 1
        counts[index] = count
        ends[index] = time.perf_counter()

    workers = [
        threading.Thread(target=work, args=(index,), daemon=True) for index in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if not all(ends):
        sys.exit("a thread has failed")
    used = time.process_time() - before
    print(f"requests {sum(counts)} {max(ends) - began:.6f} {used:.6f}", flush=True)
