"""Every scenario of benchmarks/, at a size that measures nothing: that it runs, and its rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def measure(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--json"],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=50,
    )
    assert not done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_server() -> None:
    arguments = ["--rounds", "1", "--seconds", "1", "--connections", "4", "--no-pinned"]
    rows = measure("server", *arguments, "--peers", "nhttp")
    assert [row["peer"] for row in rows] == ["nhttp"]
    assert rows[0]["free req/s"] > 0
    assert rows[0]["free ratio"] == 1.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_streams() -> None:
    rows = measure("streams", "--mib", "4", "--rounds", "1")
    assert {row["body"] for row in rows} >= {"download", "download, chunked", "upload, chunked"}
    assert all(row["nhttp MB/s"] > 0 for row in rows)


def test_stop() -> None:
    assert [row["idle connections"] for row in measure("stop", "--idle", "0", "5")] == [0, 5]


def test_parser() -> None:
    rows = measure("parser", "--rounds", "1", "--heads", "10", "--mib", "1")
    assert {row["unit"] for row in rows} == {"µs per head", "GB/s"}
