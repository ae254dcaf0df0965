"""Turns by themselves, where something goes wrong: threads, descriptors, exceptions, forks."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import eventually, in_thread
from test_forks import in_a_child
from turns_support import (
    LEADER,
    Blocker,
    Fake,
    NoThreads,
    Turns,
    jobs,
    no_threads,
    turns,
)
from wire import SECONDS

from nhttp import _threads, _turns

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jobs", "no_threads", "turns"]

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

APART = _turns.APART_NAME


# --- no thread ---------------------------------------------------------------------------------


def test_where_there_is_no_thread_to_lead_nobody_rests(
    turns: Turns, no_threads: NoThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_threads.names = {LEADER}
    fake, epoll = Fake(turns), select.epoll()
    with monkeypatch.context() as patch:
        patch.setattr(select, "epoll", lambda: epoll)
        assert not turns.rest(fake)
    assert not turns.leads()
    assert turns._resting == {}
    assert epoll.closed
    no_threads.names = set()
    assert turns.rest(fake)
    assert fake.ask().name == LEADER


def test_where_nobody_can_relieve_it_a_turn_ends_as_it_would_have(
    turns: Turns, no_threads: NoThreads
) -> None:
    first, second = turns.add(2)
    no_threads.names = {LEADER}
    blocker = first.blocks()
    turns.step_aside(first)
    assert turns.is_served(first)
    second.send()
    blocker.free.set()
    assert first.took() == second.took() == (blocker.thread, True)
    assert first.ask() is blocker.thread


def test_where_nobody_could_relieve_it_somebody_does_so_later(
    turns: Turns, no_threads: NoThreads
) -> None:
    first, second = turns.add(2)
    no_threads.names = {LEADER}
    blocker = first.blocks()
    turns.step_aside(first)
    turns.look()
    turns.look()
    assert turns.is_served(first)
    no_threads.names = set()
    turns.look()
    assert not turns.is_served(first)
    assert second.ask() is not blocker.thread
    blocker.free.set()
    assert first.took() == (blocker.thread, True)


def test_a_leader_that_nobody_relieves_does_not_wait_for_one_connection(
    turns: Turns, no_threads: NoThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although connections are to be kept apart from now on."""
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "APART_SECONDS", (SECONDS,))
    first, second = turns.add(2)
    no_threads.names = {LEADER, APART}
    leader = first.ask()
    for _ in range(2):
        blocker = first.blocks()
        for _ in range(3):
            turns.look()
        blocker.free.set()
        assert first.took() == (leader, True)
    assert second.ask() is first.ask() is leader
    turns._apart_until = -math.inf


def test_one_that_is_alone_needs_nobody_to_step_aside(turns: Turns, no_threads: NoThreads) -> None:
    (alone,) = turns.add()
    no_threads.names = {LEADER}
    blocker = alone.blocks()
    turns.step_aside(alone)
    assert not turns.leads()
    blocker.free.set()
    assert alone.took() == (blocker.thread, False)


# --- what a turn raises ------------------------------------------------------------------------


class Raised(BaseException):
    pass


def fails(fake: Fake) -> Callable[[], None]:
    def does() -> None:
        fake.turns.leave(fake)
        fake.near.close()
        raise Raised

    return does


unheard = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@unheard
def test_a_turn_that_raises_ends_its_thread_and_another_one_leads(turns: Turns) -> None:
    first, second = turns.add(2)
    reign = turns._reign
    first.does[b"r"] = fails(first)
    first.send(b"r")
    eventually(lambda: turns._reign == reign + 1, "another one leads")
    second.ask()
    assert second.ask().name == LEADER
    assert turns._resting == {second.fileno(): second}


@unheard
def test_the_last_turn_raises(turns: Turns) -> None:
    (only,) = turns.add()
    only.does[b"r"] = fails(only)
    only.send(b"r")
    eventually(lambda: not turns.leads(), "somebody leads nobody")


