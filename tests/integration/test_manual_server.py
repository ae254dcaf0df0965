"""The manual's chapter on http.Server, sentence by sentence (v6.17.1; v0.11.12 where it says more).

Every test is named after what the manual says: its section first. Durations are seconds here.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from wire import LAST, SECONDS, Signal, Wire, connected, ok, post, serving

import nhttp
from nhttp.errors import ParseError, SocketError
from nhttp.events import EventEmitter

CONNECT = "CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\n"
UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
CONTINUE = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


# http.createServer


def test_create_server__returns_a_new_server_and_adds_the_listener_to_request() -> None:
    server = nhttp.create_server(ok)
    assert isinstance(server, nhttp.Server)
    assert server is not nhttp.create_server(ok)
    assert server.listeners("request") == [ok]
    assert nhttp.create_server().listeners("request") == []


def test_server__inherits_from_net_server_and_is_an_emitter() -> None:
    assert issubclass(nhttp.Server, nhttp.net.Server)
    assert issubclass(nhttp.Server, EventEmitter)


# 'request', 'connection'


def test_request__emitted_each_time_there_is_a_request_several_per_connection() -> None:
    seen: list[tuple[nhttp.IncomingMessage, nhttp.ServerResponse]] = []

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        seen.append((request, response))
        response.end(request.url)

    with connected(listener) as wire:
        assert wire.ask("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").body == b"/1"
        assert wire.ask("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").body == b"/2"
    (first, answer), (second, _) = seen
    assert isinstance(first, nhttp.IncomingMessage)
    assert isinstance(answer, nhttp.ServerResponse)
    assert first is not second
    assert first.socket is second.socket


def test_connection__when_a_new_stream_is_established_also_at_request_connection() -> None:
    sockets: list[nhttp.net.Socket] = []
    requests: list[nhttp.IncomingMessage] = []

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        requests.append(request)
        response.end()

    with serving(listener) as server:
        server.on("connection", sockets.append)
        with Wire(server) as wire:
            wire.ask()
            wire.ask()
    assert isinstance(sockets[0], nhttp.net.Socket)
    assert len(sockets) == 1
    assert all(each.connection is sockets[0] for each in requests)


def test_connection__emitted_although_nothing_was_sent() -> None:
    accepted = Signal()
    with serving(ok) as server:
        server.on("connection", accepted)
        with Wire(server):
            assert accepted.happens()


def test_connection__the_socket_will_not_emit_readable() -> None:
    told = Signal()
    with serving(ok) as server:
        server.on("connection", lambda socket: socket.on("readable", told).on("data", told))
        with Wire(server) as wire:
            assert wire.ask(post("body")).body == b"body"
    assert not told.is_set()


# 'checkContinue', 'checkExpectation'


def test_check_continue__without_a_listener_the_server_responds_100_continue() -> None:
    with connected(ok) as wire:
        assert wire.send(CONTINUE).head().status == 100
        assert wire.ask("hello").body == b"hello"
        assert wire.ask().status == 200  # the connection goes on


def test_check_continue__emitted_instead_of_request_and_handled_by_write_continue() -> None:
    asked = Signal()
    with serving(asked) as server:

        def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
            response.write_continue()
            response.end(request.read())

        server.on("checkContinue", listener)
        with Wire(server) as wire:
            assert wire.send(CONTINUE).head().status == 100
            assert wire.ask("hello").body == b"hello"
    assert not asked.is_set(), "'request' is not emitted when this event is handled"


def test_check_continue__or_by_generating_an_appropriate_response() -> None:
    """A 400 in place of the 100; the connection is closed, as the body may come or not."""
    with serving(ok) as server:
        server.on("checkContinue", lambda _, response: response.write_head(400).end("no"))
        with Wire(server) as wire:
            answer = wire.ask(CONTINUE)
            assert (answer.status, answer.body, answer["connection"]) == (400, b"no", "close")
            assert wire.is_closed()


def test_check_expectation__without_a_listener_the_server_responds_417() -> None:
    asked = Signal()
    with connected(asked) as wire:
        answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n")
        assert (answer.status, answer.reason) == (417, "Expectation Failed")
    assert not asked.is_set()


def test_check_expectation__emitted_when_the_value_is_not_100_continue_instead_of_request() -> None:
    asked = Signal()
    with serving(asked) as server:
        server.on("checkContinue", asked)
        server.on(
            "checkExpectation",
            lambda request, response: response.end(request.headers["expect"]),
        )
        with Wire(server) as wire:
            answer = wire.ask("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n")
    assert answer.body == b"tea"
    assert not asked.is_set()


# 'clientError'


def test_client_error__the_listener_gets_the_error_and_closes_the_socket() -> None:
    """The manual's example: a graceful 400. No request, no response: written to the socket."""
    errors: list[Exception] = []
    asked = Signal()

    def listener(error: Exception, socket: nhttp.net.Socket) -> None:
        errors.append(error)
        socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(asked) as server:
        server.on("clientError", listener)
        with Wire(server) as wire:
            assert wire.send("not http\r\n\r\n").rest() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert isinstance(errors[0], ParseError)
    assert errors[0].code.startswith("HPE_")
    assert errors[0].raw_packet.startswith(b"not http")
    assert not asked.is_set()


