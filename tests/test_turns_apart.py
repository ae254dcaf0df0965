"""Turns that take long: for a while, connections are kept apart then."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import pytest
from turns_support import (
    LEADER,
    Fake,
    NoThreads,
    Turns,
    jobs,
    no_threads,
    turns,
)
from wire import SECONDS

from nhttp import _turns
from nhttp._timers import now

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jobs", "no_threads", "turns"]

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

APART = _turns.APART_NAME


# --- apart -------------------------------------------------------------------------------------


def last_twice(turns: Turns, *fakes: Fake) -> None:
    """Have two turns relieved."""
    for each in fakes:
        blocker = each.blocks()
        turns.look()
        turns.look()
        assert not turns.is_served(each)
        blocker.free.set()


def test_where_turns_last_often_connections_are_kept_apart(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "APART_SECONDS", (SECONDS,))
    first, second, third = turns.add(3)
    last_twice(turns, first)
    assert first.took()[1]  # once is not often
    last_twice(turns, second)
    thread, rests = second.took()
    assert not rests
    second.send()
    assert second.took() == (thread, False)
    third.send()
    thread, rests = third.took()
    assert not rests
    assert thread.name == APART
    assert turns._resting == {first.fileno(): first}
    # When that is over, each rests behind its next turn.
    turns._apart_until = -math.inf
    third.send()
    assert third.took() == (thread, True)
    assert third.ask().name == LEADER
    second.ask()
    assert second.ask() is first.ask() is third.ask()


def test_nobody_leads_when_the_last_one_is_set_apart(turns: Turns) -> None:
    first, second = turns.add(2)
    first.ask()
    epoll = turns._epoll
    assert epoll is not None
    turns._apart_until = math.inf
    for each in (first, second):
        assert turns.leads()
        each.send()
        thread, rests = each.took()
        assert (thread.name, rests) == (APART, False)
    assert not turns.leads()
    assert epoll.closed
    turns._apart_until = -math.inf


def test_where_there_is_no_thread_to_be_apart_the_leader_takes_the_turn(
    turns: Turns, no_threads: NoThreads
) -> None:
    first, second = turns.add(2)
    no_threads.names = {APART}
    turns._apart_until = math.inf
    assert first.ask() is second.ask()
    assert first.ask().name == LEADER
    turns._apart_until = -math.inf


def long_turns(turns: Turns, only: Fake, monkeypatch: pytest.MonkeyPatch) -> float:
    """Have two turns that take a quarter of a second each, by the clock, which stays there."""
    moment = 100.0
    monkeypatch.setattr(_turns, "now", lambda: moment)
    turns._judge_from = -math.inf
    for _ in range(2):
        blocker = only.blocks()
        moment += 0.25
        blocker.free.set()
        assert only.took()[1]
        moment += 5
    assert (turns._busy, turns._timed) == (0.5, 2)
    return moment


def test_turns_with_which_connections_end_count_as_well(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 100.0
    monkeypatch.setattr(_turns, "now", lambda: moment)
    first, second = turns.add(2)
    end = first.end

    def takes_long() -> None:
        nonlocal moment
        moment += 0.25
        end()

    monkeypatch.setattr(first, "end", takes_long)
    first.send(b"!")
    assert first.took() == (second.ask(), False)
    assert (turns._busy, turns._timed) == (0.25, 2)


def test_a_turn_that_is_excused_is_not_judged(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 100.0

    def accept() -> None:
        nonlocal moment
        moment += 5
        turns.excuse(only)

    monkeypatch.setattr(_turns, "now", lambda: moment)
    (only,) = turns.add()
    only.does[b"a"] = accept
    only.send(b"a")
    assert only.took()[1]
    turns.excuse(only)  # it is nobody's turn any more
    assert (turns._busy, turns._timed) == (0, 0)


@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize("long", [True, False])
def test_where_turns_take_long_on_average_connections_are_kept_apart(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, *, enough: bool, long: bool
) -> None:
    (only,) = turns.add()
    moment = long_turns(turns, only, monkeypatch)
    monkeypatch.setattr(_turns, "ENOUGH_SECONDS", 0.5 if enough else 0.6)
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.2499 if long else 0.2501)
    turns.look()
    apart = moment + _turns.APART_SECONDS[0] if enough and long else -math.inf
    assert turns._apart_until == apart
    assert (turns._busy, turns._timed) == ((0, 0) if enough else (0.5, 2))
    turns._apart_until = -math.inf


@pytest.mark.parametrize("share", [0.49, 0.51])
def test_where_the_process_computes_all_the_time_turns_do_not_take_long(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    (only,) = turns.add()
    spent = 0.0
    monkeypatch.setattr(_turns, "process_time", lambda: spent)
    moment = long_turns(turns, only, monkeypatch)
    began = turns._since
    spent = share * (moment - began)
    monkeypatch.setattr(_turns, "ENOUGH_SECONDS", 0.5)
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.0)
    turns.look()
    assert (turns._apart_until > moment) == (share < 0.5)
    assert (turns._since, turns._spent) == (moment, spent)
    turns._apart_until = -math.inf


def always(seconds: float) -> Callable[[int], float]:
    def tell(_: int) -> float:
        return seconds

    return tell


@pytest.mark.parametrize("waits", [0.09, 0.11])
def test_what_the_leader_has_waited_for_a_core_is_not_the_turns_(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, waits: float
) -> None:
    (only,) = turns.add()
    moment = long_turns(turns, only, monkeypatch)
    monkeypatch.setattr(_turns, "_waited_for_a_core", always(waits))
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)  # not so long that nothing is concluded
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.2)  # and there were two turns in half a second
    turns.look()
    assert (turns._apart_until > moment) == (waits < 0.1)
    turns._apart_until = -math.inf


def test_what_a_thread_has_waited_before_it_led_is_nobody_s(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "_waited_for_a_core", always(SECONDS))
    (only,) = turns.add()
    moment = long_turns(turns, only, monkeypatch)
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.2)
    turns.look()
    assert turns._apart_until > moment
    turns._apart_until = -math.inf


@pytest.mark.parametrize("waits", [5.0, 7.0])
def test_while_the_leader_waits_for_a_core_the_process_cannot_compute(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, waits: float
) -> None:
    (only,) = turns.add()
    spent = 0.0
    monkeypatch.setattr(_turns, "process_time", lambda: spent)
    moment = long_turns(turns, only, monkeypatch)
    spent = (moment - turns._since) / 2 - 3.0
    monkeypatch.setattr(_turns, "_waited_for_a_core", always(waits))
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "LONG_SECONDS", -SECONDS)
    turns.look()
    assert (turns._apart_until > moment) == (waits < 6.0)
    turns._apart_until = -math.inf


def test_nothing_is_concluded_when_somebody_has_just_begun_to_lead(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "GRACE_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", SECONDS)
    first, second = turns.add(2)
    assert 0 < turns._judge_from - now() <= SECONDS
    for _ in range(2):
        last_twice(turns, first)  # is relieved all the same
        assert first.took()[1]
    monkeypatch.setattr(_turns, "ENOUGH_SECONDS", 1e-9)
    second.ask()
    turns.look()
    assert turns._apart_until == -math.inf
    turns._judge_from = now()
    second.ask()
    turns.look()
    assert turns._apart_until > now()
    assert turns._judge_from == pytest.approx(turns._apart_until + SECONDS)
    turns._apart_until = -math.inf


def test_connections_are_kept_apart_for_longer_each_time_until_turns_are_short(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turns, "ENOUGH_SECONDS", 1e-9)
    (only,) = turns.add()

    def seconds(long: float) -> float:
        monkeypatch.setattr(_turns, "LONG_SECONDS", long)
        turns._apart_until = turns._judge_from = -math.inf
        only.ask()
        turns.look()
        return round(turns._apart_until - now())

    for _ in range(2):
        assert [seconds(0.0) for _ in range(6)] == [1, 2, 4, 8, 8, 8]
        monkeypatch.setattr(_turns, "ENOUGH_SECONDS", SECONDS)  # that is not enough to know it
        turns._apart_until = turns._judge_from = -math.inf
        only.ask()
        turns.look()
        assert turns._apart == 6
        monkeypatch.setattr(_turns, "ENOUGH_SECONDS", 1e-9)
        monkeypatch.setattr(_turns, "LONG_SECONDS", SECONDS)
        only.ask()
        turns.look()
        assert turns._apart == 0
    turns._apart_until = -math.inf


def test_where_the_leader_waits_for_a_core_turns_do_not_take_long(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = 0.0

    def tell(_: int) -> float:
        return waited

    monkeypatch.setattr(_turns, "_waited_for_a_core", tell)
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", SECONDS)
    first, second = turns.add(2)
    for _ in range(3):
        blocker = first.blocks()
        for _ in range(2):
            waited += _turns.LOOK_SECONDS / 2
            turns.look()
        assert second.ask() is not blocker.thread  # it is relieved all the same
        blocker.free.set()
        assert first.took()[1]
    assert turns._apart_until == -math.inf
    blocker = first.blocks()
    turns.look()
    turns.look()
    assert turns._apart_until > now()
    blocker.free.set()
    first.took()
    turns._apart_until = -math.inf


def test_how_long_a_thread_has_waited_for_a_core() -> None:
    assert 0 <= _turns._waited_for_a_core(threading.get_native_id()) < 1e6
    assert _turns._waited_for_a_core(0) == 0


def test_the_leader_is_known_by_its_number(turns: Turns) -> None:
    first, second = turns.add(2)
    leader = first.ask()
    assert turns._leader == leader.native_id
    blocker = first.blocks()
    turns.step_aside(first)
    leader = second.ask()
    assert turns._leader == leader.native_id
    assert leader is not blocker.thread
    blocker.free.set()
    first.took()
