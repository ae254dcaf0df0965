"""What every test is held to: it leaves no thread of nhttp's and no socket behind."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nhttp import _threads
from nhttp._timers import THREAD_NAME as TIMERS_NAME
from nhttp._watcher import THREAD_NAME as WATCHER_NAME

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

SETTLE_SECONDS = 5.0  # what a thread has to end, or a finalizer to run, once the test is over
PATIENCE = 50  # milliseconds before the garbage is collected, which costs more than most tests

# Those wait a while for more work, and then end. Of the keeper its references are counted instead.
MAY_STAY = {_threads.IDLE_NAME, _threads.KEEPER_NAME, TIMERS_NAME, WATCHER_NAME}


def pytest_configure() -> None:
    """Find the benchmarks; see to it that Ctrl-C means something in programs that tests start.

    A shell that starts the tests in the background has them ignore it, which children inherit.
    """
    # The benchmarks are in the project, and not in what is installed of it.
    sys.path.append(str(Path(__file__).parents[1]))
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A quarter of the time goes by with waiting: one more process than there are cores."""
    return min(8, (os.cpu_count() or 1) + 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from looking at thousands of tests again and again."""
    gc.disable()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where no bytecode is to be written, have the interpreters that tests start share theirs.

    Compiling the package anew takes most of the time that one of them needs to start.
    """
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


def open_sockets() -> set[str]:
    """The sockets of this process, by inode: a descriptor's number says nothing."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - thousands of times
        try:
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - as above
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found.add(target)
    return found


def busy_threads() -> set[threading.Thread]:
    """The threads of nhttp's that do something."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("nhttp-") and thread.name not in MAY_STAY
    }


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail the test that leaks a thread, a socket or a reference to the keeper (Linux)."""
    if sys.platform != "linux":
        yield
        return
    sockets, threads, references = open_sockets(), busy_threads(), _threads._keeper._count
    yield

    def leaked() -> list[object]:
        left: list[object] = [*(open_sockets() - sockets), *(busy_threads() - threads)]
        if _threads._keeper._count > references:
            left.append(f"{_threads._keeper._count - references} references to the keeper")
        return left

    deadline = time.monotonic() + SETTLE_SECONDS
    rounds = 0
    while left := leaked():
        rounds += 1
        if rounds == PATIENCE:
            gc.collect()
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.001)


@pytest.fixture(scope="module", autouse=True)
def finalized_with_its_file() -> Iterator[None]:
    """Have what a file's tests dropped say so, in the log, before those of the next file listen."""
    yield
    gc.collect()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound and nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
