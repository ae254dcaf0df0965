"""Every option: what it accepts, and with which words it refuses the rest."""

from __future__ import annotations

import math
import ssl
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from tls_support import AUTHORITY, CA, echo, identity, served

from nhttp import tls
from nhttp.errors import InvalidArgument

SECRET = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IQ==\n-----END PRIVATE KEY-----\n"


def works(**server: Any) -> None:
    """Whether a client that trusts the authority of the tests gets its echo from such a server."""
    with (
        served(tls.create_server(echo, **server)) as port,
        tls.connect(port, "localhost", ca=CA) as stream,
    ):
        stream.write(b"x")
        assert stream.read(1) == b"x"


def encrypted(key: bytes, passphrase: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
    )


def bundle(passphrase: bytes | None) -> bytes:
    made = AUTHORITY.create_child_ca().issue_cert("localhost")
    first, *others = (load_pem_x509_certificate(each.bytes()) for each in made.cert_chain_pems)
    key: Any = load_pem_private_key(made.private_key_pem.bytes(), None)
    algorithm: Any = BestAvailableEncryption(passphrase) if passphrase else pkcs12_plain()
    return pkcs12.serialize_key_and_certificates(b"name", key, first, others, algorithm)


def pkcs12_plain() -> object:
    from cryptography.hazmat.primitives.serialization import NoEncryption

    return NoEncryption()


class TestMaterial:
    def test_pem_as_text_octets_and_files(self, tmp_path: Path) -> None:
        pems = identity()
        for name, pem in pems.items():
            (tmp_path / name).write_bytes(pem)
        works(cert=pems["cert"], key=pems["key"])
        works(cert=pems["cert"].decode(), key=pems["key"].decode())
        works(cert=tmp_path / "cert", key=tmp_path / "key")

    def test_key_and_certificate_in_one(self) -> None:
        works(cert=identity()["key"] + identity()["cert"])

    def test_several_identities(self) -> None:
        made = [
            AUTHORITY.issue_cert("localhost", key_type=kind)
            for kind in (trustme.KeyType.RSA, trustme.KeyType.ECDSA)
        ]
        server = tls.create_server(
            echo,
            cert=[each.cert_chain_pems[0].bytes() for each in made],
            key=[each.private_key_pem.bytes() for each in made],
            max_version="TLSv1.2",
        )
        with served(server) as port:
            for ciphers in ("ECDHE+aRSA", "ECDHE+ECDSA"):
                with tls.connect(port, "localhost", ca=CA, ciphers=ciphers) as stream:
                    stream.write(b"x")
                    assert stream.read(1) == b"x"

    def test_several_authorities(self) -> None:
        with served(tls.create_server(echo, **identity())) as port:
            for ca in ([trustme.CA().cert_pem.bytes(), CA], trustme.CA().cert_pem.bytes() + CA):
                with tls.connect(port, "localhost", ca=ca) as stream:
                    stream.write(b"x")
                    assert stream.read(1) == b"x"

    def test_an_encrypted_key(self) -> None:
        pems = identity()
        locked = encrypted(pems["key"], b"open sesame")
        works(cert=pems["cert"], key=locked, passphrase="open sesame")
        works(cert=pems["cert"], key=locked, passphrase=b"open sesame")

    @pytest.mark.parametrize("passphrase", [None, b"open sesame"])
    def test_pfx(self, passphrase: bytes | None, tmp_path: Path) -> None:
        pfx = bundle(passphrase)
        (tmp_path / "pfx").write_bytes(pfx)
        works(pfx=pfx, passphrase=passphrase)
        works(pfx=tmp_path / "pfx", passphrase=passphrase)

    def test_without_anonymous_files(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delattr("os.memfd_create")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        works(**identity("localhost", "another.test"))
        assert list(tmp_path.iterdir()) == []

    def test_equal_options_share_a_context(self) -> None:
        one, other = (tls.create_secure_context(ca=CA) for _ in range(2))
        assert one is other
        assert tls.create_secure_context(ca=CA, ciphers="ECDHE+AESGCM") is not one
        assert tls.ClientOptions(ca=CA).digest() == tls.ClientOptions(ca=[CA.decode()]).digest()
        assert tls.ClientOptions(ca=CA).digest() != tls.ClientOptions().digest()
        unverified = tls.ClientOptions(ca=CA, reject_unauthorized=False)
        assert tls.ClientOptions(ca=CA).digest() != unverified.digest()

    def test_a_digest_tells_contexts_apart(self) -> None:
        digests = {
            tls.ClientOptions(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)).digest()
            for _ in range(10)
        }
        assert len(digests) == 10

    def test_contexts_are_not_kept_for_ever(self) -> None:
        from nhttp.tls import _context

        for number in range(_context.MAX_KEPT + 5):
            tls.create_secure_context(alpn_protocols=[str(number)], ca=CA)
        assert len(_context._kept) == _context.MAX_KEPT  # pyright: ignore[reportPrivateUsage]


