"""Results for the documentation: tables in Markdown, put into a page between two comments.

A page has ``<!-- begin NAME -->`` and ``<!-- end NAME -->``, each on a line of its own. NAME is
that of a scenario; or ``floors``, for the verdicts on all of them. What is in between is replaced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.floors import judge
from benchmarks.show import between, figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.results import Metric, Results, Series

__all__ = ["fill_page"]


def fill_page(page: Path, found: list[Results]) -> None:
    """Replace the tables of a page; those of scenarios that were not measured stay.

    Raises:
        ValueError: There is no place for one of them.
    """
    text = page.read_text(encoding="utf-8")
    for results in found:
        text = replace(text, results.scenario, "\n\n".join(scenario_tables(results)))
    page.write_text(replace(text, "floors", floor_table(found)), encoding="utf-8")


def replace(text: str, name: str, block: str) -> str:
    """Put a block between its two comments."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{begin}\n.*?{end}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no place for {name}")
    return pattern.sub(lambda _: f"{begin}\n\n{block}\n\n{end}", text, count=1)


def scenario_tables(results: Results) -> Iterable[str]:
    """Give a table for each metric and placement: a row for each peer, a column for each case."""
    groups: dict[tuple[Metric, str], list[Series]] = {}
    for series in results.series:
        groups.setdefault((series.metric, series.placement), []).append(series)
    placements = {placement for _, placement in groups}
    for (metric, placement), group in groups.items():
        cases = list(dict.fromkeys(series.case for series in group))
        cells = {(series.peer, series.case): figure(series.median) for series in group}
        where = f", {placement}" if len(placements) > 1 else ""
        rows = [
            [peer, *(cells.get((peer, case), "") for case in cases)]
            for peer in dict.fromkeys(series.peer for series in group)
        ]
        yield table([f"{metric.name}, {metric.unit}{where}", *cases], rows)
    if results.skipped:
        yield (
            "Left out: " + "; ".join(f"{who}: {why}" for who, why in results.skipped.items()) + "."
        )


def floor_table(found: list[Results]) -> str:
    """Give the verdicts on everything that was measured, in the order of the scenarios."""
    rows = [
        [
            results.scenario,
            f"{verdict.floor.case}, {verdict.ours.placement}",
            verdict.floor.metric,
            verdict.expectation,
            figure(verdict.value),
            "" if verdict.spread is None else between(verdict.spread),
            "reached" if verdict.reached else "**missed**",
        ]
        for results in found
        for verdict in judge(results)
    ]
    head = ["scenario", "case", "metric", "expected", "measured", "in rounds", "verdict"]
    return table(head, rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Give a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
