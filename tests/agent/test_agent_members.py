"""The members of an `Agent`, as both manuals have them."""

from __future__ import annotations

import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import OK, Making, Peer, RawServer, fetch, options, server
from support import Recorder, eventually, in_thread

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from nhttp._agent.options import RequestOptions
    from nhttp.client import ClientRequest

__all__ = ["server"]

SECONDS = 10.0


# agent.destroy


def test_destroy_ends_sockets_in_use_and_idle_ones_and_requests_that_wait() -> None:
    def serve(peer: Peer) -> None:
        while (head := peer.request()) is not None:
            if b"/hang" not in head:
                peer.send(OK)

    with RawServer(serve) as server:
        agent = Agent(keep_alive=True, max_sockets=2)
        hanging = agent.get(server.url + "/hang")
        fetch(agent, server.url)
        [idle] = agent.free_sockets[server.name]
        busy = agent.get(server.url + "/hang")
        waiting = agent.get(server.url, lambda response: None)
        failed = Recorder(waiting, "error", "close")
        eventually(lambda: bool(agent.requests), "no request waits")
        agent.destroy()
        assert idle.destroyed
        for asked in (hanging, busy):
            assert asked.socket is not None
            assert asked.socket.destroyed
            with pytest.raises(ConnectionError):
                asked.get_response()
        failed.wait("close")
        assert failed.names == ["error", "close"]
        assert (agent.sockets, agent.free_sockets, agent.requests) == ({}, {}, {})
        # "It is good practice": and it may be used afterwards.
        assert fetch(agent, server.url) == b"ok"
        agent.destroy()


def test_destroy_ends_connections_that_are_being_made(server: RawServer) -> None:
    connecting = threading.Event()

    def hang(options: RequestOptions, callback: Any) -> None:
        connecting.set()

    agent = Making(hang)
    asked = agent.get(server.url, lambda response: None)
    failed = Recorder(asked, "error", "close")
    assert connecting.wait(SECONDS)
    agent.destroy()
    failed.wait("close")
    assert failed.names == ["error", "close"]
    eventually(lambda: agent._pool.total == 0, "the slot stays reserved")