@unheard
def test_one_that_has_stepped_aside_raises_and_the_leader_stays(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = Blocker()

    def does() -> None:
        turns.step_aside(first)
        blocker()
        first.near.close()
        raise Raised

    first.does[b"r"] = does
    first.send(b"r")
    assert blocker.begun.happens()
    leader, reign = second.ask(), turns._reign
    held = second.blocks()
    blocker.free.set()
    assert blocker.thread is not None
    eventually(lambda: blocker.thread is not None and idle(blocker.thread), "it goes on")
    assert turns.is_served(second)
    assert turns._reign == reign
    held.free.set()
    assert second.took()[0] is second.ask() is leader


def idle(thread: threading.Thread) -> bool:
    return thread.name == _threads.IDLE_NAME or not thread.is_alive()


def test_a_turn_raises_where_there_is_no_other_thread(
    turns: Turns, no_threads: NoThreads, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = turns.add(3)
    before = second.ask()
    no_threads.names = {LEADER}
    for each in (first, third):
        each.does[b"r"] = fails(each)
        each.send(b"r")
        assert second.ask() is before
        eventually(lambda each=each: each.fileno() < 0, "its turn")  # type: ignore[misc]
    assert second.ask() is before
    assert caplog.text.count("a turn raised") == 2


# --- descriptors -------------------------------------------------------------------------------


def test_a_descriptor_that_nobody_has_any_more_is_passed_over(
    turns: Turns, jobs: list[tuple[Any, ...]]
) -> None:
    """The leader was told of the one that had it."""
    gone, other = turns.add(2)
    _, _, _, reign = jobs[0]
    descriptor = gone.fileno()
    gone.end()
    assert turns._take(descriptor, reign)
    assert turns._turn is None
    other.end()
    turns._abdicate()


def test_a_descriptor_that_another_one_has_got(turns: Turns, jobs: list[tuple[Any, ...]]) -> None:
    """The leader was told of the one that had it before."""
    first, second = turns.add(2)
    taking = in_thread(turns._take, first.fileno(), turns._reign)
    eventually(lambda: turns.is_served(first), "its turn")
    turns.look()
    turns.look()
    assert not turns.is_served(first)
    _, _, epoll, reign = jobs[1]
    second.send()
    assert turns._take_all(epoll, reign)
    first.send()
    assert first.took()[1]
    assert taking.result() is False
    for each in (first, second):
        each.end()
    turns._abdicate()


def test_one_that_rests_already(turns: Turns) -> None:
    first, second = turns.add(2)
    assert not turns.rest(first)
    assert first.ask() is second.ask()


def test_a_descriptor_that_was_closed_behind_our_back(turns: Turns) -> None:
    first, second = turns.add(2)
    descriptor = first.near.detach()
    os.close(descriptor)
    first.fileno = lambda: descriptor  # type: ignore[method-assign]
    turns.leave(first)
    del first.fileno
    assert second.ask() is second.ask()


def test_only_the_one_that_has_a_descriptor_leaves(turns: Turns) -> None:
    first, second = turns.add(2)
    other = Fake(turns)
    with other.near as near:
        other.near = first.near
        turns.leave(other)
        other.near = near
        assert first.ask() is second.ask()


# --- fork --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forgets_everything(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = first.blocks()
    epoll = turns._epoll
    assert epoll is not None

    def child() -> None:
        turns.after_fork()
        assert epoll.closed
        assert turns._resting == {}
        assert not turns.is_served(first)
        assert not turns._guarded
        fakes = turns.add(2)
        assert fakes[0].ask() is fakes[1].ask()

    turns._guarded = True
    with turns._lock:  # by a thread that the child does not have
        in_a_child(child)
    turns._guarded = False
    blocker.free.set()
    assert first.took()[0] is second.ask()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_is_told_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    _turns._turns._apart_until = -math.inf  # whatever came before
    first, second = Fake(_turns._turns), Fake(_turns._turns)
    for each in (first, second):
        assert _turns.rest(each)

    def child() -> None:
        fake = Fake(_turns._turns)
        assert not _turns._turns._resting
        assert _turns.rest(fake)
        assert fake.ask().name == LEADER

    in_a_child(child)
    assert first.ask() is second.ask()
    for each in (first, second):
        each.send(b"!")
        each.took()
        each.far.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_turn_that_forks(turns: Turns) -> None:
    first, second = turns.add(2)
    children: list[int] = []

    def forks() -> None:
        child = os.fork()
        if child:
            children.append(child)
            return
        status = 1
        try:
            turns.after_fork()
            reign = turns._reign
            assert not turns.is_served(first)
            (fake,) = turns.add()
            assert fake.ask().name == LEADER
            assert turns._reign == reign + 1
            status = 0
        finally:
            os._exit(status)

    first.does[b"f"] = forks
    assert first.ask(b"f") is second.ask()
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert first.ask() is second.ask()


# --- everything at once ------------------------------------------------------------------------


def test_many_connections_that_do_everything() -> None:
    """Whoever sends an octet has a turn for it, whatever the others do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    turns = Turns()
    turns.looks_by_itself = True
    try:
        fakes = turns.add(12)
        for each in fakes:
            each.does[b"s"] = lambda each=each: turns.step_aside(each)  # type: ignore[misc]
            each.does[b"p"] = lambda: threading.Event().wait(0.012)

        def ask(fake: Fake, what: bytes) -> None:
            for each in what:
                fake.send(bytes([each]))
                fake.took()

        program = b"...s...p....s.ss" * 3
        clients = [in_thread(ask, each, program[n:] + b"!") for n, each in enumerate(fakes)]
        for client in clients:
            client.result()
        eventually(lambda: not turns.leads(), "somebody leads nobody")
    finally:
        sys.setswitchinterval(interval)
        for each in turns.fakes:
            each.far.close()