PEMS = identity()
OTHER = identity("other.test")

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cert": PEMS["cert"], "key": OTHER["key"]}, "key does not belong to cert"),
    ({"cert": PEMS["cert"]}, "cert has no key in it: give key"),
    ({"cert": PEMS["cert"][:200], "key": PEMS["key"]}, "cert and key cannot be used"),
    ({"key": PEMS["key"]}, "key needs cert"),
    ({"cert": [PEMS["cert"]] * 2, "key": PEMS["key"]}, "2 of cert and 1 of key"),
    ({"cert": b"nonsense"}, "cert is not PEM"),
    ({"cert": "cert.pem"}, r"cert is not PEM.*pathlib\.Path"),
    ({"cert": Path("/nowhere/cert.pem")}, "cert: cannot read /nowhere/cert.pem"),
    ({"cert": Path("/dev/null")}, "cert in /dev/null is not PEM: there is no '-----BEGIN'$"),
    ({"cert": 5}, "cert is PEM as str or bytes"),
    ({"cert": [5]}, "cert is PEM as str or bytes"),
    ({"ca": b"-----BEGIN nothing"}, "ca cannot be read"),
    (
        {"cert": PEMS["cert"], "key": encrypted(PEMS["key"], b"right")},
        "key is encrypted: give passphrase",
    ),
    (
        {"cert": PEMS["cert"], "key": encrypted(PEMS["key"], b"right"), "passphrase": "wrong"},
        "passphrase does not open key",
    ),
    ({"passphrase": 5}, "passphrase is str or bytes, not int"),
    ({"pfx": b"nonsense"}, "pfx cannot be read"),
    ({"pfx": bundle(b"right"), "passphrase": "wrong"}, "pfx cannot be read"),
    ({"pfx": "text"}, "pfx is bytes or a path, not str"),
    ({"pfx": b"x", **PEMS}, "not both"),
    ({"ciphers": "NO-SUCH"}, "ciphers 'NO-SUCH' cannot be"),
    ({"ciphers": 5}, "ciphers is a str, not 5"),
    ({"min_version": "TLSv1"}, "min_version is 'TLSv1.2' or 'TLSv1.3', not 'TLSv1'"),
    ({"max_version": 3}, "max_version is 'TLSv1.2' or 'TLSv1.3', not 3"),
    (
        {"min_version": "TLSv1.3", "max_version": "TLSv1.2"},
        r"min_version TLSv1\.3 is above max_version TLSv1\.2",
    ),
    ({"alpn_protocols": "h2"}, "alpn_protocols is a sequence of names, not 'h2'"),
    ({"alpn_protocols": 5}, "alpn_protocols is a sequence of names, not 5"),
    ({"alpn_protocols": [5]}, "alpn_protocols is a sequence of str, not 5"),
    ({"alpn_protocols": [""]}, "alpn_protocols has ''"),
    ({"secure_context": 5}, "secure_context is what create_secure_context gave, not 5"),
    ({"ssl_context": 5}, "ssl_context is an ssl.SSLContext, not 5"),
    (
        {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "ca": CA, "ciphers": "x"},
        "ssl_context cannot be given together with ca, ciphers",
    ),
]


class TestRefusals:
    @pytest.mark.parametrize(("options", "words"), REFUSED, ids=[each[1] for each in REFUSED])
    def test_what_cannot_be(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidArgument, match=words) as caught:
            tls.create_secure_context(**options)
        assert caught.value.code in ("ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_VALUE")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"servername": 5}, "servername is a str, not 5"),
            ({"reject_unauthorized": "no"}, "reject_unauthorized is True or False, not 'no'"),
            ({"session": b"x"}, "session is a TLSSession, not b'x'"),
            ({"handshake_timeout": -1}, "handshake_timeout is 0 or more, not -1"),
            ({"handshake_timeout": math.nan}, "handshake_timeout is 0 or more, not nan"),
            (
                {
                    "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                    "reject_unauthorized": False,
                },
                "reject_unauthorized cannot be given together with ssl_context",
            ),
        ],
    )
    def test_of_clients(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidArgument, match=words):
            tls.connect(1, **options)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, "a TLS server needs a certificate"),
            ({**PEMS, "request_cert": 1}, "request_cert is True or False, not 1"),
            ({**PEMS, "sni_callback": 5}, "sni_callback is callable, not 5"),
            ({**PEMS, "handshake_timeout": "1"}, "handshake_timeout is a number of seconds"),
            (
                {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "request_cert": True},
                "request_cert cannot be given together with ssl_context",
            ),
        ],
    )
    def test_of_servers(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidArgument, match=words):
            tls.create_server(**options)

    def test_an_option_that_is_none(self) -> None:
        with pytest.raises(TypeError, match="rejectUnauthorized"):
            tls.connect(1, rejectUnauthorized=False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    @pytest.mark.parametrize("name", ["a..b", ".", "a\0b"])
    def test_a_name_that_cannot_be_one(self, name: str) -> None:
        with (
            served(tls.create_server(echo, **PEMS)) as port,
            tls.connect(port, "127.0.0.1", servername=name) as stream,
            pytest.raises(tls.TLSError, match="cannot be the name of a server"),
        ):
            stream.read()

    def test_pfx_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = "cryptography.hazmat.primitives.serialization"
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(InvalidArgument, match=r"pip install 'nhttp\[tls\]'"):
            tls.create_secure_context(pfx=b"anything")


class TestSecrecy:
    def test_nothing_of_keys_shows(self) -> None:
        shown = repr(tls.ClientOptions(cert=SECRET, key=SECRET, pfx=None, passphrase="sesame"))
        assert "c2VjcmV0" not in shown
        assert "sesame" not in shown

    @pytest.mark.parametrize(
        "options",
        [
            {"cert": SECRET, "key": SECRET},
            {"cert": PEMS["cert"], "key": SECRET},
            {"cert": "c2VjcmV0"},
            {"key": [b"c2VjcmV0"]},
            {"pfx": b"c2VjcmV0", "passphrase": "c2VjcmV0"},
            {"passphrase": ["c2VjcmV0"]},
        ],
    )
    def test_not_in_an_error_either(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidArgument) as caught:
            tls.create_secure_context(**options)
        error: BaseException | None = caught.value
        while error is not None:
            assert "c2VjcmV0" not in str(error)
            error = error.__cause__
