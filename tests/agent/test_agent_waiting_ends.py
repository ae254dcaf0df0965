"""What ends the wait for a socket of an `Agent`, and what may happen at the same moment."""

from __future__ import annotations

import gc
import random
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

import pytest
from agent_support import (
    NAME,
    OPTIONS,
    PairAgent,
    RawServer,
    obtain,
    server,
    settle,
    waiter,
    waiting,
)
from support import Recorder, eventually, in_thread

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.waiter import Waiter
from nhttp.errors import ConnectionAborted, ConnectionReset

if TYPE_CHECKING:
    from nhttp._agent.channel import Channel

__all__ = ["server"]

SECONDS = 10.0
ROUNDS = 200


def test_abort_ends_a_wait_and_the_next_in_line_is_served(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        first = agent.get(server.url)
        second = agent.get(server.url, lambda response: None)
        told = Recorder(second, "error", "close", "abort")
        eventually(lambda: waiting(agent) == 1, "it does not wait")
        third = in_thread(lambda: agent.get(server.url).get_response().read())
        eventually(lambda: waiting(agent) == 2, "it does not wait")
        second.abort()
        told.wait("close")
        eventually(lambda: waiting(agent) == 1, "it still waits")
        first.get_response().read()
        assert third.result() == b"ok"


def test_a_timeout_ends_a_wait(server: RawServer) -> None:
    with Agent(max_sockets=1) as agent:
        first = agent.get(server.url)

        def ask() -> None:
            agent.get(server.url, timeout=0.02).get_response()

        with pytest.raises(TimeoutError):
            in_thread(ask).result()
        assert waiting(agent) == 0
        assert first.get_response().read() == b"ok"


def test_destroy_ends_all_waits() -> None:
    agent = PairAgent(max_sockets=1)
    obtain(agent)
    running = [in_thread(obtain, agent) for _ in range(50)]
    eventually(lambda: waiting(agent) == 50, "they do not wait")
    agent.destroy()
    for each in running:
        with pytest.raises(ConnectionAborted):
            each.result()
    assert agent._pool.total == 0
    assert not agent._waiters


def test_ctrl_c_in_a_wait_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    with PairAgent(max_sockets=1) as agent:
        held = obtain(agent)
        asked = waiter(agent)

        def interrupted() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(asked, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            settle(agent, asked)
        assert waiting(agent) == 0
        agent._give_back(held, OPTIONS)
        assert len(agent.free_sockets[NAME]) == 1


def test_a_socket_given_to_a_request_that_gives_up_goes_to_the_next() -> None:
    """Giving up and being given a socket meet: whichever is first, the socket is not lost."""
    with PairAgent(max_sockets=1) as agent:
        held = obtain(agent)
        for _ in range(ROUNDS):
            asked = waiter(agent)
            taking = in_thread(settle, agent, asked)
            eventually(lambda: waiting(agent) == 1, "it does not wait")
            meet = threading.Barrier(2)

            def give_up(asked: Waiter = asked, meet: threading.Barrier = meet) -> None:
                meet.wait(SECONDS)
                asked.cancel(ConnectionReset("given up", "ECONNRESET"))

            giving = in_thread(give_up)
            meet.wait(SECONDS)
            agent._give_back(held, OPTIONS)
            giving.result()
            try:
                held = taking.result()
            except ConnectionReset:
                held = obtain(agent)
            assert agent._pool.total == 1
            assert waiting(agent) == 0
        assert agent.made == 1
        agent._give_back(held, OPTIONS)


def test_a_dead_socket_given_to_who_waits_is_replaced() -> None:
    with PairAgent(max_sockets=1) as agent:
        held, asked = obtain(agent), waiter(agent)
        agent._ask(asked)
        agent.far[0].close()
        agent._give_back(held, OPTIONS)
        channel, reused = agent._settle(asked)
        assert channel is not held
        assert not reused
        assert held.socket.destroyed
        assert agent._pool.total == 1


def test_a_dead_socket_given_to_a_request_that_gives_up_frees_its_slot() -> None:
    with PairAgent(max_sockets=1) as agent:
        held, asked = obtain(agent), waiter(agent)
        agent._ask(asked)
        agent.far[0].close()
        agent._give_back(held, OPTIONS)
        asked.cancel(ConnectionReset("given up", "ECONNRESET"))
        with pytest.raises(ConnectionReset):
            agent._settle(asked)
        assert held.socket.destroyed
        assert agent._pool.total == 0


def test_giving_up_in_the_moment_in_which_the_connection_stands_frees_its_slot() -> None:
    class Late(net.Socket):
        def unref(self) -> Self:
            asked.cancel(ConnectionReset("given up", "ECONNRESET"))
            return super().unref()

    class LateAgent(PairAgent):
        def create_connection(self, options: Any, callback: Any = None) -> net.Socket:
            near, far = socket.socketpair()
            self.far.append(far)
            return Late(near)

    with LateAgent(max_sockets=1) as agent:
        asked = waiter(agent)
        with pytest.raises(ConnectionReset):
            settle(agent, asked)
        assert agent._pool.total == 0


def test_a_request_whose_socket_is_replaced_is_ended_by_destroy_as_well() -> None:
    with PairAgent(max_sockets=1) as agent:
        agent._give_back(obtain(agent), OPTIONS)
        agent.far[0].close()
        dead, asked = agent._take_idle(NAME), waiter(agent)
        assert dead is not None
        assert not agent._prepare(dead, None)
        agent._replace(dead, asked)
        agent.destroy()
        with pytest.raises(ConnectionAborted):
            agent._settle(asked)
        assert agent._pool.total == 0


def test_a_socket_that_was_taken_out_and_is_dead_is_replaced_at_the_cost_of_an_idle_one() -> None:
    with PairAgent(max_total_sockets=1) as agent:
        dead = obtain(agent)
        agent._forget(dead)
        other = settle(agent, Waiter(agent, None, OPTIONS, "other:80:"))
        agent._give_back(other, OPTIONS)
        asked = waiter(agent)
        agent._replace(dead, asked)
        assert other.socket.destroyed
        agent._settle(asked)
        assert agent._pool.total == 1


def test_of_two_reasons_to_give_up_the_first_is_raised() -> None:
    with PairAgent() as agent:
        asked = waiter(agent)
        asked.cancel(ConnectionReset("the first", "ECONNRESET"))
        asked.cancel(ConnectionReset("the second", "ECONNRESET"))
        with pytest.raises(ConnectionReset, match="the first"):
            settle(agent, asked)


def test_a_socket_that_was_taken_before_it_could_be_closed_as_idle_stays_open() -> None:
    with PairAgent() as agent:
        held = obtain(agent)
        agent._drop_if_idle(held)
        assert not held.socket.destroyed
        assert agent._pool.total == 1


def test_a_socket_that_somebody_is_just_destroying_is_not_used() -> None:
    with PairAgent() as agent:
        held = obtain(agent)
        held.socket.destroy()
        assert not agent._prepare(held, None)


def test_agent_remove_frees_the_slot_of_a_socket_that_may_turn_out_dead() -> None:
    with PairAgent() as agent:
        held = obtain(agent)
        held.in_doubt = True
        held.socket.emit("agentRemove")
        assert agent._pool.total == 0
        held.socket.destroy()


def test_a_socket_may_close_when_the_agent_has_long_forgotten_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PairAgent() as agent:
        held = obtain(agent)
        sock, forgotten = held.socket, weakref.ref(held)
        agent._forget(held)
        del held
        gc.collect()
        assert forgotten() is None
        sock.destroy()
    assert caplog.records == []


def test_who_was_given_a_used_socket_is_let_go_of() -> None:
    with PairAgent(max_sockets=1) as agent:
        held, asked = obtain(agent), waiter(agent)
        agent._ask(asked)
        agent._give_back(held, OPTIONS)
        assert agent._settle(asked) == (held, True)
        assert not agent._waiters


def test_destroying_and_giving_back_meet() -> None:
    for _ in range(ROUNDS):
        agent = PairAgent(max_sockets=2)
        meet = threading.Barrier(3)

        def use(agent: PairAgent = agent, meet: threading.Barrier = meet) -> None:
            channel = obtain(agent)
            meet.wait(SECONDS)
            agent._give_back(channel, OPTIONS)

        running = [in_thread(use), in_thread(use)]
        meet.wait(SECONDS)
        agent.destroy()
        for each in running:
            each.result()
        agent.destroy()
        assert (agent._pool.total, agent.sockets, agent.free_sockets) == (0, {}, {})


def test_a_socket_that_closes_while_it_is_given_back() -> None:
    with PairAgent(max_sockets=1) as agent:
        for _ in range(ROUNDS):
            channel = obtain(agent)
            meet = threading.Barrier(2)

            def close(channel: Channel = channel, meet: threading.Barrier = meet) -> None:
                meet.wait(SECONDS)
                channel.socket.destroy()

            closing = in_thread(close)
            meet.wait(SECONDS)
            agent._give_back(channel, OPTIONS)
            closing.result()
            assert agent._pool.total == 0
            assert agent.free_sockets == {}


def test_whatever_meets_nothing_is_lost_and_the_limit_holds() -> None:
    """Four threads begin each round together; each does what chance says."""
    chance = random.Random(1)
    with PairAgent(max_sockets=2) as agent:

        def use(asked: Waiter, how: str, meet: threading.Barrier) -> None:
            meet.wait(SECONDS)
            try:
                channel = agent._take_idle(NAME)
                if channel is None:
                    channel = settle(agent, asked)
                elif not agent._prepare(channel, None):
                    agent._replace(channel, asked)
                    channel, _ = agent._settle(asked)
            except (ConnectionReset, ConnectionAborted):
                return
            assert sum(map(len, agent.sockets.values())) <= 2
            if how == "close":
                channel.socket.destroy()
            agent._give_back(channel, OPTIONS)

        for _ in range(ROUNDS):
            meet = threading.Barrier(5)
            asked = [waiter(agent) for _ in range(4)]
            ways = chance.choices(["use", "close"], k=4)
            running = [
                in_thread(use, each, how, meet) for each, how in zip(asked, ways, strict=True)
            ]
            meet.wait(SECONDS)
            match chance.choice(["cancel", "destroy", "nothing"]):
                case "cancel":
                    asked[0].cancel(ConnectionReset("given up", "ECONNRESET"))
                case "destroy":
                    agent.destroy()
                case _:
                    pass
            for each in running:
                each.result()
            assert agent._pool.total == sum(map(len, agent.free_sockets.values()))
            assert (waiting(agent), agent._waiters, agent.sockets) == (0, set(), {})
