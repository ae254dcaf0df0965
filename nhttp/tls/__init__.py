"""TLS with Node's names: sockets and servers that are those of `nhttp.net`, encrypted.

`TLSSocket` is a `net.Socket`, `Server` a `net.Server`; `connect`, `create_server` and
`create_secure_context` make what their names say. This is not imported with `nhttp`.
"""

from __future__ import annotations

from nhttp.tls._certificate import PeerCertificate
from nhttp.tls._context import SecureContext, create_secure_context
from nhttp.tls._create import connect, create_server
from nhttp.tls._errors import CertificateError, TLSError
from nhttp.tls._options import (
    ClientKeywords,
    ClientOptions,
    ContextKeywords,
    ContextOptions,
    ServerKeywords,
    ServerOptions,
)
from nhttp.tls._server import Server
from nhttp.tls._session import TLSSession
from nhttp.tls._socket import Cipher, TLSSocket

__all__ = [
    "CertificateError",
    "Cipher",
    "ClientKeywords",
    "ClientOptions",
    "ContextKeywords",
    "ContextOptions",
    "PeerCertificate",
    "SecureContext",
    "Server",
    "ServerKeywords",
    "ServerOptions",
    "TLSError",
    "TLSSession",
    "TLSSocket",
    "connect",
    "create_secure_context",
    "create_server",
]
