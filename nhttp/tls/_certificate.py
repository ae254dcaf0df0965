"""What the peer has shown: `TLSSocket.get_peer_certificate`."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from nhttp.tls._der import Certificate, read_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PeerCertificate", "describe_chain", "shown_chain"]


class PeerCertificate(TypedDict):
    """A certificate, by Node's names in snake_case.

    Keys:
        subject, issuer: Name parts by their short names: ``{"CN": "localhost"}``; several of one
            kind are a list.
        subjectaltname: ``"DNS:localhost, IP Address:127.0.0.1"``.
        valid_from, valid_to: As OpenSSL writes it, ``"Nov 22 00:45:00 2026 GMT"``, which
            `ssl.cert_time_to_seconds` reads.
        serial_number: In hexadecimal.
        ext_key_usage: Object identifiers of what it may be used for.
        fingerprint, fingerprint256, fingerprint512: SHA-1, SHA-256, SHA-512: ``"AB:CD:…"``.
        raw: The certificate itself, as DER.
        issuer_certificate: The next one of those that were shown, with `detailed`.

    Of one that cannot be read all but `raw` and the fingerprints is empty.
    """

    subject: dict[str, str | list[str]]
    issuer: dict[str, str | list[str]]
    subjectaltname: str
    valid_from: str
    valid_to: str
    serial_number: str
    ext_key_usage: list[str]
    fingerprint: str
    fingerprint256: str
    fingerprint512: str
    raw: bytes
    issuer_certificate: NotRequired[PeerCertificate]


def shown_chain(connection: ssl.SSLObject) -> list[bytes]:
    """Give the certificates that the peer has shown as DER, its own first."""
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return []
    # Public since Python 3.13; before, the object below has it, with certificates of its own kind.
    asked: Any = getattr(connection, "get_unverified_chain", None)
    if asked is None:
        below: Any = getattr(connection, "_sslobj", None)
        asked = getattr(below, "get_unverified_chain", None)
    shown: list[Any] = list(asked() or ()) if asked is not None else []
    chain = [each if isinstance(each, bytes) else _as_der(each) for each in shown]
    return chain if chain and chain[0] == leaf else [leaf]


def _as_der(certificate: Any) -> bytes:
    text: str = certificate.public_bytes()  # PEM, unless asked otherwise
    return ssl.PEM_cert_to_DER_cert(text)


def describe_chain(chain: Sequence[bytes]) -> PeerCertificate:
    """Give the first of some certificates, each of which leads to the next."""
    described = _describe(chain[0])
    if len(chain) > 1:
        described["issuer_certificate"] = describe_chain(chain[1:])
    return described


def _describe(der: bytes) -> PeerCertificate:
    try:
        said = read_certificate(der)
    except ValueError:
        said = _UNREADABLE
    return PeerCertificate(
        subject=said.subject,
        issuer=said.issuer,
        subjectaltname=said.subjectaltname,
        valid_from=said.valid_from,
        valid_to=said.valid_to,
        serial_number=said.serial_number,
        ext_key_usage=said.ext_key_usage,
        fingerprint=_fingerprint("sha1", der),
        fingerprint256=_fingerprint("sha256", der),
        fingerprint512=_fingerprint("sha512", der),
        raw=der,
    )


_UNREADABLE = Certificate("", {}, {}, "", "", "", [])


def _fingerprint(algorithm: str, der: bytes) -> str:
    return hashlib.new(algorithm, der, usedforsecurity=False).digest().hex(":").upper()
