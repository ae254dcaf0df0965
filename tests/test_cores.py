"""Threads on one core, and what they leave behind."""

from __future__ import annotations

import os
import queue
from typing import TYPE_CHECKING, TypeVar

import pytest
from support import SECONDS

import nhttp
from nhttp import _cores, _threads
from nhttp._timers import Deadline, Timers, now

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

if not hasattr(os, "sched_getaffinity"):
    pytest.skip("no system call for it", allow_module_level=True)

ALL = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is one core only")


def elsewhere(function: Callable[[], _T]) -> _T:
    """Call a function on a thread of the cache, and give what it returns."""
    told: queue.SimpleQueue[_T] = queue.SimpleQueue()
    _threads.run(lambda: told.put(function()), name="test")
    return told.get(timeout=SECONDS)


def cores() -> set[int]:
    return os.sched_getaffinity(0)


def cores_of_an_answer(pin: bool) -> tuple[set[int], set[int]]:
    """Give the cores of a handler, and of a thread that the handler has nhttp start."""
    seen: queue.SimpleQueue[set[int]] = queue.SimpleQueue()

    def handler(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        seen.put(cores())
        _threads.drain()
        seen.put(elsewhere(cores))
        response.end()

    with nhttp.create_server(handler, pin_threads=pin).listen(0, "127.0.0.1") as server:
        address = server.address()
        assert isinstance(address, tuple)
        with nhttp.get(f"http://127.0.0.1:{address.port}/") as response:
            response.read()
    return seen.get(timeout=SECONDS), seen.get(timeout=SECONDS)


def test_connections_share_one_core_and_nobody_else_is_bound_to_it() -> None:
    first, helper = cores_of_an_answer(pin=True)
    assert len(first) == 1
    assert first <= ALL
    assert helper == ALL
    assert cores_of_an_answer(pin=True)[0] == first
    assert cores() == ALL


def test_by_default_threads_run_everywhere() -> None:
    assert cores_of_an_answer(pin=False) == (ALL, ALL)


def test_a_thread_is_as_it_was_afterwards() -> None:
    with _cores.on_one_core():
        assert len(cores()) == 1
    assert cores() == ALL


def test_the_timer_thread_is_not_bound_by_who_starts_it() -> None:
    told: queue.SimpleQueue[set[int]] = queue.SimpleQueue()

    def arm() -> None:
        with _cores.on_one_core():  # and start a thread of one's own
            deadline = Deadline(lambda: told.put(cores()), timers=Timers(idle_seconds=0.01))
            deadline.set(now())

    elsewhere(arm)
    assert told.get(timeout=SECONDS) == ALL


def test_where_it_is_refused_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: int, _cores: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with _cores.on_one_core():
        assert cores() == ALL


def test_where_there_is_no_such_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with _cores.on_one_core():
        assert cores() == ALL


def test_pin_threads_is_true_or_false() -> None:
    with pytest.raises(nhttp.errors.InvalidArgument, match="pin_threads is True or False"):
        nhttp.Server(pin_threads=1)  # type: ignore[arg-type]