def test_a_context_manager_destroys(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        [sock] = agent.free_sockets[server.name]
    assert sock.destroyed


# agent.sockets, agent.freeSockets, agent.requests


def test_sockets_free_sockets_and_requests_show_who_has_what(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        assert (agent.sockets, agent.free_sockets, agent.requests) == ({}, {}, {})
        asked = agent.get(server.url)
        assert agent.sockets == {server.name: [asked.socket]}
        done = threading.Event()
        waiting = agent.get(server.url, lambda response: response.resume().on("end", done.set))
        eventually(lambda: agent.requests == {server.name: [waiting]}, "the request does not wait")
        asked.get_response().read()
        assert done.wait(SECONDS)
        assert agent.free_sockets == {server.name: [asked.socket]}
        assert (agent.sockets, agent.requests) == ({}, {})
        agent.free_sockets.clear()  # a copy
        assert agent.free_sockets


def test_sockets_shows_those_that_are_connecting(server: RawServer) -> None:
    sock = net.Socket()

    def give(_options: Any, _callback: Any) -> net.Socket:
        return sock

    with Making(give) as agent:
        sock._connecting = True
        asked = agent.get(server.url, lambda response: None).on("error", lambda error: None)
        eventually(lambda: agent.sockets == {server.name: [sock]}, "it does not show")
        asked.abort()
        eventually(lambda: agent.sockets == {}, "it still shows")
    assert sock.destroyed


# agent.maxSockets, agent.maxFreeSockets


def busy_with(agent: Agent, server: RawServer, count: int) -> list[ClientRequest]:
    """Requests that have a socket each, and whose answers are not read."""
    return [in_thread(agent.get, server.url).result() for _ in range(count)]


def test_max_sockets_is_per_origin_and_max_total_sockets_for_all() -> None:
    with RawServer() as one, RawServer() as two, Agent(max_sockets=1, max_total_sockets=2) as agent:
        first, second = agent.get(one.url), agent.get(two.url)
        assert {len(some) for some in agent.sockets.values()} == {1}
        with RawServer() as three:
            waiting = in_thread(fetch, agent, three.url)
            eventually(lambda: three.name in agent.requests, "it does not wait")
            first.get_response().read()
            assert waiting.result() == b"ok"
        second.get_response().read()


def test_at_max_total_sockets_an_idle_one_is_closed_for_another_origin() -> None:
    with (
        RawServer() as one,
        RawServer() as two,
        Agent(keep_alive=True, max_total_sockets=1) as agent,
    ):
        fetch(agent, one.url)
        [idle] = agent.free_sockets[one.name]
        assert fetch(agent, two.url) == b"ok"
        assert idle.destroyed
        assert list(agent.free_sockets) == [two.name]


def test_max_free_sockets_bounds_what_is_kept(server: RawServer) -> None:
    with Agent(keep_alive=True, max_free_sockets=2) as agent:
        for asked in busy_with(agent, server, 4):
            asked.get_response().read()
        assert len(agent.free_sockets[server.name]) == 2
        assert agent._pool.total == 2


@pytest.mark.parametrize("scheduling", ["lifo", "fifo"])
def test_scheduling_says_which_idle_socket_is_used_first(
    server: RawServer, scheduling: Any
) -> None:
    with Agent(keep_alive=True, scheduling=scheduling) as agent:
        for asked in busy_with(agent, server, 2):
            asked.get_response().read()
        oldest, newest = agent.free_sockets[server.name]
        asked = agent.get(server.url)
        assert asked.socket is (newest if scheduling == "lifo" else oldest)
        asked.get_response().read()


def test_limits_can_be_changed(server: RawServer) -> None:
    with Agent() as agent:
        agent.max_sockets, agent.max_free_sockets, agent.max_total_sockets = 3, 4, 5
        assert (agent.max_sockets, agent.max_free_sockets) == (3, 4)
        assert agent.max_total_sockets == 5


# timeout


def test_the_agents_timeout_bounds_a_silent_server() -> None:
    with RawServer(Peer.request) as server, Agent(timeout=0.05) as agent:
        with pytest.raises(TimeoutError):
            agent.get(server.url).get_response()
        eventually(lambda: agent._pool.total == 0, "the slot is not free")


def test_the_agents_timeout_closes_idle_sockets(server: RawServer) -> None:
    with Agent(keep_alive=True, timeout=0.1) as agent:
        fetch(agent, server.url)
        [sock] = agent.free_sockets[server.name]
        eventually(lambda: sock.destroyed, "it stays open", seconds=2.0)
        assert agent.free_sockets == {}


# agent.getName


def test_the_name_is_host_port_and_local_address() -> None:
    agent = Agent()
    assert agent.get_name(options(host="h", port=81)) == "h:81:"
    assert agent.get_name(options(host="h", port=81, local_address="127.0.0.2")) == (
        "h:81:127.0.0.2"
    )
    assert agent.get_name(options()) == "localhost:80:"
    assert agent.get_name(options(host="h", family=6)) == "h:80::6"
    assert agent.get_name(options(socket_path="/tmp/s")) == "localhost:80::/tmp/s"
    assert agent.get_name(options(socket_path=PurePath("/tmp/s"))) == "localhost:80::/tmp/s"


def test_the_name_is_also_given_for_options_as_a_mapping_or_keywords() -> None:
    agent = Agent()
    assert agent.get_name({"host": "h", "port": 81, "local_address": "127.0.0.2"}) == (
        "h:81:127.0.0.2"
    )
    assert agent.get_name(host="h", port=81) == "h:81:"
    assert agent.get_name({"host": "h", "port": 81}, port=82) == "h:82:"
    assert agent.get_name(options(host="h", port=81), port=82) == "h:82:"
    assert agent.get_name(host="h", default_port=81) == "h:81:"
    assert agent.get_name() == "localhost:80:"
    with pytest.raises(InvalidArgument):
        agent.get_name({"hots": "h"})


def test_a_request_connects_from_its_local_address(server: RawServer) -> None:
    with Agent() as agent:
        asked = agent.get(server.url, local_address="127.0.0.3")
        assert asked.get_response().read() == b"ok"
        assert server.peers[0].socket.getpeername()[0] == "127.0.0.3"


def test_an_overridden_name_decides_what_is_shared(server: RawServer) -> None:
    class OneForAll(Agent):
        def get_name(self, options: Any = None, /, **keywords: Any) -> str:
            return "all"

    with OneForAll(keep_alive=True) as agent:
        fetch(agent, server.url)
        assert list(agent.free_sockets) == ["all"]
        assert fetch(agent, server.url.replace("127.0.0.1", "localhost")) == b"ok"
        assert server.connections == 1


# 'free'


def test_free_is_emitted_when_a_request_is_done_with_its_socket(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        freed = Recorder(agent, "free")
        asked = agent.get(server.url)
        assert freed.noted == []
        asked.get_response().read()
        assert freed.noted == [("free", (asked.socket, asked.options))]


def test_a_free_listener_that_raises_is_logged_and_the_body_is_whole(
    server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(sock: net.Socket, options: RequestOptions) -> None:
        raise ZeroDivisionError

    with Agent(keep_alive=True) as agent:
        agent.on("free", refuse)
        assert fetch(agent, server.url) == b"ok"
        assert agent._pool.total == 0
    assert "'free' listener" in caplog.text


def test_a_free_listener_may_take_the_socket_out(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        agent.on("free", lambda sock, options: sock.destroy())
        assert fetch(agent, server.url) == b"ok"
        assert (agent.free_sockets, agent._pool.total) == ({}, 0)
