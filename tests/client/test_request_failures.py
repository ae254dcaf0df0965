"""Whatever a server or a user does at any moment: nothing hangs, leaks, or is told twice."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Peer, answer, ignore, scripted
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp._exchange import Exchange
from nhttp._request import connecting
from nhttp._timers import Deadline, now
from nhttp.client import ClientRequest, get, request
from nhttp.errors import ConnectionReset, ParseError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nhttp import net
    from nhttp.incoming import IncomingMessage
    from nhttp.streams import BytesLike

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"
)
HEAD_END = CHUNKED.index(b"\r\n\r\n") + 4

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


def stalling(octets: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(octets)
        assert peer.read_all() == b""

    return script


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


# Giving up.


@pytest.mark.parametrize("callbacks", [False, True])
def test_abort_before_anything(callbacks: bool) -> None:
    req = request("http://127.0.0.1:1/")
    recorder = Recorder(req, "abort", "error", "close", "socket")
    if callbacks:
        req.on("response", lambda _: None)
    req.abort()
    req.abort()
    assert recorder.names == ["abort", "error", "close"]
    assert req.aborted is not None
    req.end()
    with pytest.raises(ConnectionReset):
        req.get_response()


class Gated(Agent):
    """Its sockets come when they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.give: Callable[[], object] = lambda: None

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,
    ) -> net.Socket | None:
        assert callback is not None
        self.give = lambda: callback(None, super(Gated, self).create_connection(options))
        self.asked.set()
        return None


def test_abort_while_connecting() -> None:
    with Gated() as agent:
        req = request("http://127.0.0.1:1/", agent=agent)
        recorder = Recorder(req, "abort", "error", "close", "socket", "response")
        req.end()
        assert agent.asked.wait(SECONDS)
        req.abort()
        recorder.wait("close")
        assert recorder.names == ["abort", "error", "close"]


def test_abort_of_a_thread_that_connects() -> None:
    with Gated() as agent:
        req = request("http://127.0.0.1:1/", agent=agent)
        connecting = in_thread(req.end)
        assert agent.asked.wait(SECONDS)
        req.abort()
        connecting.result()
        with pytest.raises(ConnectionReset):
            req.get_response()


@pytest.mark.parametrize("at", [0, 10])
def test_abort_during_the_head(at: int) -> None:
    sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(CHUNKED[:at])
        sent.set()
        assert peer.read_all() == b""

    with scripted(script) as server, Agent() as agent:
        req = get(server.url, agent=agent)
        reading = in_thread(req.get_response)
        assert sent.wait(SECONDS)
        recorder = Recorder(req, "abort", "error", "close")
        req.abort()
        with pytest.raises(ConnectionReset):
            reading.result()
        assert recorder.names == ["abort", "error", "close"]
        assert not agent.sockets


def test_abort_during_the_body() -> None:
    with scripted(stalling(CHUNKED[: HEAD_END + 8])) as server, Agent() as agent:
        req = get(server.url, agent=agent)
        response = req.get_response()
        assert response.read1() == b"hello"
        message = Recorder(response, "aborted", "close", "end", "error")
        recorder = Recorder(req, "abort", "error", "close")
        reading = in_thread(response.read)
        req.abort()
        with pytest.raises(ConnectionReset):
            reading.result()
        assert recorder.names == ["abort", "close"]
        assert message.names == ["error", "aborted", "close"]
        assert response.aborted
        assert not agent.sockets


def test_abort_inside_the_response_listener() -> None:
    with scripted(stalling(CHUNKED[:HEAD_END])) as server, Agent() as agent:
        req = request(server.url, agent=agent)
        recorder = Recorder(req, "abort", "error", "close", "response")
        req.on("response", lambda _: req.abort())
        req.end()
        recorder.wait("close")
        assert recorder.names == ["response", "abort", "close"]
        assert not agent.sockets


def test_destroy_with_an_error_of_ones_own() -> None:
    with scripted(stalling(b"")) as server:
        req = get(server.url)
        recorder = Recorder(req, "error", "close", "abort")
        mine = LookupError("mine")
        assert req.destroy(mine) is req
        assert recorder.noted == [("error", (mine,)), ("close", ())]
        with pytest.raises(LookupError):
            req.get_response()


