"""Child processes: started, known to be ready, watched, ended; each by its own id.

A program says on its standard output that it is ready: ``port N`` for a server. It serves until it
is ended, which takes what it has started along. Nothing here waits for ever.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["ROOT", "CpuTime", "Process", "can_pin", "memory", "output_of", "pinned", "running"]

ROOT = Path(__file__).parents[1]
READY = 60.0  # seconds


class CpuTime(NamedTuple):
    """Seconds: all of it, and those in the kernel."""

    total: float
    kernel: float


@attrs.frozen
class Process:
    """A program that runs.

    Attributes:
        popen: Its handle.
        port: Where it listens; 0: nowhere.
    """

    popen: subprocess.Popen[str]
    port: int

    def memory(self, field: str) -> int:
        """Give a field of ``/proc/PID/status`` in octets: ``VmRSS`` now, ``VmHWM`` at its peak."""
        return memory(self.popen.pid, field)

    def cpu(self) -> CpuTime | None:
        """Give the CPU time that it and its children have used; None: cannot be known."""
        user = kernel = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                fields = (
                    path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                )
                if int(fields[2]) == self.popen.pid:  # the group is named for the one we started
                    user += int(fields[11])
                    kernel += int(fields[12])
        tick = 1 / os.sysconf("SC_CLK_TCK")
        return CpuTime((user + kernel) * tick, kernel * tick) if user + kernel else None

    def ask(self, line: str, seconds: float) -> list[str]:
        """Write a line, and give the words of the one that comes back."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()
        return self.hear(seconds)

    def hear(self, seconds: float) -> list[str]:
        """Give the words of the next line.

        Raises:
            TimeoutError: None came in time.
            RuntimeError: None will come.
        """
        assert self.popen.stdout is not None
        line = read_line(self.popen.stdout, seconds)
        if not line:
            raise RuntimeError("the program ended")
        return line.split()


def memory(pid: int, field: str) -> int:
    """Give a field of ``/proc/PID/status`` in octets."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def read_line(stream: IO[str], seconds: float) -> str:
    """Give the next line. Programs write one at a time and wait, so none hides in a buffer."""
    ready, _, _ = select.select([stream], [], [], seconds)
    if not ready:
        raise TimeoutError(f"nothing was said for {seconds:g} seconds")
    return stream.readline()


@contextmanager
def running(
    command: Sequence[str], cpu: int | None = None, *, word: str = "port"
) -> Generator[Process]:
    """Run a program, and give it as soon as it has said that it is ready.

    Args:
        command: The program and its arguments.
        cpu: The one CPU that it may use. Default: all.
        word: The first word of the line that it says so with; a port may follow.

    Raises:
        RuntimeError: It did not start.
        TimeoutError: It did not become ready.
    """
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        popen = subprocess.Popen(
            [*pinned(cpu), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            text=True,
            start_new_session=True,  # some servers have processes of their own, which go with it
        )
        stack.enter_context(popen)
        try:
            assert popen.stdout is not None
            words = read_line(popen.stdout, READY).split()
            if words[:1] != [word]:
                errors.seek(0)
                raise RuntimeError(f"did not start: {last_line(errors.read())}")
            yield Process(popen, int(words[1]) if len(words) > 1 else 0)
        finally:
            end(popen)


def end(popen: subprocess.Popen[str]) -> None:
    """End a program, and all that it has started, unless it has ended by itself."""
    if popen.returncode is None:  # nobody has waited for it yet: the number is its group's still
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
    with suppress(OSError):
        assert popen.stdin is not None
        popen.stdin.close()


def output_of(command: Sequence[str], seconds: float, cpu: int | None = None) -> str:
    """Run a program to its end and give what it printed.

    Raises:
        RuntimeError: It failed.
        subprocess.TimeoutExpired: It took longer than `seconds`.
    """
    done = subprocess.run(
        [*pinned(cpu), *command],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=seconds,
    )
    if done.returncode:
        raise RuntimeError(last_line(done.stderr) or f"exit status {done.returncode}")
    return done.stdout


def last_line(text: str) -> str:
    """Give the end of what a program complained about."""
    return "".join(text.splitlines()[-1:])


def pinned(cpu: int | None) -> list[str]:
    """Give what goes before a command to keep it, and all its threads, on one CPU."""
    return [] if cpu is None else ["taskset", "--cpu-list", str(cpu)]


def can_pin() -> bool:
    """Whether two programs can have a CPU each."""
    return shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1
