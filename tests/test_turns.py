"""Turns by themselves: who leads, who steps aside, who is relieved, and who is kept apart."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
import math
import threading
import weakref
from typing import Any

import pytest
from support import eventually, in_thread
from turns_support import (
    LEADER,
    Blocker,
    Fake,
    Turns,
    jobs,
    no_threads,
    open_epolls,
    turns,
)
from wire import SECONDS

from nhttp import _turns
from nhttp._timers import now

__all__ = ["jobs", "no_threads", "turns"]

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

APART = _turns.APART_NAME


# --- leading -----------------------------------------------------------------------------------


def test_one_thread_takes_all_turns(turns: Turns) -> None:
    first, second = turns.add(2)
    threads = {each.ask() for each in (first, second, first)}
    assert [each.name for each in threads] == [LEADER]


def test_what_has_come_before_it_rests_is_found(turns: Turns) -> None:
    other, late = Fake(turns), Fake(turns)
    late.send()
    assert turns.rest(other)
    assert turns.rest(late)
    assert late.took()[1]
    other.send()
    assert other.took()[1]


def test_its_end_is_a_turn(turns: Turns) -> None:
    first, second = turns.add(2)
    first.far.close()
    assert first.took() == (second.ask(), False)


def test_turns_are_taken_one_after_the_other(turns: Turns) -> None:
    first, second, third = turns.add(3)
    blocker = first.blocks()
    second.send()
    third.send()
    assert second.ended.empty()
    assert third.ended.empty()
    blocker.free.set()
    assert len({each.took()[0] for each in (first, second, third)}) == 1


def test_nobody_leads_when_the_last_one_is_over(turns: Turns) -> None:
    first, second = turns.add(2)
    epoll = turns._epoll
    assert epoll is not None
    for each in (first, second):
        assert turns.leads()
        each.far.close()
        each.took()
    eventually(lambda: not turns.leads(), "somebody leads nobody")
    assert epoll.closed
    # And again.
    (third,) = turns.add()
    assert third.ask().name == LEADER


def test_what_cannot_be_waited_for_does_not_rest(turns: Turns) -> None:
    with open(__file__) as file:  # noqa: PTH123
        fake = Fake(turns)
        before = open_epolls()
        fake.fileno = file.fileno  # type: ignore[method-assign]
        assert not turns.rest(fake)
        assert not turns.leads()
        assert open_epolls() == before
        (other,) = turns.add()
        assert not turns.rest(fake)
        assert turns._resting == {other.fileno(): other}
        del fake.fileno
        fake.end()


def test_nothing_is_kept_of_a_connection_that_is_over(turns: Turns) -> None:
    first, second = turns.add(2)
    first.ask()
    first.send(b"!")
    first.took()
    second.ask()
    first.far.close()
    weak = weakref.ref(first)
    turns.fakes.remove(first)
    del first
    eventually(lambda: weak() is None, "it is still there")


# --- stepping aside ----------------------------------------------------------------------------


def test_one_that_steps_aside_keeps_its_thread_and_another_one_leads(turns: Turns) -> None:
    first, second = turns.add(2)
    before = second.ask()
    blocker = Blocker()

    def step_aside() -> None:
        turns.step_aside(first)
        blocker()

    first.does[b"s"] = step_aside
    first.send(b"s")
    assert blocker.begun.happens()
    now_leads = second.ask()
    assert now_leads is not before
    blocker.free.set()
    assert first.took() == (before, True)
    assert first.ask() is second.ask() is now_leads


def test_others_who_have_something_at_the_same_time_are_passed_on_as_well(
    turns: Turns, jobs: list[tuple[Any, ...]]
) -> None:
    fakes = turns.add(2)
    for each in fakes:
        each.does[b"s"] = functools.partial(turns.step_aside, each)
        each.send(b"s")
    for number in range(2):
        assert len(jobs) == number + 1
        _, _, epoll, reign = jobs[number]
        assert not turns._take_all(epoll, reign)
        assert [each.ended.qsize() for each in fakes].count(1) == number + 1
        assert len(turns._resting) == 2
    for each in fakes:
        each.end()
    turns._abdicate()


def test_any_thread_may_say_that_a_turn_is_about_to_block(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = first.blocks()
    assert turns.is_served(first)
    turns.step_aside(first)
    assert not turns.is_served(first)
    assert second.ask() is not blocker.thread
    blocker.free.set()
    assert first.took() == (blocker.thread, True)


def test_only_the_one_that_has_a_turn_steps_aside(turns: Turns) -> None:
    first, second, third = turns.add(3)
    blocker = first.blocks()
    assert not turns.is_served(second)
    turns.step_aside(second)
    assert turns.is_served(first)
    blocker.free.set()
    before = first.took()[0]
    assert not turns.is_served(first)
    turns.step_aside(first)
    assert {first.ask(), second.ask(), third.ask()} == {before}


def test_between_the_look_without_the_lock_and_the_one_with_it_the_turn_may_end(
    turns: Turns,
) -> None:
    first, second = turns.add(2)
    before = second.ask()
    blocker = first.blocks()
    with turns._lock:
        stepping = in_thread(turns.step_aside, first)
        threading.Event().wait(0.01)  # either order is fine; mostly it waits for the lock by now
        turns._turn = None  # as at the end of the turn
    stepping.result()
    with turns._lock:
        turns._turn = first
    blocker.free.set()
    assert {first.took()[0], second.ask()} == {before}


def test_one_that_is_alone_and_steps_aside_leaves_nobody_to_lead(turns: Turns) -> None:
    (alone,) = turns.add()
    epoll = turns._epoll
    assert epoll is not None
    blocker = alone.blocks()
    turns.step_aside(alone)
    assert epoll.closed
    assert not turns.leads()
    (other,) = turns.add()
    assert other.ask() is not blocker.thread
    blocker.free.set()
    assert alone.took() == (blocker.thread, True)
    assert alone.ask() is other.ask()


def test_one_that_was_alone_rests_again(turns: Turns) -> None:
    (alone,) = turns.add()
    blocker = alone.blocks()
    turns.step_aside(alone)
    blocker.free.set()
    assert alone.took() == (blocker.thread, True)
    assert turns.leads()
    assert alone.ask() is not blocker.thread


def test_one_that_has_stepped_aside_may_be_over(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = Blocker()

    def over() -> None:
        turns.step_aside(first)
        blocker()
        end()

    first.end, end = over, first.end  # type: ignore[method-assign]
    first.send(b"!")
    assert blocker.begun.happens()
    leader = second.ask()
    blocker.free.set()
    assert first.took() == (blocker.thread, False)
    assert second.ask() is leader


# --- being relieved ----------------------------------------------------------------------------


def test_a_turn_that_lasts_from_one_look_to_the_next_is_relieved(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = first.blocks()
    turns.look()
    assert turns.is_served(first)
    turns.look()
    assert not turns.is_served(first)
    assert second.ask() is not blocker.thread
    blocker.free.set()
    assert first.took() == (blocker.thread, True)
    assert first.ask() is second.ask()


def test_turns_that_do_not_last_are_not_relieved(turns: Turns) -> None:
    first, second = turns.add(2)
    before = first.ask()
    for _ in range(5):
        blocker = first.blocks()
        turns.look()
        blocker.free.set()
        assert first.took()[0] is before
        assert second.ask() is before


def test_the_timer_thread_looks(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "looks_by_itself", True)
    first, second = turns.add(2)
    blocker = first.blocks()
    assert second.ask() is not blocker.thread
    blocker.free.set()
    first.took()


def test_it_stops_looking_when_there_are_no_turns(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    monkeypatch.setattr(turns, "looks_by_itself", True)
    (only,) = turns.add()
    assert turns._guard.when == math.inf
    for _ in range(2):
        only.ask()
        assert turns._guard.when < now() + SECONDS
        for _ in range(_turns.QUIET_LOOKS):  # one of which finds a turn
            turns.look()
            assert turns._guarded
        turns._guard.set(math.inf)
        turns.look()
        assert not turns._guarded
        assert turns._guard.when == math.inf


def test_turns_do_not_put_the_next_look_off(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    monkeypatch.setattr(turns, "looks_by_itself", True)
    (only,) = turns.add()
    only.ask()
    when = turns._guard.when
    only.ask()
    assert turns._guard.when == when < math.inf


def test_a_turn_that_lasts_is_looked_at_however_many_looks_were_in_vain(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    monkeypatch.setattr(turns, "looks_by_itself", True)
    first, second = turns.add(2)
    for _ in range(_turns.QUIET_LOOKS + 2):
        first.ask()
        for _ in range(_turns.QUIET_LOOKS - 2):
            turns.look()
            assert turns._guarded
    blocker = first.blocks()
    turns.look()
    turns.look()
    assert second.ask() is not blocker.thread
    blocker.free.set()
    first.took()


def test_where_there_is_no_timer_thread_turns_are_taken(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "looks_by_itself", True)
    asked = threading.Semaphore(0)

    def refuse(*_: object) -> None:
        asked.release()
        raise RuntimeError("no thread")

    with monkeypatch.context() as patch:
        patch.setattr(type(turns._guard), "set", refuse)
        first, second = turns.add(2)
        assert first.ask() is second.ask()
        assert not turns._guarded
        for _ in range(2):  # it is asked for again
            assert asked.acquire(timeout=SECONDS)
    first.ask()
    assert turns._guarded


def test_one_that_is_closing_is_relieved_as_well(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = Blocker()

    def closes() -> None:
        turns.leave(first)
        blocker()

    first.does[b"c"] = closes
    first.send(b"c")
    assert blocker.begun.happens()
    turns.look()
    turns.look()
    assert second.ask() is not blocker.thread
    blocker.free.set()
    first.took()


def test_one_whose_descriptor_is_closed_is_relieved_as_well(turns: Turns) -> None:
    first, second = turns.add(2)
    blocker = first.blocks_at_its_end()
    turns.look()
    turns.look()
    assert second.ask() is not blocker.thread
    blocker.free.set()


def test_the_last_one_is_relieved_while_it_closes(turns: Turns) -> None:
    (first,) = turns.add()
    blocker = first.blocks_at_its_end()
    turns.look()
    turns.look()
    assert not turns.leads()
    (other,) = turns.add()
    assert other.ask() is not blocker.thread
    blocker.free.set()
    assert other.ask() is other.ask()
