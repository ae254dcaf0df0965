"""What keeps a process alive, and lets it end: seen in processes of their own."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from support import NO_THREADS_AT_EXIT

from nhttp import _threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Script: TypeAlias = "Callable[..., subprocess.Popen[str]]"

SECONDS = 20.0  # a wait that takes this long has failed


@pytest.fixture
def script() -> Iterator[Script]:
    """Start Python processes that run the given lines."""
    processes: list[subprocess.Popen[str]] = []

    def start(*lines: str) -> subprocess.Popen[str]:
        head = ["import os, signal, sys, threading", "from nhttp import _threads"]
        root = Path(_threads.__file__).parents[1]
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "\n".join([*head, *lines])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


class TestProcess:
    def test_ends_when_nobody_holds_it(self, script: Script) -> None:
        process = script("_threads.run(threading.Event().wait, name='daemon')", "print('end')")
        assert process.communicate(timeout=SECONDS) == ("end\n", "")
        assert process.returncode == 0

    def test_lives_until_the_last_reference_is_given_back(self, script: Script) -> None:
        process = script(
            "def later():",
            "    threading.main_thread().join()",
            "    print('after the main thread')",
            "    _threads.unref()",
            "_threads.ref()",
            "_threads.run(later, name='later')",
        )
        assert process.communicate(timeout=SECONDS) == ("after the main thread\n", "")
        assert process.returncode == 0

    @NO_THREADS_AT_EXIT
    def test_threads_start_after_the_main_thread_has_ended(self, script: Script) -> None:
        process = script(
            "def later():",
            "    threading.main_thread().join()",
            "    _threads.ref()",
            "    _threads.run(last, name='last')",
            "    _threads.unref()",
            "def last():",
            "    print(threading.current_thread().name)",
            "    _threads.unref()",
            "_threads.ref()",
            "_threads.run(later, name='later')",
        )
        assert process.communicate(timeout=SECONDS) == ("last\n", "")
        assert process.returncode == 0

    def test_ends_at_once_on_ctrl_c(self, script: Script) -> None:
        process = script(
            "signal.signal(signal.SIGINT, signal.default_int_handler)",
            "def later():",
            "    threading.main_thread().join()",
            "    print('waiting', flush=True)",
            "_threads.ref()",
            "_threads.run(later, name='later')",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        errors = ""
        for attempt in range(1, 5):
            # CPython misses a signal that comes between its last look for one and its going to
            # sleep, and the main thread is just about to.
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=2.0)
                break
            except subprocess.TimeoutExpired:
                assert attempt < 4
        assert "KeyboardInterrupt" in errors  # from CPython; see Keeper

    def test_threads_and_keeper_work_in_a_forked_child(self, script: Script) -> None:
        process = script(
            "idle = threading.Event()",
            "_threads.run(idle.set, name='parent')",
            "idle.wait()",
            "_threads.ref()",
            "child = os.fork()",
            "if child:",
            "    _, status = os.waitpid(child, 0)",
            "    _threads.unref()",
            "    sys.exit(os.waitstatus_to_exitcode(status))",
            "def later():",
            "    threading.main_thread().join()",
            "    print('child')",
            "    _threads.unref()",
            "_threads.ref()",
            "_threads.run(later, name='later')",
        )
        assert process.communicate(timeout=SECONDS) == ("child\n", "")
        assert process.returncode == 0
