"""Requests per second: hello world over kept connections, asked by wrk.

*free*: server and wrk share all CPUs, as they happen to be scheduled. *pinned*: the server has CPU
0 and wrk CPU 1, so that threads do not hand the interpreter lock from one CPU to another.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import defaultdict
from contextlib import ExitStack

import attrs

from benchmarks.peers import HELLO, can_pin, pinned
from benchmarks.report import Report, median, progress, ratio

__all__ = ["add_arguments", "run"]

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's own options."""
    names = [peer.name for peer in HELLO]
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="PEER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument(
        "--pinned", action=argparse.BooleanOptionalAction, default=can_pin(), help="measure it too"
    )


def run(options: argparse.Namespace) -> Report:
    """Measure every peer in every round, free and pinned."""
    peers = [peer for peer in HELLO if peer.name in options.peers and peer.available]
    placements = ["free", "pinned"] if options.pinned else ["free"]
    found: defaultdict[tuple[str, str], list[Load]] = defaultdict(list)
    for placement in placements:
        server_cpu, client_cpu = (0, 1) if placement == "pinned" else (None, None)
        with ExitStack() as stack:
            ports = {
                peer.name: stack.enter_context(peer.running(server_cpu)).port for peer in peers
            }
            for turn in range(-1, options.rounds):  # the first only warms up
                for peer in peers:
                    progress(f"{placement}, round {turn + 1}: {peer.name}")
                    seconds = options.seconds if turn >= 0 else 1
                    load = wrk(ports[peer.name], options.connections, seconds, client_cpu)
                    if turn >= 0:
                        found[peer.name, placement].append(load)
    progress("")
    report = Report(
        f"hello world, {options.connections} connections, median of {options.rounds} rounds "
        f"of {options.seconds} s",
        ["peer", *(f"{p} {what}" for p in placements for what in ("req/s", "ratio", "p99 ms"))],
    )
    first = {
        placement: median(load.rate for load in found[peers[0].name, placement])
        for placement in placements
    }
    for peer in peers:
        cells: list[float | None] = []
        for placement in placements:
            loads = found[peer.name, placement]
            rate = median(load.rate for load in loads)
            cells += [rate, ratio(rate, first[placement]), median(load.p99 for load in loads)]
        report.add(peer.name, *cells)
    return report


@attrs.frozen
class Load:
    """What wrk found: requests per second, and the slowest hundredth's milliseconds."""

    rate: float
    p99: float


def wrk(port: int, connections: int, seconds: int, cpu: int | None) -> Load:
    """Run wrk against a port, and insist that nothing went wrong."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    output = subprocess.run(
        [*pinned(cpu), *command, f"http://127.0.0.1:{port}/"],
        capture_output=True,
        check=True,
        text=True,
        timeout=seconds + 30,
    ).stdout
    if "Socket errors" in output or "Non-2xx" in output:
        raise RuntimeError(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", output)
    assert rate is not None
    assert p99 is not None
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])
