"""Certificates of both sides: which are trusted, and what is said of the others."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trustme
from support import Recorder
from tls_support import (
    AUTHORITY,
    CA,
    OTHER_AUTHORITY,
    client_context,
    client_error,
    echo,
    echo_server,
    greet,
    identity,
    refused,
    served,
)

from nhttp import tls
from nhttp.tls._verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nhttp.errors import SocketError


@pytest.fixture
def port() -> Iterator[int]:
    with served(echo_server()) as port:
        yield port


class TestServerCertificates:
    def test_an_authority_that_is_not_known(self, port: int) -> None:
        error = refused(port, ca=OTHER_AUTHORITY.cert_pem.bytes())
        assert isinstance(error, tls.CertificateError)
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert isinstance(error, ValueError)
        assert error.code == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
        assert error.verify_code == 20
        assert "`ca`" in str(error)

    def test_the_system_does_not_know_it_either(self, port: int) -> None:
        assert refused(port, ca=None).code == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"

    def test_expired(self) -> None:
        past = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
        old = AUTHORITY.issue_cert("localhost", not_after=past)
        pem = old.private_key_and_cert_chain_pem.bytes()
        with served(tls.create_server(echo, cert=pem)) as port:
            error = refused(port)
        assert error.code == "CERT_HAS_EXPIRED"
        assert "renewed" in str(error)

    def test_self_signed(self) -> None:
        alone = _self_signed()
        with served(tls.create_server(echo, cert=alone)) as port:
            error = refused(port)
            assert error.code == "DEPTH_ZERO_SELF_SIGNED_CERT"
            with greet(port, ca=alone.split(b"-----END PRIVATE")[1].split(b"\n", 1)[1]) as stream:
                assert stream.authorized

    def test_self_signed_in_the_chain(self) -> None:
        chain = identity()["cert"] + CA
        with served(tls.create_server(echo, cert=chain, key=identity()["key"])) as port:
            error = refused(port, ca=OTHER_AUTHORITY.cert_pem.bytes())
        assert error.code == "SELF_SIGNED_CERT_IN_CHAIN"

    @pytest.mark.parametrize(("host", "name"), [("localhost", "b.test"), ("127.0.0.1", None)])
    def test_of_another_name(self, host: str, name: str | None) -> None:
        with served(echo_server(**identity("a.test"))) as port:
            error = refused(port, host, servername=name)
        assert error.code == "ERR_TLS_CERT_ALTNAME_INVALID"
        assert "`servername`" in str(error)

    def test_servername_stands_for_the_host(self) -> None:
        with (
            served(echo_server(**identity("a.test"))) as port,
            greet(port, "127.0.0.1", servername="a.test") as stream,
        ):
            assert stream.servername == "a.test"

    def test_the_dot_of_a_full_name_is_left_out(self) -> None:
        asked: list[str] = []
        server = echo_server(sni_callback=asked.append)
        with served(server) as port, greet(port, servername="localhost.") as stream:
            assert stream.servername == "localhost"
        assert asked == ["localhost"]

    def test_a_failure_is_told_like_one_to_connect(self, port: int) -> None:
        stream = tls.connect(port, "localhost", ca=OTHER_AUTHORITY.cert_pem.bytes())
        recorder = Recorder(stream, "secureConnect", "error", "close")
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        assert stream.errored is recorder.all("error")[0][0]

    def test_a_server_is_told_why_it_was_not_trusted(self) -> None:
        def act(port: int) -> None:
            refused(port, ca=OTHER_AUTHORITY.cert_pem.bytes())

        error = client_error(echo_server(), act)
        assert isinstance(error, tls.TLSError)
        assert error.code == "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"
        assert error.reason == "TLSV1_ALERT_UNKNOWN_CA"
        assert error.library == "SSL"


class TestUnverified:
    """`reject_unauthorized=False`: the handshake goes on, and the verdict can be asked for."""

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({}, None),
            ({"servername": "b.test"}, "ERR_TLS_CERT_ALTNAME_INVALID"),
            ({"ca": OTHER_AUTHORITY.cert_pem.bytes()}, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"),
            ({"ca": None}, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"),
        ],
    )
    @pytest.mark.parametrize("key_type", [trustme.KeyType.RSA, trustme.KeyType.ECDSA])
    def test_the_verdict(
        self, options: dict[str, Any], code: str | None, key_type: trustme.KeyType
    ) -> None:
        made = AUTHORITY.issue_cert("localhost", key_type=key_type)
        pem = made.private_key_and_cert_chain_pem.bytes()
        with (
            served(tls.create_server(echo, cert=pem)) as port,
            greet(port, reject_unauthorized=False, **options) as stream,
        ):
            error = stream.authorization_error
            assert stream.authorized is stream.verify_peer() is (code is None)
            assert (error and error.code) == code

    def test_with_a_certificate_in_between(self) -> None:
        child = AUTHORITY.create_child_ca().issue_cert("localhost")
        pem = child.private_key_and_cert_chain_pem.bytes()
        with (
            served(tls.create_server(echo, cert=pem)) as port,
            greet(port, reject_unauthorized=False) as stream,
        ):
            assert stream.authorized
            described = stream.get_peer_certificate(detailed=True)
            assert described is not None
            above = described.get("issuer_certificate")
            assert above is not None
            assert above["subject"] == described["issuer"]

    def test_a_chain_longer_than_a_record(self) -> None:
        many = AUTHORITY.issue_cert(*(["localhost"] + [f"host-{i}.example" for i in range(900)]))
        pem = many.private_key_and_cert_chain_pem.bytes()
        with (
            served(tls.create_server(echo, cert=pem)) as port,
            greet(port, reject_unauthorized=False) as stream,
        ):
            assert stream.authorized

    def test_on_what_is_no_certificate(self) -> None:
        error = verdict(client_context(), [b"nonsense"], "localhost")
        assert error is not None
        assert error.code == "CERT_REJECTED"

    def test_a_session_carries_its_verdict(self, port: int) -> None:
        options: dict[str, Any] = {"ca": None, "reject_unauthorized": False}
        with greet(port, **options) as stream:
            session = stream.get_session()
        with greet(port, session=session, **options) as stream:
            assert stream.is_session_reused()
            assert not stream.authorized
            error = stream.authorization_error
            assert error is not None
            assert error.code == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"

    def test_a_context_that_verifies_nothing_vouches_for_nobody(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with tls.connect(port, "localhost", ssl_context=context) as stream:
            stream.write(b"x")
            assert not stream.authorized


class TestClientCertificates:
    OPTIONS: ClassVar[dict[str, Any]] = {"ca": CA, "request_cert": True}

    def test_asked_for_and_shown(self) -> None:
        server = echo_server(**self.OPTIONS)
        recorder = Recorder(server, "secureConnection")
        with served(server) as port, greet(port, **identity("client.test")):
            (stream,) = recorder.wait("secureConnection")
            assert stream.authorized
            assert stream.get_peer_certificate()["subjectaltname"] == "DNS:client.test"

    @pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
    def test_asked_for_and_not_shown(self, version: Any) -> None:
        errors: list[SocketError] = []

        def act(port: int) -> None:
            errors.append(refused(port, max_version=version))

        told = client_error(echo_server(**self.OPTIONS), act)
        assert told.code == "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert errors[0].code in (
            "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
        )
        assert "`cert` and `key`" in str(errors[0])

    def test_of_an_authority_that_is_not_known(self) -> None:
        shown = identity("client.test", authority=OTHER_AUTHORITY)

        def act(port: int) -> None:
            refused(port, **shown)

        told = client_error(echo_server(**self.OPTIONS), act)
        assert isinstance(told, tls.CertificateError)
        assert told.code == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"

    def test_not_insisted_on(self) -> None:
        server = echo_server(**self.OPTIONS, reject_unauthorized=False)
        recorder = Recorder(server, "secureConnection")
        with served(server) as port, greet(port):
            (stream,) = recorder.wait("secureConnection")
            assert not stream.authorized
            assert stream.get_peer_certificate() is None


class TestNames:
    def test_a_certificate_for_each_name(self) -> None:
        server = echo_server()
        server.add_context("a.test", identity("a.test"))
        server.add_context("*.b.test", tls.create_secure_context(**identity("*.b.test")))
        with served(server) as port:
            for name in ("localhost", "a.test", "A.Test", "x.b.test"):
                with greet(port, servername=name) as stream:
                    assert stream.authorized
            assert refused(port, servername="x.y.b.test").code == "ERR_TLS_CERT_ALTNAME_INVALID"

    def test_a_callback(self) -> None:
        asked: list[str] = []

        def choose(name: str) -> tls.SecureContext | ssl.SSLContext | None:
            asked.append(name)
            if name == "a.test":
                return tls.create_secure_context(**identity("a.test"))
            return None

        server = tls.create_server(echo, sni_callback=choose, **identity())
        recorder = Recorder(server, "secureConnection")
        with served(server) as port:
            with greet(port, servername="a.test"), greet(port):
                pass
            with greet(port, "127.0.0.1"):  # an address is no name
                recorder.wait("secureConnection", 3)
        assert asked == ["a.test", "localhost"]
        names = [stream.servername for (stream,) in recorder.all("secureConnection")]
        assert names == ["a.test", "localhost", None]

    def test_a_callback_that_raises_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        def choose(name: str) -> None:
            raise ValueError("a bug")

        with served(echo_server(sni_callback=choose)) as port:
            assert refused(port).code == "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR"
        assert "a bug" in caplog.text

    def test_a_callback_that_gives_something_else(self, caplog: pytest.LogCaptureFixture) -> None:
        options: dict[str, Any] = {"sni_callback": str}
        with served(echo_server(**options)) as port:
            assert refused(port).code == "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR"
        assert "gives a SecureContext" in caplog.text

    def test_another_context_from_now_on(self) -> None:
        server = echo_server()
        with served(server) as port:
            server.set_secure_context(**identity("a.test"))
            with greet(port, servername="a.test") as stream:
                assert stream.authorized
            assert refused(port).code == "ERR_TLS_CERT_ALTNAME_INVALID"


def _self_signed() -> bytes:
    """A key, and a certificate that it has signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + certificate.public_bytes(Encoding.PEM)
