"""Waiting awake: for an answer that, by the last one, will come at once."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import threading

import pytest
from client_support import OK, Peer, answer, keeping, scripted
from support import SECONDS, in_thread, socket_pair

from nhttp import _exchange
from nhttp._agent.agent import Agent
from nhttp.client import get
from nhttp.net import Socket


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited awake for."""
    noted: list[float] = []
    wait = Socket._await_awake

    def note(socket: Socket, seconds: float) -> None:
        noted.append(seconds)
        wait(socket, seconds)

    monkeypatch.setattr(Socket, "_await_awake", note)
    return noted


def ask_thrice() -> None:
    with scripted(keeping([])) as server, Agent(keep_alive=True) as agent:
        for _ in range(3):
            assert get(server.url, agent=agent).get_response().read() == b"ok"


def test_behind_an_answer_that_came_at_once(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr(_exchange, "_PROMPT_SECONDS", math.inf)
    monkeypatch.setattr(_exchange, "_AWAKE_SECONDS", 0.01)
    ask_thrice()
    assert waits == [0.01, 0.01]


def test_not_behind_one_that_took_its_time(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr(_exchange, "_PROMPT_SECONDS", 0.0)
    ask_thrice()
    assert waits == []


def test_not_on_a_fresh_connection(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(_exchange, "_PROMPT_SECONDS", math.inf)
    with scripted(answer(OK)) as server, Agent() as agent:
        for _ in range(3):
            assert get(server.url, agent=agent).get_response().read() == b"ok"
    assert waits == []


def test_a_connection_that_is_lost_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "_PROMPT_SECONDS", math.inf)
    monkeypatch.setattr(_exchange, "_AWAKE_SECONDS", SECONDS)

    def once(peer: Peer) -> None:
        peer.read_head()
        peer.sock.sendall(OK)
        peer.read_head()  # and is gone

    with scripted(once) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        get(server.url, agent=agent).get_response().read()
        request = get(server.url, agent=agent)
        assert request.get_response().read() == b"ok"  # of the second connection
        assert not request.reused_socket


def test_a_request_that_is_destroyed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "_PROMPT_SECONDS", math.inf)
    monkeypatch.setattr(_exchange, "_AWAKE_SECONDS", SECONDS)

    bound = threading.Event()

    def silent(peer: Peer) -> None:
        peer.read_head()
        peer.sock.sendall(OK)
        peer.read_head()
        assert bound.wait(SECONDS)
        asked.abort()
        peer.read_head()

    with scripted(silent) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        asked = get(server.url, agent=agent)
        bound.set()
        with pytest.raises(ConnectionError):
            asked.get_response()


def test_it_ends_when_something_comes_and_when_the_time_is_up() -> None:
    with socket_pair() as (near, far):
        near._await_awake(0.0)
        waiting = in_thread(near._await_awake, SECONDS)
        far.sendall(b"x")
        waiting.result()
        assert near.read1() == b"x"
        waiting = in_thread(near._await_awake, SECONDS)
        far.close()
        waiting.result()
