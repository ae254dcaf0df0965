"""What the manuals print and list: the examples, the head that is sent, methods, properties."""

from __future__ import annotations

import base64
import functools
import io
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Peer, answer, ignore, scripted
from support import SECONDS, Recorder, in_thread, listening, port_of

import nhttp
from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.channel import Channel
from nhttp._agent.options import RequestOptions
from nhttp.client import ClientRequest, get, global_agent, request
from nhttp.errors import InvalidArgument, StateError
from nhttp.net._dial import Dial, Line

if TYPE_CHECKING:
    from nhttp.incoming import IncomingMessage


def keeping(heads: list[bytes], body: int = 0) -> Any:
    """A script that keeps the heads, takes a body, and answers."""

    def script(peer: Peer) -> None:
        while head := peer.read_head():
            heads.append(head)
            peer.read(body)
            peer.send(OK)

    return script


def fields(head: bytes) -> list[str]:
    return head.decode("latin-1").split("\r\n")[1:-2]


def test_the_port_that_goes_without_saying_and_credentials_that_were_said() -> None:
    assert request("http://a.example:80/").get_header("host") == "a.example"
    assert request("http://a.example:81/").get_header("host") == "a.example:81"
    assert request("http://a.example:81/", default_port=81).get_header("host") == "a.example"
    said = request("http://a.example/", auth="a:b", headers={"Authorization": "mine"})
    assert said.get_header("authorization") == "mine"


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


# The head.


def test_the_head_of_a_plain_get() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads)) as server:
        get(f"{server.url}/a?b=c").get_response().read()
        assert heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
        assert fields(heads[0]) == [f"Host: 127.0.0.1:{server.port}", "Connection: close"]


@pytest.mark.parametrize("more", [{}, {"X-A": "1"}])
def test_a_request_sends_its_date_when_asked(more: dict[str, str]) -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url, headers=more)
        req.send_date = True
        req.end().get_response().read()
        assert b"\r\nDate: " in server.peers[0].head


def test_the_head_with_everything() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads)) as server, Agent(keep_alive=True) as agent:
        req = request(
            f"http://me:pass%20word@127.0.0.1:{server.port}",
            method="delete",
            headers=[("X-A", "1"), ("X-A", "2"), ("X-B", ["3", "4"])],
            agent=agent,
        )
        assert req.set_header("X-C", 5) is req
        req.append_header("X-C", "6")
        assert req.get_header("x-c") == ["5", "6"]
        req.remove_header("X-B")
        assert not req.has_header("x-b")
        req.end().get_response().read()
        credentials = base64.b64encode(b"me:pass word").decode()
        assert heads[0].startswith(b"DELETE / HTTP/1.1\r\n")
        assert fields(heads[0]) == [
            f"Host: 127.0.0.1:{server.port}",
            "X-A: 1",
            "X-A: 2",
            f"Authorization: Basic {credentials}",
            "X-C: 5",
            "X-C: 6",
            "Connection: keep-alive",
        ]
        with pytest.raises(StateError):
            req.set_header("X-Late", "1")


def test_what_is_removed_is_not_sent_by_itself() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads, body=len(b"2\r\nab\r\n0\r\n\r\n"))) as server:
        req = request(server.url, method="POST")
        for name in ("Host", "Connection", "Content-Length", "Transfer-Encoding"):
            req.remove_header(name)
        assert req.end("ab").get_response().read() == b"ok"
        # Nothing but chunks can end this body: a request does not end with its connection.
        assert fields(heads[0]) == ["Transfer-Encoding: chunked"]


def test_a_host_of_ones_own() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads)) as server:
        get(server.url, headers={"host": "other.example"}).get_response().read()
        get(server.url, set_host=False).get_response().read()
        get(server.url, default_port=server.port).get_response().read()
        assert [fields(head)[0] for head in heads] == [
            "host: other.example",
            "Connection: close",
            "Host: 127.0.0.1",
        ]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PUT"])
def test_a_body_is_framed_whatever_the_method(method: str) -> None:
    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        body = req.read()
        coding = req.headers.get("transfer-encoding", req.headers.get("content-length", "none"))
        res.end(f"{req.method} {coding} ".encode() + body)

    with listening(nhttp.create_server(handler)) as server:
        url = f"http://127.0.0.1:{port_of(server)}/"

        def asked(*chunks: str) -> bytes:
            req = request(url, method=method)
            for chunk in chunks[:-1]:
                req.write(chunk)
            return req.end(chunks[-1] if chunks else None).get_response().read()

        name = method.encode()
        empty = b"0 " if method in ("POST", "PUT") else b"none "
        assert asked() == name + b" " + empty
        assert asked("ab") == name + b" 2 ab"
        assert asked("ab", "cd") == name + b" chunked abcd"


