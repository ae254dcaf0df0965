"""`Pool`: every decision of an agent, without sockets or threads.

Sockets and requests are strings here. After each step the pool's repr says what it holds.
"""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhttp._agent.pool import Action, Assign, Close, Dial, Offer, Pool

A, B = "a:80:", "b:80:"


def make(
    *,
    max_sockets: float = math.inf,
    max_free: float = 256,
    total: float = math.inf,
    scheduling: Literal["lifo", "fifo"] = "lifo",
) -> Pool[str, str]:
    return Pool(
        max_sockets=max_sockets,
        max_free_sockets=max_free,
        max_total_sockets=total,
        scheduling=scheduling,
    )


def dial(pool: Pool[str, str], name: str, waiter: str, socket: str) -> None:
    """Let a request make a connection, and have it."""
    assert pool.request(name, waiter) == [Dial(waiter)]
    pool.dialled(name, socket)


def kept(pool: Pool[str, str], name: str, *sockets: str) -> Pool[str, str]:
    """Fill a pool with idle sockets."""
    for socket in sockets:
        dial(pool, name, f"for {socket}", socket)
    for socket in sockets:
        assert pool.spare(name)
        assert pool.release(name, socket, keep=True) == []
    return pool


def test_a_new_pool_is_empty() -> None:
    pool = make()
    assert repr(pool) == "<Pool empty>"
    assert (pool.sockets, pool.free_sockets, pool.requests, pool.total) == ({}, {}, {}, 0)


def test_the_first_request_dials() -> None:
    pool = make()
    assert pool.request(A, "r1") == [Dial("r1")]
    assert repr(pool) == f"<Pool {A}: 0 busy, 0 free, 1 dialling, 0 waiting>"
    pool.dialled(A, "s1")
    assert repr(pool) == f"<Pool {A}: 1 busy, 0 free, 0 dialling, 0 waiting>"
    assert pool.sockets == {A: ["s1"]}


def test_a_socket_that_nobody_wants_is_offered_and_kept() -> None:
    pool = kept(make(), A, "s1")
    assert repr(pool) == f"<Pool {A}: 0 busy, 1 free, 0 dialling, 0 waiting>"
    assert pool.free_sockets == {A: ["s1"]}


def test_an_idle_socket_is_used_before_a_new_one_is_made() -> None:
    pool = kept(make(), A, "s1")
    assert pool.request(A, "r2") == [Assign("r2", "s1")]
    assert pool.total == 1


def test_an_idle_socket_of_another_origin_is_not_used() -> None:
    pool = kept(make(), A, "s1")
    assert pool.request(B, "r2") == [Dial("r2")]


def test_lifo_takes_the_socket_used_last() -> None:
    pool = kept(make(), A, "s1", "s2")
    assert pool.request(A, "r") == [Assign("r", "s2")]


def test_fifo_takes_the_socket_idle_longest() -> None:
    pool = kept(make(scheduling="fifo"), A, "s1", "s2")
    assert pool.request(A, "r") == [Assign("r", "s1")]


def test_beyond_max_sockets_requests_wait_first_in_first_out() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    assert pool.request(A, "r2") == []
    assert pool.request(A, "r3") == []
    assert pool.requests == {A: ["r2", "r3"]}
    assert pool.release(A, "s1") == [Assign("r2", "s1")]
    assert pool.release(A, "s1") == [Assign("r3", "s1")]
    assert pool.release(A, "s1") == [Offer("s1")]


def test_max_sockets_counts_connections_that_are_being_made() -> None:
    pool = make(max_sockets=1)
    assert pool.request(A, "r1") == [Dial("r1")]
    assert pool.request(A, "r2") == []


def test_the_slot_of_a_closed_socket_goes_to_who_waits() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    pool.request(A, "r2")
    assert pool.remove(A, "s1") == [Dial("r2")]


def test_the_slot_of_a_failed_dial_goes_to_who_waits() -> None:
    pool = make(max_sockets=1)
    pool.request(A, "r1")
    pool.request(A, "r2")
    assert pool.dial_failed(A) == [Dial("r2")]
    assert pool.dial_failed(A) == []
    assert repr(pool) == "<Pool empty>"


def test_a_raised_limit_lets_those_dial_who_wait_longest() -> None:
    pool = make(max_sockets=1)
    pool.request(A, "r1")
    for waiter in ("r2", "r3", "r4"):
        pool.request(A, waiter)
    assert pool.admit() == []
    pool.max_sockets = 3
    assert pool.admit() == [Dial("r2"), Dial("r3")]
    assert pool.requests == {A: ["r4"]}


