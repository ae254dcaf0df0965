"""`Agent`, sentence by sentence of both manuals ("Class: http.Agent")."""

from __future__ import annotations

import math
import socket as socket_module
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import OK, Peer, RawServer, eventually
from support import NO_THREADS_AT_EXIT, Recorder, in_thread

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp.client import get, global_agent, request
from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage

SECONDS = 10.0


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


def fetch(agent: Agent, url: str) -> bytes:
    body: bytes = agent.get(url).get_response().read()
    return body


def options(**keywords: Any) -> RequestOptions:
    return RequestOptions.gather(None, keywords)


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


@pytest.mark.parametrize("name", ["max_sockets", "max_free_sockets", "max_total_sockets"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    keywords: dict[str, Any] = {name: value}
    with pytest.raises(InvalidArgument, match=name):
        Agent(**keywords)


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


# agent.createConnection


class Making(Agent):
    """Makes its sockets in the way a test asks for."""

    def __init__(self, way: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.way = way

    def create_connection(self, options: Any, callback: Any = None) -> Any:
        return self.way(options, callback)


def connected_to(options: RequestOptions) -> net.Socket:
    return net.Socket(socket_module.create_connection((options.target_host, options.target_port)))


def back_later(options: RequestOptions, callback: Any) -> None:
    in_thread(lambda: callback(None, connected_to(options)))


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "returned, connected": lambda options, _: connected_to(options),
    "returned, connecting": lambda options, _: net.connect(options.target_port, "127.0.0.1"),
    "called back, at once": lambda options, back: back(None, connected_to(options)),
    "called back, connecting": lambda options, back: back(
        None, net.connect(options.target_port, "127.0.0.1")
    ),
    "called back, later": back_later,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_create_connection_may_give_the_socket_in_either_way(way: Any, server: RawServer) -> None:
    def way_without_result(options: Any, callback: Any) -> Any:
        made = way(options, callback)
        return made if isinstance(made, net.Socket) else None

    with Making(way_without_result, keep_alive=True) as agent:
        assert fetch(agent, server.url) == b"ok"
        assert fetch(agent, server.url) == b"ok"
        assert server.connections == 1


def refuse(options: Any, callback: Any) -> Any:
    raise LookupError("no")


def back_with_error(options: Any, callback: Any) -> Any:
    callback(LookupError("no"), None)


def back_with_error_later(options: Any, callback: Any) -> Any:
    in_thread(callback, LookupError("no"), None)


@pytest.mark.parametrize("way", [refuse, back_with_error, back_with_error_later])
def test_create_connection_may_fail(way: Any) -> None:
    with Making(way, max_sockets=1) as agent:
        for _ in range(2):  # the slot is free again
            asked = agent.get("http://127.0.0.1:1/")
            errors = Recorder(asked, "error")
            with pytest.raises(LookupError, match="no"):
                asked.get_response()
            assert isinstance(errors.wait("error")[0], LookupError)
        assert (agent.sockets, agent.requests, agent._pool.total) == ({}, {}, 0)


def give_something_else(_options: Any, _callback: Any) -> str:
    return "socket"


def call_back_with_nothing(_options: Any, callback: Any) -> None:
    callback(None, None)


@pytest.mark.parametrize(
    "way",
    [give_something_else, call_back_with_nothing],
    ids=["something else", "nothing"],
)
def test_create_connection_must_give_a_socket(way: Any) -> None:
    with Making(way) as agent:
        with pytest.raises(InvalidArgument, match="create_connection"):
            agent.get("http://127.0.0.1:1/").get_response()
        assert agent._pool.total == 0


def test_a_second_socket_from_create_connection_is_destroyed(server: RawServer) -> None:
    made: list[net.Socket] = []
    late: list[Any] = []

    def twice(options: RequestOptions, callback: Any) -> net.Socket:
        late.append(callback)
        made.extend(connected_to(options) for _ in range(3))
        callback(None, made[1])
        callback(None, made[0])
        return made[0]

    with Making(twice) as agent:
        asked = agent.get(server.url)
        late[0](None, made[2])
        late[0](None, made[0])
        assert asked.socket is made[0]
        assert [sock.destroyed for sock in made] == [False, True, True]
        assert asked.get_response().read() == b"ok"


def test_a_request_given_up_while_create_connection_keeps_it_waiting(server: RawServer) -> None:
    called = threading.Event()
    callbacks: list[Any] = []

    def never(options: RequestOptions, callback: Any) -> None:
        callbacks.append(callback)
        called.set()

    with Making(never, max_sockets=1) as agent:
        asked = agent.get(server.url, lambda response: None).on("error", lambda error: None)
        assert called.wait(SECONDS)
        asked.abort()
        eventually(lambda: agent._pool.total == 0, "the slot stays reserved")
        sock = net.connect(server.port, "127.0.0.1")
        callbacks[0](None, sock)
        assert sock.destroyed


def test_create_connection_may_use_the_agent(server: RawServer) -> None:
    """No lock is held while it runs."""

    def nested(options: RequestOptions, callback: Any) -> net.Socket:
        if options.path == "/outer":
            assert fetch(agent, server.url + "/inner") == b"ok"
            assert isinstance(agent.sockets, dict)
            repr(agent)
        return connected_to(options)

    with Making(nested, keep_alive=True) as agent:
        assert in_thread(fetch, agent, server.url + "/outer").result() == b"ok"


# agent.keepSocketAlive, agent.reuseSocket


class Hooked(Agent):
    """Notes what it is asked."""

    verdict: Any = True

    def __init__(self, **keywords: Any) -> None:
        super().__init__(keep_alive=True, **keywords)
        self.asked: list[tuple[str, Any]] = []

    def keep_socket_alive(self, socket: net.Socket) -> bool:
        self.asked.append(("keep", socket))
        repr(self)  # takes the lock: it is not held here
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return super().keep_socket_alive(socket) and self.verdict

    def reuse_socket(self, socket: net.Socket, request: ClientRequest) -> None:
        self.asked.append(("reuse", request))
        repr(self)
        super().reuse_socket(socket, request)


def test_keep_and_reuse_are_called_around_the_time_in_the_pool(server: RawServer) -> None:
    with Hooked() as agent:
        first = agent.get(server.url)
        first.get_response().read()
        assert agent.asked == [("keep", first.socket)]
        assert first.socket is not None
        referenced = [first.socket._referenced]
        second = agent.get(server.url)
        assert agent.asked[1:] == [("reuse", second)]
        assert [*referenced, first.socket._referenced] == [False, True]
        second.get_response().read()


@pytest.mark.parametrize("verdict", [False, None, 0])
def test_a_falsy_result_of_keep_socket_alive_destroys_the_socket(
    server: RawServer, verdict: Any
) -> None:
    with Hooked() as agent:
        agent.verdict = verdict
        asked = agent.get(server.url)
        asked.get_response().read()
        assert asked.socket is not None
        assert asked.socket.destroyed
        assert agent.free_sockets == {}


def test_keep_socket_alive_that_raises_destroys_the_socket_and_is_logged(
    server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Hooked() as agent:
        agent.verdict = ZeroDivisionError()
        assert fetch(agent, server.url) == b"ok"
        assert agent._pool.total == 0
    assert "keep_socket_alive" in caplog.text


def test_a_socket_that_is_handed_on_at_once_was_not_in_the_pool(server: RawServer) -> None:
    with Hooked(max_sockets=1) as agent:
        first = agent.get(server.url)
        waiting = in_thread(fetch, agent, server.url)
        eventually(lambda: bool(agent.requests), "no request waits")
        first.get_response().read()
        assert waiting.result() == b"ok"
        assert [what for what, _ in agent.asked] == ["keep"]


def test_reuse_socket_that_raises_fails_the_request_and_frees_the_slot(server: RawServer) -> None:
    class Broken(Agent):
        def reuse_socket(self, socket: net.Socket, request: ClientRequest) -> None:
            raise ZeroDivisionError

    with Broken(keep_alive=True, max_sockets=1) as agent:
        fetch(agent, server.url)
        with pytest.raises(ZeroDivisionError):
            agent.get(server.url).get_response()
        assert agent._pool.total == 0
        assert fetch(agent, server.url) == b"ok"


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


def test_the_name_is_also_given_for_options_as_a_mapping_or_keywords() -> None:
    agent = Agent()
    assert agent.get_name({"host": "h", "port": 81, "local_address": "127.0.0.2"}) == (
        "h:81:127.0.0.2"
    )
    assert agent.get_name(host="h", port=81) == "h:81:"
    assert agent.get_name({"host": "h", "port": 81}, port=82) == "h:82:"
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
