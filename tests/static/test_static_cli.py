"""``python -m nhttp`` as people run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from nhttp.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SECONDS = 20.0  # a wait that takes this long has failed
STOPS_WITHIN = 2.0  # 0.4 where nothing else is going on

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "nhttp"]


class Running:
    """A server process that has said where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.greeting = process.stdout.readline()
        match = re.search(r"on (http://\S+:(\d+)/)", self.greeting)
        assert match is not None, self.greeting
        self.url = match[1]
        self.port = int(match[2])

    def stop(self, number: signal.Signals) -> tuple[int, str, float]:
        """Stop it; give its exit status, what it wrote to stderr, and the seconds that it took."""
        started = time.perf_counter()
        self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, stderr, time.perf_counter() - started


@contextlib.contextmanager
def running(directory: Path, *options: str) -> Generator[Running]:
    with subprocess.Popen(
        [*COMMAND, "serve", str(directory), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_serves_logs_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with running(tmp_path) as server:
        assert server.greeting == (
            f"Serving {tmp_path.resolve()} on http://127.0.0.1:{server.port}/  (Ctrl-C stops)\n"
        )
        with urllib.request.urlopen(server.url + "a.txt", timeout=SECONDS) as response:
            assert response.read() == b"hello"
        status, stderr, seconds = server.stop(number)
    assert status == 0
    assert seconds < STOPS_WITHIN
    (line,) = stderr.splitlines()
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}] "
        r'"GET /a\.txt HTTP/1\.1" 200 5 \d+\.\dms',
        line,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_while_a_client_downloads(tmp_path: Path, number: signal.Signals) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 32)
    with (
        running(tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as slow,
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as idle,
    ):
        slow.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(1000).startswith(b"HTTP/1.1 200 ")
        idle.sendall(b"HEAD /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        status, stderr, seconds = server.stop(number)
    assert status == 0
    assert seconds < STOPS_WITHIN
    assert '"GET /huge HTTP/1.1" 200 aborted ' in stderr
    assert "Traceback" not in stderr


def test_quiet_logs_no_requests(tmp_path: Path) -> None:
    with running(tmp_path, "--quiet") as server:
        with urllib.request.urlopen(server.url, timeout=SECONDS) as response:
            assert response.status == 200
        assert server.stop(signal.SIGTERM)[:2] == (0, "")


def test_the_current_directory_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with subprocess.Popen(
        [*COMMAND, "serve", "-p0", "-q"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            with urllib.request.urlopen(Running(process).url + "a.txt", timeout=SECONDS) as got:
                assert got.read() == b"hello"
        finally:
            process.terminate()


def test_links_are_followed_on_request(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "root" / "link").symlink_to("../a.txt")
    with (
        running(tmp_path / "root", "--follow-links") as server,
        urllib.request.urlopen(server.url + "link", timeout=SECONDS) as response,
    ):
        assert response.read() == b"hello"


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_all_addresses(tmp_path: Path, host: str) -> None:
    with running(tmp_path, "--host", host) as server:
        assert server.greeting.endswith(
            f"http://127.0.0.1:{server.port}/ and every other address of this machine"
            "  (Ctrl-C stops)\n"
        )
        with urllib.request.urlopen(server.url, timeout=SECONDS) as response:
            assert response.status == 200


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as handle:
            handle.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv6_address_is_bracketed(tmp_path: Path) -> None:
    with running(tmp_path, "--host", "::1") as server:
        assert server.url == f"http://[::1]:{server.port}/"
        with urllib.request.urlopen(server.url, timeout=SECONDS) as response:
            assert response.status == 200


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("serve", str(tmp_path), "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("nhttp: ")
    assert "EADDRINUSE" in line
    assert f"127.0.0.1:{port}" in line
    assert "--port 0" in line


def test_a_host_that_is_not_this_machine(tmp_path: Path) -> None:
    result = run("serve", str(tmp_path), "--host", "192.0.2.1", "--port", "0")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "EADDRNOTAVAIL" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "/no/such/directory"], "'/no/such/directory' is not a directory"),
        (["serve", os.devnull], "is not a directory"),
        (["serve", "--port", "65536"], "'65536' is not a port"),
        (["serve", "--port", "-1"], "'-1' is not a port"),
        (["serve", "--port", "http"], "'http' is not a port"),
        (["serve", "--unknown"], "unrecognized arguments"),
        (["unknown"], "invalid choice"),
    ],
)
def test_usage_errors(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("usage: nhttp")
    assert complaint in stderr


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "serve" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "said"), [("--help", "serve"), ("--version", f"nhttp {version('nhttp')}")]
)
def test_help_and_version(option: str, said: str) -> None:
    result = run(option)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout
