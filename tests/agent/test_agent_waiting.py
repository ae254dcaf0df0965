"""Threads that wait for a socket of an `Agent`: who is served first."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import (
    NAME,
    OK,
    OPTIONS,
    PairAgent,
    Peer,
    RawServer,
    obtain,
    server,
    settle,
    waiter,
    waiting,
)
from support import eventually, in_thread

from nhttp._agent.agent import Agent
from nhttp._agent.waiter import Waiter

if TYPE_CHECKING:
    from nhttp import net

__all__ = ["server"]

SECONDS = 10.0
ROUNDS = 200


@pytest.mark.parametrize("name", ["max_sockets", "max_total_sockets"])
def test_raising_a_limit_wakes_who_waits(name: str) -> None:
    limits: dict[str, Any] = {name: 1}
    with PairAgent(**limits) as agent:
        first = obtain(agent)
        second = in_thread(obtain, agent)
        eventually(lambda: waiting(agent) == 1, "the second one waits")
        setattr(agent, name, 2)
        assert second.result().socket is not first.socket
        assert agent.made == 2


def test_raising_a_limit_closes_an_idle_socket_of_another_origin_for_who_waits() -> None:
    with PairAgent(max_sockets=1, max_total_sockets=2) as agent:
        obtain(agent)
        other = settle(agent, Waiter(agent, None, OPTIONS, "other:80:"))
        asked = waiter(agent)
        agent._ask(asked)
        agent._give_back(other, OPTIONS)
        agent.max_sockets = 2
        assert other.socket.destroyed
        agent._settle(asked)
        assert agent._pool.total == 2


def test_hundreds_of_threads_are_served_first_in_first_out() -> None:
    threads, sockets = 300, 4
    served: list[int] = []
    with PairAgent(max_sockets=sockets) as agent:
        held = [obtain(agent) for _ in range(sockets)]

        def take(number: int) -> None:
            channel = obtain(agent)
            served.append(number)  # one at a time: the next is woken by the release
            agent._give_back(channel, OPTIONS)

        running: list[Any] = []
        for number in range(threads):
            running.append(in_thread(take, number))
            eventually(lambda: waiting(agent) == len(running), "it does not queue")
        agent._give_back(held[0], OPTIONS)
        for each in running:
            each.result()
        assert served == list(range(threads))
        assert agent.made == sockets
        for channel in held[1:]:
            agent._give_back(channel, OPTIONS)
        assert len(agent.free_sockets[NAME]) == sockets


def test_requests_of_many_threads_share_few_sockets(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=4) as agent:

        def ask() -> bytes:
            body: bytes = agent.get(server.url).get_response().read()
            return body

        start = threading.Barrier(100)
        running = [in_thread(lambda: (start.wait(SECONDS), ask())[1]) for _ in range(100)]
        assert {each.result() for each in running} == {b"ok"}
        assert server.connections <= 4
        assert agent._pool.total <= 4
        assert waiting(agent) == 0


def test_callbacks_are_served_first_in_first_out(server: RawServer) -> None:
    order: list[int] = []
    done = threading.Semaphore(0)

    def note(number: int, _: net.Socket) -> None:
        order.append(number)

    with Agent(keep_alive=True, max_sockets=1) as agent:
        first = agent.get(server.url)
        for number in range(20):
            asked = agent.get(
                server.url, lambda response: response.resume().on("end", done.release)
            )
            asked.on("socket", functools.partial(note, number))
            eventually(lambda: waiting(agent) == number + 1, "it does not queue")  # noqa: B023
        first.get_response().read()
        for _ in range(20):
            assert done.acquire(timeout=SECONDS)
        assert order == list(range(20))


def test_requests_with_callbacks_arrive_in_the_order_in_which_they_were_made() -> None:
    arrived: list[bytes] = []

    def note(peer: Peer) -> None:
        while (head := peer.request()) is not None:
            arrived.append(head.split()[1])
            peer.send(OK)

    done = threading.Semaphore(0)
    with RawServer(note) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        for _ in range(ROUNDS):
            for number in range(5):
                agent.get(
                    f"{server.url}/{number}",
                    lambda response: response.resume().on("end", done.release),
                )
            for _ in range(5):
                assert done.acquire(timeout=SECONDS)
        assert arrived == [b"/%d" % number for number in range(5)] * ROUNDS
        assert server.connections == 1


def test_a_request_that_is_sent_again_keeps_its_place() -> None:
    arrived: list[bytes] = []
    queued = threading.Event()

    def serve(peer: Peer) -> None:
        while (head := peer.request()) is not None:
            if peer.number == 0 and b"/dead" in head:
                assert queued.wait(SECONDS)
                peer.reset()
                return
            arrived.append(head.split()[1])
            peer.send(OK)

    with RawServer(serve) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        agent.get(server.url).get_response().read()
        first = in_thread(lambda: agent.get(server.url + "/dead").get_response().read())
        eventually(lambda: bool(agent.sockets), "it is not sent")
        later = [
            in_thread(lambda: agent.get(server.url + "/later").get_response().read())
            for _ in range(3)
        ]
        eventually(lambda: waiting(agent) == 3, "they do not wait")
        queued.set()
        assert first.result() == b"ok"
        assert [each.result() for each in later] == [b"ok"] * 3
        assert arrived == [b"/", b"/dead", b"/later", b"/later", b"/later"]
        assert server.connections == 2


def test_listeners_and_hooks_may_use_the_agent() -> None:
    """No lock is held while user code runs: each of them gets a socket of the same agent."""
    asked: list[str] = []

    class Nested(PairAgent):
        def note(self, what: str) -> None:
            if what not in asked:
                asked.append(what)
                self._give_back(in_thread(obtain, self).result(), OPTIONS)

        def create_connection(self, options: Any, callback: Any = None) -> net.Socket:
            self.note("create")
            return super().create_connection(options, callback)

        def keep_socket_alive(self, socket: net.Socket) -> bool:
            self.note("keep")
            return super().keep_socket_alive(socket)

        def reuse_socket(self, socket: net.Socket, request: Any) -> None:
            self.note("reuse")
            super().reuse_socket(socket, request)

    with Nested() as agent:
        agent.on("free", lambda sock, options: agent.note("free"))
        channel = obtain(agent)
        channel.socket.on("agentRemove", lambda: agent.note("agentRemove"))
        channel.socket.on("close", lambda: agent.note("close"))
        agent._give_back(channel, OPTIONS)
        agent._give_back(obtain(agent), OPTIONS)
        channel.socket.emit("agentRemove")
        channel.socket.destroy()
        assert {"create", "keep", "free", "agentRemove", "close"} <= set(asked)


# Responses that only the waiting thread could read.


def test_a_thread_that_waits_frees_what_it_left_unread_itself(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        unread = agent.get(server.url)  # held, and never read: this thread goes on
        assert agent.get(server.url).get_response().read() == b"ok"
        with pytest.raises(ConnectionResetError):
            unread.get_response()


def test_a_thread_that_waits_passes_over_a_connection_that_has_only_just_been_made() -> None:
    with PairAgent() as agent:
        held = obtain(agent)
        agent._discard_unread(waiter(agent))
        assert not held.socket.destroyed


def test_another_threads_waiting_takes_nothing_away(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        mine = agent.get(server.url)
        other = in_thread(lambda: agent.get(server.url).get_response().read())
        eventually(lambda: waiting(agent) == 1, "it does not wait")
        assert mine.get_response().read() == b"ok"
        assert other.result() == b"ok"


def test_nothing_is_kept_of_requests_that_were_dropped() -> None:
    with RawServer(lambda peer: peer.answer_all(OK)) as server, Agent(keep_alive=True) as agent:
        for _ in range(10):
            agent.get(server.url)
        eventually(lambda: not agent.sockets, "a socket is in use")
