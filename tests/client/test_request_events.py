"""Every event of a request, in both styles, with listeners before and after `end`."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Peer, answer, ignore, scripted
from support import SECONDS, Recorder, in_thread

from nhttp import _threads
from nhttp._agent.agent import Agent
from nhttp.client import ClientRequest, Information, get, request
from nhttp.errors import StateError

if TYPE_CHECKING:
    from nhttp.headers import HeaderInput
    from nhttp.incoming import IncomingMessage

ONCE = ("socket", "finish", "close", "abort", "error")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPGRADE: HeaderInput = {"Connection": "Upgrade", "Upgrade": "echo"}


def test_events_of_a_plain_request_in_callback_style() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url)
        recorder = Recorder(req, *ONCE, "response")
        bodies: list[bytes] = []
        req.on("response", lambda response: bodies.append(response.read()))
        req.end()
        recorder.wait("close")
        assert sorted(recorder.names) == ["close", "finish", "response", "socket"]
        assert recorder.names.index("socket") < recorder.names.index("response")
        assert recorder.names[-1] == "close"
        assert bodies == [b"ok"]


def test_events_of_a_plain_request_in_blocking_style() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url)
        recorder = Recorder(req, *ONCE)
        req.end()
        assert recorder.names == ["socket", "finish"]
        assert req.get_response().read() == b"ok"
        assert recorder.names == ["socket", "finish", "close"]
        assert {*recorder.threads} == {threading.current_thread()}


def test_listeners_that_come_after_all_happened_are_called_at_once() -> None:
    with scripted(answer(OK)) as server:
        req = get(server.url)
        response = req.get_response()
        assert response.read() == b"ok"
        recorder = Recorder(req, *ONCE, "response")
        assert recorder.names == ["socket", "finish", "close", "response"]
        assert recorder.wait("response") == (response,)


@pytest.mark.parametrize("after", [False, True])
def test_error_of_a_refused_connection(after: bool) -> None:
    with scripted(answer(OK)) as server:
        port = server.port
    req = request(host="127.0.0.1", port=port)
    if after:
        req.end()
    recorder = Recorder(req, "error", "close")
    req.end()
    assert recorder.names == ["error", "close"]
    assert recorder.wait("error")[0].code == "ECONNREFUSED"
    with pytest.raises(ConnectionRefusedError):
        req.get_response()


def test_error_in_callback_style_comes_once() -> None:
    with scripted(Peer.read_head) as server:
        recorder = Recorder(get(server.url, lambda _: None), "error", "close", "response")
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        assert recorder.wait("error")[0].code == "ECONNRESET"


def test_a_wait_for_another_thread_to_read_may_be_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        assert waits.wait(SECONDS)
        peer.send(OK)
        peer.read_all()

    def wait(timeout: float | None = None) -> bool:
        waits.set()
        return really(timeout)

    waits = threading.Event()
    with scripted(script) as server:
        req = get(server.url, ignore)
        really = req._wait
        monkeypatch.setattr(req, "_wait", wait)
        assert req.get_response(math.inf).read() == b"ok"


def test_information() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    with scripted(answer(hints + OK)) as server:
        got: list[Information] = []
        req = request(server.url).on("information", got.append).end()
        assert req.get_response().read() == b"ok"
        assert [(each.status_code, each.status_message) for each in got] == [
            (103, "Early Hints"),
            (102, "Processing"),
        ]
        assert got[0].headers["link"] == "</a>"
        assert got[0].raw_headers == ["Link", "</a>"]


def test_a_response_listener_behind_another_one_loses_nothing() -> None:
    with scripted(answer(OK)) as server:
        for _ in range(20):
            req = get(server.url).on("upgrade", ignore)
            recorder = Recorder(req, "response")
            (response,) = recorder.wait("response")
            assert response.read() == b"ok"


def test_get_response_of_a_request_with_a_callback() -> None:
    with scripted(answer(OK)) as server:
        called: list[IncomingMessage] = []
        req = get(server.url, called.append)
        response = req.get_response(SECONDS)
        assert response is req.get_response()
        assert response.read() == b"ok"
        assert called == [response]


def test_get_response_while_a_listener_is_added() -> None:
    gate, requested = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        requested.set()
        assert gate.wait(SECONDS)
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server:
        req = request(server.url)
        # It reads as soon as it has sent, or finds that the listener's thread does.
        reading = in_thread(req.end().get_response, SECONDS)
        assert requested.wait(SECONDS)
        recorder = Recorder(req, "response", "error")
        gate.set()
        response = reading.result()
        assert recorder.wait("response") == (response,)
        assert response.read() == b"ok"


def test_get_response_after_a_listener_that_got_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_args: object, **_keywords: object) -> None:
        raise RuntimeError("can't start new thread")

    with scripted(answer(OK)) as server:
        req = get(server.url)
        with monkeypatch.context() as context:
            context.setattr(_threads, "run", run)
            with pytest.raises(RuntimeError, match="new thread"):
                req.on("response", ignore)
        assert req.get_response(SECONDS).read() == b"ok"


def test_an_upload_by_callbacks_that_got_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: Any, name: str) -> None:
        if name == "nhttp-upload":
            raise RuntimeError("can't start new thread")
        start(*args, name=name)

    start = _threads.run
    monkeypatch.setattr(_threads, "run", run)
    with scripted(lambda peer: peer.read_all()) as server:
        req = request(server.url, ignore, method="PUT")
        recorder = Recorder(req, "error", "close")
        req.end(bytes(100_000))
        recorder.wait("close")
        assert isinstance(recorder.all("error")[0][0], RuntimeError)


def test_get_response_inside_a_listener_is_refused() -> None:
    refusals: list[Exception] = []

    def on_information(_: Information) -> None:
        try:
            req.get_response()
        except StateError as error:
            refusals.append(error)

    with scripted(answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)) as server:
        req = request(server.url)
        recorder = Recorder(req.on("information", on_information), "response")
        req.end()
        recorder.wait("response")[0].read()
        assert len(refusals) == 1


@pytest.mark.parametrize("event", ["response", "continue", "information", "upgrade"])
def test_a_listener_that_raises_is_logged_and_ends_the_exchange(
    event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    octets = {
        "response": OK,
        "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
        "information": b"HTTP/1.1 103 Early Hints\r\n\r\n",
        "upgrade": SWITCHED,
    }[event]

    def listener(*_: object) -> None:
        raise LookupError("mine")

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(octets)
        assert peer.read_all() == b""

    with scripted(script) as server, Agent(max_sockets=1) as agent:
        req = request(server.url, headers=UPGRADE, agent=agent)
        recorder = Recorder(req, "close", "response")
        req.on(event, listener).end()
        recorder.wait("close")
        assert not agent.sockets
    assert "mine" in caplog.text
    assert {each.name for each in caplog.records} == {"nhttp.client"}


def test_a_listener_that_raises_in_blocking_style() -> None:
    def listener(_: Information) -> None:
        raise LookupError("mine")

    with scripted(answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)) as server:
        req = request(server.url).on("information", listener).end()
        with pytest.raises(LookupError, match="mine"):
            req.get_response()


def test_drain_and_finish_of_an_upload_by_callbacks() -> None:
    size = 4 << 20

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.read(size)
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server:
        written: list[str] = []
        headers = {"Content-Length": size}
        req = request(server.url, method="PUT", headers=headers)
        recorder = Recorder(req, "response", "drain", "finish", "error")
        assert not req.write(bytes(size // 2), lambda: written.append("first"))
        recorder.wait("drain")
        req.end(bytes(size // 2), lambda: written.append("end"))
        assert recorder.wait("response")[0].read() == b"ok"
        recorder.wait("finish")
        assert written == ["first", "end"]
        assert not recorder.all("error")


def test_pipe_into_a_request() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read(2) == b"ok"
        peer.send(OK)
        peer.read_all()

    with scripted(answer(OK)) as source, scripted(script) as server:
        sink = request(server.url, method="POST", headers={"Content-Length": 2})
        recorder = Recorder(sink, "response", "pipe")
        get(source.url, lambda response: response.pipe(sink))
        assert recorder.wait("response")[0].read() == b"ok"
        assert len(recorder.all("pipe")) == 1


def test_the_response_knows_its_request() -> None:
    with scripted(answer(OK)) as server:
        req: ClientRequest = get(server.url)
        with req as response:
            assert response.request is req
            assert response.socket is req.socket is req.connection
            assert response.read() == b"ok"


@pytest.mark.parametrize("callbacks", [False, True])
def test_a_finished_exchange_keeps_nothing_by_a_cycle(callbacks: bool) -> None:
    """Not the request, not its response, and so not its agent with the idle socket."""
    ended = threading.Event()

    def answered(response: IncomingMessage) -> None:
        response.resume()

    def serve(peer: Peer) -> None:
        answer(OK)(peer)
        ended.set()

    gc.collect()
    gc.disable()
    try:
        with scripted(serve) as server:
            agent = Agent(keep_alive=True)
            req = agent.get(server.url, answered if callbacks else None)
            told = Recorder(req, "close")
            if not callbacks:
                assert req.get_response().read() == b"ok"
            told.wait("close")
            assert agent.free_sockets
            weak = weakref.ref(req)
            del req, told, agent
            assert ended.wait(SECONDS)
            assert weak() is None
    finally:
        gc.enable()


def test_get_response_inside_a_socket_listener() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url, timeout=SECONDS)
        responses: list[IncomingMessage] = []
        req.on("socket", lambda _socket: responses.append(req.get_response()))
        assert req.end().get_response().read() == b"ok"
        assert responses == [req.get_response()]
        req.remove_all_listeners()


@pytest.mark.parametrize("read_late", [False, True])
def test_a_response_that_nobody_reads_holds_no_thread(read_late: bool) -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        [response] = Recorder(agent.get(server.url), "response").wait("response")
        if read_late:
            recorder = Recorder(response, "data", "end")
            recorder.wait("end")
            assert recorder.data() == b"ok"


def test_a_late_listener_gets_the_response_that_somebody_holds() -> None:
    with scripted(answer(OK)) as server:
        held: list[IncomingMessage] = []
        req = get(server.url, lambda response: held.append(response.resume()))
        told = Recorder(req, "close")
        told.wait("close")
        again: list[IncomingMessage] = []
        req.on("response", again.append).once("response", again.append)
        assert again == held * 2


def test_leaving_a_with_block_is_the_end_of_an_answer_that_nobody_read() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        req = get(server.url, agent=agent)
        recorder = Recorder(req, "close")
        with req as response:
            assert response.complete
            assert recorder.names == []
        assert recorder.names == ["close"]
        assert not req.destroyed


def test_abort_twice_tells_of_the_first_time() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url)
        req.abort()
        first = req.aborted
        req.abort()
        assert req.aborted is first


def test_destroying_a_request_tells_its_answer() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK[:-1])
        peer.read_head()

    with scripted(script) as server:
        req = get(server.url)
        response = req.get_response()
        recorder = Recorder(response, "aborted", "error", "close")
        why = OSError("because")
        req.destroy(why)
        assert recorder.noted == [("error", (why,)), ("aborted", ()), ("close", ())]


def test_what_a_listener_was_told_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(answer(OK)) as server:
        req = get(server.url)
        req.on("error", ignore).destroy(OSError("because"))
        del req
        gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("keep_alive", [False, True])
def test_close_comes_behind_finish_when_the_answer_comes_first(keep_alive: bool) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server, Agent(keep_alive=keep_alive) as agent:
        req = request(server.url, method="POST", agent=agent)
        recorder = Recorder(req, "finish", "close")
        req.write("a")
        assert req.get_response().read() == b"ok"
        assert recorder.names == []
        req.end("b")
        assert recorder.names == ["finish", "close"]


def test_close_waits_for_no_end_on_a_connection_that_is_over() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        peer.read_all()

    with scripted(script) as server:
        req = request(server.url, method="POST")
        recorder = Recorder(req, "finish", "close")
        req.write("a")
        assert req.get_response().read() == b"ok"
        assert recorder.names == ["close"]
        req.end("b")
        assert recorder.names == ["close"]
