"""`Agent`, sentence by sentence of both manuals ("Class: http.Agent"): connections and the pool."""

from __future__ import annotations

import math
import socket as socket_module
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import OK, Peer, RawServer, fetch, server
from support import NO_THREADS_AT_EXIT, Recorder, eventually, in_thread

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp.client import get, global_agent, request
from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from nhttp._agent.options import RequestOptions
    from nhttp.incoming import IncomingMessage

__all__ = ["server"]

SECONDS = 10.0


# "reusing a single socket connection for each until the queue is empty, at which time the socket is
# either destroyed or put into a pool"


def test_queued_requests_use_one_socket_after_the_other_and_then_it_is_destroyed(
    server: RawServer,
) -> None:
    done = threading.Semaphore(0)
    bodies: list[Any] = []

    def on_response(response: IncomingMessage) -> None:
        response.on("data", bodies.append).on("end", done.release)

    with Agent(max_sockets=1) as agent:
        first = agent.get(server.url)
        for number in range(3):
            agent.get(f"{server.url}/{number}", on_response)
        eventually(lambda: len(agent.requests.get(server.name, ())) == 3, "they do not wait")
        first.get_response().read()
        for _ in range(3):
            assert done.acquire(timeout=SECONDS)
        assert bodies == [b"ok"] * 3
        assert server.connections == 1
        assert first.socket is not None
        assert first.socket.destroyed
        assert (agent.sockets, agent.free_sockets, agent.requests) == ({}, {}, {})


def test_keep_alive_puts_the_socket_into_the_pool(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        assert fetch(agent, server.url) == b"ok"
        [sock] = agent.free_sockets[server.name]
        assert agent.sockets == {}
        asked = agent.get(server.url)
        assert asked.get_response().read() == b"ok"
        assert asked.reused_socket
        assert asked.socket is sock
        assert server.connections == 1


def test_keep_alive_is_off_by_default(server: RawServer) -> None:
    with Agent() as agent:
        assert not agent.keep_alive
        fetch(agent, server.url)
        fetch(agent, server.url)
        assert agent.free_sockets == {}
        assert server.connections == 2


# "Pooled connections have TCP Keep-Alive enabled for them"; keepAliveMsecs: "specifies the initial
# delay for TCP Keep-Alive packets"


def test_pooled_sockets_are_probed_after_the_initial_delay(server: RawServer) -> None:
    with Agent(keep_alive=True, keep_alive_initial_delay=7) as agent:
        fetch(agent, server.url)
        handle = agent.free_sockets[server.name][0]._handle
        assert handle is not None
        assert handle.getsockopt(socket_module.SOL_SOCKET, socket_module.SO_KEEPALIVE) == 1
        idle = handle.getsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_KEEPIDLE)
        assert idle == 7


def test_the_initial_delay_is_a_second_by_default() -> None:
    assert Agent().keep_alive_initial_delay == 1.0


# "servers may still close idle connections, in which case they will be removed from the pool and a
# new connection will be made"


def answer_once(peer: Peer) -> None:
    peer.request()
    peer.send(OK)
    peer.close()


def test_a_connection_that_the_server_closed_while_idle_leaves_the_pool_by_itself() -> None:
    with (
        RawServer(answer_once) as server,
        Agent(keep_alive=True) as agent,
    ):
        fetch(agent, server.url)
        eventually(lambda: not agent.free_sockets, "still in the pool", seconds=1.0)
        fetch(agent, server.url)
        assert server.connections == 2


# "Servers may also refuse to allow multiple requests over the same connection"


def test_a_server_that_refuses_keep_alive_gets_a_connection_for_each_request() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with (
        RawServer(lambda peer: peer.answer_all(answer)) as server,
        Agent(keep_alive=True, max_sockets=1) as agent,
    ):
        for expected in (1, 2, 3):
            fetch(agent, server.url)
            assert agent.free_sockets == {}
            assert server.connections == expected


# "Sockets are removed from an agent's pool when the socket emits either a 'close' event or an
# 'agentRemove' event"


def test_a_closed_socket_in_use_is_removed_and_its_slot_is_free(server: RawServer) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        asked = agent.request(server.url)
        asked.flush_headers()
        [sock] = agent.sockets[server.name]
        asked.destroy()
        assert sock.destroyed
        assert agent.sockets == {}
        assert fetch(agent, server.url) == b"ok"