def test_abort_after_the_end_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        req = get(server.url, agent=agent)
        assert req.get_response().read() == b"ok"
        req.abort()
        req.destroy()
        second = get(server.url, agent=agent)
        assert second.get_response().read() == b"ok"
        assert second.reused_socket
        del req, second
        gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("callbacks", [False, True])
def test_abort_after_an_answer_that_was_read_and_dropped_is_no_error(callbacks: bool) -> None:
    dropped = threading.Event()

    def take(response: IncomingMessage) -> None:
        weakref.finalize(response, dropped.set)
        response.resume()

    with scripted(answer(OK)) as server, Agent() as agent:
        req = request(server.url, agent=agent)
        recorder = Recorder(req, "error", "abort", "close")
        if callbacks:
            req.on("response", take)
        req.end()
        if not callbacks:
            assert req.get_response().read() == b"ok"
        recorder.wait("close")
        assert not callbacks or dropped.wait(SECONDS)
        req.abort()
        assert recorder.names == ["close", "abort"]


def test_whoever_destroys_the_socket_resets_the_request() -> None:
    with scripted(stalling(b"")) as server:
        req = get(server.url)
        assert req.socket is not None
        reading = in_thread(req.get_response)
        req.socket.destroy()
        with pytest.raises(ConnectionReset):
            reading.result()


def test_the_reason_for_which_a_listener_destroys_the_socket_is_no_mistake_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scripted(stalling(b"")) as server:
        req = request(server.url)
        recorder = Recorder(req, "error", "close", "response")
        req.on("socket", lambda sock: sock.destroy(LookupError("no more of this")))
        req.end()
        recorder.wait("close")
    assert recorder.names == ["error", "close"]
    [error] = recorder.all("error")[0]
    assert isinstance(error, ConnectionReset)
    assert "no more of this" in str(error)
    assert not caplog.records


# Dropping.


def test_a_dropped_request_frees_its_socket() -> None:
    with scripted(stalling(OK[:-2])) as server, Agent(max_sockets=1) as agent:
        get(server.url, agent=agent)
        gc.collect()
        req = get(server.url, agent=agent)
        req.get_response()
        assert len(server.peers) == 2


def test_a_dropped_response_frees_its_socket() -> None:
    with scripted(stalling(OK[:-2])) as server, Agent(max_sockets=1) as agent:
        get(server.url, agent=agent).get_response()
        gc.collect()
        get(server.url, agent=agent).get_response()
        assert len(server.peers) == 2


@pytest.mark.parametrize("event", ["", "upgrade"])
def test_the_thread_that_waits_for_the_agent_gives_up_what_it_never_read(event: Any) -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        first = request(server.url, agent=agent)
        if event:
            first.on(event, ignore)
        recorder = Recorder(first, "socket")
        first.end()
        recorder.wait("socket")
        second = get(server.url, agent=agent)
        assert second.get_response(SECONDS).read() == b"ok"
        with pytest.raises((OSError, StateError)):
            first.get_response()


def test_an_error_that_nobody_saw_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    caplog.clear()
    with scripted(Peer.read_head) as server:
        port = server.port
    get(host="127.0.0.1", port=port)
    gc.collect()
    assert ["ECONNREFUSED" in each.getMessage() for each in caplog.records] == [True]
    caplog.clear()
    get(host="127.0.0.1", port=port).on("error", lambda _: None)
    with pytest.raises(ConnectionRefusedError):
        get(host="127.0.0.1", port=port).get_response()
    gc.collect()
    assert not caplog.records


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


# A kept connection that turns out to be dead.


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

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,
    ) -> net.Socket | None:
        self.dials += 1
        return super().create_connection(options, callback) if self.dials == 1 else None


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


def test_a_post_is_not_repeated() -> None:
    with scripted(dying) as server, Agent(keep_alive=True) as agent:
        get(server.url, agent=agent).get_response().read()
        with pytest.raises(ConnectionResetError):
            request(server.url, agent=agent, method="POST").end("x").get_response()
        assert len(server.peers) == 1


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
