"""A client's requests per second, and the CPU time of each, against a server that does nothing.

The server is the same for all: a thread for each connection, which receives and sends, always the
same octets.
*free* and *pinned* are as for servers: pinned, the client has CPU 1 and the server CPU 0.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.options import Step, interleave
from benchmarks.peers import CLIENTS, SERVERS, Peer, present
from benchmarks.processes import output_of, running
from benchmarks.results import Metric

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.results import Results

__all__ = ["measure"]

RATE = Metric("rate", "req/s", higher_is_better=True)
CPU = Metric("cpu", "µs/req", higher_is_better=False)
ROUNDS = 5
SECONDS = 2
CASES = {"sequential": 1, "8 threads": 8}


def measure(options: Options, results: Results) -> None:
    """Measure every peer in every round, free and pinned."""
    peers = present(CLIENTS, options, results)
    (bare,) = (peer for peer in SERVERS if peer.name == "bare")
    seconds = options.seconds or SECONDS

    def one(case: str, peer: Peer, words: list[str], cpu: int | None, placement: str) -> None:
        printed = output_of([*peer.command, *words], seconds + 30, cpu)
        _, count, took, used = printed.split()
        results.add(case, placement, peer.name, RATE, int(count) / float(took))
        results.add(case, placement, peer.name, CPU, float(used) / int(count) * 1e6)

    for placement in options.placements:
        server_cpu, client_cpu = (0, 1) if placement == "pinned" else (None, None)

        with running(bare.command, server_cpu) as process:
            for case, threads in CASES.items():
                words = [str(process.port), str(seconds), str(threads)]
                steps = [
                    Step(
                        f"{case}, {placement}",
                        peer.name,
                        partial(one, case, peer, words, client_cpu, placement),
                    )
                    for peer in peers
                    if options.wants(case)
                ]
                interleave(options, results, options.rounds or ROUNDS, steps)
