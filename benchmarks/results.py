"""What was measured: samples by case, placement, peer and metric, as numbers and as JSON.

Knows nothing of who measures and of how it is shown.
"""

from __future__ import annotations

import os
import platform
import statistics
from typing import Any, Self, TypeAlias

import attrs

__all__ = ["OURS", "Json", "Metric", "Results", "Series", "machine"]

OURS = "nhttp"
Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | int | bool | None"


@attrs.frozen
class Metric:
    """What a figure says.

    Attributes:
        name: Its name, unique within a scenario.
        unit: Its unit.
        higher_is_better: Whether more of it is better.
    """

    name: str
    unit: str
    higher_is_better: bool


@attrs.frozen
class Series:
    """The samples of one figure, one for each round.

    Attributes:
        case: The question.
        placement: ``"free"`` or ``"pinned"``.
        peer: Who was asked.
        metric: What the samples say.
        samples: They, in the order of the rounds; one at least once it is asked for figures.
    """

    case: str
    placement: str
    peer: str
    metric: Metric
    samples: list[float]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest of the rounds."""
        return min(self.samples), max(self.samples)

    def to_json(self) -> Json:
        """Give it as JSON."""
        low, high = self.spread
        return {
            "case": self.case,
            "placement": self.placement,
            "peer": self.peer,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "higher_is_better": self.metric.higher_is_better,
            "samples": list(self.samples),
            "median": self.median,
            "min": low,
            "max": high,
        }


@attrs.define
class Results:
    """All that one scenario found.

    Attributes:
        scenario: Its name.
        title: What it measures, in a line.
        skipped: Who did not take part, and why.
    """

    scenario: str
    title: str
    skipped: dict[str, str] = attrs.Factory(dict[str, str])
    _series: dict[tuple[str, str, str, str], Series] = attrs.field(
        init=False, factory=dict[tuple[str, str, str, str], Series]
    )

    def add(self, case: str, placement: str, peer: str, metric: Metric, value: float) -> None:
        """Add a sample."""
        key = case, placement, peer, metric.name
        if key not in self._series:
            self._series[key] = Series(case, placement, peer, metric, [])
        self._series[key].samples.append(value)

    def skip(self, who: str, why: str) -> None:
        """Note who does not take part; the first reason stays."""
        self.skipped.setdefault(who, why)

    def get(self, case: str, placement: str, peer: str, metric: str) -> Series | None:
        """Give a series, if there is one."""
        return self._series.get((case, placement, peer, metric))

    @property
    def series(self) -> list[Series]:
        """All series, in the order in which they began."""
        return list(self._series.values())

    def to_json(self) -> dict[str, Json]:
        """Give all of it as JSON."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "series": [series.to_json() for series in self.series],
            "skipped": dict(self.skipped),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Make it of what `to_json` gave."""
        results = cls(found["scenario"], found["title"], dict(found["skipped"]))
        for each in found["series"]:
            metric = Metric(each["metric"], each["unit"], each["higher_is_better"])
            for sample in each["samples"]:
                results.add(each["case"], each["placement"], each["peer"], metric, sample)
        return results

    def tables(self) -> dict[tuple[str, str], list[Series]]:
        """Give the series that belong into one table, by case and placement."""
        found: dict[tuple[str, str], list[Series]] = {}
        for series in self._series.values():
            found.setdefault((series.case, series.placement), []).append(series)
        return found

    def ratio(self, series: Series) -> float | None:
        """Say how many times a peer's figure ours is; None where that means nothing."""
        ours = self.get(series.case, series.placement, OURS, series.metric.name)
        if ours is None or ours.median <= 0 or series.median <= 0:
            return None
        return ours.median / series.median


def machine() -> dict[str, Json]:
    """Say what the figures are measured on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
