"""Which thread does what for a request, and what they tell each other."""

from __future__ import annotations

import functools
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Followed, Peer, answer, ignore, keeping, scripted, stalling
from support import SECONDS, Recorder, eventually, in_thread

from nhttp import _threads, net
from nhttp._agent.agent import Agent
from nhttp._exchange import Exchange
from nhttp._request.sending import SEND_FIRST
from nhttp._timers import Deadline, now
from nhttp.client import request
from nhttp.errors import ConnectionReset, SocketTimeout, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.options import RequestOptions
    from nhttp._parser import ResponseHead
    from nhttp.headers import HeaderInput
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPGRADE: HeaderInput = {"Connection": "Upgrade", "Upgrade": "echo"}


def test_a_request_with_a_callback_tells_everything_on_its_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    started: list[str] = []

    def note(*_: object) -> None:
        threads.append(threading.current_thread())

    def answered(response: IncomingMessage) -> None:
        response.on("data", note).on("end", note)
        note()

    def run(work: Any, *args: Any, name: str) -> None:
        started.append(name)
        start(work, *args, name=name)

    start = _threads.run
    monkeypatch.setattr(_threads, "run", run)
    with scripted(answer(OK)) as server:
        req = Followed(server.url, answered)
        req.on("socket", note).on("finish", note).on("close", note).end()
        assert req.done.wait(SECONDS)
    assert len(threads) == 6
    assert len({*threads}) == 1
    started = [name for name in started if name != "nhttp-agent"]  # an agent that another test left
    assert started == ["nhttp-request"]


@pytest.mark.parametrize(
    ("size", "name"), [(SEND_FIRST, "nhttp-request"), (SEND_FIRST + 1, "nhttp-upload")]
)
def test_much_that_was_queued_is_sent_beside_the_reading(size: int, name: str) -> None:
    names: list[str] = []
    sent = threading.Event()

    def written() -> None:
        names.append(threading.current_thread().name)
        sent.set()

    with scripted(keeping([], size)) as server:
        headers = {"Content-Length": size}
        req = request(server.url, ignore, method="PUT", headers=headers)
        assert not req.write(bytes(size), written)
        assert sent.wait(SECONDS)
        assert req.end().get_response(SECONDS).read() == b"ok"
    assert names == [name]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("more", [0, 1])
def test_much_that_a_listener_writes_is_sent_beside_the_reading(more: int, elsewhere: bool) -> None:
    size = SEND_FIRST + more
    senders: list[threading.Thread] = []
    results: list[bool] = []
    sent = threading.Event()

    def written() -> None:
        senders.append(threading.current_thread())
        sent.set()

    def write() -> None:
        senders.append(threading.current_thread())
        results.append(req.write(bytes(size), written))

    def on_continue() -> None:
        if elsewhere:
            in_thread(write).result()
        else:
            write()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read(size)
        peer.send(OK)

    with scripted(script) as server:
        headers = {"Expect": "100-continue", "Content-Length": size}
        req = Followed(server.url, method="PUT", headers=headers)
        recorder = Recorder(req, "response", "drain", "finish")
        req.on("continue", on_continue)
        assert sent.wait(SECONDS)
        beside = more > 0 and not elsewhere
        assert results == [not beside]
        assert (senders[0] is senders[1]) == (not beside)
        if beside:
            recorder.wait("drain")
            assert not req.writable_need_drain
        assert recorder.wait("response")[0].read() == b"ok"
        req.end()
        recorder.wait("finish")
        assert recorder.names.count("drain") == beside
        assert req.done.wait(SECONDS)


