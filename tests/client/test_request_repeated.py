"""A kept connection that turns out to be dead: whether, and how, a request is sent again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from client_support import (
    OK,
    Peer,
    answer,
    ignore,
    scripted,
)
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp._exchange import Exchange
from nhttp.client import ClientRequest, get, request
from nhttp.errors import ConnectionReset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nhttp import net
    from nhttp.streams import BytesLike


def dying(peer: Peer) -> None:
    """Answers once; then takes a request and closes."""
    if peer.index == 0:
        peer.read_head()
        peer.send(OK)
        peer.read_head()
    else:
        answer(OK)(peer)


@pytest.mark.parametrize("callbacks", [False, True])
def test_an_idempotent_request_is_repeated(callbacks: bool) -> None:
    with scripted(dying) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = request(server.url, agent=agent, method="PUT")
        recorder = Recorder(req, "finish", "error", "socket", *(["response"] if callbacks else []))
        req.end("body")
        assert req.get_response(SECONDS).read() == b"ok"
        assert len(recorder.all("finish")) == len(recorder.all("socket")) == 1
        assert not recorder.all("error")
        assert not req.reused_socket
        assert Recorder(req, "socket").wait("socket") == (req.socket,)
        assert len(server.peers) == 2


def test_finish_of_a_repeated_request_is_emitted_with_no_lock_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def transmit(exchange: Exchange, out: Sequence[BytesLike]) -> None:
        if exchange.reused:
            exchange.socket.destroy(ConnectionReset("gone", "ECONNRESET"))
        send(exchange, out)

    send = Exchange.transmit
    monkeypatch.setattr(Exchange, "transmit", transmit)
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = request(server.url, agent=agent)
        locked: list[bool] = []
        req.on("finish", lambda: locked.append(req._write_lock.locked()))
        assert req.end().get_response().read() == b"ok"
        assert locked == [False]


class DialsOnce(Agent):
    """Its second connection never comes."""

    dials = 0

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self.dials_again = threading.Event()

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,
    ) -> net.Socket | None:
        self.dials += 1
        if self.dials == 1:
            return super().create_connection(options, callback)
        self.dials_again.set()
        return None


@pytest.mark.parametrize("callbacks", [False, True])
def test_timeout_of_a_second_attempt(callbacks: bool) -> None:
    with scripted(dying) as server, DialsOnce(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = request(server.url, agent=agent)
        req.on("socket", lambda dead: dead.once("close", lambda: req.set_timeout(0.02)))
        if callbacks:
            req.on("response", ignore)
        req.end()
        with pytest.raises(TimeoutError, match="no progress"):
            in_thread(req.get_response).result()
        assert agent.dials == 2


def test_a_timeout_that_is_set_during_a_second_attempt() -> None:
    with scripted(dying) as server, DialsOnce(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = get(server.url, agent=agent)
        reading = in_thread(req.get_response)
        assert agent.dials_again.wait(SECONDS)
        req.set_timeout(0.01)
        with pytest.raises(TimeoutError, match="no progress"):
            reading.result()


def test_what_grows_too_long_to_be_repeated_while_its_connection_dies_fails() -> None:
    last, noticed = threading.Event(), threading.Event()

    class Overtaken(ClientRequest):
        """Its last octets go out when the end of the connection has been noticed."""

        def _frame_end(self) -> list[BytesLike]:
            last.set()
            assert noticed.wait(SECONDS)
            return super()._frame_end()

        def _may_repeat(self, exchange: Exchange, error: Exception) -> bool:
            may = super()._may_repeat(exchange, error)
            noticed.set()
            return may

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK)
        assert last.wait(SECONDS)

    with scripted(script) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        options = RequestOptions.gather(server.url, {"agent": agent, "method": "PUT"})
        req = Overtaken(options)
        req.write(bytes(60_000))
        reading = in_thread(req.get_response)
        req.end(bytes(60_000))
        with pytest.raises(ConnectionError):
            reading.result()
        assert len(server.peers) == 1


def test_the_tail_of_what_is_too_long_is_not_repeated_alone() -> None:
    with scripted(dying) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = request(server.url, agent=agent, method="PUT")
        req.write(bytes(70_000))
        with pytest.raises(ConnectionError):
            req.end("tail").get_response()
        assert len(server.peers) == 1


def test_a_post_is_not_repeated() -> None:
    with scripted(dying) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        with pytest.raises(ConnectionResetError):
            request(server.url, agent=agent, method="POST").end("x").get_response()
        assert len(server.peers) == 1


def test_a_server_that_takes_its_time_is_not_asked_twice() -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_head()
        assert gate.wait(SECONDS)
        peer.send(OK)
        assert peer.read_all() == b""

    with scripted(script) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = get(server.url, agent=agent)
        with pytest.raises(TimeoutError):
            req.get_response(0.005)
        gate.set()
        assert req.get_response().read() == b"ok"
        assert len(server.peers) == 1


def test_what_has_not_ended_is_not_repeated() -> None:
    with scripted(dying) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        req = request(server.url, agent=agent, method="PUT")
        req.write("ab")
        with pytest.raises(ConnectionError):
            req.get_response()
        assert len(server.peers) == 1


def test_a_second_attempt_is_made_on_a_connection_that_was_not_used_before() -> None:
    asked: list[int] = []
    both = threading.Barrier(2)

    def script(peer: Peer) -> None:
        for answers in range(2):
            if not peer.read_head():
                return
            asked.append(peer.index)
            if peer.index < 2:
                if answers:
                    return
                both.wait(SECONDS)
            peer.send(OK)

    with scripted(script) as server, Agent(keep_alive=True) as agent:
        for each in [get(server.url, agent=agent) for _ in range(2)]:
            assert each.get_response().read() == b"ok"
        assert get(server.url, agent=agent).get_response().read() == b"ok"
        assert len(asked) == 4
        assert asked[-1] == 2
