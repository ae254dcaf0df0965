"""What `get_peer_certificate` says, and the DER reader below it."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tls_support import AUTHORITY, CA, echo, identity, served

from nhttp import tls
from nhttp.tls._certificate import describe_chain
from nhttp.tls._der import read_certificate

OIDS = x509.NameOID


def issue(
    *attributes: tuple[x509.ObjectIdentifier, str],
    names: list[x509.GeneralName] | None = None,
    serial: int = 255,
    years: tuple[int, int] = (2001, 2060),
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(*each) for each in attributes])
    begin, end = (dt.datetime(year, 2, 3, 4, 5, 6) for year in years)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_of_a_server() -> None:
    pem = identity()["cert"].decode()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25] + "\n")
    with (
        served(tls.create_server(echo, **identity())) as port,
        tls.connect(port, "localhost", ca=CA) as stream,
    ):
        stream.write(b"x")
        shown = stream.get_peer_certificate()
    assert shown is not None
    assert shown["raw"] == der
    assert shown["subjectaltname"] == "DNS:localhost, IP Address:127.0.0.1"
    assert shown["issuer"]["O"].startswith("trustme")  # type: ignore[union-attr]
    assert shown["fingerprint256"].replace(":", "").lower() == hashlib.sha256(der).hexdigest()
    assert len(shown["fingerprint"]) == 20 * 3 - 1
    assert len(shown["fingerprint512"]) == 64 * 3 - 1
    assert "1.3.6.1.5.5.7.3.1" in shown["ext_key_usage"]
    assert int(shown["serial_number"], 16)
    assert ssl.cert_time_to_seconds(shown["valid_from"]) < ssl.cert_time_to_seconds(
        shown["valid_to"]
    )
    assert "issuer_certificate" not in shown


def test_what_ssl_says_of_the_same() -> None:
    made = AUTHORITY.issue_cert("a.test", "::1", "x@a.test")
    with served(tls.create_server(echo, cert=made.private_key_and_cert_chain_pem.bytes())) as port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=CA.decode())
        options: Any = {"ssl_context": context, "servername": "a.test"}
        with tls.connect(port, "localhost", **options) as stream:
            stream.write(b"x")
            ours = stream.get_peer_certificate()
            assert stream._engine is not None  # pyright: ignore[reportPrivateUsage]
            theirs: Any = stream._engine.object.getpeercert()  # pyright: ignore[reportPrivateUsage]
    assert ours is not None
    assert ours["serial_number"] == theirs["serialNumber"]
    assert ours["valid_from"] == theirs["notBefore"]
    assert ours["valid_to"] == theirs["notAfter"]
    assert set(ours["subjectaltname"].split(", ")) == {
        "DNS:a.test",
        "IP Address:::1",
        "email:x@a.test",
    }


def test_names_and_moments() -> None:
    said = read_certificate(
        issue(
            (OIDS.COUNTRY_NAME, "DE"),
            (OIDS.ORGANIZATIONAL_UNIT_NAME, "one"),
            (OIDS.ORGANIZATIONAL_UNIT_NAME, "two"),
            (OIDS.ORGANIZATIONAL_UNIT_NAME, "three"),
            (OIDS.COMMON_NAME, "größer"),
            (OIDS.PSEUDONYM, "unnamed"),
        )
    )
    assert said.subject == said.issuer
    assert said.subject == {
        "C": "DE",
        "OU": ["one", "two", "three"],
        "CN": "größer",
        "2.5.4.65": "unnamed",
    }
    assert said.serial_number == "FF"
    assert said.valid_from == "Feb  3 04:05:06 2001 GMT"
    assert said.valid_to == "Feb  3 04:05:06 2060 GMT"  # no UTCTime: RFC 5280, 4.1.2.5
    assert said.subjectaltname == ""
    assert said.ext_key_usage == []


def test_alternative_names_of_every_kind() -> None:
    directory = x509.Name([x509.NameAttribute(OIDS.COMMON_NAME, "x")])
    said = read_certificate(
        issue(
            names=[
                x509.DNSName("a.test"),
                x509.DNSName("evil, DNS:b.test"),
                x509.UniformResourceIdentifier("https://a.test/"),
                x509.RegisteredID(x509.ObjectIdentifier("1.2.3.999")),
                x509.DirectoryName(directory),
                x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"),
            ]
        )
    )
    assert said.subjectaltname == (
        'DNS:a.test, DNS:"evil, DNS:b.test", URI:https://a.test/, Registered ID:1.2.3.999, '
        "DirName:{'CN': 'x'}, othername:<unsupported>"
    )


def test_what_cannot_be_read_has_its_octets() -> None:
    shown = describe_chain([b"nonsense"])
    assert shown["raw"] == b"nonsense"
    assert shown["fingerprint256"]
    assert shown["subject"] == {}


def test_what_was_altered_is_read_or_refused() -> None:
    der = issue((OIDS.COMMON_NAME, "x"), names=[x509.DNSName("x")])
    numbers = random.Random(1)
    for _ in range(2000):
        altered = bytearray(der[: numbers.randrange(len(der) + 1)])
        for _ in range(numbers.randrange(4)):
            if altered:
                altered[numbers.randrange(len(altered))] = numbers.randrange(256)
        try:
            read_certificate(bytes(altered))
        except ValueError:
            continue


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", b"0\x00"]
)
def test_malformed(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_certificate(der)