def test_client_error__an_error_event_of_the_connection_is_forwarded_here() -> None:
    seen: list[tuple[Exception, nhttp.net.Socket]] = []
    told, asked = Signal(), Signal()

    def client_error(error: Exception, socket: nhttp.net.Socket) -> None:
        seen.append((error, socket))
        told.set()

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        asked.set()
        request.read()

    with serving(listener) as server:
        server.on("clientError", client_error)
        wire = Wire(server).send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert asked.happens()
        wire.reset()
        assert told.happens()
    (error, sock), *more = seen
    assert not more
    assert isinstance(error, SocketError)
    assert error.code == "ECONNRESET"
    assert sock.destroyed


def test_client_error__the_socket_is_the_one_that_the_error_originated_from() -> None:
    accepted: list[nhttp.net.Socket] = []
    blamed: list[nhttp.net.Socket] = []

    def client_error(_: Exception, socket: nhttp.net.Socket) -> None:
        blamed.append(socket)
        socket.destroy()

    with serving(ok) as server:
        server.on("connection", accepted.append).on("clientError", client_error)
        with Wire(server) as well, Wire(server) as badly:
            well.ask()
            assert badly.send("not http\r\n\r\n").is_closed()
            well.ask(LAST)
    (guilty,) = blamed
    assert guilty in accepted
    assert guilty.bytes_read == len("not http\r\n\r\n")


def test_client_error__default_is_to_destroy_the_socket() -> None:
    """After a bare answer, which is kinder than the manual's silence and what Node does since."""
    with connected(ok) as wire:
        answer = wire.ask("not http\r\n\r\n", body=False)
        assert (answer.status, answer["connection"]) == (400, "close")
        assert wire.is_closed()


# 'close', 'connect', 'upgrade'


def test_close__emitted_when_the_server_closes() -> None:
    closed = Signal()
    server = nhttp.create_server(ok).on("close", closed).listen(0, "127.0.0.1")
    assert not closed.is_set()
    server.close()
    assert closed.happens()


def test_connect__emitted_with_request_socket_and_head() -> None:
    seen: list[tuple[str, str, bytes]] = []

    def listener(request: nhttp.IncomingMessage, socket: nhttp.net.Socket, head: bytes) -> None:
        assert isinstance(request, nhttp.IncomingMessage)
        seen.append((request.method, request.url, head))
        # The manual: nobody listens for 'data' on it now; whoever wants it does.
        assert socket.listener_count("data") == 0
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n")
        socket.on("data", lambda data: socket.write(data.upper()))
        socket.on("end", lambda: socket.end("bye"))

    with serving() as server:
        server.on("connect", listener)
        with Wire(server) as wire:
            wire.send(CONNECT + "first")
            assert wire.head().reason == "Connection Established"
            assert wire.send("more").exactly(4) == b"MORE"
            assert wire.end().rest() == b"bye"
    assert seen == [("CONNECT", "example.org:80", b"first")]


@pytest.mark.parametrize("first_packet", [b"", b"first"])
def test_upgrade__emitted_with_request_socket_and_head(first_packet: bytes) -> None:
    heads: list[bytes] = []

    def listener(request: nhttp.IncomingMessage, socket: nhttp.net.Socket, head: bytes) -> None:
        heads.append(head)
        assert request.headers["upgrade"] == "echo"
        assert socket.listener_count("data") == 0
        socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        socket.pipe(socket)

    with serving() as server:
        server.on("upgrade", listener)
        with Wire(server) as wire:
            assert wire.send(UPGRADE.encode() + first_packet).head().status == 101
            assert wire.send("echo this").exactly(9) == b"echo this"
            assert wire.end().is_closed()
    assert heads == [first_packet], "the head may be empty"


@pytest.mark.parametrize("request_text", [CONNECT, UPGRADE])
def test_connect_and_upgrade__not_listened_for_have_their_connections_closed(
    request_text: str,
) -> None:
    asked = Signal()
    with connected(asked) as wire:
        assert wire.send(request_text).is_closed()
    assert not asked.is_set()


# server.close, server.listen, server.listening


