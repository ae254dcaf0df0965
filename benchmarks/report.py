"""What a scenario found, as a table for people or as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Report", "median", "progress", "ratio"]

Cell: TypeAlias = "str | int | float | None"


@attrs.define
class Report:
    """Rows of figures.

    Attributes:
        title: The scenario and its settings, in a line.
        columns: Names, with units.
        rows: For each column of it a text or a figure; None: not measured.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]] = attrs.Factory(list[list[Cell]])

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        assert len(cells) == len(self.columns)
        self.rows.append(list(cells))

    def print_json(self) -> None:
        """Print the rows as objects, with what they were measured on."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        print(json.dumps({"title": self.title, "machine": machine(), "rows": rows}, indent=2))

    def print_table(self) -> None:
        """Print a table."""
        from rich.console import Console  # needs the extra `bench`; JSON does not
        from rich.table import Table

        table = Table(title=self.title, caption=machine())
        for column in self.columns:
            is_text = any(isinstance(row[self.columns.index(column)], str) for row in self.rows)
            table.add_column(column, justify="left" if is_text else "right", no_wrap=is_text)
        for row in self.rows:
            table.add_row(*map(shown, row))
        Console(width=None if sys.stdout.isatty() else 120).print(table)


def shown(cell: Cell) -> str:
    """Give a cell as text, with as many digits as mean something."""
    if cell is None:
        return "-"
    if isinstance(cell, float) and abs(cell) < 100:
        return f"{cell:.2f}"
    return cell if isinstance(cell, str) else f"{cell:,.0f}"


def machine() -> str:
    """Say what the figures were measured on."""
    load = os.getloadavg()[0]
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{os.cpu_count()} CPUs, load {load:.1f}"
    )


def median(values: Iterable[float]) -> float | None:
    """Give the median; None when there is nothing."""
    known = list(values)
    return statistics.median(known) if known else None


def ratio(value: float | None, to: float | None) -> float | None:
    """Divide, where there is something to divide."""
    return value / to if value is not None and to else None


def progress(text: str) -> None:
    """Tell, on the terminal only, what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
