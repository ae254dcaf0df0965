"""What is expected of nhttp, and the verdict on what was measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from benchmarks.results import OURS

if TYPE_CHECKING:
    from benchmarks.results import Json, Results, Series

__all__ = ["FLOORS", "Floor", "Verdict", "judge"]

BOTH = ("free", "pinned")


@attrs.frozen
class Floor:
    """One expectation.

    Attributes:
        case: Of which case.
        metric: Of which metric. Its direction says whether the bound is a least or a most.
        bound: How many times the peer's figure ours must, or may, be. Without a peer the figure
            itself, in the metric's unit.
        peer: With whom ours is compared.
        placements: Where it is to hold.
    """

    case: str
    metric: str
    bound: float
    peer: str | None = None
    placements: tuple[str, ...] = ("free",)


@attrs.frozen
class Verdict:
    """What came of a floor.

    Attributes:
        floor: The floor.
        ours: Our series.
        theirs: The peer's; None: there is no peer in it.
    """

    floor: Floor
    ours: Series
    theirs: Series | None

    @property
    def at_least(self) -> bool:
        """Whether the bound is a least; otherwise a most."""
        return self.ours.metric.higher_is_better

    @property
    def value(self) -> float:
        """What is held against the bound: of medians."""
        return divided(self.ours.median, None if self.theirs is None else self.theirs.median)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The least and the greatest value of a round; None: not all were measured in each."""
        if self.theirs is None:
            return self.ours.spread
        if len(self.ours.samples) != len(self.theirs.samples):
            return None
        rounds = [*map(divided, self.ours.samples, self.theirs.samples)]
        return min(rounds), max(rounds)

    @property
    def reached(self) -> bool:
        """Whether it is as expected."""
        if self.at_least:
            return self.value >= self.floor.bound
        return self.value <= self.floor.bound

    @property
    def miss(self) -> float:
        """How many times too little, or too much; up to 1 when the floor is reached."""
        if self.value <= 0:
            return math.inf if self.at_least else 0.0
        return self.floor.bound / self.value if self.at_least else self.value / self.floor.bound

    @property
    def expectation(self) -> str:
        """The bound, in words."""
        least = "at least" if self.at_least else "at most"
        if self.floor.peer is None:
            return f"{least} {self.floor.bound:g} {self.ours.metric.unit}"
        return f"{least} {self.floor.bound:g} times {self.floor.peer}"

    def to_json(self) -> Json:
        """Give it as JSON."""
        return {
            "case": self.floor.case,
            "placement": self.ours.placement,
            "metric": self.floor.metric,
            "peer": self.floor.peer,
            "expected": self.expectation,
            "bound": self.floor.bound,
            "value": self.value,
            "spread": None if self.spread is None else list(self.spread),
            "verdict": "reached" if self.reached else "missed",
        }


def divided(ours: float, theirs: float | None) -> float:
    """Say how many times theirs ours is; just ours, where there is nobody to compare with."""
    if theirs is None:
        return ours
    return ours / theirs if theirs else math.inf


def judge(results: Results) -> list[Verdict]:
    """Hold results against the floors of their scenario; what was not measured has no verdict."""
    verdicts: list[Verdict] = []
    for floor in FLOORS.get(results.scenario, []):
        for placement in floor.placements:
            ours = results.get(floor.case, placement, OURS, floor.metric)
            theirs: Series | None = None
            if floor.peer is not None:
                theirs = results.get(floor.case, placement, floor.peer, floor.metric)
            if ours is not None and (floor.peer is None or theirs is not None):
                verdicts.append(Verdict(floor, ours, theirs))
    return verdicts


HELLO = "hello, 50 connections"
TWELVE = "12 headers, 50 connections"
CLOSING = "connection per request, 50 at once"
# http.server at its fastest: what floors that say "http.server" mean.
STDLIB = "http.server+buffered"

FLOORS: dict[str, list[Floor]] = {
    "server": [
        Floor(HELLO, "rate", 0.5, "bare", BOTH),
        Floor(HELLO, "rate", 1.0, "uvicorn", ("free",)),
        Floor(HELLO, "rate", 1.5, "uvicorn", ("pinned",)),
        Floor(HELLO, "rate", 1.0, "node6", ("pinned",)),
        Floor(HELLO, "rate", 3.0, STDLIB, BOTH),
        Floor(HELLO, "rate", 5.0, "waitress"),
        Floor(HELLO, "rate", 5.0, "cheroot"),
        Floor(HELLO, "rate", 5.0, "gunicorn"),
        Floor(HELLO, "p99", 0.5, STDLIB, BOTH),
        Floor(HELLO, "p99", 1.5, "bare", BOTH),
        Floor(TWELVE, "rate", 0.4, "bare", BOTH),
        Floor(TWELVE, "rate", 4.0, STDLIB, BOTH),
        Floor(CLOSING, "rate", 1.5, STDLIB, BOTH),
    ],
    "client": [
        Floor("sequential", "rate", 0.75, "bare", BOTH),
        Floor("sequential", "rate", 1.5, "http.client", BOTH),
        Floor("sequential", "rate", 2.5, "urllib3", BOTH),
        Floor("sequential", "rate", 1.0, "node", BOTH),
        Floor("8 threads", "rate", 2.0, "urllib3", BOTH),
    ],
    "parser": [
        Floor("browser's head, heads differ", "rate", 4.0, "h11"),
        Floor("browser's head, heads differ", "rate", 0.3, "httptools"),
        Floor("chunks of 64 KiB", "throughput", 1.0),
    ],
    "streams": [
        floor
        for case in ("download", "upload", "download by the client", "upload by the client")
        for floor in (Floor(case, "speed", 0.8, "bare"), Floor(case, "growth", 16.0))
    ],
    "connections": [
        Floor("10,000 idle", "memory", 40.0),
        Floor("10,000 idle", "added, kept", 10.0),
        Floor("10,000 idle", "added, fresh", 10.0),
        Floor("10,000 idle", "stop", 1.0),
    ],
    "stop": [Floor("200 idle", "stop", 50.0)],
    "start": [
        Floor("import", "import", 60.0),
        Floor("import", "import", 1.5, "http.server"),
    ],
    "tls": [
        Floor(HELLO, "rate", 1.5, STDLIB, BOTH),
        Floor("download", "speed", 0.7, "bare"),
    ],
}
