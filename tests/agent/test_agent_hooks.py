"""What a subclass of `Agent` may override: how sockets are made, kept and used again."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import Making, RawServer, connected_to, fetch, server
from support import Recorder, eventually, in_thread

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp.errors import ConnectionAborted, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.client import ClientRequest

__all__ = ["server"]

SECONDS = 10.0


# agent.createConnection


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


def test_what_is_connected_when_create_connection_fails_is_closed(server: RawServer) -> None:
    made: list[net.Socket | None] = []

    class Failing(Agent):
        def create_connection(self, options: Any, callback: Any = None) -> net.Socket | None:
            made.append(super().create_connection(options, callback))
            raise ZeroDivisionError

    with Failing() as agent:
        with pytest.raises(ZeroDivisionError):
            agent.get(server.url).get_response()
        assert made[0] is not None
        assert made[0].destroyed
        assert agent._pool.total == 0


def test_a_request_given_up_before_its_socket_is_made_connects_nowhere(server: RawServer) -> None:
    made: list[net.Socket] = []
    seen: list[Recorder] = []

    class Slow(Agent):
        def create_connection(self, options: Any, callback: Any = None) -> net.Socket | None:
            self.destroy()
            return super().create_connection(options, callback)

        def _make_socket(self, options: RequestOptions) -> net.Socket:
            made.append(super()._make_socket(options))
            seen.append(Recorder(made[0], "connect"))
            return made[0]

    with Slow() as agent:
        with pytest.raises(ConnectionAborted):
            agent.get(server.url).get_response()
        assert made[0].destroyed
        assert seen[0].noted == []


def not_called(error: Exception | None, made: net.Socket | None) -> None:
    raise AssertionError


@pytest.mark.parametrize("callback", [None, not_called])
def test_create_connection_may_be_called_by_anybody(callback: Any, server: RawServer) -> None:
    made = Agent().create_connection(RequestOptions.gather(server.url, {}), callback)
    assert made is not None
    Recorder(made, "connect").wait("connect")
    assert made.remote_port == server.port
    made.destroy()


def test_create_connection_may_be_called_again_with_an_old_callback(server: RawServer) -> None:
    calls: list[tuple[RequestOptions, Any]] = []

    class Noting(Agent):
        def create_connection(self, options: Any, callback: Any = None) -> net.Socket | None:
            calls.append((options, callback))
            return super().create_connection(options, callback)

    with Noting() as agent:
        assert fetch(agent, server.url) == b"ok"
        another = Agent().create_connection(*calls[0])
        assert another is not None
        assert another.ready_state == "open"
        another.destroy()


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
        self.referenced: list[bool] = []

    def keep_socket_alive(self, socket: net.Socket) -> bool:
        self.asked.append(("keep", socket))
        repr(self)  # takes the lock: it is not held here
        if isinstance(self.verdict, Exception):
            raise self.verdict
        kept = super().keep_socket_alive(socket)
        self.referenced.append(socket._referenced)
        return kept and self.verdict

    def reuse_socket(self, socket: net.Socket, request: ClientRequest) -> None:
        self.asked.append(("reuse", request))
        repr(self)
        super().reuse_socket(socket, request)
        self.referenced.append(socket._referenced)


def test_keep_and_reuse_are_called_around_the_time_in_the_pool(server: RawServer) -> None:
    with Hooked() as agent:
        first = agent.get(server.url)
        first.get_response().read()
        assert agent.asked == [("keep", first.socket)]
        assert first.socket is not None
        second = agent.get(server.url)
        assert agent.asked[1:] == [("reuse", second)]
        # Not even in use: it is for whoever works on the request to keep the process alive.
        assert agent.referenced == [False, False]
        second.get_response().read()


def test_a_socket_that_somebody_has_referenced_is_unreferenced_when_it_is_kept(
    server: RawServer,
) -> None:
    with Hooked() as agent:
        asked = agent.get(server.url)
        assert asked.socket is not None
        asked.socket.ref()
        asked.get_response().read()
        assert agent.referenced == [False]


def test_a_socket_is_kept_when_who_waited_for_it_has_gone_before_it_came(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spare(name: str) -> bool:
        return False

    with Hooked() as agent:
        # As it looks to the thread that brings a socket back a moment before a waiter gives up.
        monkeypatch.setattr(agent._pool, "spare", spare)
        first = agent.get(server.url)
        first.get_response().read()
        assert agent.asked == [("keep", first.socket)]
        assert list(agent.free_sockets.values()) == [[first.socket]]


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


def test_a_kept_socket_that_is_handed_on_at_once_was_not_in_the_pool_again(
    server: RawServer,
) -> None:
    with Hooked(max_sockets=1) as agent:
        fetch(agent, server.url)
        second = agent.get(server.url)
        waiting = in_thread(fetch, agent, server.url)
        eventually(lambda: bool(agent.requests), "no request waits")
        second.get_response().read()
        assert waiting.result() == b"ok"
        assert [what for what, _ in agent.asked] == ["keep", "reuse", "keep"]


class Broken(Agent):
    def reuse_socket(self, socket: net.Socket, request: ClientRequest) -> None:
        raise ZeroDivisionError


def test_reuse_socket_that_raises_fails_the_request_and_frees_the_slot(server: RawServer) -> None:
    with Broken(keep_alive=True, max_sockets=1) as agent:
        fetch(agent, server.url)
        with pytest.raises(ZeroDivisionError):
            agent.get(server.url).get_response()
        assert agent._pool.total == 0
        assert fetch(agent, server.url) == b"ok"


def test_reuse_socket_that_raises_for_what_replaces_a_dead_one_frees_the_slot(
    server: RawServer,
) -> None:
    with Broken(keep_alive=True) as agent:
        for asked in [agent.get(server.url), agent.get(server.url)]:
            asked.get_response().read()
        used_first = agent.free_sockets[server.name][-1]
        server.peers[1].socket.shutdown(socket.SHUT_WR)
        assert used_first._await_readable(SECONDS)
        with pytest.raises(ZeroDivisionError):
            agent.get(server.url).get_response()
        assert used_first.destroyed
        assert agent._pool.total == 0
