"""What type checkers must accept and what they must refuse, checked by mypy and by pyright.

Each file in ``cases/`` is a piece of a user's program. It is never run: mypy (with the project's
strict settings) and pyright (strict too) read it, and must find an error on each line that says so
at its end, and on no other:

    server.on("request", lambda request, response: response.end())
    server.on("reqest", print)  # E: call-overload | reportCallIssue

Behind ``# E:`` stand alternatives, separated by `` | ``. Each checker must report an error on that
line whose code is one of them, or whose message contains one; it may report others there besides.
So a line that both refuse names a code or some words of each.

mypy must find nothing in the examples of the documentation either.

To cover another class, add a file ``cases/<module>_case.py``; nothing here changes. Three things
help: keep a statement that must fail on one line, as checkers disagree on which line of a longer
one they name; state what must be inferred with `typing.assert_type`; but what a lambda is given, by
using it wrongly (mypy tries a lambda against each overload, and shows `Any` while it does).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from docs_support import EXAMPLES

ROOT = Path(__file__).parents[2]
CASES = sorted(Path(__file__).with_name("cases").glob("*_case.py"))


class Finding(NamedTuple):
    """An error that a checker reports."""

    line: int
    code: str
    message: str


def expectations(source: str) -> dict[int, list[str]]:
    """Give the alternatives of each line that must fail."""
    marks = ((number, re.search(r"# E: (.+)$", line)) for number, line in lines(source))
    return {number: mark[1].strip().split(" | ") for number, mark in marks if mark}


def lines(source: str) -> list[tuple[int, str]]:
    return list(enumerate(source.splitlines(), start=1))


def complaints(source: str, findings: list[Finding]) -> list[str]:
    """Tell where what a checker found is not what a case expects."""
    expected = expectations(source)
    wrong = [
        f"line {line}: accepted, but should be refused ({' | '.join(alternatives)})"
        for line, alternatives in expected.items()
        if line not in {finding.line for finding in findings}
    ]
    for line in sorted({finding.line for finding in findings}):
        there = [finding for finding in findings if finding.line == line]
        if not any(
            finding.code == alternative or alternative in finding.message
            for finding in there
            for alternative in expected.get(line, [])
        ):
            wrong += [f"line {line}: [{finding.code}] {finding.message}" for finding in there]
    return wrong


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture(scope="session")
def mypy_findings(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[Finding]]:
    """Run mypy over all cases, and the examples of the documentation, once.

    In a process of its own: what it leaves in memory would slow down every test that comes after.
    """
    files = list(CASES)
    for example in EXAMPLES:
        if example.is_program:
            files.append(tmp_path_factory.getbasetemp() / f"{example.name}.py")
            files[-1].write_text(example.file, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json", *map(str, files)]
    result = run(command, dict(os.environ))
    assert result.returncode in (0, 1), result.stderr
    found: dict[Path, list[Finding]] = {file: [] for file in files}
    for line in result.stdout.splitlines():
        item: dict[str, Any] = json.loads(line)
        if item["severity"] == "error":
            finding = Finding(item["line"], item["code"] or "", item["message"])
            found.setdefault(ROOT / item["file"], []).append(finding)
    return found


@pytest.fixture(scope="session")
def pyright_findings(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[Finding]]:
    """Run pyright over all cases, once; skip where it is missing or cannot start."""
    beside = Path(sys.executable).parent
    command = shutil.which("pyright", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if command is None:
        pytest.skip("pyright is not installed")
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    try:
        # The command from PyPI downloads the program itself when it is first used.
        version = run([command, "--version"], environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pyright does not start: {error}")
    if version.returncode:
        pytest.skip(f"pyright does not start: {version.stderr.strip()}")
    # The project leaves out the cases, even when they are named: use its settings without that.
    project = tmp_path_factory.mktemp("pyright") / "pyrightconfig.json"
    settings = {"extends": f"{ROOT}/pyproject.toml", "exclude": [], "extraPaths": [str(ROOT)]}
    project.write_text(json.dumps(settings), "utf-8")
    options = ["--project", str(project), "--pythonpath", sys.executable, "--outputjson"]
    result = run([command, *options, *map(str, CASES)], environment)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["summary"]["filesAnalyzed"] == len(CASES)
    found: dict[Path, list[Finding]] = {case: [] for case in CASES}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            line = item["range"]["start"]["line"] + 1  # it counts from 0
            finding = Finding(line, item.get("rule", ""), item["message"])
            found.setdefault(Path(item["file"]), []).append(finding)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
class TestCase:
    def test_mypy(self, case: Path, mypy_findings: dict[Path, list[Finding]]) -> None:
        assert complaints(case.read_text("utf-8"), mypy_findings[case]) == []

    def test_pyright(self, case: Path, pyright_findings: dict[Path, list[Finding]]) -> None:
        assert complaints(case.read_text("utf-8"), pyright_findings[case]) == []


def test_mypy_finds_nothing_outside_the_cases(mypy_findings: dict[Path, list[Finding]]) -> None:
    """The documentation's examples are typed; so is the package, or no verdict were worth much."""
    elsewhere = {path: found for path, found in mypy_findings.items() if path not in CASES}
    assert len(elsewhere) >= sum(example.is_program for example in EXAMPLES) > 0
    assert {str(path): found for path, found in elsewhere.items() if found} == {}


class TestComplaints:
    """The harness itself notices what it is there to notice."""

    SOURCE = "good()\nbad()  # E: arg-type | reportArgumentType\n"

    @pytest.mark.parametrize(
        "finding",
        [
            Finding(2, "arg-type", "Argument 1 has incompatible type"),
            Finding(2, "reportArgumentType", "cannot be assigned"),
            Finding(2, "misc", "said arg-type in words"),
        ],
    )
    def test_an_expected_error_is_no_complaint(self, finding: Finding) -> None:
        other = Finding(2, "attr-defined", "another of the same line")
        assert complaints(self.SOURCE, [finding]) == []
        assert complaints(self.SOURCE, [other, finding]) == []

    def test_a_missing_error(self) -> None:
        wanted = "line 2: accepted, but should be refused (arg-type | reportArgumentType)"
        assert complaints(self.SOURCE, []) == [wanted]

    def test_an_error_of_another_kind(self) -> None:
        finding = Finding(2, "syntax", "invalid syntax")
        assert complaints(self.SOURCE, [finding]) == ["line 2: [syntax] invalid syntax"]

    def test_an_error_elsewhere(self) -> None:
        findings = [Finding(1, "name-defined", "no good"), Finding(2, "arg-type", "bad")]
        assert complaints(self.SOURCE, findings) == ["line 1: [name-defined] no good"]
