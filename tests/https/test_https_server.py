"""https.Server: HTTP's server behind TLS, and what TLS adds to it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from typing import Any

import pytest
from https_support import CLIENT, SERVER, identity, serving, tls_client
from support import SECONDS, Recorder, port_of
from tls_support import CA, as_file, client_context

import nhttp
from nhttp import https, net, tls
from nhttp.errors import InvalidArgument, SocketTimeout

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # protocol_version
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def hello(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end("hello")


def ask(client: ssl.SSLSocket, request: bytes = LAST) -> bytes:
    client.sendall(request)
    return everything(client)


def everything(client: ssl.SSLSocket) -> bytes:
    taken = b""
    while block := client.recv(65536):
        taken += block
    return taken


def answer(client: ssl.SSLSocket, request: bytes = GET) -> bytes:
    """Ask on a connection that goes on; a head, and a body of five octets."""
    client.sendall(request)
    taken = b""
    while not taken.endswith(b"\r\n\r\nhello"):
        block = client.recv(65536)
        assert block, taken
        taken += block
    return taken


# --- serving -----------------------------------------------------------------------------------


def test_a_request_is_served() -> None:
    with serving(hello) as server, tls_client(port_of(server)) as client:
        assert ask(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_options_of_http_and_of_tls_stand_side_by_side() -> None:
    server = https.Server(
        hello, cert=SERVER.cert, key=SERVER.key, timeout=7, max_headers_count=3,
        handshake_timeout=5,
    )  # fmt: skip
    assert (server.timeout, server.max_headers_count) == (7, 3)


@pytest.mark.parametrize(
    "options", [{"timeout": -1}, {"cert": 5}, {"handshake_timeout": -1}, {"key": SERVER.key}]
)
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"cert": SERVER.cert, **options}
    with pytest.raises(InvalidArgument, match=r"timeout|cert|handshake_timeout|key"):
        https.create_server(hello, **{**given, **options} if "key" not in options else options)


def test_an_unknown_option_is_refused() -> None:
    options: Any = {"certt": SERVER.cert}
    with pytest.raises(TypeError, match="certt"):
        https.create_server(hello, **options)


def test_several_requests_share_a_connection() -> None:
    with serving(hello) as server:
        seen = Recorder(server, "connection")
        with tls_client(port_of(server)) as client:
            for _ in range(3):
                assert answer(client).startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(seen.noted) == 1


def test_pipelined_requests_are_answered_in_order() -> None:
    with (
        serving(lambda request, response: response.end(request.url)) as server,
        tls_client(port_of(server)) as client,
    ):
        paths = [b"/a", b"/b", b"/c"]
        client.sendall(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths))
        taken = ask(client)
        places = [taken.index(b"\r\n\r\n" + path) for path in paths]
        assert places == sorted(places)


def test_a_body_is_read_and_a_large_answer_streamed() -> None:
    block = bytes(range(256)) * 256

    def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        request.pipe(response)

    with serving(echo) as server, tls_client(port_of(server)) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        client.sendall(head % len(block) + block)  # the kernel's buffers have room for it
        with http.client.HTTPResponse(client) as response:
            response.begin()
            assert response.read() == block


def test_a_file_is_sent(tmp_path: Any) -> None:
    data = bytes(range(251)) * 5000
    (tmp_path / "file").write_bytes(data)

    def send(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.set_header("Content-Length", len(data))
        response.write_file(tmp_path / "file")
        response.end()

    with serving(send) as server, tls_client(port_of(server)) as client:
        assert ask(client).endswith(b"\r\n\r\n" + data)


def test_a_connection_ends_with_a_goodbye() -> None:
    """Python's client raises on an end without close_notify, here."""
    with (
        serving(hello) as server,
        tls_client(port_of(server), suppress_ragged_eofs=False) as client,
    ):
        assert ask(client).endswith(b"hello")


# --- the socket --------------------------------------------------------------------------------