def test_a_raised_total_lets_those_dial_whose_own_origin_has_room() -> None:
    pool = make(max_sockets=1, total=1)
    pool.request(A, "r1")
    for name, waiter in ((A, "r2"), (B, "r3"), ("c:80:", "r4")):
        pool.request(name, waiter)
    pool.max_total_sockets = 2
    assert pool.admit() == [Dial("r3")]
    assert pool.requests == {A: ["r2"], "c:80:": ["r4"]}


def test_a_raised_limit_counts_where_idle_sockets_of_others_take_the_room() -> None:
    pool = make(max_sockets=1, total=2)
    dial(pool, A, "r1", "s1")
    dial(pool, B, "r2", "s2")
    pool.request(A, "r3")
    pool.request(A, "r4")
    assert pool.release(B, "s2", keep=True) == []
    pool.max_sockets = 3
    assert pool.admit() == [Close("s2"), Dial("r3")]
    assert pool.requests == {A: ["r4"]}
    assert pool.total == 2


def test_beyond_max_free_sockets_a_socket_is_closed() -> None:
    pool = make(max_free=1)
    dial(pool, A, "r1", "s1")
    dial(pool, A, "r2", "s2")
    assert pool.release(A, "s1", keep=True) == []
    assert not pool.spare(A)
    assert pool.release(A, "s2", keep=True) == [Close("s2")]
    assert pool.total == 1


def test_who_comes_while_a_socket_is_offered_gets_it() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    assert pool.spare(A)
    assert pool.request(A, "r2") == []
    assert not pool.spare(A)
    assert pool.release(A, "s1", keep=True) == [Assign("r2", "s1")]


def test_whether_there_is_room_can_be_asked_while_who_waits_leaves() -> None:
    class Leaving(float):
        """A limit; while it is looked at, the one who waits in another origin goes."""

        def __gt__(self, other: float) -> bool:
            pool.cancel(B, "r2")
            return super().__gt__(other)

    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request(B, "r2")
    pool.max_sockets = Leaving(2)
    assert not pool.spare(A)
    assert pool.spare(A)


def test_a_socket_that_may_not_be_kept_is_closed_whoever_came_meanwhile() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    pool.request(A, "r2")
    assert pool.release(A, "s1", keep=False) == [Close("s1"), Dial("r2")]


def test_a_socket_is_offered_when_who_waited_for_it_has_gone_before_it_came() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    pool.request(A, "r2")
    assert not pool.spare(A)
    pool.cancel(A, "r2")
    assert pool.release(A, "s1") == [Offer("s1")]
    assert pool.sockets == {A: ["s1"]}


def test_a_request_that_stops_waiting_leaves_the_queue() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    pool.request(A, "r2")
    pool.request(A, "r3")
    pool.cancel(A, "r2")
    assert pool.release(A, "s1") == [Assign("r3", "s1")]


def test_who_waits_without_a_socket_of_its_origin_goes_on_when_another_stops() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request(B, "r2")
    pool.request(B, "r3")
    pool.cancel(B, "r2")
    assert pool.remove(A, "s1") == [Dial("r3")]


def test_an_origin_for_which_nobody_waits_any_more_is_forgotten() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request(B, "r2")
    pool.cancel(B, "r2")
    assert repr(pool) == f"<Pool {A}: 1 busy, 0 free, 0 dialling, 0 waiting>"


def test_an_origin_with_as_many_busy_as_idle_sockets_is_not_forgotten() -> None:
    pool = kept(make(), A, "s1", "s2", "s3")
    assert pool.take(A) == "s3"
    assert pool.remove(A, "s2") == []
    assert repr(pool) == f"<Pool {A}: 1 busy, 1 free, 0 dialling, 0 waiting>"


def test_cancelling_what_does_not_wait_does_nothing() -> None:
    pool = make()
    pool.cancel(A, "r")
    dial(pool, A, "r1", "s1")
    pool.cancel(A, "r1")
    assert pool.sockets == {A: ["s1"]}


def test_a_dead_socket_is_replaced_before_others_get_the_slot() -> None:
    pool = kept(make(max_sockets=1), A, "s1")
    assert pool.request(A, "r1") == [Assign("r1", "s1")]
    assert pool.request(A, "r2") == []
    assert pool.replace(A, "s1", "r1") == [Dial("r1")]
    assert pool.requests == {A: ["r2"]}


def test_a_dead_socket_is_replaced_by_another_idle_one() -> None:
    pool = kept(make(), A, "s1", "s2")
    assert pool.request(A, "r1") == [Assign("r1", "s2")]
    assert pool.replace(A, "s2", "r1") == [Assign("r1", "s1")]


