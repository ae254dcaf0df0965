"""The command line: ``python -m benchmarks SCENARIO``."""

from __future__ import annotations

import argparse
import sys

from benchmarks.scenarios import SCENARIOS


def main() -> int:
    """Run one scenario and print its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure nhttp.")
    commands = parser.add_subparsers(title="scenarios", required=True, metavar="SCENARIO")
    for name, scenario in SCENARIOS.items():
        summary = (scenario.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        scenario.add_arguments(command)
        command.set_defaults(run=scenario.run)
    options = parser.parse_args()
    report = options.run(options)
    if options.json:
        report.print_json()
    else:
        report.print_table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
