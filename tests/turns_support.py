"""Turns that look only when they are told to, and connections that do what they are sent."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import eventually
from wire import SECONDS, Signal

from nhttp import _threads, _turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEADER = _turns.THREAD_NAME


class Turns(_turns.Turns):
    """Looks only when a test does so, if that does not say otherwise."""

    looks_by_itself = False

    def __init__(self) -> None:
        super().__init__()
        self.fakes: list[Fake] = []

    def _come_back(self) -> None:
        if self.looks_by_itself:
            super()._come_back()
        else:
            self._guarded = True

    def add(self, count: int = 1) -> list[Fake]:
        """Connections that rest."""
        added = [Fake(self) for _ in range(count)]
        for each in added:
            assert self.rest(each)
        return added

    def look(self) -> None:
        self._look()

    def leads(self) -> bool:
        return self._epoll is not None


class Fake:
    """A connection: each turn takes an octet and does what that is for."""

    def __init__(self, turns: _turns.Turns) -> None:
        self.turns = turns
        self.near, self.far = socket.socketpair()
        for each in (self.near, self.far):
            each.settimeout(SECONDS)
        # The threads that have taken a turn: told at its end, with what came of it.
        self.ended: queue.SimpleQueue[tuple[threading.Thread, bool]] = queue.SimpleQueue()
        self.does: dict[bytes, Callable[[], object]] = {}
        if isinstance(turns, Turns):
            turns.fakes.append(self)

    def fileno(self) -> int:
        return self.near.fileno()

    def turn(self) -> bool:
        what = self.near.recv(1)
        does = self.does.get(what)
        if what in {b"", b"!"}:
            self.end()
            return False
        if does is not None:
            does()
        rests = self.turns.rest(self)
        self.ended.put((threading.current_thread(), rests))
        while not rests:  # its thread is its own
            again = self.near.recv(1)
            if again in {b"", b"!"}:
                self.end()
                return False
            rests = self.turns.rest(self)
            self.ended.put((threading.current_thread(), rests))
        return True

    def end(self) -> None:
        self.turns.leave(self)
        self.near.close()
        self.ended.put((threading.current_thread(), False))

    def send(self, what: bytes = b".") -> None:
        self.far.send(what)

    def took(self) -> tuple[threading.Thread, bool]:
        """Wait for the end of a turn."""
        return self.ended.get(timeout=SECONDS)

    def ask(self, what: bytes = b".") -> threading.Thread:
        """Have a turn; it rests behind it."""
        self.send(what)
        thread, rests = self.took()
        assert rests
        return thread

    def blocks(self, what: bytes = b"b") -> Blocker:
        """A turn that lasts."""
        blocker = Blocker()
        self.does[what] = blocker
        self.send(what)
        assert blocker.begun.happens()
        return blocker

    def blocks_at_its_end(self) -> Blocker:
        """It is ended, its descriptor is closed, and its thread does not come back."""
        blocker, end = Blocker(), self.end

        def closes() -> None:
            end()
            blocker()

        self.end = closes  # type: ignore[method-assign]
        self.send(b"!")
        assert blocker.begun.happens()
        return blocker


class Blocker:
    """Blocks until it is free; notes its thread."""

    def __init__(self) -> None:
        self.begun, self.free = Signal(), Signal()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        self.free.happens()


class NoThreads:
    """Says which threads cannot be had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.asked: list[str] = []
        self._run = _threads.run
        monkeypatch.setattr(_threads, "run", self.run)

    def run(self, function: Any, *args: Any, name: str) -> None:
        self.asked.append(name)
        if name in self.names:
            raise RuntimeError("no thread")
        self._run(function, *args, name=name)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    return NoThreads(monkeypatch)


def did_not_wait(_: int) -> float:
    return 0.0


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "LONG_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "process_time", lambda: 0.0)  # it waits all the time
    monkeypatch.setattr(_turns, "_waited_for_a_core", did_not_wait)
    made = Turns()
    yield made
    for each in made.fakes:
        each.far.close()
    for each in made.fakes:
        eventually(lambda each=each: each.fileno() < 0, "a connection is left")  # type: ignore[misc]
    eventually(lambda: not made.leads(), "somebody leads nobody")
    assert made._turn is None
    assert made._resting == {}


def open_epolls() -> int:
    paths = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    links = [os.readlink(path) for path in paths if os.path.islink(path)]  # noqa: PTH114, PTH115
    return sum("eventpoll" in link for link in links)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What threads would be started for: a test does it itself, when it likes."""
    started: list[tuple[Any, ...]] = []

    def note(*job: Any, name: str) -> None:
        started.append((name, *job))

    monkeypatch.setattr(_threads, "run", note)
    return started