def test_a_dead_socket_is_replaced_by_a_fresh_one_where_that_is_wanted() -> None:
    pool = kept(make(max_sockets=2), A, "s1", "s2")
    assert pool.request(A, "r1") == [Assign("r1", "s2")]
    assert pool.replace(A, "s2", "r1", fresh=True) == [Dial("r1")]
    assert pool.free_sockets == {A: ["s1"]}


def test_an_idle_socket_can_be_taken_at_once() -> None:
    pool = kept(make(), A, "s1")
    assert pool.take(B) is None
    assert pool.take(A) == "s1"
    assert pool.sockets == {A: ["s1"]}
    assert pool.take(A) is None


def test_replacing_a_socket_that_was_taken_out_asks_anew() -> None:
    pool = kept(make(), A, "s1")
    pool.request(A, "r1")
    pool.remove(A, "s1")
    assert pool.replace(A, "s1", "r1") == [Dial("r1")]
    pool.dialled(A, "s2")
    assert pool.replace(A, "s1", "r2") == [Dial("r2")]


def test_a_socket_that_was_taken_out_is_closed_when_it_comes_back() -> None:
    pool = make()
    dial(pool, A, "r1", "s1")
    assert pool.remove(A, "s1") == []
    assert pool.release(A, "s1") == [Close("s1")]
    assert pool.remove(A, "s1") == []


def test_a_socket_that_was_taken_out_is_not_given_to_who_waits() -> None:
    pool = make(max_sockets=1)
    dial(pool, A, "r1", "s1")
    assert pool.request(A, "r2") == []
    assert pool.remove(A, "s1") == [Dial("r2")]
    assert pool.request(A, "r3") == []
    assert pool.release(A, "s1") == [Close("s1")]


def test_a_socket_taken_out_while_it_is_offered_is_not_kept() -> None:
    pool = make()
    dial(pool, A, "r1", "s1")
    assert pool.spare(A)
    pool.remove(A, "s1")
    assert not pool.spare(A)
    assert pool.release(A, "s1", keep=True) == [Close("s1")]


def test_max_total_sockets_counts_all_origins() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    assert pool.request(B, "r2") == []
    assert pool.remove(A, "s1") == [Dial("r2")]


def test_at_the_total_an_idle_socket_makes_room_for_another_origin() -> None:
    pool = kept(make(total=1), A, "s1")
    assert pool.request(B, "r2") == [Close("s1"), Dial("r2")]
    assert repr(pool) == f"<Pool {B}: 0 busy, 0 free, 1 dialling, 0 waiting>"


def test_at_the_total_a_socket_that_comes_back_makes_room_for_who_waits_longest() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request("c:80:", "r2")
    pool.request(B, "r3")
    assert pool.release(A, "s1") == [Close("s1"), Dial("r2")]
    assert pool.requests == {B: ["r3"]}


def test_at_the_total_a_slot_goes_to_who_waits_longest_and_not_to_the_oldest_origin() -> None:
    pool = make(total=2)
    dial(pool, A, "r1", "s1")
    dial(pool, B, "r2", "s2")
    pool.request("c:80:", "the first")
    pool.request(A, "a later one")
    assert pool.remove(B, "s2") == [Dial("the first")]


def test_at_the_total_the_slot_of_a_closed_socket_stays_with_its_origin_if_somebody_waits() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request(B, "r2")
    pool.request(A, "r3")
    assert pool.remove(A, "s1") == [Dial("r3")]
    assert pool.requests == {B: ["r2"]}


@pytest.mark.parametrize("limit", ["max_sockets", "max_total_sockets"])
def test_when_a_limit_was_lowered_a_slot_that_is_too_many_goes_to_nobody(limit: str) -> None:
    pool = make(max_sockets=3, total=3)
    for number in (1, 2, 3):
        dial(pool, A, f"r{number}", f"s{number}")
    assert pool.request(A, "r4") == []
    setattr(pool, limit, 2)
    assert pool.remove(A, "s1") == []
    assert pool.remove(A, "s2") == [Dial("r4")]


def test_at_the_total_an_offered_socket_makes_room_for_who_came_meanwhile() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    assert pool.spare(A)
    assert pool.request(B, "r2") == []
    assert not pool.spare(A)
    assert pool.release(A, "s1", keep=True) == [Close("s1"), Dial("r2")]


def test_at_the_total_requests_of_the_same_origin_come_first() -> None:
    pool = make(total=1)
    dial(pool, A, "r1", "s1")
    pool.request(B, "r2")
    pool.request(A, "r3")
    assert pool.release(A, "s1") == [Assign("r3", "s1")]