def test_trailers_in_both_directions() -> None:
    def handler(req: nhttp.IncomingMessage, res: nhttp.ServerResponse) -> None:
        body = req.read()
        res.set_header("Trailer", "X-Sum")
        res.write(body)
        res.add_trailers({"X-Sum": req.trailers["x-sum"]})
        res.end()

    with listening(nhttp.create_server(handler)) as server:
        url = f"http://127.0.0.1:{port_of(server)}/"
        req = request(url, method="POST", headers={"Trailer": "X-Sum"})
        req.write("body")
        req.add_trailers({"X-Sum": "42"})
        response = req.end().get_response()
        assert response.trailers == {}
        assert response.read() == b"body"
        assert response.trailers == {"x-sum": "42"}
        assert response.raw_trailers == ["X-Sum", "42"]


@pytest.mark.parametrize(
    "options",
    [
        {"path": "/with space"},
        {"path": "/line\r\nbreak"},
        {"method": "NO SUCH"},
        {"protocol": "https:"},
        {"headers": {"bad name": "1"}},
        {"headers": {"X": "line\r\nbreak"}},
        {"headers": {"Content-Length": "no"}},
        {"headers": {"Content-Length": "1", "Transfer-Encoding": "chunked"}},
        {"headers": {"Transfer-Encoding": "gzip"}},
        {"headers": {"Transfer-Encoding": ["chunked", "gzip"]}},
        {"auth": None, "port": 70000},
        {"no_such_option": 1},
        {"agent": True},
    ],
)
def test_refusals_before_anything_is_sent(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        request("http://127.0.0.1:1/", **options)
    assert isinstance(refusal.value, TypeError)
    assert isinstance(refusal.value, ValueError)


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


def test_a_get_whose_head_promised_no_body() -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url)
        req.flush_headers()
        assert req.headers_sent
        with pytest.raises(StateError):
            req.write("body")
        with pytest.raises(StateError):
            req.end("body")
        assert req.end().get_response().read() == b"ok"


def test_whether_there_is_a_socket_yet_changes_nothing_for_the_head() -> None:
    go = threading.Event()

    def dial(options: RequestOptions) -> net.Socket:
        assert go.wait(SECONDS)
        return net.connect(options.target_port, options.target_host)

    heads: list[bytes] = []
    with scripted(keeping(heads, 0)) as server:
        req = request(server.url, lambda response: response.resume(), create_connection=dial)
        req.flush_headers()
        assert req.headers_sent
        with pytest.raises(StateError):
            req.set_header("X", "late")
        assert not req.write("")
        with pytest.raises(StateError):
            req.write("body")
        ended = Recorder(req.end(), "close")
        go.set()
        ended.wait("close")
    assert b"X:" not in heads[0]
    assert b"Transfer-Encoding" not in heads[0]


def test_a_coding_without_an_end_is_refused_when_it_would_be_sent() -> None:
    req = request("http://127.0.0.1:1/", method="POST").set_header("Transfer-Encoding", "gzip")
    for send in (req.flush_headers, req.end, functools.partial(req.write, "x")):
        with pytest.raises(InvalidArgument, match="chunked, not 'gzip'"):
            send()


def test_corked_writes_leave_together() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads, 4)) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": 4})
        req.cork()
        assert not req.write("ab")
        before = req.headers_sent
        assert not before
        req.write("cd")
        req.uncork()
        assert req.headers_sent
        assert req.end().get_response().read() == b"ok"


def test_a_head_that_was_flushed_while_corked_leaves_with_uncork() -> None:
    came = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        came.set()
        peer.send(OK)

    with scripted(script) as server:
        req = request(server.url)
        req.cork()
        req.flush_headers()
        req.uncork()
        assert came.wait(SECONDS)
        assert req.end().get_response().read() == b"ok"


def test_what_is_corked_waits_for_the_end_when_the_socket_comes_first() -> None:
    heads: list[bytes] = []
    reading = threading.Event()

    class Watched(ClientRequest):
        def _run_reader(self) -> None:
            reading.set()
            super()._run_reader()

    with scripted(keeping(heads, 4)) as server:
        req = Watched(RequestOptions.gather(server.url, {"method": "PUT"}), ignore)
        req.cork()
        req.write("ab")
        assert reading.wait(SECONDS)
        assert req.end("cd").get_response().read() == b"ok"
        assert "Content-Length: 4" in fields(heads[0])


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
        req.get_response().read()


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


def test_a_response_can_tell_where_it_came_from() -> None:
    with scripted(answer(OK)) as server:
        for keep_alive in (False, True):
            with Agent(keep_alive=keep_alive) as agent:
                response = agent.get(server.url).get_response()
                assert response.socket.remote_port == server.port
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