def test_a_closed_idle_socket_is_removed(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        agent.free_sockets[server.name][0].destroy()
        assert agent.free_sockets == {}


def test_agent_remove_takes_a_socket_out_while_its_request_goes_on() -> None:
    with RawServer() as server, Agent(keep_alive=True, max_sockets=1) as agent:
        asked = agent.get(server.url).on("socket", lambda sock: sock.emit("agentRemove"))
        assert agent.sockets == {}
        # Its slot is free: the next request does not wait.
        assert fetch(agent, server.url) == b"ok"
        assert asked.get_response().read() == b"ok"
        assert len(agent.free_sockets[server.name]) == 1
        assert asked.socket not in agent.free_sockets[server.name]


def test_a_socket_that_agent_remove_took_out_is_closed_and_not_said_to_be_free(
    server: RawServer,
) -> None:
    with Agent(keep_alive=True) as agent:
        told = Recorder(agent, "free")
        asked = agent.get(server.url).on("socket", lambda sock: sock.emit("agentRemove"))
        assert asked.get_response().read() == b"ok"
        assert asked.socket is not None
        assert asked.socket.destroyed
        assert told.noted == []


def test_agent_remove_of_an_idle_socket_leaves_it_open(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        [sock] = agent.free_sockets[server.name]
        sock.emit("agentRemove")
        assert agent.free_sockets == {}
        assert not sock.destroyed
        sock.destroy()


# "agent: false": "a one-time use Agent with default options will be used"


def test_agent_false_is_an_agent_for_one_request(server: RawServer) -> None:
    first, second = get(server.url, agent=False), get(server.url, agent=False)
    assert first.agent is not second.agent
    assert global_agent not in (first.agent, second.agent)
    assert not first.agent.keep_alive
    assert [first.get_response().read(), second.get_response().read()] == [b"ok", b"ok"]
    assert server.connections == 2


def test_the_create_connection_option_makes_the_socket(server: RawServer) -> None:
    seen: list[RequestOptions] = []

    def create(options: RequestOptions) -> net.Socket:
        seen.append(options)
        return net.connect(server.port, "127.0.0.1")

    assert get("http://nowhere.invalid/x", create_connection=create).get_response().read() == b"ok"
    asked = get("http://nowhere.invalid/x", agent=False, create_connection=create)
    assert asked.get_response().read() == b"ok"
    assert [each.path for each in seen] == ["/x", "/x"]


def test_the_create_connection_option_may_call_back(server: RawServer) -> None:
    def create(options: RequestOptions, callback: Any) -> None:
        in_thread(lambda: callback(None, net.connect(server.port, "127.0.0.1")))

    assert get("http://nowhere.invalid/", create_connection=create).get_response().read() == b"ok"


# "All of these values set to their respective defaults"


def test_the_global_agent_has_all_defaults() -> None:
    for agent in (global_agent, Agent()):
        assert type(agent) is Agent
        assert not agent.keep_alive
        assert agent.keep_alive_initial_delay == 1.0
        assert agent.max_sockets == agent.max_total_sockets == math.inf
        assert agent.max_free_sockets == 256
        assert agent.timeout is None


def test_requests_use_the_global_agent(server: RawServer) -> None:
    asked = request(server.url)
    assert asked.agent is global_agent
    asked.end()
    assert asked.get_response().read() == b"ok"


@pytest.mark.parametrize(
    "name",
    [
        "max_sockets",
        "max_free_sockets",
        "max_total_sockets",
        "timeout",
        "keep_alive_initial_delay",
    ],
)
@pytest.mark.parametrize("value", [-1, math.nan, "1"])
def test_a_limit_that_is_none_is_refused(name: str, value: Any) -> None:
    keywords: dict[str, Any] = {name: value}
    with pytest.raises(InvalidArgument, match=name):
        Agent(**keywords)


@pytest.mark.parametrize("name", ["max_sockets", "max_total_sockets"])
def test_a_limit_that_would_let_no_request_through_is_refused(name: str) -> None:
    keywords: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidArgument, match=f"{name} is 1 or more"):
        Agent(**keywords)


@pytest.mark.parametrize("name", ["max_sockets", "max_free_sockets", "max_total_sockets"])
def test_a_limit_cannot_be_changed_to_what_is_none(name: str) -> None:
    agent = Agent()
    before = getattr(agent, name)
    for value in (-1, None, "1"):
        with pytest.raises(InvalidArgument, match=name):
            setattr(agent, name, value)
    assert getattr(agent, name) == before


def test_an_unknown_scheduling_is_refused() -> None:
    keywords: dict[str, Any] = {"scheduling": "random"}
    with pytest.raises(InvalidArgument, match="scheduling"):
        Agent(**keywords)


# v0.11.12: "keepAliveAgent.request(options, onResponseCallback)"


def test_agent_request_and_agent_get_use_the_agent(server: RawServer) -> None:
    with Agent(keep_alive=True) as agent:
        done = threading.Event()
        asked = agent.request(
            {"host": "127.0.0.1", "port": server.port},
            lambda response: response.resume().on("end", done.set),
        )
        asked.end()
        assert asked.agent is agent
        assert done.wait(SECONDS)
        assert fetch(agent, server.url) == b"ok"
        assert server.connections == 1


# "unused sockets in the pool will be unrefed so as not to keep the process running when there are
# no outstanding requests"

SCRIPT = """
import sys
from nhttp._agent.agent import Agent
from nhttp.client import get

agent = Agent(keep_alive=True)
url = sys.argv[1]

def second(response):
    response.on("data", print).on("end", lambda: print("end"))

def first(response):
    response.resume().on("end", lambda: agent.get(url, second))

agent.get(url, first)
"""


@NO_THREADS_AT_EXIT
def test_outstanding_requests_keep_the_process_alive_and_unused_sockets_do_not(
    server: RawServer,
) -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, server.url],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("b'ok'\nend\n", "", 0)
