"""What a run is asked to do, and the loop that every scenario runs in."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from benchmarks.results import Results

__all__ = ["Options", "Step", "interleave", "progress"]


@attrs.frozen
class Options:
    """The command line.

    Attributes:
        rounds: How often everything is measured. None: as the scenario sees fit, as below.
        seconds: How long one measurement of a rate takes.
        peers: Who may take part. None: all.
        cases: Parts of names of cases; others are left out. None: all.
        placements: ``"free"``, ``"pinned"``, or both.
        idle: Numbers of idle connections.
        mib: The size of large bodies.
        lock: A file that is locked during each round, so that runs side by side take turns.
    """

    rounds: int | None = None
    seconds: int | None = None
    peers: frozenset[str] | None = None
    cases: tuple[str, ...] | None = None
    placements: tuple[str, ...] = ("free",)
    idle: tuple[int, ...] | None = None
    mib: int | None = None
    lock: Path | None = None

    def wants(self, case: str) -> bool:
        """Whether a case is to be measured."""
        return self.cases is None or any(part in case for part in self.cases)

    def invites(self, peer: str) -> bool:
        """Whether a peer may take part."""
        return self.peers is None or peer in self.peers

    @contextmanager
    def turn(self) -> Generator[None]:
        """Wait until nobody else measures, and keep others from it."""
        if self.lock is None:
            yield
            return
        with self.lock.open("a") as file:  # closing it gives the lock back
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@attrs.frozen
class Step:
    """One measurement, to be made once in each round.

    Attributes:
        what: For the reader who waits.
        peer: Who is measured.
        measure: Makes it, and adds its samples to the results.
    """

    what: str
    peer: str
    measure: Callable[[], None]


def interleave(options: Options, results: Results, rounds: int, steps: Iterable[Step]) -> None:
    """Make all measurements in turns, `rounds` times; one that fails leaves the others alone."""
    steps = list(steps)
    for turn in range(rounds):
        with options.turn():
            for step in steps:
                progress(f"{results.scenario}, round {turn + 1}: {step.what}, {step.peer}")
                try:
                    step.measure()
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    results.skip(f"{step.peer}, {step.what}", f"failed: {error}")
    progress("")


def progress(text: str) -> None:
    """Tell, on the terminal only, what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
