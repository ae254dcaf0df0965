"""What a request sends: its head, the framing of its body, and what is refused before."""

from __future__ import annotations

import base64
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import (
    OK,
    Peer,
    answer,
    fields,
    keeping,
    scripted,
)
from support import SECONDS, Recorder, listening, port_of

import nhttp
from nhttp import net
from nhttp._agent.agent import Agent
from nhttp.client import get, request
from nhttp.errors import InvalidArgument, StateError

if TYPE_CHECKING:
    from nhttp._agent.options import RequestOptions


def test_the_port_that_goes_without_saying_and_credentials_that_were_said() -> None:
    assert request("http://a.example:80/").get_header("host") == "a.example"
    assert request("http://a.example:81/").get_header("host") == "a.example:81"
    assert request("http://a.example:81/", default_port=81).get_header("host") == "a.example"
    said = request("http://a.example/", auth="a:b", headers={"Authorization": "mine"})
    assert said.get_header("authorization") == "mine"


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


def test_what_a_plain_get_is_not_to_say_is_not_said() -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads)) as server:
        req = request(server.url)
        req.remove_header("Connection")
        assert req.end().get_response().read() == b"ok"
        assert fields(heads[0]) == [f"Host: 127.0.0.1:{server.port}"]


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("said", ["close", "keep-alive", "x"])
def test_what_is_said_of_the_connection_is_kept_to(said: str, keep_alive: bool) -> None:
    heads: list[bytes] = []
    with scripted(keeping(heads)) as server, Agent(keep_alive=keep_alive) as agent:
        freed = Recorder(agent, "free")
        req = request(server.url, headers={"Connection": said}, agent=agent).end()
        assert req.get_response().read() == b"ok"
        assert fields(heads[0])[1:] == [f"Connection: {said}"]
        kept = said == "keep-alive" or (said == "x" and keep_alive)
        assert freed.names == ["free"] * kept
        assert bool(agent.free_sockets) == (kept and keep_alive)


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "echo"}, {"Connection": "Upgrade"}])
def test_only_who_asks_for_another_protocol_may_be_given_one(headers: dict[str, str]) -> None:
    switched = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with scripted(answer(switched)) as server:
        recorder = Recorder(request(server.url, headers=headers).end(), "upgrade", "error", "close")
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        assert recorder.wait("error")[0].code == "HPE_INVALID_STATUS"


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


def test_chunked_said_in_two_cases_of_letters_is_refused_at_once() -> None:
    codings = {"Transfer-Encoding": "chunked", "transfer-encoding": "chunked"}
    with pytest.raises(InvalidArgument, match="as the last coding"):
        request("http://127.0.0.1:1/", method="POST", headers=codings)


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
