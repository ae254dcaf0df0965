"""What goes wrong in TLS: two classes, and Node's codes for what OpenSSL says.

They are not in `nhttp.errors`, which is imported with `nhttp`: that must not import `ssl`.
"""

from __future__ import annotations

import errno
import re
import ssl

from nhttp.errors import ConnectionReset, SocketError, SocketTimeout

__all__ = [
    "CertificateError",
    "TLSError",
    "certificate_error",
    "cut_short",
    "gone_in_handshake",
    "tls_error",
    "too_slow",
]


class TLSError(SocketError, ssl.SSLError):
    """The handshake failed, or what came is not TLS.

    Attributes:
        code: ``"ERR_SSL_"`` and OpenSSL's word for it, as in Node, or ``"EPROTO"``.
        reason: OpenSSL's word, such as ``"WRONG_VERSION_NUMBER"``, or None.
        library: The part of OpenSSL that says so, or None.
    """

    def __init__(
        self,
        message: str,
        code: str,
        *,
        syscall: str = "",
        reason: str | None = None,
        library: str | None = None,
    ) -> None:
        super().__init__(message, code, syscall=syscall)
        self.errno = errno.EPROTO
        # `ssl.SSLError` leaves both to whoever makes it.
        self.reason = reason  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.library = library  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


class CertificateError(TLSError, ssl.SSLCertVerificationError):
    """The peer's certificate was refused.

    Attributes:
        code: ``"CERT_HAS_EXPIRED"``, ``"DEPTH_ZERO_SELF_SIGNED_CERT"``,
            ``"ERR_TLS_CERT_ALTNAME_INVALID"`` and so on, as in Node.
        verify_code: OpenSSL's number for it.
        verify_message: OpenSSL's words.
    """

    def __init__(
        self, message: str, code: str, *, verify_code: int = 0, verify_message: str = ""
    ) -> None:
        super().__init__(
            message, code, syscall="handshake", reason="CERTIFICATE_VERIFY_FAILED", library="SSL"
        )
        self.verify_code = verify_code
        self.verify_message = verify_message


# OpenSSL's numbers (openssl-verification-options(1), X509_verify_cert_error_string(3)) by Node's
# names, which are those of the C constants without their prefix.
_CERTIFICATE_CODES = {
    2: "UNABLE_TO_GET_ISSUER_CERT",
    3: "UNABLE_TO_GET_CRL",
    7: "CERT_SIGNATURE_FAILURE",
    9: "CERT_NOT_YET_VALID",
    10: "CERT_HAS_EXPIRED",
    11: "CRL_NOT_YET_VALID",
    12: "CRL_HAS_EXPIRED",
    18: "DEPTH_ZERO_SELF_SIGNED_CERT",
    19: "SELF_SIGNED_CERT_IN_CHAIN",
    20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    22: "CERT_CHAIN_TOO_LONG",
    23: "CERT_REVOKED",
    24: "INVALID_CA",
    25: "PATH_LENGTH_EXCEEDED",
    26: "INVALID_PURPOSE",
    27: "CERT_UNTRUSTED",
    28: "CERT_REJECTED",
    62: "ERR_TLS_CERT_ALTNAME_INVALID",
    64: "ERR_TLS_CERT_ALTNAME_INVALID",
}

_CERTIFICATE_HINTS = {
    9: "look at the clocks of both sides",
    10: "it must be renewed, if the clock here is right",
    18: "if you trust it, give it as `ca`",
    19: "if you trust the authority that signed it, give that one's certificate as `ca`",
    20: "give the certificate of the authority that signed it as `ca`, if you trust that; or the "
    "peer does not send the certificates in between",
    21: "the peer does not send the certificates between it and an authority",
    62: "connect by a name that it has, or give that name as `servername`",
    64: "connect by an address that it has, or give a name that it has as `servername`",
}

