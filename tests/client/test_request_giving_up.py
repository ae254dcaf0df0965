"""A request that is given up: aborted, destroyed or dropped, at whatever moment."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from client_support import (
    CHUNKED,
    HEAD_END,
    OK,
    Gated,
    Peer,
    answer,
    ignore,
    scripted,
    stalling,
)
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp.client import get, request
from nhttp.errors import ConnectionReset, SocketTimeout, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage


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


def late_close(req: ClientRequest) -> None:
    req.on("close", ignore)


def gone_before(req: ClientRequest) -> None:
    req.on("error", ignore).off("error", ignore)


@pytest.mark.parametrize(
    ("before", "after"), [(ignore, late_close), (gone_before, ignore), (late_close, ignore)]
)
def test_an_error_is_seen_by_those_alone_who_are_told(
    before: Callable[[ClientRequest], None],
    after: Callable[[ClientRequest], None],
    caplog: pytest.LogCaptureFixture,
    unused_port: int,
) -> None:
    req = request(host="127.0.0.1", port=unused_port)
    before(req)
    req.end()
    after(req)
    del req
    gc.collect()
    assert ["ECONNREFUSED" in each.getMessage() for each in caplog.records] == [True]


@pytest.mark.parametrize(("script", "seconds"), [(Peer.read_head, 0.0), (stalling(b""), 0.01)])
def test_an_error_that_get_response_raised_is_not_logged(
    script: Callable[[Peer], object], seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    with scripted(script) as server:
        req = get(server.url).set_timeout(seconds)
        with pytest.raises((ConnectionResetError, TimeoutError)):
            req.get_response(SECONDS)
        assert req.destroyed
        del req
        gc.collect()
    assert not caplog.records


def test_a_socket_that_timed_out_by_itself_is_the_end_of_its_request() -> None:
    with scripted(stalling(b"")) as server:
        req = get(server.url)
        assert req.socket is not None
        req.socket.destroy(SocketTimeout("the system's own", "ETIMEDOUT"))
        with pytest.raises(TimeoutError, match="own"):
            req.get_response()
        assert req.destroyed


def test_a_response_that_nobody_holds_cannot_be_asked_for_again() -> None:
    with scripted(answer(OK)) as server:
        req = get(server.url)
        assert req.get_response().read() == b"ok"
        with pytest.raises(StateError, match="dropped"):
            req.get_response()
