"""https.request and https.get: URLs, TLS options of one request, and how verification fails."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from https_support import CLIENT, EXPIRED, Identity, identity, serving, trusting, url_of
from support import SECONDS, Recorder, accept_into, in_thread, port_of
from tls_support import CA, client_context, server_context

import nhttp
from nhttp import https, tls
from nhttp.errors import ConnectionReset, InvalidArgument, SocketTimeout

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from pathlib import Path


def hello(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end("hello")


def body_of(request: nhttp.ClientRequest) -> bytes:
    return request.get_response(SECONDS).read()


# --- both styles -------------------------------------------------------------------------------


def test_blocking() -> None:
    with serving(hello) as server, https.get(url_of(server), **trusting()) as response:
        assert response.read() == b"hello"
        sock = response.socket
        assert isinstance(sock, tls.TLSSocket)
        assert sock.authorized
        assert sock.encrypted


def test_small_pieces_of_a_body_are_not_held_back() -> None:
    with serving(hello) as server:
        request = https.request(url_of(server), method="POST", **trusting())
        request.write("small")
        assert request.socket is not None
        handle = request.socket._open_handle()
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        request.end()
        assert body_of(request) == b"hello"


def test_callbacks() -> None:
    over = threading.Event()
    taken: list[bytes] = []

    def answered(response: nhttp.IncomingMessage) -> None:
        response.on("data", taken.append)
        response.on("end", over.set)

    with serving(hello) as server:
        https.get(url_of(server), answered, **trusting())
        assert over.wait(SECONDS)
    assert taken == [b"hello"]


def test_a_body_in_chunks_and_back() -> None:
    def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.end(request.read())

    with serving(echo) as server:
        request = https.request(url_of(server), method="POST", **trusting())
        request.write("some ")
        request.write("data")
        request.end()
        assert body_of(request) == b"some data"


def test_a_mapping_options_and_keywords() -> None:
    def tell(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.end(f"{request.method} {request.url} {request.headers['host']}")

    with serving(tell) as server:
        port = port_of(server)
        expected = f"PUT /a localhost:{port}".encode()
        options: dict[str, Any] = {
            "hostname": "localhost",
            "port": port,
            "path": "/a",
            "ca": CA,
        }
        for source in (options, https.RequestOptions(**options)):
            request = https.request(source, method="PUT")
            request.end()
            assert body_of(request) == expected


def test_the_default_port_is_443_and_is_not_said() -> None:
    request = https.request("https://example.org/")
    assert request.get_header("host") == "example.org"
    assert request.options.target_port == 443
    assert request.protocol == "https:"
    assert https.request(host="example.org", port=80).get_header("host") == "example.org:80"


def test_a_truncated_answer_up_to_the_close_is_an_error() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\nsome", goodbye=False) as url:
        response = https.get(url, **trusting()).get_response(SECONDS)
        with pytest.raises(ConnectionReset):
            response.read()


def test_a_whole_answer_up_to_the_close_ends_with_a_goodbye() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\nall", goodbye=True) as url:
        assert body_of(https.get(url, **trusting())) == b"all"


def test_an_answer_of_known_length_needs_no_goodbye() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall", goodbye=False) as url:
        assert body_of(https.get(url, **trusting())) == b"all"


def test_a_kept_connection_that_turns_out_dead_is_replaced() -> None:
    def answer_and_go_at_the_second(peer: ssl.SSLSocket) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        read_head(peer)

    def answer(peer: ssl.SSLSocket) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")

    with (
        scripted(answer_and_go_at_the_second, answer) as url,
        https.Agent(keep_alive=True, ca=CA) as agent,
    ):
        assert body_of(agent.get(url)) == b"first"
        assert body_of(agent.get(url)) == b"second"


def test_an_agent_ends_a_kept_connection_with_a_goodbye() -> None:
    def script(peer: Any) -> None:
        read_head(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        peer.suppress_ragged_eofs = False
        assert peer.recv(1) == b""

    with scripted(script) as url, https.Agent(keep_alive=True, ca=CA) as agent:
        assert body_of(agent.get(url)) == b"first"


def read_head(peer: ssl.SSLSocket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(65536)


def raw_server(answer: bytes, *, goodbye: bool) -> AbstractContextManager[str]:
    """A TLS server that answers one request, and goes with close_notify or without; its URL."""

    def script(peer: ssl.SSLSocket) -> None:
        read_head(peer)
        peer.sendall(answer)
        if goodbye:
            with contextlib.suppress(OSError):
                peer.unwrap()

    return scripted(script)


@contextlib.contextmanager
def scripted(*scripts: Callable[[ssl.SSLSocket], object]) -> Generator[str]:
    """A TLS server with a script for each connection; its URL."""
    context = server_context()

    def serve(accept: Callable[[], socket.socket]) -> None:
        for script in scripts:
            with context.wrap_socket(accept(), server_side=True) as peer:
                script(peer)

    with accept_into() as (address, accept):
        served = in_thread(serve, accept)
        yield f"https://localhost:{address[1]}/"
        served.result()


# --- protocols and agents ----------------------------------------------------------------------


def test_each_module_refuses_the_urls_of_the_other() -> None:
    with pytest.raises(InvalidArgument, match=r"nhttp\.https") as caught:
        nhttp.request("https://localhost/")
    assert caught.value.code == "ERR_INVALID_PROTOCOL"
    with pytest.raises(InvalidArgument, match="'http:' is not supported") as caught:
        https.request("http://localhost/")
    assert caught.value.code == "ERR_INVALID_PROTOCOL"


def test_an_agent_of_https_serves_requests_of_nhttp() -> None:
    with serving(hello) as server, https.Agent(ca=CA) as agent:
        assert body_of(nhttp.get(url_of(server), agent=agent)) == b"hello"


def test_an_agent_of_http_serves_plain_requests_of_https() -> None:
    with (
        nhttp.create_server(hello).listen(0, "127.0.0.1") as server,
        nhttp.Agent() as agent,
    ):
        assert body_of(https.get(f"http://127.0.0.1:{port_of(server)}/", agent=agent)) == b"hello"


def test_the_global_agent_is_the_default() -> None:
    assert https.request("https://localhost/").agent is https.global_agent
    assert https.global_agent is not nhttp.global_agent


def test_no_agent_makes_one_for_the_request_alone() -> None:
    with serving(hello) as server:
        request = https.get(url_of(server), agent=False, **trusting())
        assert isinstance(request.agent, https.Agent)
        assert request.agent is not https.global_agent
        assert body_of(request) == b"hello"


def test_create_connection_makes_the_socket() -> None:
    made: list[tls.TLSSocket] = []

    def create(options: nhttp.RequestOptions) -> tls.TLSSocket:
        made.append(tls.connect(options.target_port, "127.0.0.1", ca=CA))
        return made[0]

    with serving(hello) as server:
        request = https.get(url_of(server), create_connection=create)
        assert body_of(request) == b"hello"
        assert request.socket is made[0]


def test_a_unix_socket(tmp_path: Path) -> None:
    with https.create_server(
        hello, cert=identity("localhost").cert, key=identity("localhost").key
    ).listen(path=str(tmp_path / "s")):
        request = https.get(socket_path=str(tmp_path / "s"), **trusting())
        assert body_of(request) == b"hello"


# --- options of TLS ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions(version: Any) -> None:
    options = trusting(min_version=version, max_version=version)
    with serving(hello) as server, https.get(url_of(server), **options) as response:
        assert isinstance(response.socket, tls.TLSSocket)
        assert response.socket.get_protocol() == version


def test_versions_that_do_not_meet_fail() -> None:
    with serving(hello, min_version="TLSv1.3") as server, pytest.raises(tls.TLSError) as caught:
        body_of(https.get(url_of(server), **trusting(max_version="TLSv1.2")))
    assert caught.value.code == "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"


def test_a_ready_context() -> None:
    context = client_context()
    with serving(hello) as server:
        assert body_of(https.get(url_of(server), ssl_context=context)) == b"hello"


def test_a_secure_context() -> None:
    context = tls.create_secure_context(ca=CA)
    with serving(hello) as server:
        assert body_of(https.get(url_of(server), secure_context=context)) == b"hello"


def test_alpn() -> None:
    with serving(hello, alpn_protocols=["http/1.1"]) as server:
        options = trusting(alpn_protocols=["h2", "http/1.1"])
        with https.get(url_of(server), **options) as response:
            assert isinstance(response.socket, tls.TLSSocket)
            assert response.socket.alpn_protocol == "http/1.1"


def test_a_client_certificate() -> None:
    def tell(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert isinstance(request.socket, tls.TLSSocket)
        response.end(str(request.socket.authorized))

    options = trusting(cert=CLIENT.cert, key=CLIENT.key)
    with serving(tell, ca=CA, request_cert=True) as server:
        assert body_of(https.get(url_of(server), **options)) == b"True"
        with pytest.raises((tls.TLSError, ConnectionReset)):
            body_of(https.get(url_of(server), **trusting()))


def test_a_certificate_and_its_key_in_one_bundle() -> None:
    def tell(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert isinstance(request.socket, tls.TLSSocket)
        response.end(str(request.socket.authorized))

    bundle = bundled(CLIENT, b"sesame")
    with serving(tell, ca=CA, request_cert=True) as server:
        options = trusting(pfx=bundle, passphrase="sesame")
        assert body_of(https.get(url_of(server), **options)) == b"True"


def bundled(identity: Identity, passphrase: bytes) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        None,
        ec_key(identity.key),
        x509.load_pem_x509_certificate(identity.cert),
        None,
        serialization.BestAvailableEncryption(passphrase),
    )


def ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_the_name_that_is_verified_is_that_of_the_host_header() -> None:
    seen: list[str | None] = []

    def look(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert isinstance(request.socket, tls.TLSSocket)
        seen.append(request.socket.servername)
        response.end("hello")

    other = identity("other.example")
    with serving(look, cert=other.cert, key=other.key) as server:
        url = url_of(server)
        host = {"Host": "other.example:1"}
        assert body_of(https.get(url, headers=host, **trusting())) == b"hello"
        named = https.get(url, **trusting(servername="other.example"))
        assert body_of(named) == b"hello"
    assert seen == ["other.example", "other.example"]


def test_an_address_is_verified_too() -> None:
    with serving(hello) as server:
        assert body_of(https.get(url_of(server, host="127.0.0.1"), **trusting())) == b"hello"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"ca": 5}, "ca"),
        ({"min_version": "TLSv9"}, "min_version"),
        ({"handshake_timeout": -1}, "handshake_timeout"),
        ({"key": "-----BEGIN PRIVATE KEY-----"}, "key"),
        ({"ssl_context": 1}, "ssl_context"),
        ({"certificate": b""}, "certificate"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(
    options: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidArgument, match=word):
        https.request("https://localhost/", **options)


# --- who is not trusted ------------------------------------------------------------------------


def test_an_unknown_authority() -> None:
    with serving(hello) as server:
        seen = Recorder(server, "tlsClientError")
        with pytest.raises(tls.CertificateError) as caught:
            body_of(https.get(url_of(server)))
        seen.wait("tlsClientError")
    assert caught.value.code in {
        "SELF_SIGNED_CERT_IN_CHAIN",
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    }


def test_an_expired_certificate() -> None:
    with (
        serving(hello, cert=EXPIRED.cert, key=EXPIRED.key) as server,
        pytest.raises(tls.CertificateError) as caught,
    ):
        body_of(https.get(url_of(server), **trusting()))
    assert caught.value.code == "CERT_HAS_EXPIRED"


def test_a_wrong_name() -> None:
    other = identity("other.example")
    with (
        serving(hello, cert=other.cert, key=other.key) as server,
        pytest.raises(tls.CertificateError) as caught,
    ):
        body_of(https.get(url_of(server), **trusting()))
    assert caught.value.code == "ERR_TLS_CERT_ALTNAME_INVALID"


def test_going_on_unverified() -> None:
    with serving(hello) as server:
        request = https.get(url_of(server), reject_unauthorized=False)
        assert body_of(request) == b"hello"
        assert isinstance(request.socket, tls.TLSSocket)
        assert not request.socket.authorized


def test_a_failed_handshake_is_an_error_event() -> None:
    failed = threading.Event()
    errors: list[Exception] = []

    def note(error: Exception) -> None:
        errors.append(error)
        failed.set()

    with serving(hello) as server:
        https.get(url_of(server), lambda response: None).on("error", note)
        assert failed.wait(SECONDS)
    assert isinstance(errors[0], tls.CertificateError)


# --- who does not answer -----------------------------------------------------------------------


def test_a_timeout_bounds_the_handshake() -> None:
    with accept_into() as (address, accept):
        request = https.get(f"https://localhost:{address[1]}/", lambda response: None)
        seen = Recorder(request, "error")
        assert accept().recv(1) == b"\x16"
        request.set_timeout(0.05)  # counts from now on
        assert isinstance(seen.wait("error")[0], SocketTimeout)


def test_the_handshake_has_a_deadline_of_its_own() -> None:
    with accept_into() as (address, _), pytest.raises(SocketTimeout) as caught:
        body_of(https.get(f"https://localhost:{address[1]}/", handshake_timeout=0.05))
    assert caught.value.code == "ERR_TLS_HANDSHAKE_TIMEOUT"


def test_an_abort_ends_the_handshake() -> None:
    with accept_into() as (address, accept):
        request = https.get(f"https://localhost:{address[1]}/", lambda response: None)
        seen = Recorder(request, "abort", "close")
        far = accept()
        assert far.recv(1) == b"\x16"
        request.abort()
        seen.wait("close")
        with contextlib.suppress(ConnectionResetError):
            while far.recv(65536):
                pass


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            body_of(https.get(f"https://127.0.0.1:{bound.getsockname()[1]}/"))
