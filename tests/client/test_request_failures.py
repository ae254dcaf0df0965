"""Whatever a server does at any moment, and in its own time: nothing hangs, or is told twice."""

from __future__ import annotations

import errno
import gc
import math
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import (
    CHUNKED,
    HEAD_END,
    OK,
    Followed,
    Gated,
    Peer,
    answer,
    ignore,
    scripted,
    stalling,
)
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp._exchange import Exchange
from nhttp._request import connecting
from nhttp._timers import Deadline, now
from nhttp.client import get, request
from nhttp.errors import ParseError
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage
    from nhttp.streams import BytesLike

ENDINGS: dict[str, Callable[[Peer], object]] = {
    "closes": lambda peer: None,
    "resets": Peer.reset,
    "garbage": lambda peer: peer.send(b"\r\0\x01garbage \r\n\r\n\r\n"),
}


def breaking(at: int, ending: Callable[[Peer], object]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(CHUNKED[:at])
        ending(peer)

    return script


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_server_that_breaks_at_any_octet_blocking(ending: str) -> None:
    for at in range(len(CHUNKED)):
        with scripted(breaking(at, ENDINGS[ending])) as server, Agent(keep_alive=True) as agent:
            req = get(server.url, agent=agent)
            with pytest.raises((ConnectionResetError, ParseError)):
                req.get_response(SECONDS).read()
            assert not agent.sockets
            assert not agent.free_sockets


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_server_that_breaks_at_any_octet_callbacks(ending: str) -> None:
    for at in range(len(CHUNKED)):
        with scripted(breaking(at, ENDINGS[ending])) as server, Agent(keep_alive=True) as agent:
            messages: list[Recorder] = []

            def on_response(response: IncomingMessage, messages: list[Recorder] = messages) -> None:
                messages.append(Recorder(response, "data", "end", "aborted", "error", "close"))

            req = get(server.url, on_response, agent=agent)
            recorder = Recorder(req, "error", "close")
            recorder.wait("close")
            if messages:
                (message,) = messages
                message.wait("close")
                assert [name for name in message.names if name != "data"] == [
                    "error",
                    "aborted",
                    "close",
                ]
                assert recorder.names == ["close"]
            else:
                assert recorder.names == ["error", "close"]
            assert not agent.sockets
            assert not agent.free_sockets


@pytest.mark.parametrize("at", [0, 10, HEAD_END])
def test_a_server_that_stalls(at: int) -> None:
    with scripted(stalling(CHUNKED[:at])) as server, Agent() as agent:
        req = get(server.url, agent=agent, timeout=0.02)
        with pytest.raises(TimeoutError):
            req.get_response().read()
        assert not agent.sockets


@pytest.mark.parametrize("at", [0, 10, HEAD_END])
def test_a_server_that_stalls_with_callbacks(at: int) -> None:
    with scripted(stalling(CHUNKED[:at])) as server, Agent() as agent:
        errors: list[Exception] = []
        req = request(server.url, agent=agent)
        recorder = Recorder(req, "error", "close")
        req.on("response", lambda response: response.on("error", errors.append).resume())
        req.set_timeout(0.02).end()
        recorder.wait("close")
        errors += [args[0] for args in recorder.all("error")]
        assert len(errors) == 1
        assert isinstance(errors[0], TimeoutError)
        assert not agent.sockets


def test_a_timeout_listener_decides() -> None:
    with scripted(stalling(b"")) as server:
        req = request(server.url)
        req.set_timeout(0.02, req.abort)
        recorder = Recorder(req, "abort", "error", "close", "timeout")
        req.end()
        with pytest.raises(ConnectionResetError):
            req.get_response()
        recorder.wait("close")
        assert sorted(recorder.names) == ["abort", "close", "error", "timeout"]


def test_a_timeout_that_is_set_on_the_response() -> None:
    with scripted(stalling(CHUNKED[:-1])) as server, Agent() as agent:
        response = get(server.url, agent=agent).get_response()
        timed_out = threading.Event()
        sockets: list[object] = []
        response.on("timeout", sockets.append).set_timeout(0.02, timed_out.set)
        reading = in_thread(response.read)
        assert timed_out.wait(SECONDS)
        response.destroy()
        with pytest.raises(ConnectionResetError):
            reading.result()
        assert sockets == [response.socket]
        response = get(server.url, agent=agent).get_response().set_timeout(0.02)
        with pytest.raises(TimeoutError):
            response.read()
        assert not agent.sockets


def test_a_timeout_that_is_set_on_a_response_whose_socket_is_given_back() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        response = agent.get(server.url).get_response().set_timeout(SECONDS)
        assert response.read() == b"ok"
        assert response.socket.timeout == 0


def test_get_response_in_vain_can_be_tried_again() -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert gate.wait(SECONDS)
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server:
        req = get(server.url)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                req.get_response(0.005)
        gate.set()
        assert req.get_response(SECONDS).read() == b"ok"


def test_get_response_in_vain_while_another_thread_connects() -> None:
    with Gated() as agent:
        req = request("http://127.0.0.1:1/", agent=agent)
        connecting = in_thread(req.end)
        assert agent.asked.wait(SECONDS)
        for wait in (req.get_response, req.wait_continue):
            with pytest.raises(TimeoutError, match="no answer"):
                in_thread(wait, 0.005).result()
        req.abort()
        connecting.result()


@pytest.mark.parametrize("style", ["blocking", "callbacks", "set later"])
def test_timeout_while_the_agent_is_busy(style: str) -> None:
    with scripted(stalling(b"")) as server, Agent(max_sockets=1) as agent:
        busy = in_thread(get(server.url, agent=agent).get_response)
        if style == "blocking":
            waiting = in_thread(get, server.url)
            req = request(server.url, agent=agent, timeout=0.02)
            req.end()
            with pytest.raises(TimeoutError):
                req.get_response()
            waiting.result().abort()
            assert not agent.requests
        else:
            req = request(server.url, agent=agent)
            recorder = Recorder(req, "error", "close", "response")
            req.end()
            req.set_timeout(0.02)
            recorder.wait("close")
            assert recorder.names == ["error", "close"]
            assert isinstance(recorder.wait("error")[0], TimeoutError)
        agent.destroy()
        with pytest.raises(ConnectionError):
            busy.result()


def test_timeout_of_the_connect() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        blockers = [socket.socket() for _ in range(4)]
        try:
            for each in blockers:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            req = get(host="127.0.0.1", port=full.getsockname()[1], timeout=0.05)
            with pytest.raises(TimeoutError):
                req.get_response()
        finally:
            for each in blockers:
                each.close()


def test_a_timeout_that_is_set_while_the_socket_comes_ends_with_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = threading.Event()

    def exchange(*args: Any, **keywords: Any) -> Exchange:
        req.set_timeout(0.01)
        return Exchange(*args, **keywords)

    def script(peer: Peer) -> None:
        peer.read_head()
        assert later.wait(SECONDS)
        peer.send(OK)

    monkeypatch.setattr(connecting, "Exchange", exchange)
    with scripted(script) as server:
        req = request(server.url)
        req.on("socket", lambda _: req.set_timeout(0))
        req.end()
        Deadline(later.set).set(now() + 0.02)
        assert req.get_response().read() == b"ok"


# Early answers.


@pytest.mark.parametrize("callbacks", [False, True])
def test_a_large_upload_that_is_refused(callbacks: bool) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(refusal)
        peer.end()
        peer.read(64 * 1024)

    with scripted(script) as server, Agent(keep_alive=True) as agent:
        req = request(server.url, method="POST", agent=agent)
        recorder = Recorder(req, "error", *(["response"] if callbacks else []))
        for _ in range(64):
            req.write(bytes(256 * 1024))
        req.end()
        response = req.get_response(SECONDS)
        assert response.status_code == 413
        assert response.read() == b"no"
        assert not recorder.all("error")
        del req, response
        gc.collect()
        assert not agent.free_sockets


def test_an_early_answer_while_the_upload_waits() -> None:
    """The server neither takes the body nor closes: the answer must be there all the same."""
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        assert done.wait(SECONDS)

    with scripted(script) as server, Agent() as agent:
        bodies: list[bytes] = []
        req = request(server.url, method="POST", agent=agent)
        recorder = Recorder(req, "response", "error", "close")
        req.on("response", lambda response: bodies.append(response.read()))
        for _ in range(64):
            req.write(bytes(256 * 1024))
        req.end()
        recorder.wait("close")
        assert bodies == [b"no"]
        assert not recorder.all("error")
        assert not agent.sockets
        done.set()


def test_in_blocking_style_a_further_write_raises_what_an_earlier_one_met() -> None:
    """Only a further one: the answer that the server may have sent before comes first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        upload = request(url, method="POST")
        upload.flush_headers()
        accepted, _ = listening.accept()
        accepted.recv(65536)
        accepted.close()

        def write_on() -> None:
            for _ in range(1000):
                upload.write(bytes(65536))

        with pytest.raises(OSError, match=r"EPIPE|ECONNRESET"):
            write_on()
        with pytest.raises(ConnectionError):
            upload.get_response()


def test_what_is_no_answer_is_told_also_where_sending_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def transmit(socket: Socket, out: Sequence[BytesLike]) -> None:
        send(socket, out)
        raise BrokenPipeError(errno.EPIPE, "broken")

    send = Socket._transmit
    monkeypatch.setattr(Socket, "_transmit", transmit)
    for octets, error in ((b"garbage\r\n\r\n", ParseError), (b"", BrokenPipeError)):
        with scripted(answer(octets) if octets else Peer.read_head) as server:
            req = get(server.url)
            with pytest.raises(error):
                req.get_response()


@pytest.mark.parametrize("callbacks", [False, True])
def test_an_agent_that_gives_no_name_fails_the_request(callbacks: bool) -> None:
    class Nameless(Agent):
        def get_name(self, *_source: Any, **_keywords: Any) -> str:
            raise LookupError("mine")

    req = request("http://127.0.0.1:1/", agent=Nameless())
    recorder = Recorder(req, "error", "close", *(["response"] if callbacks else []))
    req.end()
    assert recorder.names == ["error", "close"]
    with pytest.raises(LookupError, match="mine"):
        req.get_response()


def test_only_the_wait_for_a_connection_has_a_deadline_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Noted(Deadline):
        def __init__(self, callback: Callable[[], object]) -> None:
            super().__init__(callback)
            made.append(self)

    made: list[Deadline] = []
    monkeypatch.setattr(connecting, "Deadline", Noted)
    with Gated() as agent:
        req = Followed("http://127.0.0.1:1/", ignore, agent=agent)
        req.set_timeout(SECONDS)
        assert made == []
        req.end()
        assert agent.asked.wait(SECONDS)
        [deadline] = made
        assert now() < deadline.when <= now() + SECONDS
        req.set_timeout(0)
        assert deadline.when == math.inf
        req.set_timeout(2 * SECONDS)
        assert deadline.when > now() + SECONDS
        req.destroy()
        assert deadline.when == math.inf
        assert req.done.wait(SECONDS)
        req.set_timeout(SECONDS)
        assert made == [deadline]
        assert deadline.when == math.inf


def test_a_request_that_is_destroyed_as_it_is_given_a_kept_socket_closes_it() -> None:
    class Destroying(Agent):
        def reuse_socket(self, socket: Socket, request: ClientRequest) -> None:
            request.destroy()

    with scripted(answer(OK)) as server, Destroying(keep_alive=True) as agent:
        assert agent.get(server.url).get_response().read() == b"ok"
        req = request(server.url, agent=agent)
        recorder = Recorder(req, "socket", "error", "close")
        req.end()
        assert recorder.names == ["error", "close"]
        assert req.socket is None
        assert not agent.sockets
        assert not agent.free_sockets
