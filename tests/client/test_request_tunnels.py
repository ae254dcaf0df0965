"""An answer that makes a tunnel of the connection: who gets it, and on which thread."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from client_support import Followed, Peer, answer, ignore, scripted
from support import SECONDS, Recorder

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp.client import request
from nhttp.errors import ConnectionReset, StateError

if TYPE_CHECKING:
    from nhttp._agent.options import RequestOptions
    from nhttp.client import Information
    from nhttp.headers import HeaderInput
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket

HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPGRADE: HeaderInput = {"Connection": "Upgrade", "Upgrade": "echo"}


def test_what_a_listener_is_given() -> None:
    given: list[object] = []

    def upgraded(response: IncomingMessage, socket: Socket, head: bytes) -> None:
        given.extend([response.request, response.complete, response.socket is socket, head])
        with pytest.raises(StateError, match="made a tunnel"):
            req.get_response()
        socket.destroy()

    with scripted(answer(SWITCHED + b"first")) as server:
        req = Followed(server.url, headers=UPGRADE)
        recorder = Recorder(req, "response", "error", "close")
        req.on("upgrade", upgraded).end()
        assert req.done.wait(SECONDS)
        assert given == [req, True, True, b"first"]
        assert recorder.names == ["close"]


def test_what_comes_through_is_told_by_the_thread_of_the_request() -> None:
    threads: list[threading.Thread] = []

    def note(*_: object) -> None:
        threads.append(threading.current_thread())

    def upgraded(_response: IncomingMessage, socket: Socket, _head: bytes) -> None:
        socket.on("data", note).on("end", note).on("close", note)
        note()
        socket.write("ping")

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCHED)
        assert peer.read(4) == b"ping"
        peer.send(b"data")

    with scripted(script) as server:
        req = Followed(server.url, headers=UPGRADE)
        req.on("upgrade", upgraded).end()
        assert req.done.wait(SECONDS)
    assert len(threads) == 4
    assert len({*threads}) == 1


def test_a_listener_that_raises_destroys_the_socket_with_what_it_raised() -> None:
    sockets: list[Socket] = []
    mine = LookupError("mine")

    def upgraded(_response: IncomingMessage, socket: Socket, _head: bytes) -> None:
        sockets.append(socket)
        raise mine

    with scripted(answer(SWITCHED)) as server:
        req = Followed(server.url, headers=UPGRADE)
        req.on("upgrade", upgraded).end()
        assert req.done.wait(SECONDS)
        assert sockets[0].errored is mine


class Late:
    """Listens for the tunnel when the calling thread reads already, so that this one gives it."""

    def __init__(self, url: str, listener: Any) -> None:
        self.request = request(url, headers=UPGRADE)
        self.request.on("information", lambda _: self.request.on("upgrade", listener)).end()


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_what_a_listener_raises_on_the_thread_that_asks(error: type[BaseException]) -> None:
    sockets: list[Socket] = []

    def upgraded(_response: IncomingMessage, socket: Socket, _head: bytes) -> None:
        sockets.append(socket)
        raise error

    with scripted(answer(HINTS + SWITCHED)) as server:
        req = Late(server.url, upgraded).request
        with pytest.raises(error):
            req.get_response()
        assert sockets[0].destroyed
        assert (sockets[0].errored is None) == (error is KeyboardInterrupt)


def test_the_thread_that_asks_is_told_that_a_listener_got_the_tunnel() -> None:
    with scripted(answer(HINTS + SWITCHED)) as server:
        given: list[object] = []

        def upgraded(response: IncomingMessage, socket: Socket, _head: bytes) -> None:
            given.extend([threading.current_thread(), response])
            socket.destroy()

        req = Late(server.url, upgraded).request
        with pytest.raises(StateError, match="made a tunnel"):
            req.get_response()
        assert given[0] is threading.current_thread()
        assert Recorder(req, "response").names == []


def test_waiting_to_continue_may_end_with_a_tunnel() -> None:
    with scripted(answer(HINTS + SWITCHED)) as server:
        sockets: list[Socket] = []

        def upgraded(_response: IncomingMessage, socket: Socket, _head: bytes) -> None:
            sockets.append(socket.destroy())

        assert not Late(server.url, upgraded).request.wait_continue()
        assert len(sockets) == 1


@pytest.mark.parametrize("blocking", [False, True])
def test_a_socket_that_was_destroyed_just_before_makes_no_tunnel(blocking: bool) -> None:
    def destroy(_: Information) -> None:
        assert req.socket is not None
        req.socket.destroy()
        req.on("upgrade", ignore)

    with scripted(answer(HINTS + SWITCHED)) as server:
        req = Followed(server.url, headers=UPGRADE)
        recorder = Recorder(req, "error", "close", *([] if blocking else ["upgrade"]))
        req.on("information", destroy).end()
        with pytest.raises(ConnectionReset):
            req.get_response()
        recorder.wait("close")
        assert blocking or req.done.wait(SECONDS)
        assert recorder.names == ["error", "close"]


def test_a_request_that_is_destroyed_while_the_tunnel_is_made_tells_of_none() -> None:
    class Overtaken(Followed):
        def _answered(self, response: IncomingMessage, *, hold: bool) -> None:
            self.destroy(ConnectionReset("mine", "ECONNRESET"))
            super()._answered(response, hold=hold)

    with scripted(answer(SWITCHED)) as server:
        req = Overtaken(server.url, headers=UPGRADE)
        recorder = Recorder(req, "upgrade", "error", "close")
        req.end()
        assert req.done.wait(SECONDS)
        assert recorder.names == ["error", "close"]
        assert req.socket is not None
        assert req.socket.destroyed


def test_a_late_listener_gets_a_tunnel_that_is_open_on_one_side() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCHED)
        peer.end()
        assert peer.read_all() == b"bye"

    def create(options: RequestOptions) -> Socket:
        return net.connect(options.target_port, options.target_host, allow_half_open=True)

    with scripted(script) as server:
        req = Followed(server.url, headers=UPGRADE, create_connection=create)
        recorder = Recorder(req, "upgrade")
        req.on("upgrade", lambda _response, socket, _head: socket.resume()).end()
        assert req.done.wait(SECONDS)
        late = Recorder(req, "upgrade")
        assert late.noted == recorder.noted
        late.wait("upgrade")[1].end("bye")


def test_nothing_is_kept_of_a_tunnel_that_is_over() -> None:
    def upgraded(response: IncomingMessage, socket: Socket, _head: bytes) -> None:
        weak.append(weakref.ref(response))
        socket.destroy()

    weak: list[weakref.ref[IncomingMessage]] = []
    gc.collect()
    gc.disable()
    try:
        with scripted(answer(SWITCHED)) as server:
            req = Followed(server.url, headers=UPGRADE)
            req.on("upgrade", upgraded).end()
            assert req.done.wait(SECONDS)
            assert Recorder(req, "upgrade").names == []
            assert weak[0]() is None
    finally:
        gc.enable()


def echo_tunnel(peer: Peer, line: bytes) -> None:
    peer.read_head()
    peer.send(line + b"first ")
    assert peer.read(4) == b"ping"
    peer.send(b"pong")
    peer.end()
    peer.read_all()


class Tunnel:
    """A listener for 'connect' or 'upgrade' that takes all that comes."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.calls: list[tuple[int, bytes]] = []

    def __call__(self, response: IncomingMessage, sock: Socket, head: bytes) -> None:
        sock.write("ping")
        self.calls.append((response.status_code, head + sock.read()))
        sock.end()
        self.over.set()