def test_the_socket_of_a_request_is_a_tls_socket() -> None:
    seen: list[net.Socket] = []

    def look(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        seen.append(request.socket)
        response.end()

    with serving(look) as server, tls_client(port_of(server)) as client:
        ask(client)
    (sock,) = seen
    assert isinstance(sock, tls.TLSSocket)
    assert sock.encrypted
    assert not sock.authorized
    assert sock.get_protocol() == "TLSv1.3"


def test_a_plain_server_has_sockets_that_are_not_encrypted() -> None:
    seen: list[bool] = []

    def look(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        seen.append(request.socket.encrypted)
        response.end()

    with nhttp.create_server(look).listen(0, "127.0.0.1") as server:
        nhttp.get(f"http://127.0.0.1:{port_of(server)}/").get_response().read()
    assert seen == [False]


def test_a_client_certificate_is_shown_to_the_handler() -> None:
    seen: list[Any] = []

    def look(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert isinstance(request.socket, tls.TLSSocket)
        seen.append((request.socket.authorized, request.socket.get_peer_certificate()))
        response.end("hello")

    with serving(look, ca=CA, request_cert=True) as server:
        context = client_context()
        with as_file(CLIENT.cert + CLIENT.key) as path:
            context.load_cert_chain(path)
        raw = socket.create_connection(("127.0.0.1", port_of(server)), SECONDS)
        with raw, context.wrap_socket(raw, server_hostname="localhost") as client:
            ask(client)
    authorized, certificate = seen[0]
    assert authorized
    assert "somebody@example.org" in str(certificate)


def test_a_client_without_the_certificate_is_refused() -> None:
    with serving(hello, ca=CA, request_cert=True) as server:
        seen = Recorder(server, "tlsClientError", "request")
        # In TLS 1.3 the client is done before it is refused.
        with pytest.raises((ssl.SSLError, OSError)), tls_client(port_of(server)) as client:
            ask(client)
        seen.wait("tlsClientError")
        assert seen.names == ["tlsClientError"]


def test_one_of_several_certificates_is_chosen_by_the_name() -> None:
    other = identity("other.example")
    with serving(hello) as server:
        server.add_context("other.example", {"cert": other.cert, "key": other.key})
        for name in ("localhost", "other.example"):
            context = client_context()
            raw = socket.create_connection(("127.0.0.1", port_of(server)), SECONDS)
            with raw, context.wrap_socket(raw, server_hostname=name) as client:
                ask(client)


# --- events ------------------------------------------------------------------------------------


def test_the_events_of_a_connection() -> None:
    with serving(hello) as server:
        seen = Recorder(server, "secureConnection", "connection", "request")
        with tls_client(port_of(server)) as client:
            ask(client)
        assert seen.names == ["connection", "secureConnection", "request"]
        assert seen.all("secureConnection")[0][0] is seen.all("connection")[0][0]
        assert len(set(seen.threads)) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET / HTTP/1.1", "ERR_SSL_HTTP_REQUEST"),
        (b"DELETE /x HTTP/1.1", "ERR_SSL_HTTP_REQUEST"),
        (b"OPTIONS * HTTP/1.1", "ERR_SSL_HTTP_REQUEST"),
        (b"CONNECT example.org:443 HTTP/1.1", "ERR_SSL_HTTPS_PROXY_REQUEST"),
    ],
)
def test_plain_http_is_told_what_it_has_met(line: bytes, code: str) -> None:
    with serving(hello) as server:
        seen = Recorder(server, "tlsClientError", "clientError")
        with socket.create_connection(("127.0.0.1", port_of(server)), SECONDS) as client:
            client.sendall(line + b"\r\nHost: x\r\n\r\n")
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while block := client.recv(65536):
                    said += block
        error, sock = seen.wait("clientError")
        assert seen.names == ["tlsClientError", "clientError"]
        assert seen.all("tlsClientError") == [(error, sock)]
        assert error.code == code
        assert isinstance(sock, tls.TLSSocket)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in said


def test_a_client_error_listener_may_try_to_answer_in_http(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(hello) as server:
        server.on("clientError", lambda error, sock: sock.end("HTTP/1.1 400 Bad Request\r\n\r\n"))
        with socket.create_connection(("127.0.0.1", port_of(server)), SECONDS) as client:
            client.sendall(b"neither HTTP nor TLS")
            assert client.recv(100) in (b"", ALERT)
    assert "raised" not in caplog.text


def test_tls_to_a_plain_server_fails_with_nodes_code() -> None:
    with (
        nhttp.create_server(hello).listen(0, "127.0.0.1") as server,
        pytest.raises(tls.TLSError) as caught,
    ):
        https.get(f"https://127.0.0.1:{port_of(server)}/").get_response()
    assert caught.value.code == "ERR_SSL_WRONG_VERSION_NUMBER"


def test_a_client_error_behind_the_handshake_is_http_s() -> None:
    with serving(hello) as server:
        seen = Recorder(server, "tlsClientError")
        with tls_client(port_of(server)) as client:
            assert ask(client, b"what?\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert seen.names == []


def test_a_handshake_that_stalls_is_cut_at_its_deadline() -> None:
    with serving(hello, handshake_timeout=0.05) as server:
        seen = Recorder(server, "tlsClientError", "clientError")
        with socket.create_connection(("127.0.0.1", port_of(server)), SECONDS) as client:
            client.sendall(b"\x16\x03\x01")
            assert client.recv(1) == b""
        error, _ = seen.wait("clientError")
        assert isinstance(error, SocketTimeout)
        assert error.code == "ERR_TLS_HANDSHAKE_TIMEOUT"


def test_handshakes_that_stall_do_not_delay_the_next_client() -> None:
    with serving(hello) as server, contextlib.ExitStack() as stack:
        for _ in range(200):
            raw = socket.create_connection(("127.0.0.1", port_of(server)), SECONDS)
            stack.enter_context(raw).sendall(b"\x16\x03\x01")
        with tls_client(port_of(server)) as client:
            assert ask(client).endswith(b"hello")


def test_tls_to_a_plain_server_is_a_client_error_there() -> None:
    with nhttp.create_server(hello).listen(0, "127.0.0.1") as server:
        seen = Recorder(server, "clientError")
        server.on("clientError", lambda error, sock: sock.destroy())
        with pytest.raises((ssl.SSLError, OSError)), tls_client(port_of(server)):
            pass
        assert seen.wait("clientError")[0].code == "HPE_INVALID_METHOD"


def test_a_client_that_goes_while_a_handler_computes_is_noticed() -> None:
    entered, gone = threading.Event(), threading.Event()

    def slow(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        request.on("aborted", gone.set)
        entered.set()
        assert gone.wait(SECONDS)

    with serving(slow) as server:
        with tls_client(port_of(server)) as client:
            client.sendall(GET)
            assert entered.wait(SECONDS)
        assert gone.wait(SECONDS)


def test_a_listener_that_raises_costs_its_own_client_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with serving(hello) as server:
        server.once("secureConnection", fail)
        with tls_client(port_of(server)) as client, contextlib.suppress(OSError):
            assert client.recv(1) == b""
        with tls_client(port_of(server)) as client:
            assert ask(client).endswith(b"hello")
    assert "ZeroDivisionError" in caplog.text


# --- upgrades and tunnels ----------------------------------------------------------------------


@pytest.mark.parametrize("event", ["upgrade", "connect"])
def test_an_upgrade_and_a_tunnel_go_on_over_tls(event: Any) -> None:
    def taken(_request: nhttp.IncomingMessage, sock: net.Socket, head: bytes) -> None:
        sock.write(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + head)
        sock.pipe(sock)

    heads = {
        "upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    }
    with serving() as server:
        server.on(event, taken)
        with tls_client(port_of(server)) as client:
            client.sendall(heads[event] + b"one")
            said = b""
            while not said.endswith(b"one"):
                said += client.recv(65536)
            client.sendall(b"two")
            assert client.recv(3) == b"two"


# --- closing -----------------------------------------------------------------------------------


def test_close_lets_a_running_request_finish() -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        entered.set()
        assert go.wait(SECONDS)
        response.end("hello")

    with serving(slow) as server, tls_client(port_of(server)) as client:
        client.sendall(GET)
        assert entered.wait(SECONDS)
        server.close()
        go.set()
        said = everything(client)
        assert b"\r\nConnection: close\r\n" in said
        assert said.endswith(b"hello")
        assert server.wait_closed(SECONDS)


def test_an_idle_client_is_no_error_when_it_goes_or_is_sent_away() -> None:
    with serving(hello) as server:
        seen = Recorder(server, "clientError", "tlsClientError")
        with tls_client(port_of(server)) as first, tls_client(port_of(server)) as second:
            answer(first)
            answer(second)
            first.close()  # without a goodbye
            server.close()
            assert everything(second) == b""
            assert server.wait_closed(SECONDS)
        assert seen.names == []


def test_leaving_a_with_block_ends_idle_clients_and_stalled_handshakes() -> None:
    with contextlib.ExitStack() as stack:
        with https.create_server(hello, cert=SERVER.cert, key=SERVER.key) as server:
            server.listen(0, "127.0.0.1")
            for _ in range(20):
                answer(stack.enter_context(tls_client(port_of(server))))
                raw = socket.create_connection(("127.0.0.1", port_of(server)), SECONDS)
                stack.enter_context(raw).sendall(b"\x16\x03\x01")
            server.grace = SECONDS
            started = time.monotonic()
        assert time.monotonic() - started < SECONDS / 2  # no grace was needed
        assert server.get_connections() == 0
