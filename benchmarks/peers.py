"""Peers: the programs that scenarios measure, each in a process of its own.

A program prints ``port N`` once it listens on that port of 127.0.0.1, and serves until it is
terminated. The Python ones are the functions of `benchmarks.programs`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["HELLO", "STREAMS", "Peer", "Process"]

ROOT = Path(__file__).parents[1]


@attrs.frozen
class Process:
    """A peer that runs.

    Attributes:
        pid: Its process.
        port: Where it listens.
    """

    pid: int
    port: int

    def memory(self, field: str) -> int:
        """Give a field of ``/proc/PID/status`` in octets: ``VmRSS`` now, ``VmHWM`` at its peak."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)


@attrs.frozen
class Peer:
    """A program to measure.

    Attributes:
        name: What tables call it.
        command: The program and its arguments.
    """

    name: str
    command: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Whether the program is installed here."""
        return shutil.which(self.command[0]) is not None

    @contextmanager
    def running(self, cpu: int | None = None) -> Generator[Process]:
        """Run it, and give it as soon as it is ready.

        Args:
            cpu: The one CPU that it may use. Default: all.
        """
        process = subprocess.Popen(
            [*pinned(cpu), *self.command], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        with process:
            try:
                assert process.stdout is not None
                word, _, port = process.stdout.readline().partition(" ")
                if word != "port":
                    raise RuntimeError(f"{self.name} did not start")
                yield Process(process.pid, int(port))
            finally:
                process.kill()


def pinned(cpu: int | None) -> list[str]:
    """Give what goes before a command to keep it, and all its threads, on one CPU."""
    return [] if cpu is None else ["taskset", "--cpu-list", str(cpu)]


def can_pin() -> bool:
    """Whether two programs can have a CPU each."""
    return shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1


def python(name: str, program: str) -> Peer:
    """Give the peer that is a function of `benchmarks.programs`."""
    return Peer(name, (sys.executable, "-m", "benchmarks.programs", program))


_NODE = """
require('http').createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  response.end('hello world');
}).listen(0, '127.0.0.1', function () { console.log('port ' + this.address().port); });
"""

# The first one is what the others are compared with.
HELLO = [
    python("nhttp", "nhttp_hello"),
    python("ThreadingHTTPServer", "stdlib_hello"),
    python("bare loop", "bare_hello"),
    Peer("node", ("node", "-e", _NODE)),
]
STREAMS = [
    python("nhttp", "nhttp_streams"),
    python("bare loop", "bare_streams"),
]
