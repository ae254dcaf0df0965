"""The scenarios, by the names that the command line knows them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from benchmarks.scenarios import (
    client,
    connections,
    parser,
    profile,
    server,
    start,
    stop,
    streams,
    tls,
)

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.results import Results

__all__ = ["SCENARIOS", "Scenario"]


class Scenario(Protocol):
    """What a scenario's module has; the first line of its docstring is its summary."""

    __doc__: str | None

    def measure(self, options: Options, results: Results) -> None:
        """Measure, and add what was found to the results."""


SCENARIOS: dict[str, Scenario] = {
    "server": server,
    "client": client,
    "parser": parser,
    "streams": streams,
    "connections": connections,
    "stop": stop,
    "start": start,
    "tls": tls,
    "profile": profile,
}
