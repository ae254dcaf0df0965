"""benchmarks/, at sizes that measure nothing: that scenarios run, what they write, the verdicts."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.floors import FLOORS, Floor, judge
from benchmarks.markdown import fill_page
from benchmarks.options import Options, Step, interleave
from benchmarks.processes import output_of, running
from benchmarks.results import Metric, Results
from benchmarks.scenarios import SCENARIOS

ROOT = Path(__file__).parents[1]
RATE = Metric("rate", "req/s", higher_is_better=True)
DELAY = Metric("delay", "ms", higher_is_better=False)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def measure(*arguments: str) -> dict[str, Any]:
    """Run one scenario, and give its part of the JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--rounds", "1", "--json"],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=50,
    )
    assert not done.stderr
    document = json.loads(done.stdout)
    assert document["format"] == 1
    assert document["machine"]["cpus"] > 0
    (scenario,) = document["scenarios"]
    assert not any(why.startswith("failed") for why in scenario["skipped"].values())
    for series in scenario["series"]:
        assert len(series["samples"]) == 1
        assert series["min"] == series["median"] == series["max"]
    found: dict[str, Any] = scenario
    return found


def cases(scenario: dict[str, Any]) -> set[str]:
    return {series["case"] for series in scenario["series"]}


@needs_wrk
def test_server_scenario() -> None:
    arguments = ["--seconds", "1", "--free", "--cases", "hello, 50", "--peers", "nhttp"]
    found = measure("server", *arguments)
    assert {series["peer"] for series in found["series"]} == {"nhttp"}
    assert {series["metric"] for series in found["series"]} == {"rate", "p99", "cpu", "kernel"}
    assert all(series["median"] > 0 for series in found["series"])
    assert found["verdicts"] == []  # there was nobody to compare with


def test_client_scenario() -> None:
    arguments = ["--seconds", "1", "--free", "--cases", "8 threads", "--peers", "nhttp"]
    found = measure("client", *arguments)
    assert cases(found) == {"8 threads"}
    assert all(series["median"] > 0 for series in found["series"])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="counts on CPython 3.11 only")
def test_profile_scenario() -> None:
    found = measure("profile")
    layers: dict[tuple[str, str], dict[str, float]] = {}
    for series in found["series"]:
        layers.setdefault((series["case"], series["metric"]), {})[series["peer"]] = series["median"]
    assert len(layers) == 2 * len({case for case, _ in layers}) == 8
    for counted in layers.values():
        whole = counted.pop("all of it")
        assert whole == pytest.approx(sum(counted.values()))
    server = layers["server, small GET", "calls"]
    assert server["connection"] >= 1
    assert server["parser"] >= 1
    assert "agent" not in server
    assert layers["client, small GET", "instructions"]["agent"] >= 1


@needs_proc
def test_streams_scenario() -> None:
    found = measure("streams", "--mib", "4")
    assert cases(found) >= {"download", "upload, chunked", "download by the client"}
    assert {series["peer"] for series in found["series"]} == {"nhttp", "bare"}
    assert all(s["median"] > 0 for s in found["series"] if s["metric"] == "speed")


@needs_proc
def test_connections_scenario() -> None:
    found = measure("connections", "--idle", "5", "--peers", "nhttp", "http.server+buffered")
    assert cases(found) == {"5 idle"}
    assert {series["metric"] for series in found["series"]} >= {"memory", "stop", "exit"}


def test_stop_scenario() -> None:
    assert cases(measure("stop", "--idle", "0", "5")) == {"0 idle", "5 idle"}


def test_start_scenario() -> None:
    found = measure("start", "--peers", "nhttp", "http.server")
    assert {series["metric"] for series in found["series"]} == {"import", "first answer"}


def test_parser_scenario() -> None:
    found = measure("parser", "--mib", "1", "--peers", "nhttp")
    assert cases(found) >= {"browser's head, heads differ", "chunks of 64 KiB"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_scenario() -> None:
    found = measure("tls", "--cases", "download", "--mib", "1")
    assert {series["peer"] for series in found["series"]} == {"nhttp", "bare"}
    assert all(series["median"] > 0 for series in found["series"])


def results_of(ours: list[float], theirs: list[float], metric: Metric = RATE) -> Results:
    results = Results("server", "made up")
    for value in ours:
        results.add("hello", "free", "nhttp", metric, value)
    for value in theirs:
        results.add("hello", "free", "peer", metric, value)
    return results


@pytest.mark.parametrize(
    ("ours", "theirs", "metric", "bound", "reached"),
    [
        ([30.0, 90.0, 31.0], [10.0, 10.0, 99.0], RATE, 3.0, True),  # medians count
        ([30.0, 29.0, 28.0], [10.0, 10.0, 10.0], RATE, 3.0, False),
        ([5.0], [10.0], DELAY, 0.5, True),  # as much as may be is enough
        ([5.1], [10.0], DELAY, 0.5, False),
    ],
)
def test_a_verdict_compares_medians_in_the_metrics_direction(
    monkeypatch: pytest.MonkeyPatch,
    ours: list[float],
    theirs: list[float],
    metric: Metric,
    bound: float,
    reached: bool,
) -> None:
    monkeypatch.setitem(FLOORS, "server", [Floor("hello", metric.name, bound, "peer")])
    (verdict,) = judge(results_of(ours, theirs, metric))
    assert verdict.reached is reached
    assert (verdict.miss <= 1) is reached
    rounds = [our / their for our, their in zip(ours, theirs, strict=True)]
    assert verdict.spread == (min(rounds), max(rounds))


def test_a_verdict_without_a_peer_is_on_the_figure_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOORS, "server", [Floor("hello", "delay", 10.0)])
    (verdict,) = judge(results_of([4.0, 12.0, 11.0], [], DELAY))
    assert verdict.value == 11.0
    assert not verdict.reached
    assert verdict.expectation == "at most 10 ms"


