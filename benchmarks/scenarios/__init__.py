"""The scenarios, by the names that the command line knows them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from benchmarks.scenarios import parser, server, stop, streams

if TYPE_CHECKING:
    import argparse

    from benchmarks.report import Report

__all__ = ["SCENARIOS", "Scenario"]


class Scenario(Protocol):
    """What a scenario's module has; the first line of its docstring is its summary."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the scenario's own options."""

    def run(self, options: argparse.Namespace) -> Report:
        """Measure."""
        ...


SCENARIOS: dict[str, Scenario] = {
    "server": server,
    "streams": streams,
    "stop": stop,
    "parser": parser,
}
