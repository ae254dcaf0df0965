"""Results for people: tables on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from benchmarks.floors import Verdict
    from benchmarks.results import Metric, Results, Series

__all__ = ["between", "console", "figure", "show"]


def console() -> Console:
    """Give where tables go."""
    from rich.console import Console  # needs the extra `bench`; JSON does not

    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def show(where: Console, results: Results, verdicts: list[Verdict]) -> None:
    """Print all that a scenario found, who is missing, and the verdicts."""
    where.rule(f"[bold]{results.scenario}[/]: {results.title}")
    for (case, placement), group in results.tables().items():
        show_case(where, results, f"{case}, {placement}", group)
    for who, why in results.skipped.items():
        where.print(f"left out: {who}: {why}", markup=False)
    if verdicts:
        show_verdicts(where, verdicts)


def show_case(where: Console, results: Results, title: str, group: list[Series]) -> None:
    """Print a row for each peer, and for each metric its median, its spread, and ours to it."""
    metrics = list(dict.fromkeys(series.metric for series in group))
    for start in range(0, len(metrics), 2):  # more are too wide for a terminal
        where.print(table_of(results, title, group, metrics[start : start + 2]))


def table_of(results: Results, title: str, group: list[Series], metrics: list[Metric]) -> Table:
    """Give a table with some metrics of a case."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("")
    for metric in metrics:
        table.add_column(f"{metric.name}, {metric.unit}", justify="right")
        table.add_column("min to max", justify="right")
        table.add_column("nhttp ÷", justify="right")
    for peer in dict.fromkeys(series.peer for series in group):
        cells = [peer]
        for metric in metrics:
            found = [each for each in group if (each.peer, each.metric) == (peer, metric)]
            cells += cells_of(results, found[0]) if found else ["-", "-", "-"]
        table.add_row(*cells)
    return table


def cells_of(results: Results, series: Series) -> list[str]:
    """Give the three cells of a figure."""
    ratio = results.ratio(series)
    return [
        figure(series.median),
        between(series.spread),
        "-" if ratio is None else f"{ratio:.2f}",
    ]


def show_verdicts(where: Console, verdicts: list[Verdict]) -> None:
    """Print the verdicts, the worst miss first."""
    from rich.table import Table

    table = Table(title="floors", title_justify="left", pad_edge=False)
    for column in ("case", "", "metric", "expected", "measured", "in rounds", "verdict"):
        table.add_column(column)
    for verdict in sorted(verdicts, key=lambda each: -each.miss):
        colour, word = ("green", "reached") if verdict.reached else ("red", "missed")
        table.add_row(
            verdict.floor.case,
            verdict.ours.placement,
            verdict.floor.metric,
            verdict.expectation,
            figure(verdict.value),
            "" if verdict.spread is None else between(verdict.spread),
            f"[{colour}]{word}[/]",
        )
    where.print(table)


def between(spread: tuple[float, float]) -> str:
    """Give the ends of a range."""
    return f"{figure(spread[0])} to {figure(spread[1])}"


def figure(value: float) -> str:
    """Give a figure with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{round(value, 2) + 0:.2f}"  # never -0.00