def test_abandoning_forgets_all_but_idle_sockets() -> None:
    pool = kept(make(max_sockets=2, total=4), A, "s1", "s2")
    assert pool.take(A) == "s2"
    assert pool.request("c:80:", "r1") == [Dial("r1")]
    dial(pool, B, "r2", "s3")
    assert pool.request(B, "r3") == [Close("s1"), Dial("r3")]
    assert pool.request(B, "r4") == []
    assert pool.release(A, "s2", keep=True) == []
    pool.abandon()
    assert repr(pool) == f"<Pool {A}: 0 busy, 1 free, 0 dialling, 0 waiting>"
    assert pool.total == 1
    assert pool.request(A, "r5") == [Assign("r5", "s2")]


def test_abandoning_keeps_an_idle_socket_beside_those_in_use_and_being_made() -> None:
    pool = kept(make(), A, "s1", "s2")
    assert pool.request(A, "r1") == [Assign("r1", "s2")]
    assert pool.request(A, "r2") == [Assign("r2", "s1")]
    assert pool.request(A, "r3") == [Dial("r3")]
    assert pool.release(A, "s1", keep=True) == []
    pool.abandon()
    assert repr(pool) == f"<Pool {A}: 0 busy, 1 free, 0 dialling, 0 waiting>"


def test_destroying_forgets_sockets_and_requests() -> None:
    pool = kept(make(max_sockets=2), A, "s1")
    assert pool.request(A, "r1") == [Assign("r1", "s1")]
    dial(pool, A, "r2", "s2")
    pool.request(A, "r3")
    assert pool.destroy() == (["s1", "s2"], ["r3"])
    assert repr(pool) == "<Pool empty>"
    assert pool.total == 0


def test_destroying_leaves_connections_that_are_being_made_to_their_requests() -> None:
    pool = make()
    pool.request(A, "r1")
    assert pool.destroy() == ([], [])
    pool.dialled(A, "s1")
    assert pool.sockets == {A: ["s1"]}


@settings(deadline=None)
@given(st.data())
def test_limits_hold_and_nobody_is_forgotten_whatever_happens(data: st.DataObject) -> None:
    """Random steps; after each, no limit is exceeded and no free slot has somebody waiting."""
    max_sockets = data.draw(st.integers(1, 3))
    total = data.draw(st.integers(1, 4))
    pool = make(max_sockets=max_sockets, total=total, max_free=data.draw(st.integers(0, 2)))
    waiting: set[str] = set()
    dialling: list[tuple[str, str]] = []  # name, request
    busy: list[tuple[str, str]] = []  # name, socket
    offered: list[tuple[str, str]] = []  # likewise
    served: set[str] = set()
    names: dict[str, str] = {}
    count = 0

    def carry_out(actions: list[Action[str, str]]) -> None:
        for action in actions:
            if isinstance(action, Dial):
                waiting.discard(action.waiter)
                dialling.append((names[action.waiter], action.waiter))
            elif isinstance(action, Assign):
                waiting.discard(action.waiter)
                served.add(action.waiter)
                busy.append((names[action.waiter], action.socket))
            elif isinstance(action, Offer):
                pytest.fail("only a socket about which nobody was asked is offered")

    for _ in range(data.draw(st.integers(1, 40))):
        steps = ["request", "dialled", "failed", "release", "close", "keep", "refuse"]
        step = data.draw(st.sampled_from(steps))
        if step == "request":
            count += 1
            name = data.draw(st.sampled_from([A, B, "c:80:"]))
            waiter = f"r{count}"
            names[waiter] = name
            waiting.add(waiter)
            carry_out(pool.request(name, waiter))
        elif step in ("dialled", "failed") and dialling:
            name, waiter = dialling.pop(data.draw(st.integers(0, len(dialling) - 1)))
            if step == "dialled":
                pool.dialled(name, f"s for {waiter}")
                served.add(waiter)
                busy.append((name, f"s for {waiter}"))
            else:
                served.add(waiter)
                carry_out(pool.dial_failed(name))
        elif step in ("release", "close") and busy:
            name, socket = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
            if step == "close":
                carry_out(pool.remove(name, socket))
            elif (actions := pool.release(name, socket)) == [Offer(socket)]:
                offered.append((name, socket))
            else:
                carry_out(actions)
        elif step in ("keep", "refuse") and offered:
            name, socket = offered.pop(data.draw(st.integers(0, len(offered) - 1)))
            carry_out(pool.release(name, socket, keep=step == "keep"))
        assert pool.total <= total
        for sockets in (*pool.sockets.values(), *pool.free_sockets.values()):
            assert len(sockets) <= max_sockets
        assert {w for queue in pool.requests.values() for w in queue} == waiting
        assert not pool.requests.keys() & pool.free_sockets.keys(), "there is one for who waits"
        if waiting:
            assert busy or offered or dialling, "somebody waits, and nothing will ever come back"