@pytest.mark.parametrize("size", [2, SEND_FIRST + 1])
def test_what_is_corked_waits_for_the_end_when_the_socket_comes_first(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []
    reading = threading.Event()

    class Watched(Followed):
        def _run_reader(self) -> None:
            reading.set()
            super()._run_reader()

    def run(work: Any, *args: Any, name: str) -> None:
        if name == "nhttp-upload":
            work(*args)
        else:
            start(work, *args, name=name)

    start = _threads.run
    monkeypatch.setattr(_threads, "run", run)
    with scripted(keeping(heads, size + 2)) as server:
        req = Watched(server.url, ignore, method="PUT")
        recorder = Recorder(req, "drain")
        req.cork()
        req.write(bytes(size))
        assert reading.wait(SECONDS)
        assert recorder.names == []
        assert req.end("cd").get_response().read() == b"ok"
        assert b"\r\nContent-Length: %d\r\n" % (size + 2) in heads[0]


@pytest.mark.parametrize("event", ["response", "continue", "information", "upgrade"])
def test_a_listener_that_raises_is_logged_once(
    event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    octets = {
        "response": OK,
        "continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 2,
        "information": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2 + OK,
        "upgrade": SWITCHED,
    }[event]
    calls: list[object] = []

    def listener(*_: object) -> None:
        calls.append(event)
        raise LookupError("mine")

    with scripted(answer(octets)) as server:
        req = Followed(server.url, headers=UPGRADE)
        recorder = Recorder(req, "close", *({"response"} - {event}))
        req.on(event, listener).end()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["close"]
        del req, recorder
        gc.collect()
    assert calls == [event]
    assert ["mine" in each.exc_text for each in caplog.records if each.exc_text] == [True]
    assert len(caplog.records) == 1


def test_a_connection_that_breaks_is_not_logged_as_the_mistake_of_a_listener(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scripted(Peer.read_head) as server:
        req = Followed(server.url, ignore)
        recorder = Recorder(req, "error", "close")
        req.end()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["error", "close"]
    assert not caplog.records


def test_a_tunnel_is_not_told_as_a_response() -> None:
    with scripted(answer(SWITCHED)) as server:
        req = Followed(server.url, headers=UPGRADE)
        recorder = Recorder(req, "response", "upgrade", "error", "close")
        req.on("upgrade", lambda _response, socket, _head: socket.destroy()).end()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["upgrade", "close"]


def test_a_request_that_is_destroyed_while_its_answer_comes_tells_of_no_answer() -> None:
    class Overtaken(Followed):
        def _accept(self, head: ResponseHead, *, hold: bool) -> IncomingMessage:
            self.destroy(ConnectionReset("mine", "ECONNRESET"))
            return super()._accept(head, hold=hold)

    with scripted(answer(OK)) as server:
        req = Overtaken(server.url)
        recorder = Recorder(req, "response", "error", "close")
        req.end()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["error", "close"]


@pytest.mark.parametrize("arrived", [False, True])
def test_a_response_is_broken_off_by_what_came_before_it_unless_it_is_whole(arrived: bool) -> None:
    class Overtaken(Followed):
        def _answered(self, response: IncomingMessage, *, hold: bool) -> None:
            self.destroy(mine)
            super()._answered(response, hold=hold)

    mine = ConnectionReset("mine", "ECONNRESET")
    with scripted(answer(OK if arrived else OK[:-1])) as server, Agent(keep_alive=True) as agent:
        response = Overtaken(server.url, agent=agent).end().get_response()
        recorder = Recorder(response, "aborted", "close")
        if arrived:
            assert recorder.names == []
            assert response.read() == b"ok"
        else:
            assert recorder.names == ["aborted", "close"]
            with pytest.raises(ConnectionReset, match="mine"):
                response.read()


def test_an_answer_to_a_callback_is_read_by_the_threads_of_its_request_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers: set[threading.Thread] = set()

    def read_head(exchange: Exchange, until: float | None) -> ResponseHead:
        readers.add(threading.current_thread())
        return read(exchange, until)

    def on_socket(_: Socket) -> None:
        readers.clear()
        with pytest.raises(TimeoutError):
            in_thread(req.get_response, 0.005).result()
        owner.append(threading.current_thread())

    read, owner = Exchange.read_head, list[threading.Thread]()
    monkeypatch.setattr(Exchange, "read_head", read_head)
    with scripted(answer(OK)) as server:
        req = Followed(server.url, lambda response: response.resume())
        req.on("socket", on_socket).end()
        assert req.done.wait(SECONDS)
    assert readers == {*owner}


def give_up(
    monkeypatch: pytest.MonkeyPatch, first: Callable[[], object], error: BaseException
) -> None:
    """Have the first thread that reads an answer do something, and give up."""
    calls: list[float | None] = []

    def read_head(exchange: Exchange, until: float | None) -> ResponseHead:
        calls.append(until)
        if len(calls) > 1:
            return read(exchange, until)
        first()
        raise error

    read = Exchange.read_head
    monkeypatch.setattr(Exchange, "read_head", read_head)


def test_who_waits_for_an_answer_reads_it_when_the_reader_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, waiting = threading.Event(), threading.Event()

    class Watched(Followed):
        def _wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super()._wait(timeout)

    def first() -> None:
        reading.set()
        assert waiting.wait(SECONDS)

    give_up(monkeypatch, first, SocketTimeout("in vain", "ETIMEDOUT"))
    with scripted(answer(OK)) as server:
        req = Watched(server.url).end()
        one = in_thread(req.get_response, SECONDS)
        assert reading.wait(SECONDS)
        other = in_thread(req.get_response)
        with pytest.raises(TimeoutError, match="in vain"):
            one.result()
        assert other.result().read() == b"ok"


def test_one_thread_at_a_time_reads_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[in_thread] = []

    def read_head(exchange: Exchange, until: float | None) -> ResponseHead:
        others.append(in_thread(req.get_response, 0.005))
        with pytest.raises(TimeoutError):
            others[0].result()
        return read(exchange, until)

    read = Exchange.read_head
    monkeypatch.setattr(Exchange, "read_head", read_head)
    with scripted(answer(OK)) as server:
        req = request(server.url).end()
        assert req.get_response().read() == b"ok"
        assert len(others) == 1


def test_a_listener_that_came_meanwhile_is_told_when_the_reader_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorders: list[Recorder] = []
    with scripted(answer(OK)) as server:
        req = request(server.url).end()
        give_up(
            monkeypatch,
            lambda: recorders.append(Recorder(req, "response")),
            SocketTimeout("in vain", "ETIMEDOUT"),
        )
        with pytest.raises(TimeoutError, match="in vain"):
            req.get_response(SECONDS)
        assert recorders[0].wait("response")[0].read() == b"ok"


def test_ctrl_c_while_an_answer_is_read_gives_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    give_up(monkeypatch, ignore, KeyboardInterrupt())
    with scripted(answer(OK)) as server:
        req = request(server.url).end()
        with pytest.raises(KeyboardInterrupt):
            req.get_response()
        assert req.get_response().read() == b"ok"


@pytest.mark.parametrize(
    "told",
    [["response"], ["request"], ["request", "response"], ["request", "socket"]],
)
def test_a_timeout_is_told_to_whoever_listens_for_it(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    passed, later = threading.Event(), threading.Event()

    class Watched(Followed):
        def _timed_out(self) -> None:
            super()._timed_out()
            passed.set()

    def run(work: Any, *args: Any, name: str) -> None:
        if name == "nhttp-timeout":
            work(*args)
        else:
            start(work, *args, name=name)

    def note(name: str, *_: object) -> None:
        names.append(name)

    start = _threads.run
    monkeypatch.setattr(_threads, "run", run)
    with scripted(stalling(OK[:-1])) as server:
        req = Watched(server.url).end()
        response = req.get_response()
        for name, emitter in (("response", response), ("request", req), ("socket", req.socket)):
            if name in told:
                assert emitter is not None
                emitter.on("timeout", functools.partial(note, name))
        req.set_timeout(0.01)
        assert passed.wait(SECONDS)
        Deadline(later.set).set(now())  # on the same thread: nothing more comes of that one
        assert later.wait(SECONDS)
        assert sorted(names) == told
        assert not req.destroyed
        req.destroy()


def test_who_waits_for_an_answer_reads_it_where_a_listener_gets_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = threading.Event()
    others: list[in_thread] = []

    class Watched(Followed):
        def _wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super()._wait(timeout)

    def run(*_args: object, **_keywords: object) -> None:
        others.append(in_thread(req.get_response))
        assert waiting.wait(SECONDS)
        raise RuntimeError("can't start new thread")

    with scripted(answer(OK)) as server:
        req = Watched(server.url).end()
        with monkeypatch.context() as context:
            context.setattr(_threads, "run", run)
            with pytest.raises(RuntimeError, match="new thread"):
                req.on("response", ignore)
        assert others[0].result().read() == b"ok"


def test_a_listener_that_comes_while_the_calling_thread_connects_is_told() -> None:
    recorders: list[Recorder] = []

    def create(options: RequestOptions) -> Socket:
        recorders.append(Recorder(req, "response"))
        return net.connect(options.target_port, options.target_host)

    with scripted(answer(OK)) as server:
        req = request(server.url, create_connection=create)
        req.end()
        assert recorders[0].wait("response")[0].read() == b"ok"


def test_two_threads_that_begin_at_once_get_one_connection() -> None:
    others: list[in_thread] = []

    class Meeting(Agent):
        """While one thread asks for the name, another one wants to send the head."""

        def get_name(self, *source: Any, **keywords: Any) -> str:
            others.append(in_thread(req.flush_headers))
            eventually(lambda: req._changed is not None, "nobody waits for the first thread")
            return super().get_name(*source, **keywords)

    with scripted(answer(OK)) as server, Meeting() as agent:
        req = request(server.url, agent=agent)
        assert req.end().get_response().read() == b"ok"
        assert [each.result() for each in others] == [None]
        assert len(server.peers) == 1


@pytest.mark.parametrize("reused", [False, True])
def test_a_request_that_gets_no_thread_holds_no_socket(
    reused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_args: object, **_keywords: object) -> None:
        raise RuntimeError("can't start new thread")

    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        if reused:
            assert agent.get(server.url).get_response().read() == b"ok"
        req = request(server.url, ignore, agent=agent)
        recorder = Recorder(req, "error", "close")
        with monkeypatch.context() as context:
            context.setattr(_threads, "run", run)
            with pytest.raises(RuntimeError, match="new thread"):
                req.end()
        assert recorder.names == ["error", "close"]
        assert not agent.sockets
        assert not agent.free_sockets
        assert not agent.requests
        assert agent.get(server.url).get_response(SECONDS).read() == b"ok"


def test_who_writes_while_another_thread_connects_sends_then() -> None:
    waiting = threading.Event()
    writing: list[in_thread] = []

    class Watched(Followed):
        def _wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super()._wait(timeout)

    def create(options: RequestOptions) -> Socket:
        writing.append(in_thread(req.write, "ab"))
        assert waiting.wait(SECONDS)
        return net.connect(options.target_port, options.target_host)

    with scripted(keeping([], len(b"2\r\nab\r\n0\r\n\r\n"))) as server:
        req = Watched(server.url, method="POST", create_connection=create)
        req.flush_headers()
        assert writing[0].result()
        assert req.end().get_response().read() == b"ok"


def test_a_write_that_is_overtaken_by_end_is_refused_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overtaken(data: Any = None, callback: Any = None) -> None:
        if data is not None:  # between the check and the lock
            in_thread(req.end).result()
        send(data, callback)

    with scripted(answer(OK)) as server:
        req = request(server.url, method="PUT")
        req.write("ab")
        send = req._send_queue
        monkeypatch.setattr(req, "_send_queue", overtaken)
        with pytest.raises(StateError) as caught:
            req.write("cd")
        assert caught.value.code == "ERR_STREAM_WRITE_AFTER_END"
        assert req.get_response().read() == b"ok"


def test_a_listener_of_a_sockets_close_may_use_the_request_that_was_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, may_go, closed = threading.Event(), threading.Event(), threading.Event()

    def transmit(_socket: Socket, _chunks: object) -> None:
        inside.set()
        assert may_go.wait(SECONDS)

    def use() -> None:
        req.end()
        closed.set()

    with scripted(Peer.read_all) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": 4})
        req.write("ab")
        assert req.socket is not None
        req.socket.on("close", use)
        monkeypatch.setattr(net.Socket, "_transmit", transmit)
        writing = in_thread(req.write, "cd")
        assert inside.wait(SECONDS)
        req.socket.destroy()
        may_go.set()
        assert writing.result()
        assert closed.is_set()
        req.destroy()
