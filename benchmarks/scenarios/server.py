"""A server's requests per second, the latency of the slowest hundredth, CPU time; under wrk.

*cpu* is what a request costs the server, over all its threads and processes: it depends least on
what else the machine does. *kernel* is the part of it that is spent in system calls.
*free*: server and wrk share all CPUs, as they happen to be scheduled. *pinned*: the server has CPU
0 and wrk CPU 1, so that threads do not hand the interpreter lock from one CPU to another.
"""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs

from benchmarks.options import Step, interleave
from benchmarks.peers import SERVERS, Peer, present, server, start
from benchmarks.results import Metric
from benchmarks.wrk import Load, body_script, wrk

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.processes import CpuTime, Process
    from benchmarks.results import Results

__all__ = ["add_load", "cpus", "measure"]

RATE = Metric("rate", "req/s", higher_is_better=True)
P99 = Metric("p99", "ms", higher_is_better=False)
CPU = Metric("cpu", "µs/req", higher_is_better=False)
KERNEL = Metric("kernel", "µs/req", higher_is_better=False)
ROUNDS = 5
SECONDS = 2
READY = 20.0
# What a browser adds to the Host of its own, which makes twelve.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Connection: keep-alive",
    "Cookie: session=0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Cache-Control: max-age=0",
    "Referer: https://www.example.com/somewhere/else",
    "DNT: 1",
    "Sec-Fetch-Mode: navigate",
)
JSON = '{"name": "nhttp", "numbers": [1, 2, 3, 4, 5, 6, 7, 8], "nested": {"yes": true, "no": null}}'
CLOSING = "connection per request, 50 at once"
# Takes the place of the other bare loop there.
BARE_CLOSING = server("bare", "bare_closing_hello")


@attrs.frozen
class Case:
    """A kind of load.

    Attributes:
        name: What tables call it.
        connections: How many.
        headers: Lines for every request.
        posts: Whether requests bring JSON.
    """

    name: str
    connections: int
    headers: tuple[str, ...] = ()
    posts: bool = False


CASES = [
    Case("hello, 1 connection", 1),
    Case("hello, 50 connections", 50),
    Case("hello, 200 connections", 200),
    Case("12 headers, 50 connections", 50, BROWSER),
    Case("JSON echo, 50 connections", 50, posts=True),
    Case(CLOSING, 50, ("Connection: close",)),
]


def measure(options: Options, results: Results) -> None:
    """Measure every peer in every round, free and pinned."""
    if shutil.which("wrk") is None:
        results.skip("all", "wrk is not installed")
        return
    peers = present(SERVERS, options, results)
    with body_script("application/json", JSON) as script:
        for placement in options.placements:
            measure_placed(options, results, peers, placement, script)


def measure_placed(
    options: Options, results: Results, peers: list[Peer], placement: str, script: str
) -> None:
    """Run all servers, and put them under each kind of load in turns."""
    server_cpu, wrk_cpu = cpus(placement)
    seconds = options.seconds or SECONDS
    cases = [case for case in CASES if options.wants(case.name)]

    def one(case: Case, peer: Peer, process: Process) -> None:
        before = process.cpu()
        found = wrk(
            f"http://127.0.0.1:{process.port}/",
            connections=case.connections,
            seconds=seconds,
            cpu=wrk_cpu,
            headers=case.headers,
            script=script if case.posts else None,
        )
        add_load(results, case.name, placement, peer.name, found, before, process.cpu())

    with ExitStack() as stack:
        busy = [
            peer for peer in (*peers, BARE_CLOSING) if any(takes_part(peer, case) for case in cases)
        ]
        with options.turn():
            processes = start(busy, stack, results, server_cpu, warm_up)
        for case in cases:
            steps = [
                Step(f"{case.name}, {placement}", peer.name, partial(one, case, peer, process))
                for peer, process in processes.items()
                if takes_part(peer, case)
            ]
            interleave(options, results, options.rounds or ROUNDS, steps)


def cpus(placement: str) -> tuple[int | None, int | None]:
    """Give the CPU of the server, and that of the load; None: all."""
    return (0, 1) if placement == "pinned" else (None, None)


def add_load(
    results: Results,
    case: str,
    placement: str,
    peer: str,
    found: Load,
    before: CpuTime | None,
    after: CpuTime | None,
) -> None:
    """Add what wrk found, and what CPU time the server spent, by its clock before and after."""
    results.add(case, placement, peer, RATE, found.rate)
    results.add(case, placement, peer, P99, found.p99)
    if before is not None and after is not None:
        share = 1e6 / found.requests
        results.add(case, placement, peer, CPU, (after.total - before.total) * share)
        results.add(case, placement, peer, KERNEL, (after.kernel - before.kernel) * share)


def takes_part(peer: Peer, case: Case) -> bool:
    """Whether a server can do that: the bare ones know no HTTP, and so not when to close."""
    if peer == BARE_CLOSING:
        return case.name == CLOSING
    return peer.name != "bare" or not (case.posts or case.name == CLOSING)


def warm_up(process: Process) -> None:
    """Ask many times: all that is only imported, compiled or started once then is."""
    deadline = time.monotonic() + READY
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", process.port)) == 0:
                break
        if time.monotonic() > deadline:
            raise RuntimeError("nobody listens")
        time.sleep(0.05)
    with suppress(RuntimeError):
        wrk(f"http://127.0.0.1:{process.port}/", connections=10, seconds=1)