def test_what_was_not_measured_has_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    floors = [
        Floor("hello", "rate", 1.0, "absent"),
        Floor("hello", "rate", 1.0, "peer", ("pinned",)),
    ]
    monkeypatch.setitem(FLOORS, "server", floors)
    assert judge(results_of([1.0], [1.0])) == []


def test_results_survive_their_json() -> None:
    results = results_of([1.0, 2.0], [3.0])
    results.skip("other", "is not installed")
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again == results


def test_earlier_results_are_shown_with_verdicts(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    results = Results("start", "made up")
    milliseconds = Metric("import", "ms", higher_is_better=False)
    results.add("import", "free", "nhttp", milliseconds, 50.0)
    results.add("import", "free", "http.server", milliseconds, 25.0)
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps({"scenarios": [results.to_json()]}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--load", str(file)],
        check=True,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=50,
    )
    assert "reached" in done.stdout  # at most 60 ms
    assert "missed" in done.stdout  # at most 1.5 times http.server


def test_a_page_gets_the_tables_that_it_has_a_place_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "above\n<!-- begin server -->\nold\n<!-- end server -->\n"
        "between\n<!-- begin floors -->\n<!-- end floors -->\nbelow\n",
        encoding="utf-8",
    )
    results = results_of([1.0, 2.0, 3.0], [4.0])
    fill_page(page, [results])
    text = page.read_text(encoding="utf-8")
    assert "| nhttp | 2.00 |" in text
    assert "old" not in text
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    fill_page(page, [results])
    assert page.read_text(encoding="utf-8") == text
    with pytest.raises(ValueError, match="no place for client"):
        fill_page(page, [Results("client", "made up")])


def test_the_same_results_give_the_same_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plot import plot

    (once,) = plot(tmp_path / "once", [results_of([1.0, 2.0], [3.0])])
    (again,) = plot(tmp_path / "again", [results_of([1.0, 2.0], [3.0])])
    assert once.name == "server-rate.svg"
    assert once.read_bytes() == again.read_bytes()


def test_rounds_are_interleaved_and_one_failure_leaves_the_others_alone() -> None:
    order: list[str] = []
    results = Results("server", "made up")

    def fail() -> None:
        order.append("b")
        raise RuntimeError("no luck")

    steps = [
        Step("case", "a", lambda: order.append("a")),
        Step("case", "b", fail),
        Step("case", "c", lambda: order.append("c")),
    ]
    interleave(Options(), results, 2, steps)
    assert order == ["a", "b", "c", "a", "b", "c"]
    assert results.skipped == {"b, case": "failed: no luck"}


class Interrupted:
    """It is interrupted after its first sample."""

    def measure(self, _options: Options, results: Results) -> None:
        results.add("hello", "free", "nhttp", RATE, 1.0)
        raise KeyboardInterrupt


def test_what_an_interrupted_run_has_found_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "stop", Interrupted())
    file = tmp_path / "found.json"
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt):
            main(["stop", "--json", str(file)])
    finally:
        signal.signal(signal.SIGTERM, before)
    (scenario,) = json.loads(file.read_text(encoding="utf-8"))["scenarios"]
    assert scenario["title"] == "It is interrupted after its first sample."
    assert [series["samples"] for series in scenario["series"]] == [[1.0]]


def test_a_program_and_all_that_it_started_are_gone_afterwards() -> None:
    script = """
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE, pass_fds=[server.fileno()])
    print("port", server.getsockname()[1], flush=True)
    sys.stdin.read()
"""
    with running([sys.executable, "-c", script]) as process:
        sock = socket.create_connection(("127.0.0.1", process.port), timeout=10)
    assert process.popen.returncode is not None
    # The child had the listening socket, too. With it goes what waits to be accepted.
    with sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_program_that_fails_says_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no luck')"]
    with pytest.raises(RuntimeError, match="no luck"), running(command):
        pass
    with pytest.raises(RuntimeError, match="no luck"):
        output_of(command, 30)
