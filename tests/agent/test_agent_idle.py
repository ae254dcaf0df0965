"""Idle sockets of an `Agent`, and used ones that turn out to be dead: beyond the manual."""

from __future__ import annotations

import gc
import logging
import math
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import OK, Peer, RawServer
from support import eventually, in_thread

from nhttp import _exchange, net
from nhttp._agent.agent import Agent
from nhttp._agent.channel import Channel
from nhttp._agent.idle import WATCH_AFTER
from nhttp._timers import Deadline, _timers, now
from nhttp._watcher import _watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.client import ClientRequest

SECONDS = 10.0


def fetch(agent: Agent, url: str) -> bytes:
    body: bytes = agent.get(url).get_response().read()
    return body


class Cue:
    """Serves one answer, does something to the idle connection on cue, and serves on."""

    def __init__(self, act: Callable[[Peer], object]) -> None:
        self._act = act
        self._cue = threading.Event()
        self._acted = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        if peer.number == 0:
            assert self._cue.wait(SECONDS)
            self._act(peer)
            self._acted.set()
        if peer.socket.fileno() >= 0:
            peer.answer_all()

    def act(self) -> None:
        self._cue.set()
        assert self._acted.wait(SECONDS)


def send_late(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 408 Late\r\n\r\n")


@pytest.mark.parametrize(
    "act",
    [Peer.close, Peer.reset, send_late],
    ids=["closed", "reset", "bytes waiting"],
)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_socket_that_is_not_silent_any_more_is_never_handed_out(
    act: Callable[[Peer], object], later: bool
) -> None:
    cue = Cue(act)
    with RawServer(cue) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        first = agent.get(server.url)
        first.get_response().read()
        cue.act()
        if later:
            eventually(lambda: not agent.free_sockets, "it stays in the pool", seconds=1.0)
        second = agent.get(server.url)
        assert second.get_response().read() == b"ok"
        assert not second.reused_socket
        assert first.socket is not None
        assert first.socket.destroyed
        assert server.connections == 2


def test_a_socket_that_becomes_idle_while_another_has_long_to_live_is_watched_as_well() -> None:
    """The look at idle sockets that is due late must not put off the one that is due soon."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=100\r\n\r\n"))
        if peer.number == 0:
            peer.answer_all()
        assert go.wait(SECONDS)
        peer.close()

    go = threading.Event()
    with RawServer(serve) as server, Agent(keep_alive=True) as agent:
        first, second = agent.get(server.url), agent.get(server.url)
        first.get_response().read()
        [old] = agent.free_sockets[server.name]
        eventually(lambda: agent._sweeper.due > now() + 50, "no look at it")
        second.get_response().read()
        go.set()
        eventually(lambda: agent.free_sockets == {server.name: [old]}, "not noticed", seconds=1.0)


def test_the_look_at_idle_sockets_is_not_put_off_by_those_that_become_idle_later() -> None:
    agent = Agent(keep_alive=True)
    soon, late = now() + 50, now() + 100
    with agent._lock:
        agent._sweeper.expect(soon)
        agent._sweeper.expect(late)
    assert agent._sweeper._deadline.when == soon


@pytest.mark.parametrize(
    ("idle_for", "expires_in", "again_in"),
    [
        (0.0, math.inf, WATCH_AFTER),  # not to be watched yet
        (0.0, WATCH_AFTER / 2, WATCH_AFTER / 2),
        (WATCH_AFTER, 50.0, 50.0),
        (WATCH_AFTER, math.inf, math.inf),
    ],
)
def test_idle_sockets_are_looked_at_again_when_something_is_due(
    idle_for: float, expires_in: float, again_in: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = now() + 1000  # the real clock does not come here
    with RawServer() as server, Agent(keep_alive=True) as agent:
        agent._sweeper.due = 0.0  # no look at them but the one below
        fetch(agent, server.url)
        channel = agent._pool.free_sockets[server.name][0]
        channel.idle_since, channel.expires = moment - idle_for, moment + expires_in
        monkeypatch.setattr("nhttp._agent.idle.now", lambda: moment)
        agent._sweeper._passed()
        eventually(lambda: agent._sweeper.due == moment + again_in, "not the right moment")
        eventually(lambda: (channel.watch is not None) == (idle_for > 0), "watched or not")


def test_a_connection_that_closes_just_now_is_not_watched() -> None:
    channel = Channel("h:80:", net.Socket())
    channel.begin_watch(lambda: None)
    assert channel.watch is None


def test_idle_sockets_are_looked_at_when_a_thread_for_it_can_be_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(deadline: Deadline, when: float) -> None:
        raise RuntimeError("can't start new thread")

    with RawServer() as server, Agent(keep_alive=True) as agent:
        with monkeypatch.context() as patch:
            patch.setattr(_timers, "arm", refuse)
            fetch(agent, server.url)
        assert len(agent.free_sockets[server.name]) == 1
        fetch(agent, server.url)
        assert agent._sweeper.due < math.inf
        assert agent._sweeper._deadline.scheduled < math.inf


def test_keep_alive_timeout_is_honoured_with_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5, max=100\r\n\r\n")
    with (
        RawServer(lambda peer: peer.answer_all(answer)) as server,
        Agent(keep_alive=True) as agent,
    ):
        fetch(agent, server.url)
        [channel] = agent._pool.free_sockets[server.name]
        left = channel.expires - now()
        assert 3.0 < left <= 4.0
        channel.expires -= left  # so much time has passed
        asked = agent.get(server.url)
        assert asked.get_response().read() == b"ok"
        assert not asked.reused_socket


def test_keep_alive_timeout_counts_from_the_end_of_the_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK[:-2].replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5\r\n\r\n") + b"o")
        assert go.wait(SECONDS)
        peer.send(b"k")
        peer.request()

    go = threading.Event()
    with RawServer(serve) as server, Agent(keep_alive=True) as agent:
        response = agent.get(server.url).get_response()
        monkeypatch.setattr(_exchange, "now", lambda: now() + 100)  # a slow body
        go.set()
        assert response.read() == b"ok"
        [channel] = agent._pool.free_sockets[server.name]
        assert channel.expires - now() > 100


def test_a_promise_shorter_than_the_margin_is_not_relied_on() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=1\r\n\r\n")
    with (
        RawServer(lambda peer: peer.answer_all(answer)) as server,
        Agent(keep_alive=True) as agent,
    ):
        fetch(agent, server.url)
        fetch(agent, server.url)
        assert server.connections == 2


# A used connection that fails before any octet of the answer.


def dies_on_second_request(act: Callable[[Peer], object]) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        if peer.number == 0:
            act(peer)
        else:
            peer.send(OK)
            peer.answer_all()

    return serve


def half_an_answer(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 2")
    peer.close()


@pytest.mark.parametrize("act", [Peer.close, Peer.reset])
def test_an_idempotent_request_is_sent_again(
    act: Callable[[Peer], object], caplog: pytest.LogCaptureFixture
) -> None:
    with RawServer(dies_on_second_request(act)) as server, Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        with caplog.at_level(logging.DEBUG, "nhttp.client"):
            asked = agent.get(server.url)
            reused = [asked.reused_socket]
            assert asked.get_response().read() == b"ok"
        assert [*reused, asked.reused_socket] == [True, False]
        assert server.connections == 2
        assert "trying a fresh one" in caplog.text


def test_a_small_body_is_sent_again() -> None:
    with RawServer(dies_on_second_request(Peer.close)) as server, Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        asked = agent.request(server.url, method="PUT")
        asked.end("body")
        assert asked.get_response().read() == b"ok"
        # Behind the head, which the peer took.
        assert server.peers[1].buffer in (b"", b"body")
        assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "act"), [("POST", Peer.close), ("POST", Peer.reset), ("GET", half_an_answer)]
)
def test_it_is_not_sent_again_where_that_could_do_harm(
    method: str, act: Callable[[Peer], object]
) -> None:
    with RawServer(dies_on_second_request(act)) as server, Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        asked = agent.request(server.url, method=method)
        asked.end()
        with pytest.raises(ConnectionResetError):
            asked.get_response()
        assert asked.reused_socket
        assert server.connections == 1
        assert agent._pool.total == 0


def hang_up(peer: Peer) -> None:
    peer.request()
    peer.close()


def test_a_fresh_connection_that_fails_is_not_tried_again() -> None:
    with (
        RawServer(hang_up) as server,
        Agent(keep_alive=True) as agent,
    ):
        with pytest.raises(ConnectionResetError):
            agent.get(server.url).get_response()
        assert server.connections == 1


def test_it_is_sent_again_once_and_on_a_fresh_connection() -> None:
    """What one kept connection met, the others have met as well."""

    def serve(peer: Peer) -> None:
        if peer.number < 3:
            peer.request()
            peer.send(OK)
        peer.request()
        peer.close()

    with RawServer(serve) as server, Agent(keep_alive=True) as agent:
        for asked in [in_thread(agent.get, server.url).result() for _ in range(3)]:
            asked.get_response().read()
        with pytest.raises(ConnectionResetError):
            agent.get(server.url).get_response()
        assert server.connections == 4


# Until when a connection is a request's.


def test_one_that_was_used_twice_and_is_destroyed_is_forgotten() -> None:
    with RawServer() as server, Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        fetch(agent, server.url)
        agent.free_sockets[server.name][0].destroy()
        eventually(lambda: not agent.free_sockets, "it is kept")
        assert server.connections == 1


def test_one_is_free_as_soon_as_the_last_octet_was_read() -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK[:-2])
        assert asked.wait(SECONDS)
        peer.send(OK[-2:])
        peer.answer_all()

    asked = threading.Event()
    with RawServer(serve) as server, Agent(keep_alive=True) as agent:
        response = agent.get(server.url).get_response()
        asked.set()
        assert response.read(2) == b"ok"
        assert response.complete
        assert agent.free_sockets == {server.name: [response.socket]}


@pytest.mark.parametrize("options", [{}, {"max_sockets": 1}, {"keep_alive": True}])
def test_one_that_is_not_kept_is_there_until_its_answer_was_read(options: Any) -> None:
    """Also when all of it has come."""
    last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with (
        RawServer(lambda peer: peer.answer_all(last if "keep_alive" in options else OK)) as server,
        Agent(**options) as agent,
    ):
        response = agent.get(server.url).get_response()
        assert not response.socket.destroyed
        assert response.read() == b"ok"
        assert response.socket.destroyed


def test_one_is_not_kept_when_the_request_said_so() -> None:
    with RawServer() as server, Agent(keep_alive=True) as agent:
        response = agent.get(server.url, headers={"Connection": "close"}).get_response()
        assert response.read() == b"ok"
        assert not agent.free_sockets


def test_one_that_is_kept_has_no_timeout_of_its_request_left() -> None:
    with RawServer() as server, Agent(keep_alive=True) as agent:
        response = agent.get(server.url, timeout=5).get_response()
        assert response.read() == b"ok"
        [socket] = agent.free_sockets[server.name]
        assert (socket.timeout, socket._on_idle) == (0, None)


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        ("timeout=5, max=100", 5.0),
        ("max=100, Timeout=7", 7.0),
        ("max=100", None),
        ("timeout", None),
        ("timeout=-1", None),
        ("timeout=\xb2", None),
        ("delay=5", None),
    ],
)
def test_what_a_promise_says(hint: str, seconds: float | None) -> None:
    assert _exchange._timeout_of(hint) == seconds


# An agent that nobody destroys.


def watched(agent: Agent, server: RawServer) -> Channel:
    """Give the idle connection of an agent, once the watcher looks after it."""
    [channel] = agent._pool.free_sockets[server.name]
    eventually(lambda: channel.watch is not None, "nobody watches")
    return channel


def test_a_dropped_agent_is_collected_and_closes_its_idle_sockets() -> None:
    with RawServer() as server:
        agent = Agent(keep_alive=True)
        for asked in [agent.get(server.url), agent.get(server.url)]:
            asked.get_response().read()
        handles = [each._handle for each in agent.free_sockets[server.name]]
        assert len(handles) == 2
        dropped = weakref.ref(agent)
        del agent, asked
        gc.collect()
        assert dropped() is None
        eventually(lambda: all(each and each.fileno() == -1 for each in handles), "one is open")


def test_a_dropped_agent_is_collected_when_its_sockets_are_watched() -> None:
    with RawServer() as server:
        agent = Agent(keep_alive=True)
        fetch(agent, server.url)
        channel = watched(agent, server)
        handle = channel.socket._handle
        assert handle is not None
        dropped, gone = weakref.ref(agent), weakref.ref(channel.socket)
        del agent, channel
        gc.collect()
        assert dropped() is None
        eventually(lambda: handle.fileno() == -1, "the socket is open")
        eventually(lambda: not _watcher._watches, "somebody watches")
        gc.collect()
        assert gone() is None


def test_a_watch_may_notice_something_when_the_agent_is_gone() -> None:
    with RawServer() as server:
        agent = Agent(keep_alive=True)
        fetch(agent, server.url)
        watch = watched(agent, server).watch
        assert watch is not None
        noticed = watch.callback
        assert noticed is not None
        dropped = weakref.ref(agent)
        del agent
        gc.collect()
        assert dropped() is None
        noticed()


def test_a_dropped_agent_lives_as_long_as_its_requests() -> None:
    with RawServer() as server:
        asked: ClientRequest = Agent(keep_alive=True).get(server.url)
        gc.collect()
        response = asked.get_response()
        assert response.read() == b"ok"
        dropped = weakref.ref(asked.agent)
        del asked, response
        eventually(lambda: gc.collect() >= 0 and dropped() is None, "something holds it")


def test_a_socket_that_is_watched_is_used_again() -> None:
    with RawServer() as server, Agent(keep_alive=True) as agent:
        fetch(agent, server.url)
        channel = watched(agent, server)
        fetch(agent, server.url)
        assert channel.watch is None
        assert server.connections == 1


def test_an_agent_leaves_no_watch_behind_when_it_is_destroyed() -> None:
    with RawServer() as server:
        agent = Agent(keep_alive=True)
        for way in ("destroy", "remove", "use"):
            fetch(agent, server.url)
            channel = watched(agent, server)
            acts: dict[str, Any] = {
                "destroy": agent.destroy,
                "remove": lambda: channel.socket.emit("agentRemove"),  # noqa: B023
                "use": lambda: fetch(agent, server.url),
            }
            acts[way]()
            assert channel.watch is None
            assert not _watcher._watches
            channel.socket.destroy()
        agent.destroy()


def test_an_agent_with_idle_sockets_that_outlives_the_program_does_not_hold_it_up() -> None:
    program = """if True:
        import gc, sys
        import nhttp

        agent = nhttp.Agent(keep_alive=True)
        agent.get(sys.argv[1]).get_response().read()
        assert agent.free_sockets
        nhttp._threads.drain()  # no thread is left to close them
        gc.disable()
        agent.itself = agent  # collected at the very end
        """
    with RawServer() as server:
        subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=SECONDS)
