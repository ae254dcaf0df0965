"""What the manuals print and list: the examples, methods, properties."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, answer, ignore, keeping, scripted
from support import SECONDS, Recorder, listening, port_of

import nhttp
from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.channel import Channel
from nhttp._exchange import Exchange
from nhttp.client import get, global_agent, request
from nhttp.errors import InvalidArgument, StateError
from nhttp.net._dial import Dial, Line

if TYPE_CHECKING:
    from nhttp._agent.options import RequestOptions
    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage


# The manual of v6.17.1, http.request: the POST of a form.
def test_the_example_of_http_request() -> None:
    printed: list[str] = []

    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        assert req.headers["content-type"] == "application/x-www-form-urlencoded"
        res.end(b"BODY:" + req.read())

    with listening(nhttp.create_server(handler)) as server:
        post_data = "msg=Hello+World%21"
        options: Any = {
            "hostname": "127.0.0.1",
            "port": port_of(server),
            "path": "/upload",
            "method": "POST",
            "headers": {
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": len(post_data),
            },
        }
        over = threading.Event()

        def callback(res: IncomingMessage) -> None:
            printed.append(f"STATUS: {res.status_code}")
            res.set_encoding("utf8")
            res.on("data", lambda chunk: printed.append(f"BODY: {chunk}"))
            res.on("end", over.set)

        req = request(options, callback)
        req.on("error", lambda e: printed.append(f"problem with request: {e}"))
        req.write(post_data)
        req.end()
        assert over.wait(SECONDS)
    assert printed == ["STATUS: 200", f"BODY: BODY:{post_data}"]


# The manual of v6.17.1, http.get: JSON, with its checks.
def test_the_example_of_http_get() -> None:
    results: list[Any] = []
    over = threading.Event()

    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        res.set_header("Content-Type", "application/json; charset=utf-8")
        res.end(json.dumps({"name": "index"}))

    def callback(res: IncomingMessage) -> None:
        assert res.headers["content-type"].startswith("application/json")
        res.set_encoding("utf8")
        raw: list[str] = []
        res.on("data", lambda chunk: raw.append(str(chunk)))

        def end() -> None:
            results.append(json.loads("".join(raw)))
            over.set()

        res.on("end", end)

    with listening(nhttp.create_server(handler)) as server:
        url = f"http://127.0.0.1:{port_of(server)}/index.json"
        get(url, callback).on("error", results.append)
        assert over.wait(SECONDS)
        with get(url) as response:
            assert json.load(response) == {"name": "index"}
    assert results == [{"name": "index"}]


# The manual of v6.17.1, Event: 'connect': a proxy, and a request through it.
def test_the_example_of_connect() -> None:
    def proxy_connect(req: nhttp.IncomingMessage, sock: net.Socket, head: bytes) -> None:
        host, _, port = req.url.partition(":")
        target = net.Socket()

        def connected() -> None:
            sock.write("HTTP/1.1 200 Connection Established\r\nProxy-agent: nhttp\r\n\r\n")
            target.write(head)
            target.pipe(sock)
            sock.pipe(target)

        target.connect(int(port), host, connected)

    target = nhttp.create_server(lambda req, res: res.end("through"))
    proxy = nhttp.create_server().on("connect", proxy_connect)
    with listening(target), listening(proxy):
        name = f"127.0.0.1:{port_of(target)}"
        req = request(port=port_of(proxy), hostname="127.0.0.1", method="CONNECT", path=name)
        req.end()
        chunks: list[bytes] = []
        over = threading.Event()

        def on_connect(res: IncomingMessage, sock: net.Socket, head: bytes) -> None:
            sock.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
            sock.on("data", chunks.append)
            sock.on("end", over.set)

        req.on("connect", on_connect)
        assert over.wait(SECONDS)
        assert b"".join(chunks).endswith(b"through")


def test_writing_when_it_is_over() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url, method="POST").end("x")
        assert req.end() is req
        assert req.finished
        assert req.writable_ended
        assert req.writable_finished
        with pytest.raises(StateError):
            req.write("more")
        with pytest.raises(StateError):
            req.end("more")
        req.get_response().read()
    req = request(host="127.0.0.1", port=server.port, method="POST")
    req.write("a")
    with pytest.raises(ConnectionRefusedError):
        req.write("b")
    assert req.end("c") is req
    req = request(host="127.0.0.1", port=server.port, method="POST").on("error", lambda _: None)
    assert not req.write("a")
    assert not req.write("b")
    req.end("c")


def test_socket_options() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url)
        assert req.set_no_delay() is req
        assert req.set_socket_keep_alive(True, 1) is req
        assert req.set_timeout(SECONDS) is req
        before = req.socket
        assert before is None
        req.end()
        assert req.socket is not None
        assert req.socket.timeout == SECONDS
        req.set_no_delay(False).set_socket_keep_alive().set_timeout(0)
        assert req.socket.timeout == 0
        assert req.socket._on_idle is None  # what is set there is the socket's own
        req.get_response().read()


def system_options(req: ClientRequest) -> tuple[int, int]:
    assert req.socket is not None
    handle = req.socket._open_handle()
    return (
        handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    )


@pytest.mark.parametrize("value", [False, True])
def test_each_socket_option_is_passed_on_before_and_after_there_is_a_socket(value: bool) -> None:
    def create(options: RequestOptions) -> net.Socket:
        made = net.connect(options.target_port, options.target_host)
        return made.set_timeout(SECONDS).set_no_delay(not value).set_keep_alive(not value)

    with scripted(answer(OK)) as server:
        req = request(server.url, create_connection=create).set_no_delay(value).end()
        assert system_options(req) == (value, not value)
        assert req.socket is not None
        assert req.socket.timeout == SECONDS  # its maker's
        req.set_no_delay(not value)
        assert system_options(req) == (not value, not value)
        req.get_response().read()
        req = request(server.url, create_connection=create).set_socket_keep_alive(value).end()
        assert system_options(req) == (not value, value)
        req.set_socket_keep_alive(not value)
        assert system_options(req) == (not value, not value)
        req.get_response().read()


def test_small_pieces_of_a_body_are_not_held_back() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url).end()
        assert system_options(req) == (True, False)
        req.get_response().read()


@pytest.mark.parametrize("seconds", [-1, "1", None])
def test_a_timeout_that_cannot_be_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        request("http://127.0.0.1:1/").set_timeout(seconds)


def test_the_callback_of_a_timeout_is_for_the_next_one() -> None:
    calls: list[object] = []
    req = request("http://127.0.0.1:1/").set_timeout(SECONDS, lambda: calls.append(1))
    req.emit("timeout")
    req.emit("timeout")
    assert calls == [1]


def test_attributes() -> None:
    req = request("http://example.com:81/p?q", method="post")
    assert (req.method, req.path, req.host, req.protocol) == (
        "POST",
        "/p?q",
        "example.com",
        "http:",
    )
    assert req.agent is global_agent
    assert req.aborted is None
    assert not req.reused_socket
    assert repr(req) == "<ClientRequest POST example.com/p?q>"
    assert request("http://h/", agent=False).agent is not global_agent


# With more, each access looks into a dictionary: see `Stream.__init__`.
def test_has_no_more_attributes_than_an_object_keeps_by_itself() -> None:
    with scripted(keeping([])) as server, Agent(keep_alive=True) as agent:
        req = agent.get(server.url)
        response = req.get_response()
        assert response.read() == b"ok"
        while_connecting = {"_waiter", "_deadline"}
        assert max(len(vars(req).keys() - while_connecting), len(vars(response))) <= 29


# Many at a time.


def test_ten_concurrent_gets_from_one_thread() -> None:
    together = threading.Barrier(10)

    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        together.wait(SECONDS)
        res.end(req.url)

    with listening(nhttp.create_server(handler)) as server:
        url = f"http://127.0.0.1:{port_of(server)}"
        bodies: list[bytes] = []

        def callback(response: IncomingMessage) -> None:
            bodies.append(response.read())

        recorders = [Recorder(get(f"{url}/{i}", callback), "close") for i in range(10)]
        for recorder in recorders:
            recorder.wait("close")
        assert sorted(bodies) == [f"/{i}".encode() for i in range(10)]


def test_a_chain_of_requests_over_one_socket() -> None:
    over = threading.Event()
    bodies: list[bytes] = []
    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:

        def again(response: IncomingMessage) -> None:
            response.on("data", bodies.append)
            response.on("end", step)

        def step() -> None:
            if len(bodies) == 5:
                over.set()
            else:
                agent.get(server.url, again)

        step()
        assert over.wait(SECONDS)
        assert bodies == [b"ok"] * 5
        assert len(server.peers) == 1


def test_a_blocking_request_inside_a_callback() -> None:
    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        bodies: list[bytes] = []

        def callback(response: IncomingMessage) -> None:
            bodies.append(response.read())
            with agent.get(server.url) as second:
                bodies.append(second.read())

        Recorder(agent.get(server.url, callback), "close").wait("close")
        second = agent.get(server.url)
        bodies.append(second.get_response(SECONDS).read())
        assert bodies == [b"ok"] * 3


def test_a_response_can_tell_where_it_came_from() -> None:
    with scripted(answer(OK)) as server:
        for keep_alive in (False, True):
            with Agent(keep_alive=keep_alive) as agent:
                response = agent.get(server.url).get_response()
                assert response.socket.remote_port == server.port
                assert (response.method, response.url) == ("", "")  # those are a request's
                assert repr(response) == "<IncomingMessage 200 HTTP/1.1>"
                assert response.read() == b"ok"


@pytest.mark.parametrize("callbacks", [False, True])
def test_the_thread_that_waits_for_a_connection_makes_it(
    callbacks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by: list[str] = []
    dial = Dial.run

    def run(self: Dial, line: Line) -> None:
        made_by.append(threading.current_thread().name)
        dial(self, line)

    monkeypatch.setattr(Dial, "run", run)
    with scripted(answer(OK)) as server, Agent() as agent:
        req = agent.get(server.url, ignore if callbacks else None)
        assert req.get_response().read() == b"ok"
    assert made_by == ["nhttp-request" if callbacks else threading.current_thread().name]


def test_an_agent_for_one_request() -> None:
    made: list[net.Socket] = []
    with scripted(answer(OK)) as server:

        def create(options: Any) -> net.Socket:
            made.append(net.Socket().connect(server.port, "127.0.0.1"))
            return made[-1]

        req = get("http://nowhere.invalid/", create_connection=create)
        assert req.get_response().read() == b"ok"
        assert req.socket is made[0]
        assert get(server.url, agent=False).get_response().read() == b"ok"


def test_a_file_like_request() -> None:
    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        req.pipe(res)

    with listening(nhttp.create_server(handler)) as server:
        req = request(f"http://127.0.0.1:{port_of(server)}/", method="POST")
        req.flush()
        assert req.socket is None
        req.writelines(["a", b"b", bytearray(b"c")])
        req.flush()
        req.close()
        assert req.get_response().read() == b"abc"


def test_ctrl_c_while_an_idle_socket_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Channel) -> bool:
        raise KeyboardInterrupt

    with scripted(answer(OK)) as server, Agent(keep_alive=True, max_sockets=1) as agent:
        assert agent.get(server.url).get_response().read() == b"ok"
        with monkeypatch.context() as patch:
            patch.setattr(Channel, "usable", interrupted)
            with pytest.raises(KeyboardInterrupt):
                agent.get(server.url)
        assert agent.get(server.url).get_response().read() == b"ok"


def test_ctrl_c_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with Agent() as agent:
        monkeypatch.setattr(agent, "create_connection", interrupted)
        req = request("http://127.0.0.1:1/", agent=agent)
        with pytest.raises(KeyboardInterrupt):
            req.end()
        with pytest.raises(ConnectionResetError):
            req.get_response()
        assert not agent.sockets
        assert not agent.requests


def test_ctrl_c_while_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with scripted(answer(OK)) as server, Agent() as agent:
        req = request(server.url, agent=agent)
        with monkeypatch.context() as patch:
            patch.setattr(Exchange, "transmit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                req.end()
        assert req.destroyed
        assert not agent.sockets
