"""How a response is let go of, and its socket with it: read, closed, destroyed, or left."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import pytest
from client_support import (
    OK,
    Peer,
    answer,
    scripted,
)
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp.client import get

if TYPE_CHECKING:
    from nhttp._agent.channel import Channel
    from nhttp._agent.options import RequestOptions
    from nhttp.incoming import IncomingMessage


def test_with_frees_the_socket_of_a_response_that_was_not_read() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"
    with scripted(answer(begun)) as server, Agent(keep_alive=True) as agent:
        with agent.get(server.url) as response:
            assert response.status_code == 200
        assert not agent.sockets
        assert not agent.free_sockets
        with pytest.raises(LookupError), agent.get(server.url):
            raise LookupError
        assert not agent.sockets


def test_closing_a_response_that_was_not_read_frees_the_socket() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"
    with scripted(answer(begun)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        with agent.get(server.url).get_response() as response:
            assert response.read(1) == b"o"
        assert response.closed
        assert not agent.sockets
        with pytest.raises(ConnectionResetError):
            response.read()
        response = agent.get(server.url).get_response()
        text = io.TextIOWrapper(response)  # type: ignore[type-var]
        text.close()
        assert text.closed
        assert not agent.sockets


def test_reading_what_is_empty_ends_a_driver_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with scripted(answer(empty)) as server, Agent(keep_alive=True) as agent:
        response, waiting = agent.get(server.url).get_response(), threading.Event()
        wait = response._wait

        def noted(timeout: float | None = None) -> bool:
            waiting.set()
            return wait(timeout)

        monkeypatch.setattr(response, "_wait", noted)
        response.pause()
        driver = in_thread(response._drive)
        assert waiting.wait(SECONDS)
        assert response.read() == b""
        driver.result()


def test_a_response_that_flows_late_does_so_on_a_thread_of_its_request() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        [response] = Recorder(agent.get(server.url), "response").wait("response")
        names: list[str] = []

        def on_data(_: bytes) -> None:
            names.append(threading.current_thread().name)

        recorder = Recorder(response, "end")
        response.on("data", on_data)
        recorder.wait("end")
    assert names == ["nhttp-request"]


def test_destroying_a_response_that_was_read_aborts_nothing() -> None:
    with scripted(answer(OK)) as server, get(server.url) as response:
        recorder = Recorder(response, "end", "aborted", "close")
        assert response.read() == b"ok"
        response.destroy()
        assert recorder.names == ["end", "close"]
        assert not response.aborted


def test_closing_a_response_that_was_read_keeps_the_socket() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        for _ in range(2):
            with agent.get(server.url).get_response() as response:
                assert response.read() == b"ok"
            assert response.closed
        assert len(server.peers) == 1


@pytest.mark.parametrize("keep_alive", [True, False])  # with it, the body comes with the head
def test_a_listener_may_close_the_response(keep_alive: bool) -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=keep_alive) as agent:
        told: list[str] = []

        def callback(response: IncomingMessage) -> None:
            for event in ("aborted", "close"):
                response.on(event, lambda event=event: told.append(event))
            response.close()

        Recorder(agent.get(server.url, callback), "close").wait("close")
        assert told == (["close"] if keep_alive else ["aborted", "close"])


def test_destroying_a_response_while_its_end_is_read_leaves_the_socket_to_others() -> None:
    class Overtaken(Agent):
        def _give_back(self, channel: Channel, options: RequestOptions) -> None:
            super()._give_back(channel, options)
            response.destroy()

    def script(peer: Peer) -> None:
        while peer.read_head():
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            asked.wait(SECONDS)
            peer.send(b"0\r\n\r\n")

    asked = threading.Event()
    with scripted(script) as server, Overtaken(keep_alive=True) as agent:
        response = agent.get(server.url).get_response()
        assert response.read(2) == b"ok"
        asked.set()
        assert response.read1() == b""
        assert len(agent.free_sockets) == 1


def test_a_body_that_comes_with_the_head_frees_the_socket_at_once() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        first, second = agent.get(server.url).get_response(), agent.get(server.url).get_response()
        assert first.complete
        first.destroy()  # the socket is not its own any more
        assert agent.get(server.url).get_response().read() == b"ok"
        assert second.read() == b"ok"
        assert len(server.peers) == 1
