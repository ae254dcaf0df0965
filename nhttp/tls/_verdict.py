"""What OpenSSL thinks of a certificate, where the handshake was told not to mind.

With `ssl.CERT_NONE` OpenSSL does verify, but `ssl` has no way to ask for the result. So the chain
that the peer has shown is shown again, in memory, to a client that does mind: a ServerHello and a
Certificate of TLS 1.2 (RFC 5246, 7.4.1.3 and 7.4.2), which are not encrypted there. OpenSSL
verifies a chain as soon as it comes, before it wants a proof that the peer has the key. The real
handshake has had that proof.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from nhttp.tls._errors import certificate_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nhttp.tls._errors import CertificateError

__all__ = ["verdict"]

# TLS_ECDHE_ECDSA_ and _RSA_WITH_AES_128_GCM_SHA256 (RFC 5289): one for either kind of key.
_SUITES = (b"\xc0\x2b", b"\xc0\x2f")
_SERVER_HELLO, _CERTIFICATE = 2, 11
_NO_EXTENSIONS_BUT_RENEGOTIATION_INFO = b"\x00\x05\xff\x01\x00\x01\x00"  # RFC 5746, 3.6
_MAX_RECORD = 16 * 1024


def verdict(
    context: ssl.SSLContext, chain: Sequence[bytes], servername: str
) -> CertificateError | None:
    """Tell why a server's chain is not trusted; None: it is.

    Args:
        context: A client's context that verifies and allows TLS 1.2.
        chain: The certificates as DER, the server's own first.
        servername: The name or address that it must have.
    """
    for suite in _SUITES:
        try:
            _show(context, chain, servername, suite)
        except ssl.SSLWantReadError:
            return None  # verified, and waiting for what comes next
        except ssl.SSLCertVerificationError as error:
            return certificate_error(error.verify_code, error.verify_message)
        except ssl.SSLError as error:
            # This is found after verifying, too, but the other suite says so without a doubt.
            if error.reason != "WRONG_CERTIFICATE_TYPE":
                break
    return certificate_error(1, "it cannot be verified")  # X509_V_ERR_UNSPECIFIED


def _show(context: ssl.SSLContext, chain: Sequence[bytes], servername: str, suite: bytes) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=servername)
    with suppress(ssl.SSLWantReadError):  # it says hello
        client.do_handshake()
    hello = b"\x03\x03" + os.urandom(32) + b"\x00" + suite + b"\x00"
    certificates = b"".join(_sized(each) for each in chain)
    messages = _message(_SERVER_HELLO, hello + _NO_EXTENSIONS_BUT_RENEGOTIATION_INFO)
    messages += _message(_CERTIFICATE, _sized(certificates))
    for start in range(0, len(messages), _MAX_RECORD):
        part = messages[start : start + _MAX_RECORD]
        incoming.write(b"\x16\x03\x03" + len(part).to_bytes(2, "big") + part)
    client.do_handshake()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + data


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _sized(body)
