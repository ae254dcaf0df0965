"""Handshakes: what is agreed on, what is refused and with which words, and what is in their way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from support import SECONDS, Recorder, in_thread, listening, port_of
from tls_support import (
    CA,
    accepting,
    as_file,
    client_context,
    client_error,
    echo,
    echo_server,
    greet,
    identity,
    refused,
    served,
)

from nhttp import net, tls
from nhttp.errors import ConnectionReset, SocketTimeout, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")


@pytest.fixture
def port() -> Iterator[int]:
    with served(echo_server()) as port:
        yield port


class TestAgreement:
    def test_events_come_in_order_and_are_latched(self, port: int) -> None:
        stream = tls.TLSSocket(ca=CA)
        recorder = Recorder(stream, "connect", "ready", "secureConnect", "close")
        assert stream.connect(port, "localhost") is stream
        recorder.wait("secureConnect")
        assert recorder.names == ["connect", "ready", "secureConnect"]
        assert Recorder(stream, "secureConnect").names == ["secureConnect"]
        stream.destroy()

    def test_the_listener_of_connect_is_for_the_handshake(self, port: int) -> None:
        done = threading.Event()
        with tls.connect(port, done.set, ca=CA) as stream:
            assert done.wait(SECONDS)
            assert stream.get_protocol() == "TLSv1.3"

    def test_a_listener_may_use_the_connection(self, port: int) -> None:
        recorder = Recorder(stream := tls.TLSSocket(ca=CA), "end", "data")
        stream.connect(port, "localhost", lambda: stream.end(b"hello"))
        recorder.wait("end")
        assert recorder.data() == b"hello"

    def test_what_was_agreed_on(self, port: int) -> None:
        with greet(port) as stream:
            assert stream.encrypted
            assert stream.authorized
            assert stream.verify_peer()
            assert stream.authorization_error is None
            assert stream.servername == "localhost"
            assert stream.alpn_protocol is None
            cipher = stream.get_cipher()
            assert cipher is not None
            assert cipher["name"].startswith("TLS_")
            assert cipher["version"] == "TLSv1.3"
            assert cipher["bits"] in (128, 256)
            assert not net.Socket.encrypted

    def test_before_the_handshake_nothing_is_known(self) -> None:
        stream = tls.TLSSocket()
        assert not stream.authorized
        assert stream.authorization_error is None
        assert stream.get_protocol() is None
        assert stream.get_cipher() is None
        assert stream.alpn_protocol is None
        assert stream.servername is None
        assert stream.get_peer_certificate() is None
        assert stream.get_session() is None
        assert not stream.is_session_reused()

    def test_by_address(self, port: int) -> None:
        with greet(port, "127.0.0.1") as stream:
            assert stream.authorized

    def test_over_a_unix_socket(self, tmp_path: Any) -> None:
        path = str(tmp_path / "s")
        with (
            listening(echo_server(), path=path),
            greet(0, path=path) as stream,
        ):
            assert stream.servername == "localhost"

    @pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
    def test_versions(self, port: int, version: Any) -> None:
        with greet(port, max_version=version, min_version=version) as stream:
            assert stream.get_protocol() == version
        with served(echo_server(max_version=version)) as other, greet(other) as stream:
            assert stream.get_protocol() == version

    def test_ciphers(self, port: int) -> None:
        name = "ECDHE-ECDSA-CHACHA20-POLY1305"
        with greet(port, max_version="TLSv1.2", ciphers=name) as stream:
            cipher = stream.get_cipher()
            assert cipher is not None
            assert cipher["name"] == name

    def test_alpn(self) -> None:
        with (
            served(echo_server(alpn_protocols=["http/1.1", "x"])) as port,
            greet(port, alpn_protocols=["h2", "x", "http/1.1"]) as stream,
        ):
            assert stream.alpn_protocol == "http/1.1"  # the server prefers it
            with greet(port, alpn_protocols=["h2"]) as other:
                assert other.alpn_protocol is None

    def test_an_ssl_context_is_used_as_it_is(self) -> None:
        with (
            served(tls.create_server(echo, ssl_context=_server_context())) as port,
            tls.connect(port, "localhost", ssl_context=client_context()) as stream,
        ):
            stream.write(b"x")
            assert stream.read(1) == b"x"
            assert stream.authorized

    def test_a_secure_context_for_many(self) -> None:
        context = tls.create_secure_context(**identity(), ca=CA)
        with served(tls.create_server(echo, secure_context=context)) as port:
            for _ in range(2):
                with tls.connect(port, "localhost", secure_context=context) as stream:
                    stream.write(b"x")
                    assert stream.read(1) == b"x"


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with as_file(identity()["key"] + identity()["cert"]) as path:
        context.load_cert_chain(path)
    return context


class TestOtherProtocols:
    def test_plain_http_to_a_tls_port(self) -> None:
        def act(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert plain.recv(100) == b""  # and no reset

        error = client_error(echo_server(), act)
        assert error.code == "ERR_SSL_HTTP_REQUEST"
        assert "plain HTTP" in str(error)

    def test_a_request_for_a_tunnel(self) -> None:
        def act(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")
                while plain.recv(100):
                    pass

        error = client_error(echo_server(), act)
        assert error.code == "ERR_SSL_HTTPS_PROXY_REQUEST"
        assert "tunnel" in str(error)

    def test_something_else_to_a_tls_port(self) -> None:
        def act(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(b"EHLO there\r\n")
                while plain.recv(100):
                    pass

        error = client_error(echo_server(), act)
        assert error.code == "ERR_SSL_WRONG_VERSION_NUMBER"
        assert "EHLO" in str(error)

    def test_tls_to_a_plain_port(self) -> None:
        with accepting() as (port, accept):
            stream = tls.connect(port, "127.0.0.1", ca=CA)
            accept().sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(tls.TLSError) as caught:
                stream.read()
        assert caught.value.code == "ERR_SSL_WRONG_VERSION_NUMBER"
        assert "HTTP/1.1 400" in str(caught.value)
        assert "does not speak TLS" in str(caught.value)

    def test_no_version_in_common(self) -> None:
        with served(echo_server(max_version="TLSv1.2")) as port:
            error = refused(port, min_version="TLSv1.3")
        assert error.code == "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"
        assert "max_version" in str(error)

    def test_no_cipher_in_common(self) -> None:
        options: dict[str, Any] = {"max_version": "TLSv1.2"}

        def act(port: int) -> None:
            refused(port, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384", **options)

        server = echo_server(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", **options)
        told = client_error(server, act)
        assert told.code == "ERR_SSL_NO_SHARED_CIPHER"

    def test_a_peer_that_goes_in_the_middle(self) -> None:
        with accepting() as (port, accept):
            stream = tls.connect(port, "127.0.0.1", ca=CA)
            accept().shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionReset) as caught:
                stream.read()
        assert caught.value.code == "ECONNRESET"
        assert caught.value.syscall == "handshake"

    def test_a_write_that_came_before_it_failed_is_told_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = tls.TLSSocket(ca=CA)
        holds, failed = threading.Event(), threading.Event()
        monkeypatch.setattr(stream, "_hold", _then(holds.set, stream._hold))
        monkeypatch.setattr(stream, "_connected", _then(failed.set, stream._connected))
        with accepting() as (port, accept):
            stream.connect(port, "127.0.0.1")
            with stream._write_lock:
                writing = in_thread(stream.write, b"hello")
                assert holds.wait(SECONDS)
                accept().shutdown(socket.SHUT_WR)
                assert failed.wait(SECONDS)
            with pytest.raises(ConnectionReset, match="handshake"):
                writing.result()


def _then(tell: Callable[[], object], method: Callable[[], _T]) -> Callable[[], _T]:
    """The method, and afterwards that it was called."""

    def call() -> _T:
        try:
            return method()
        finally:
            tell()

    return call


class TestStalling:
    def test_a_client_that_never_finishes_is_cut_off(self) -> None:
        def act(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.settimeout(SECONDS)
                assert plain.recv(1) == b""

        error = client_error(echo_server(handshake_timeout=0.05), act)
        assert isinstance(error, SocketTimeout)
        assert isinstance(error, TimeoutError)
        assert error.code == "ERR_TLS_HANDSHAKE_TIMEOUT"

    def test_a_server_that_never_finishes_is_given_up(self) -> None:
        with accepting() as (port, _):
            stream = tls.connect(port, "127.0.0.1", ca=CA, handshake_timeout=0.05)
            with pytest.raises(SocketTimeout, match=r"0\.05 seconds"):
                stream.read()

    def test_many_of_them_hold_up_nobody(self) -> None:
        server = echo_server()
        with contextlib.ExitStack() as stack, served(server) as port:
            for _ in range(200):
                plain = socket.create_connection(("127.0.0.1", port))
                stack.enter_context(plain).sendall(b"\x16\x03\x01")
            with greet(port) as stream:
                assert stream.authorized

    def test_closing_the_server_does_not_wait_for_them(self) -> None:
        server = echo_server()
        recorder = Recorder(server, "connection", "tlsClientError")
        server.grace = SECONDS
        with socket.socket() as plain:
            with server.listen(0, "127.0.0.1"):
                plain.connect(("127.0.0.1", port_of(server)))
                recorder.wait("connection")
            assert server.wait_closed(0)
            plain.settimeout(SECONDS)
            with contextlib.suppress(ConnectionResetError):
                assert plain.recv(1) == b""
        assert recorder.names == ["connection"]

    def test_destroy_ends_a_handshake(self) -> None:
        with accepting() as (port, accept):
            stream = tls.connect(port, "127.0.0.1", ca=CA)
            recorder = Recorder(stream, "error", "close")
            accept().recv(1)
            writer = in_thread(stream.write, b"x")
            stream.destroy()
            with pytest.raises(StateError):
                writer.result()
            recorder.wait("close")
            assert recorder.names == ["close"]

    def test_a_connection_listener_comes_before_the_handshake(self) -> None:
        server = echo_server()
        told: list[object] = []

        def look(stream: net.Socket) -> None:
            told.append(stream.remote_address)
            try:
                stream.write(b"x")
            except StateError as error:
                told.append(error.code)

        server.on("connection", look)
        with served(server) as port, greet(port):
            assert told == ["127.0.0.1", "ENOTCONN"]

    def test_a_connection_listener_may_turn_clients_away(self) -> None:
        server = echo_server()
        recorder = Recorder(server, "tlsClientError", "secureConnection")
        server.on("connection", lambda stream: stream.destroy())
        with served(server) as port:
            assert isinstance(refused(port), ConnectionResetError)
        assert recorder.names == []