def test_server_close__stops_accepting_and_calls_back() -> None:
    closed = Signal()
    server = nhttp.create_server(ok).listen(0, "127.0.0.1")
    address = server.address()
    assert isinstance(address, nhttp.net.Address)
    server.close(closed)
    assert closed.happens()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address[:2], timeout=SECONDS)


def test_server_listen__callback_is_a_listener_for_listening() -> None:
    listening = Signal()
    with nhttp.create_server(ok).listen(0, "127.0.0.1", listening) as server:
        assert listening.happens()
        assert server.listening


def test_server_listen__port_0_lets_the_system_choose_and_address_tells() -> None:
    with nhttp.create_server(ok).listen() as server:
        address = server.address()
        assert isinstance(address, nhttp.net.Address)
        assert address.port > 0
        # The host omitted: any IPv6 address when there is IPv6, or any IPv4 address.
        assert address.address in ("::", "0.0.0.0")


def test_server_listen__handle_may_be_a_socket_a_server_or_fd() -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    with nhttp.create_server(ok).listen(bound) as server:
        with Wire(server) as wire:
            assert wire.ask(LAST).status == 200
        with nhttp.create_server(ok).listen(server) as second:
            assert second.address() == server.address()
    other = socket.create_server(("127.0.0.1", 0))
    with nhttp.create_server(ok).listen({"fd": other.detach()}) as server, Wire(server) as wire:
        assert wire.ask(LAST).status == 200


@pytest.mark.parametrize("how", ["port", "path", "handle"])
def test_server_listen__returns_the_server_and_the_callback_listens(
    how: str, tmp_path: Path
) -> None:
    listening = Signal()
    server = nhttp.create_server(ok)
    if how == "port":
        assert server.listen(0, "127.0.0.1", listening) is server
    elif how == "path":
        assert server.listen(str(tmp_path / "server.sock"), listening) is server
    else:
        assert server.listen(socket.create_server(("127.0.0.1", 0)), listening) is server
    with server:
        assert listening.happens()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the length of the queue")
@pytest.mark.parametrize(("options", "expected"), [({}, 511), ({"backlog": 7}, 7)])
def test_server_listen__backlog_is_the_length_of_the_queue_and_511_by_default(
    options: Any, expected: int
) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text("ascii"))
    with nhttp.create_server(ok).listen(0, "127.0.0.1", **options) as server:
        with socket.socket(fileno=os.dup(server.fileno())) as listener:
            info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        (length,) = struct.unpack_from("I", info, 28)  # tcpi_sacked: of a listening socket, this
        assert length == min(expected, most)


def test_server_listen__path_is_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    with nhttp.create_server(ok).listen(path) as server:
        assert server.address() == path
        with Wire(server) as wire:
            assert wire.ask(LAST).status == 200
    assert not os.path.lexists(path)


def test_server_listen__may_be_called_again_and_reopens_the_server() -> None:
    with serving(ok) as server:
        first = server.address()
        with Wire(server) as old:
            old.ask()
            server.listen(0, "127.0.0.1")
            assert server.address() != first
            with Wire(server) as wire:
                assert wire.ask(LAST).status == 200
            assert old.ask(LAST).status == 200


def test_server_listening__whether_the_server_listens() -> None:
    server = nhttp.create_server(ok)
    seen = [server.listening]
    with server.listen(0, "127.0.0.1"):
        seen.append(server.listening)
    assert [*seen, server.listening] == [False, True, False]


# server.maxHeadersCount, http.maxHeaderSize


def head_with(count: int) -> str:
    """A request with so many field lines."""
    lines = [f"X-{number}: 1\r\n" for number in range(count - 2)]
    return "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + "".join(lines) + "\r\n"


def test_max_headers_count__limits_the_headers_1000_by_default_0_no_limit() -> None:
    with serving(ok, max_header_size=100_000) as server:
        assert server.max_headers_count == 1000
        for limit, count, status in [
            (1000, 1000, 200),
            (1000, 1001, 431),
            (5, 5, 200),
            (5, 6, 431),
            (0, 2000, 200),
        ]:
            server.max_headers_count = limit
            with Wire(server) as wire:
                assert wire.ask(head_with(count), body=False).status == status


def head_of(size: int) -> str:
    """A request whose head has so many octets."""
    empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    return empty.replace("X: ", "X: " + "x" * (size - len(empty)))


def test_max_header_size__8_kib_by_default() -> None:
    assert nhttp.max_header_size == 8192
    with connected(ok) as wire:
        assert wire.ask(head_of(8192)).status == 200
        answer = wire.ask(head_of(8193), body=False)
        assert (answer.status, answer["connection"]) == (431, "close")
        assert wire.is_closed()