@pytest.mark.parametrize("order", ["before", "after", "chained"])
@pytest.mark.parametrize("event", ["connect", "upgrade"])
def test_tunnels(event: Any, order: str) -> None:
    line = SWITCHED if event == "upgrade" else b"HTTP/1.1 200 Connected\r\n\r\n"
    method = "CONNECT" if event == "connect" else "GET"
    with scripted(lambda peer: echo_tunnel(peer, line)) as server:
        tunnel = Tunnel()
        path = "example.com:80" if event == "connect" else "/"
        headers: HeaderInput = UPGRADE if event == "upgrade" else {}
        with Agent(keep_alive=True) as agent:
            req = request(server.url, method=method, path=path, headers=headers, agent=agent)
            if order == "before":
                req.on(event, tunnel).end()
            else:
                req.end()
                if order == "chained":
                    req.on("error", lambda _: tunnel.over.set())
                req.on(event, tunnel)
            assert tunnel.over.wait(SECONDS)
            assert tunnel.calls == [(101 if event == "upgrade" else 200, b"first pong")]
            assert not agent.sockets
            assert not agent.free_sockets
            with pytest.raises(StateError):
                req.get_response(SECONDS)


@pytest.mark.parametrize("style", ["callbacks", "blocking"])
@pytest.mark.parametrize("event", ["connect", "upgrade"])
def test_a_tunnel_that_nobody_listens_for_is_closed(event: str, style: str) -> None:
    line = SWITCHED if event == "upgrade" else b"HTTP/1.1 200 Connected\r\n\r\n"
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(line)
        assert peer.read_all() == b""
        ended.set()

    with scripted(script) as server:
        method = "CONNECT" if event == "connect" else "GET"
        path = "example.com:80" if event == "connect" else "/"
        req = request(server.url, method=method, path=path, headers=UPGRADE)
        if style == "callbacks":
            recorder = Recorder(req, "error", "response", "close")
            req.end()
            recorder.wait("close")
            assert recorder.names == ["error", "close"]
        else:
            req.end()
            with pytest.raises(ConnectionReset):
                req.get_response()
        assert ended.wait(SECONDS)


@pytest.mark.parametrize("status", [300, 407])
def test_a_proxy_may_refuse_to_connect(status: int) -> None:
    refusal = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status
    with scripted(answer(refusal)) as server:
        req = request(server.url, method="CONNECT", path="example.com:80")
        tunnel = Tunnel()
        req.on("connect", tunnel)
        req.end()
        response = req.get_response(SECONDS)
        assert (response.status_code, response.read()) == (status, b"no")
        assert not tunnel.calls


def test_a_tunnel_outlives_its_request() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(SWITCHED)
        peer.send(peer.read(4))

    with scripted(script) as server:
        tunnels: list[Socket] = []
        req = request(server.url, headers=UPGRADE, timeout=SECONDS)
        recorder = Recorder(req, "close")
        req.on("upgrade", lambda _response, socket, _head: tunnels.append(socket))
        req.end()
        recorder.wait("close")
        req.destroy()
        [tunnel] = tunnels
        assert not tunnel.destroyed
        assert tunnel._on_idle is None
        echo = Recorder(tunnel, "data", "close")
        tunnel.end("ping")
        echo.wait("close")
        assert echo.data() == b"ping"
