"""The body that a request sends: how text becomes octets, how its end is found, who is told."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Followed, Gated, Peer, answer, fields, ignore, keeping, scripted
from support import SECONDS, Recorder, in_thread

from nhttp._agent.agent import Agent
from nhttp._exchange import Exchange
from nhttp.client import request
from nhttp.errors import InvalidArgument, StateError
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nhttp.client import ClientRequest
    from nhttp.streams import BytesLike


IN_CHUNKS = b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"


def taking(bodies: list[bytes], size: int) -> Callable[[Peer], None]:
    """A script that keeps a body of so many octets, and answers."""

    def script(peer: Peer) -> None:
        peer.read_head()
        bodies.append(peer.read(size))
        peer.send(OK)

    return script


def test_text_is_sent_in_the_encoding_that_is_asked_for() -> None:
    bodies: list[bytes] = []
    with scripted(taking(bodies, 8)) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": 8})
        req.write("\u00e9")
        req.write("ff", "hex")
        req.set_default_encoding("latin1")
        req.write("\u00e9")
        req.write("\u00e9", "utf8")
        assert req.end("\u00e9f").get_response().read() == b"ok"
        assert bodies == [b"\xc3\xa9\xff\xe9\xc3\xa9\xe9f"]
    with scripted(taking(bodies, 1)) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": 1})
        assert req.end("ff", "hex").get_response().read() == b"ok"
        assert bodies[1:] == [b"\xff"]


def test_what_cannot_be_called_back_is_refused_before_anything_is_sent() -> None:
    wrong: Any = 5
    with scripted(answer(OK)) as server:
        req = request(server.url, method="PUT")
        with pytest.raises(InvalidArgument, match="must be callable"):
            req.write("x", callback=wrong)
        with pytest.raises(InvalidArgument, match="unknown encoding 5"):
            req.write(b"x", wrong)
        with pytest.raises(InvalidArgument, match="must be callable"):
            req.end("x", callback=wrong)
        assert not req.headers_sent
        assert req.end().get_response().read() == b"ok"
    assert "Content-Length: 0" in fields(server.peers[0].head)


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ((ignore,), b""),
        (("ab", ignore), b"ab"),
        (("6162", "hex", ignore), b"ab"),
        (("ab", None, ignore), b"ab"),
        ((None, None, ignore), b""),
        (("6162", "hex"), b"ab"),
    ],
)
def test_a_callback_of_end_may_stand_in_any_place(arguments: Any, body: bytes) -> None:
    finished = threading.Event()
    arguments = [finished.set if each is ignore else each for each in arguments]
    bodies: list[bytes] = []
    with scripted(taking(bodies, len(body))) as server:
        req = request(server.url, method="PUT").end(*arguments)
        assert req.get_response().read() == b"ok"
        assert bodies == [body]
        assert finished.is_set() == (finished.set in arguments)


def write_and_end(req: ClientRequest) -> None:
    req.write("ab")
    req.end("cd")


def write_and_cork(req: ClientRequest) -> None:
    req.write("ab")
    req.cork()
    req.write("cd")
    req.end()


def cork_and_write(req: ClientRequest) -> None:
    req.cork()
    req.write("ab")
    req.end("cd")


@pytest.mark.parametrize(
    ("send", "line", "size"),
    [
        (write_and_end, "Transfer-Encoding: chunked", len(IN_CHUNKS)),
        (write_and_cork, "Transfer-Encoding: chunked", len(IN_CHUNKS)),
        (cork_and_write, "Content-Length: 4", 4),
    ],
)
def test_that_all_is_said_before_there_is_a_socket_changes_no_framing(
    send: Callable[[ClientRequest], None], line: str, size: int
) -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads, size)) as server, Gated() as agent:
        req = Followed(server.url, lambda res: res.resume(), method="PUT", agent=agent)
        recorder = Recorder(req, "drain", "finish")
        send(req)
        assert agent.asked.wait(SECONDS)
        agent.give()
        assert req.done.wait(SECONDS)
        assert line in fields(heads[0])
        assert recorder.names == ["finish"]


@pytest.mark.parametrize("ending", [False, True])
def test_what_comes_while_the_queue_is_sent_is_sent_behind_it(
    ending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transmit(exchange: Exchange, out: Sequence[BytesLike]) -> None:
        if not came.is_set():
            came.set()
            if ending:
                in_thread(req.end).result()
            else:
                assert not in_thread(req.write, "cd").result()
        send(exchange, out)

    came, send = threading.Event(), Exchange.transmit
    monkeypatch.setattr(Exchange, "transmit", transmit)
    bodies: list[bytes] = []
    body = b"2\r\nab\r\n" + (b"0\r\n\r\n" if ending else b"2\r\ncd\r\n")
    with scripted(taking(bodies, len(body))) as server, Gated() as agent:
        req = request(server.url, method="PUT", agent=agent)
        recorder = Recorder(req, "response", "drain", "finish")
        assert not req.write("ab")
        assert agent.asked.wait(SECONDS)
        agent.give()
        assert recorder.wait("response")[0].read() == b"ok"
        assert bodies == [body]
        recorder.wait("finish" if ending else "drain")
        req.destroy()


def test_the_head_stays_fixed_when_more_is_corked() -> None:
    with Gated() as agent:
        req = request("http://127.0.0.1:1/", ignore, method="PUT", agent=agent)
        assert not req.write("ab")
        req.cork()
        assert not req.write("cd")
        with pytest.raises(StateError):
            req.set_header("X", "late")
        req.destroy()


def test_what_is_sent_at_once_needs_no_drain() -> None:
    bodies: list[bytes] = []
    with scripted(taking(bodies, 2)) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": 2})
        recorder = Recorder(req, "drain")
        assert req.write("ab")
        assert req.end().get_response().read() == b"ok"
        assert recorder.names == []


def test_only_what_was_written_is_to_drain() -> None:
    with Gated() as agent:
        req = request("http://127.0.0.1:1/", ignore, method="PUT", agent=agent)
        req.flush_headers()
        before = req.writable_need_drain
        assert not before
        assert not req.write("ab")
        assert req.writable_need_drain
        req.destroy()


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("PUT", b"0\r\n\r\n")])
def test_nothing_but_the_end_follows_a_head(method: str, body: bytes, flushed: bool) -> None:
    rests: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.read_head()
        rests.append(peer.read(len(body)))
        peer.send(OK)
        rests.append(peer.read_all())

    with scripted(script) as server:
        req = request(server.url, method=method)
        req.remove_header("Content-Length")
        if flushed:
            req.flush_headers()
            req.flush_headers()
        assert req.end().get_response().read() == b"ok"
        req.flush()
    assert rests == [body, b""]


def test_the_fields_that_say_how_a_body_ends_are_kept_to_without_one() -> None:
    bodies: list[bytes] = []
    with scripted(taking(bodies, 5)) as server:
        req = request(server.url, headers={"Transfer-Encoding": "gzip, chunked"}).end()
        assert req.get_response().read() == b"ok"
        assert bodies == [b"0\r\n\r\n"]


def declared(url: str) -> ClientRequest:
    req = request(url, headers={"Content-Length": 4})
    req.flush_headers()
    req.write("ab")
    return req


def corked(url: str) -> ClientRequest:
    req = request(url)
    req.cork()
    req.write("ab")
    req.flush_headers()
    req.uncork()
    return req


def uncorked(url: str) -> ClientRequest:
    req = request(url)
    req.cork()
    req.write("ab")
    req.uncork()
    return req


@pytest.mark.parametrize(
    ("begin", "body"), [(declared, b"abcd"), (corked, IN_CHUNKS), (uncorked, IN_CHUNKS)]
)
def test_a_get_that_was_flushed_may_send_the_body_that_was_there(
    begin: Callable[[str], ClientRequest], body: bytes
) -> None:
    bodies: list[bytes] = []
    with scripted(taking(bodies, len(body))) as server:
        req = begin(server.url)
        req.write("cd")
        assert req.end().get_response().read() == b"ok"
        assert bodies == [body]


def test_a_connection_is_not_kept_behind_a_body_that_fell_short() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        for method in ("GET", "PUT"):
            req = request(server.url, method=method, headers={"Content-Length": 5}, agent=agent)
            assert req.end().get_response().read() == b"ok"
            assert not agent.free_sockets


def test_in_callback_style_a_failure_to_send_is_left_to_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed, written = threading.Event(), threading.Event()

    calls: list[object] = []

    def transmit(socket: Socket, out: Sequence[BytesLike]) -> None:
        calls.append(out)
        send(socket, out)
        failed.set()
        raise BrokenPipeError(errno.EPIPE, "broken")

    def script(peer: Peer) -> None:
        peer.read_head()
        assert written.wait(SECONDS)
        peer.send(OK)

    send = Socket._transmit
    monkeypatch.setattr(Socket, "_transmit", transmit)
    with scripted(script) as server:
        req = request(server.url, method="PUT")
        recorder = Recorder(req, "response")
        req.write("ab")
        assert failed.wait(SECONDS)
        req.write("cd")
        written.set()
        assert recorder.wait("response")[0].read() == b"ok"
        req.destroy()
    assert len(calls) == 1


def test_what_could_not_be_sent_is_not_finished_and_its_connection_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def transmit(socket: Socket, out: Sequence[BytesLike]) -> None:
        send(socket, out)
        raise BrokenPipeError(errno.EPIPE, "broken")

    send = Socket._transmit
    monkeypatch.setattr(Socket, "_transmit", transmit)
    with scripted(answer(OK)) as server, Agent(keep_alive=True) as agent:
        req = request(server.url, agent=agent)
        recorder = Recorder(req, "finish", "error")
        assert req.end().get_response().read() == b"ok"
        assert recorder.names == []
        assert not agent.sockets
        assert not agent.free_sockets


def test_ending_twice_what_has_failed_is_an_error_where_nobody_was_told(unused_port: int) -> None:
    req = request(host="127.0.0.1", port=unused_port, method="PUT").end("ab")
    with pytest.raises(StateError):
        req.end("cd")
    recorder = Recorder(req, "error")
    assert req.end("cd") is req
    assert recorder.names == ["error"]


def test_flush_sends_what_is_corked_and_the_cork_stays() -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read(7) == b"2\r\nab\r\n"
        arrived.set()
        assert peer.read(12) == b"2\r\ncd\r\n0\r\n\r\n"[:12]
        peer.send(OK)

    with scripted(script) as server:
        req = request(server.url, method="PUT")
        req.cork()
        req.write("ab")
        assert not req.headers_sent
        req.flush()
        assert arrived.wait(SECONDS)
        req.write("cd")
        assert (req.writable_corked, req.writable_length) == (1, 2)
        assert req.end().get_response().read() == b"ok"
