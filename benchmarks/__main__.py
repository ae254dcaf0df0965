"""The command line: ``python -m benchmarks [SCENARIO...]``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import peers
from benchmarks.floors import judge
from benchmarks.options import Options
from benchmarks.processes import can_pin
from benchmarks.results import Results, machine
from benchmarks.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from benchmarks.results import Json

Measure: TypeAlias = "Callable[[Options, Results], None]"
FORMAT = 1  # of the JSON; another number when a reader must know


def main(arguments: list[str] | None = None) -> int:
    """Measure, and say what was found."""
    signal.signal(signal.SIGTERM, ended)
    asked = make_parser().parse_args(arguments)
    options = Options(
        rounds=asked.rounds,
        seconds=asked.seconds,
        peers=None if asked.peers is None else frozenset(asked.peers),
        cases=None if asked.cases is None else tuple(asked.cases),
        placements=placements(asked),
        idle=None if asked.idle is None else tuple(asked.idle),
        mib=asked.mib,
        lock=asked.lock,
    )
    found: list[Results] = []
    try:
        for results, measure in earlier(asked.load) if asked.load else wanted(asked.scenarios):
            found.append(results)
            measure(options, results)
            if asked.json != "-":
                from benchmarks.show import console, show

                show(console(), results, judge(results))
    finally:
        # What is there is worth having, even if it was interrupted.
        if asked.json is not None:
            write_json(asked.json, found)
    if asked.page is not None:
        from benchmarks.markdown import fill_page

        fill_page(asked.page, found)
    if asked.plot is not None:
        from benchmarks.plot import plot

        plot(asked.plot, found)
    return 0


def wanted(names: list[str]) -> Iterator[tuple[Results, Measure]]:
    """Give empty results for each scenario, and what fills them."""
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        yield Results(name, (scenario.__doc__ or "").partition("\n")[0]), scenario.measure


def earlier(files: list[Path]) -> Iterator[tuple[Results, Measure]]:
    """Give what earlier runs wrote, and nothing to be done about it."""
    for file in files:
        for scenario in json.loads(file.read_text(encoding="utf-8"))["scenarios"]:
            yield Results.from_json(scenario), lambda _options, _results: None


def ended(number: int, _frame: FrameType | None) -> None:
    """Leave by way of all that ends servers."""
    sys.exit(128 + number)


def make_parser() -> argparse.ArgumentParser:
    """Say what may be asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure nhttp and others side by side, and hold it to its floors.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n"
        + "\n".join(
            f"  {name:12} {(scenario.__doc__ or '').partition(chr(10))[0]}"
            for name, scenario in SCENARIOS.items()
        ),
    )
    add = parser.add_argument
    add("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO", help="default: all")
    add("--rounds", type=int, metavar="N", help="how often everything is measured")
    add("--seconds", type=int, metavar="S", help="how long each measurement of a rate takes")
    add("--json", nargs="?", const="-", metavar="FILE", help="write JSON; without a name print it")
    add("--load", nargs="+", type=Path, metavar="FILE", help="show earlier JSON; measure nothing")
    add("--plot", type=Path, metavar="DIR", help="draw the results, as SVG")
    add("--page", type=Path, metavar="FILE", help="replace the tables of a page, as docs/speed.md")
    add("--peers", nargs="+", choices=peers.NAMES, metavar="PEER", help=", ".join(peers.NAMES))
    add("--cases", nargs="+", metavar="TEXT", help="only those with one of these in their names")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--free", action="store_true", help="all programs on all CPUs, only")
    where.add_argument("--pinned", action="store_true", help="a CPU for each program, only")
    add("--idle", type=int, nargs="+", metavar="N", help="numbers of idle connections")
    add("--mib", type=int, metavar="N", help="size of large bodies")
    add("--lock", type=Path, metavar="FILE", help="take turns with other runs that name it, too")
    return parser


def placements(asked: argparse.Namespace) -> tuple[str, ...]:
    """Give what was asked for, or all that can be had."""
    if asked.pinned:
        return ("pinned",)
    return ("free",) if asked.free or not can_pin() else ("free", "pinned")


def write_json(name: str, found: list[Results]) -> None:
    """Write everything, verdicts too."""
    scenarios: list[Json] = [
        {**results.to_json(), "verdicts": [verdict.to_json() for verdict in judge(results)]}
        for results in found
    ]
    document: Json = {
        "format": FORMAT,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "scenarios": scenarios,
    }
    text = json.dumps(document, indent=2)
    if name == "-":
        print(text)
    else:
        Path(name).write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