_HINTS = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS, or none of the versions allowed here",
    "PACKET_LENGTH_TOO_LONG": "the peer does not speak TLS",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS",
    "HTTP_REQUEST": "the client speaks plain HTTP to a TLS port: it should use https",
    "HTTPS_PROXY_REQUEST": "the client takes this for a proxy, and asks it for a tunnel in plain",
    "UNSUPPORTED_PROTOCOL": "no TLS version that both sides allow: see `min_version`",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no TLS version that both sides allow: see `max_version`",
    "NO_SHARED_CIPHER": "no cipher, or kind of certificate, that both sides have: see `ciphers`",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer found no cipher, version or certificate that both "
    "sides accept: see `ciphers`; it may want a client certificate, `cert` and `key`",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate: give `cert` and `key`",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has shown no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the certificate shown to it: it needs the "
    "authority that signed it",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not accept the certificate shown to it",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept the certificate shown to it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the certificate shown to the peer has expired",
    "TLSV1_UNRECOGNIZED_NAME": "the server knows no such name: see `servername`",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the peer speaks none of `alpn_protocols`",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what came was altered on its way",
}


# How a request begins. OpenSSL itself knows GET, HEAD, POST, PUT and CONNECT.
_REQUEST = re.compile(rb"[A-Z-]+ (?:[/*]|http://)")


def tls_error(error: ssl.SSLError, doing: str, heard: bytes = b"") -> TLSError:
    """Give the exception for what OpenSSL said.

    Args:
        error: What a call of `ssl` raised.
        doing: ``"handshake"``, ``"read"`` or ``"write"``.
        heard: What the peer said first, to be shown when that was no TLS.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate_error(error.verify_code, error.verify_message)
    reason, library = error.reason or None, error.library or None
    if reason == "WRONG_VERSION_NUMBER" and _REQUEST.match(heard):
        reason = "HTTP_REQUEST"
    code = f"ERR_SSL_{reason.upper().replace(' ', '_')}" if reason else "EPROTO"
    words = reason.lower().replace("_", " ") if reason else str(error)
    hint = _HINTS.get(reason or "")
    message = f"TLS {doing} failed: {words}" + (f" ({hint})" if hint else "")
    if heard and heard[0] not in _RECORD_TYPES:
        message += f"; it said {heard[:40]!r}"
    return TLSError(message, code, syscall=doing, reason=reason, library=library)


# ContentType of RFC 8446, 5.1: change_cipher_spec, alert, handshake, application_data.
_RECORD_TYPES = (20, 21, 22, 23)


def certificate_error(number: int, words: str) -> CertificateError:
    """Give the exception for a certificate that OpenSSL's number `number` refuses."""
    code = _CERTIFICATE_CODES.get(number, "CERT_REJECTED")
    hint = _CERTIFICATE_HINTS.get(number)
    message = f"the peer's certificate is refused: {words.rstrip('.')}" + (
        f" ({hint})" if hint else ""
    )
    return CertificateError(message, code, verify_code=number, verify_message=words)


def cut_short() -> ConnectionReset:
    """Give the exception for a stream that ended without a close_notify (RFC 8446, 6.1)."""
    failed = ConnectionReset(
        "the TLS stream was cut short: the connection ended without a close_notify, so what came "
        "may not be all",
        "ERR_SSL_UNEXPECTED_EOF_WHILE_READING",
        syscall="read",
    )
    failed.errno = errno.ECONNRESET
    return failed


def gone_in_handshake() -> ConnectionReset:
    """Give the exception for a peer that ended the connection in the middle of the handshake."""
    return ConnectionReset(
        "the peer ended the connection before the TLS handshake was done",
        "ECONNRESET",
        syscall="handshake",
    )


def too_slow(seconds: float) -> SocketTimeout:
    """Give the exception for a handshake that did not end in time."""
    return SocketTimeout(
        f"the TLS handshake was not done within {seconds:g} seconds",
        "ERR_TLS_HANDSHAKE_TIMEOUT",
        syscall="handshake",
    )
