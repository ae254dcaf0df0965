"""A tunnel for the thread that asks for it."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Followed, Peer, answer, fields, ignore, scripted
from support import SECONDS, Recorder, in_thread

import nhttp
from nhttp.client import request
from nhttp.errors import ConnectionReset, SocketError, StateError, TunnelRefused

if TYPE_CHECKING:
    from nhttp.net import Socket

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection Established\r\n\r\n"
REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo"}


class Watched(Followed):
    """Says when somebody waits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.waiting = threading.Event()
        super().__init__(*arguments, **options)

    def _wait(self, timeout: float | None = None) -> bool:
        self.waiting.set()
        return super()._wait(timeout)


def echoing(octets: bytes) -> Any:
    """A script that makes a tunnel, and sends back what comes through it."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(octets)
        peer.send(peer.read(4))
        assert peer.read_all() == b""

    return script


@pytest.mark.parametrize("ended", [False, True])
def test_a_tunnel_by_connect(ended: bool) -> None:
    with scripted(echoing(ESTABLISHED + b"first")) as server:
        req = request(server.url, method="CONNECT", path="example.org:443")
        if ended:
            req.end()
        tunnel = req.get_tunnel(timeout=SECONDS)
        assert isinstance(tunnel, nhttp.Tunnel)
        response, socket, head = tunnel
        assert (response.status_code, head) == (200, b"first")
        assert response.request is req
        assert response.socket is socket is req.socket
        assert response.complete
        with socket:
            socket.write("ping")
            assert socket.read(4) == b"ping"
    assert b"CONNECT example.org:443 HTTP/1.1" in server.peers[0].head


def test_an_upgrade() -> None:
    with scripted(echoing(SWITCHED)) as server:
        tunnel = request(server.url, headers=UPGRADE).end().get_tunnel()
        with tunnel.socket as socket:
            assert (tunnel.response.status_code, tunnel.head) == (101, b"")
            assert tunnel.response.headers["Upgrade"] == "echo"
            socket.write("ping")
            assert socket.read(4) == b"ping"
    assert "Upgrade: echo" in fields(server.peers[0].head)


def test_no_other_thread_takes_part() -> None:
    with scripted(echoing(HINTS + SWITCHED)) as server:
        before = {*threading.enumerate()}
        req = request(server.url, headers=UPGRADE).end()
        recorder = Recorder(req, "socket", "information", "close")
        socket = req.get_tunnel().socket
        started = {*threading.enumerate()} - before
        assert not {each.name for each in started} & {"nhttp-request", "nhttp-socket"}
        assert recorder.names == ["socket", "information", "close"]
        assert {*recorder.threads} == {threading.current_thread()}
        socket.destroy()


def test_what_comes_through_can_flow() -> None:
    with scripted(echoing(SWITCHED)) as server:
        socket = request(server.url, headers=UPGRADE).end().get_tunnel().socket
        recorder = Recorder(socket, "data", "end", "close")
        socket.write("ping")
        assert recorder.wait("data") == (b"ping",)
        socket.end()
        recorder.wait("close")


def test_every_time_it_is_the_same_tunnel() -> None:
    with scripted(answer(SWITCHED + b"first")) as server:
        req = request(server.url, headers=UPGRADE).end()
        tunnel = req.get_tunnel()
        again = req.get_tunnel(timeout=0)
        assert again.response is tunnel.response
        assert again == tunnel
        with pytest.raises(StateError, match="made a tunnel"):
            req.get_response()
        tunnel.socket.destroy()


def test_a_late_listener_is_given_the_tunnel_that_was_asked_for() -> None:
    with scripted(answer(SWITCHED + b"first")) as server:
        req = request(server.url, headers=UPGRADE).end()
        tunnel = req.get_tunnel()
        assert Recorder(req, "upgrade").noted == [("upgrade", tuple(tunnel))]
        tunnel.socket.destroy()


def test_a_tunnel_that_was_dropped_is_closed() -> None:
    gc.collect()
    gc.disable()
    try:
        with scripted(answer(SWITCHED)) as server:
            req = request(server.url, headers=UPGRADE).end()
            tunnel = req.get_tunnel()
            weak = weakref.ref(tunnel.socket)
            tunnel.socket.destroy()
            del tunnel
            with pytest.raises(StateError, match="dropped"):
                req.get_tunnel()
            assert Recorder(req, "upgrade").names == []
            del req
            assert weak() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("octets", "options", "message"),
    [
        (REFUSED, {"method": "CONNECT", "path": "a:1"}, "407 Proxy Authentication Required"),
        (OK, {"headers": UPGRADE}, "200 OK"),
        (OK, {}, "200 OK"),
        (b"HTTP/1.1 599\r\nContent-Length: 0\r\n\r\n", {"headers": UPGRADE}, "599,"),
    ],
)
def test_a_refusal_has_its_status_and_is_a_response_like_any(
    octets: bytes, options: Any, message: str
) -> None:
    with scripted(answer(octets)) as server:
        req = request(server.url, **options).end()
        with pytest.raises(TunnelRefused, match=message) as caught:
            req.get_tunnel()
        assert caught.value.code == "ERR_HTTP_TUNNEL_REFUSED"
        assert isinstance(caught.value, SocketError)
        with pytest.raises(TunnelRefused, match=message):
            req.get_tunnel()
        with req as response:
            assert response.status_code == caught.value.status_code
            body = response.read()
            assert octets.endswith(body)
            with pytest.raises(TunnelRefused, match=message):
                req.get_tunnel()
        del response
        with pytest.raises(StateError, match="dropped"):
            req.get_tunnel()


def test_a_late_listener_is_given_the_refusal() -> None:
    with scripted(answer(REFUSED)) as server:
        req = Followed(server.url, method="CONNECT", path="a:1")
        req.end()
        with pytest.raises(TunnelRefused):
            req.get_tunnel()
        recorder = Recorder(req, "response")
        assert recorder.wait("response")[0].read() == b"no"
        assert req.done.wait(SECONDS)


def test_the_request_can_be_asked_again_after_a_timeout() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert asked.wait(SECONDS)
        peer.send(SWITCHED)
        assert peer.read_all() == b""

    with scripted(script) as server:
        req = request(server.url, headers=UPGRADE).end()
        with pytest.raises(TimeoutError, match="no answer came in time"):
            req.get_tunnel(timeout=0.01)
        asked.set()
        req.get_tunnel().socket.destroy()


def test_the_timeout_of_the_request_counts() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read_all() == b""

    with scripted(script) as server:
        req = request(server.url, headers=UPGRADE, timeout=0.01).end()
        for _ in range(2):
            with pytest.raises(TimeoutError, match=r"no progress for 0\.01 seconds"):
                req.get_tunnel()


def test_who_asks_is_woken_when_the_request_is_destroyed() -> None:
    reached = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        reached.set()
        assert peer.read_all() == b""

    with scripted(script) as server:
        req = request(server.url, headers=UPGRADE).end()
        asking = [in_thread(req.get_tunnel) for _ in range(2)]
        assert reached.wait(SECONDS)
        req.abort()
        for each in asking:
            with pytest.raises(ConnectionReset, match="given up"):
                each.result()


def test_a_connection_that_fails() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    with scripted(script) as server:
        req = request(server.url, headers=UPGRADE).end()
        for _ in range(2):
            with pytest.raises(ConnectionReset):
                req.get_tunnel()
        assert Recorder(req, "upgrade", "error", "close").names == ["error", "close"]


def test_several_threads_are_given_the_same_tunnel() -> None:
    with scripted(answer(HINTS + SWITCHED + b"first")) as server:
        req = request(server.url, headers=UPGRADE).end()
        keep = Recorder(req, "information")  # on the thread that reads
        start = threading.Barrier(3)

        def ask() -> nhttp.Tunnel:
            start.wait(SECONDS)
            tunnel = req.get_tunnel(SECONDS)
            start.wait(SECONDS)  # as long as it is held it can be asked for
            return tunnel

        asking = [in_thread(ask) for _ in range(3)]
        first, *others = [each.result() for each in asking]
        assert all(each == first for each in others)
        assert len(keep.noted) == 1
        first.socket.destroy()


def test_who_asks_for_a_response_leaves_the_tunnel_to_who_asks_for_that() -> None:
    let = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(HINTS)
        assert let.wait(SECONDS)
        peer.send(SWITCHED + b"first")
        assert peer.read_all() == b""

    with scripted(script) as server:
        req = Watched(server.url, headers=UPGRADE)
        recorder = Recorder(req, "information")
        req.end()
        response = in_thread(req.get_response)
        recorder.wait("information")  # so that one reads, and waits in the source
        tunnel = in_thread(req.get_tunnel)
        assert req.waiting.wait(SECONDS)
        let.set()
        with pytest.raises(StateError, match="made a tunnel"):
            response.result()
        assert tunnel.result().head == b"first"
        tunnel.result().socket.destroy()


@pytest.mark.parametrize("event", ["upgrade", "response"])
def test_a_request_with_listeners_can_be_asked_as_well(event: Any) -> None:
    let = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert let.wait(SECONDS)
        peer.send(SWITCHED + b"first")
        assert peer.read_all() == b""

    with scripted(script) as server:
        req = Watched(server.url, headers=UPGRADE)
        recorder = Recorder(req, event)
        req.end()
        asking = in_thread(req.get_tunnel)
        assert req.waiting.wait(SECONDS)
        let.set()
        tunnel = asking.result()
        if event == "upgrade":
            assert recorder.wait("upgrade") == tuple(tunnel)
        tunnel.socket.destroy()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["upgrade"] * (event == "upgrade")


def test_a_listener_cannot_wait_for_the_tunnel_that_its_own_thread_would_read() -> None:
    refused: list[BaseException] = []

    def ask(_: Socket) -> None:
        try:
            req.get_tunnel()
        except StateError as error:
            refused.append(error)

    with scripted(answer(OK)) as server:
        req = Followed(server.url, headers=UPGRADE)
        req.on("response", lambda response: response.resume()).on("socket", ask).end()
        assert req.done.wait(SECONDS)
    assert [each.code for each in refused if isinstance(each, StateError)] == ["ERR_INVALID_STATE"]


def test_the_server_may_want_the_body_before_it_switches() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(CONTINUE)
        assert peer.read(4) == b"body"
        peer.send(SWITCHED)
        assert peer.read_all() == b""

    headers = {**UPGRADE, "Expect": "100-continue", "Content-Length": "4"}
    with scripted(script) as server:
        req = request(server.url, method="POST", headers=headers)
        assert req.wait_continue()
        req.end("body").get_tunnel().socket.destroy()


def test_without_anybody_who_wants_it_a_tunnel_is_an_error_that_says_how_to_get_it() -> None:
    with scripted(answer(SWITCHED)) as server:
        req = request(server.url, headers=UPGRADE).end()
        with pytest.raises(ConnectionReset, match="get_tunnel"):
            req.get_response()


def test_a_tunnel_of_a_request_that_is_destroyed_meanwhile() -> None:
    class Overtaken(Followed):
        def _answered(self, response: nhttp.IncomingMessage, *, hold: bool) -> None:
            self.destroy(ConnectionReset("mine", "ECONNRESET"))
            super()._answered(response, hold=hold)

    with scripted(answer(SWITCHED)) as server:
        req = Overtaken(server.url, headers=UPGRADE)
        req.end()
        for _ in range(2):
            with pytest.raises(ConnectionReset, match="mine"):
                req.get_tunnel()
        assert req.socket is not None
        assert req.socket.destroyed


def test_a_listener_that_came_while_the_calling_thread_reads_does_not_keep_it() -> None:
    with scripted(echoing(HINTS + SWITCHED)) as server:
        req = request(server.url, headers=UPGRADE)
        flowed = threading.Event()

        def upgraded(_response: object, socket: Socket, _head: bytes) -> None:
            socket.on("data", lambda _: flowed.set())
            socket.write("ping")

        req.on("information", lambda _: ignore(req.on("upgrade", upgraded))).end()
        tunnel = req.get_tunnel()
        assert flowed.wait(SECONDS)
        tunnel.socket.destroy()
