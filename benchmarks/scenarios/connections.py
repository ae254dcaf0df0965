"""Crowds of idle connections: memory for each, how long others wait, and how long stopping takes.

Every connection has had one request answered. Another process holds them. *memory* is what the
server's resident memory grew by, for each; *added* is how much longer a request takes among them,
in the median of many, over a connection that is kept or a fresh one for each; *stop* is the time
from the word to the end of the server's ``with`` block (or of what comes nearest), *exit* to the
end of the process.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Options, Step, interleave
from benchmarks.peers import Peer, client, present, server
from benchmarks.processes import Process, running
from benchmarks.results import OURS, Metric

if TYPE_CHECKING:
    from benchmarks.results import Results

__all__ = ["measure"]

MEMORY = Metric("memory", "KiB each", higher_is_better=False)
KEPT = Metric("added, kept", "ms", higher_is_better=False)
FRESH = Metric("added, fresh", "ms", higher_is_better=False)
STOP = Metric("stop", "s", higher_is_better=False)
EXIT = Metric("exit", "s", higher_is_better=False)
ROUNDS = 3
IDLE = (1000, 10_000)
REQUESTS = 100
PEERS = [
    server(OURS, "nhttp_idle"),
    server("bare", "bare_idle"),
    server("http.server+buffered", "stdlib_idle"),
]
HOLD = client("", "hold").command
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PATIENCE = 120.0  # seconds


def measure(options: Options, results: Results) -> None:
    """Hold so many connections to a fresh server, measure, and stop it."""
    if not Path("/proc/self/status").exists():
        results.skip("all", "there is no /proc to read memory from")
        return
    peers = present(PEERS, options, results)
    for count in options.idle or IDLE:
        case = f"{count:,} idle"
        if options.wants(case):
            steps = [Step(case, peer.name, partial(crowd, results, peer, count)) for peer in peers]
            interleave(options, results, options.rounds or ROUNDS, steps)


def crowd(results: Results, peer: Peer, count: int) -> None:
    """Measure one server with so many."""

    def add(metric: Metric, value: float) -> None:
        results.add(f"{count:,} idle", "free", peer.name, metric, value)

    with running(peer.command) as process:
        alone = latencies(process)
        before = process.memory("VmRSS")
        with running([*HOLD, str(process.port), str(count)], word="holding"):
            grown = process.memory("VmRSS") - before
            among = latencies(process)
            began = time.perf_counter()
            stop = stop_time(process)
            leave(process)
            exit_ = time.perf_counter() - began
    add(MEMORY, grown / count / 1024)
    add(KEPT, (among[0] - alone[0]) * 1000)
    add(FRESH, (among[1] - alone[1]) * 1000)
    add(STOP, stop)
    add(EXIT, exit_)


def stop_time(process: Process) -> float:
    """Have the server stop, and give the seconds that it says this took."""
    _, seconds = process.ask("stop", PATIENCE)
    return float(seconds)


def leave(process: Process) -> None:
    """Wait for the process to end; one that does not is ended later."""
    try:
        process.popen.wait(PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("the process did not end") from error


def latencies(process: Process) -> tuple[float, float]:
    """Give the median seconds of a request: over a kept connection, over a fresh one for each."""
    with connect(process) as sock:
        kept = [ask(sock) for _ in range(REQUESTS)]
    fresh: list[float] = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        with connect(process) as sock:
            ask(sock)
            fresh.append(time.perf_counter() - began)
    return statistics.median(kept), statistics.median(fresh)


def connect(process: Process) -> socket.socket:
    """Connect."""
    return socket.create_connection(("127.0.0.1", process.port), timeout=30)


def ask(sock: socket.socket) -> float:
    """Send a request, and give the seconds until its answer."""
    began = time.perf_counter()
    sock.sendall(REQUEST)
    assert sock.recv(65536)
    return time.perf_counter() - began
