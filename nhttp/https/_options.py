"""RequestOptions over TLS: what `nhttp.RequestOptions` has, and what `tls.connect` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from nhttp import tls
from nhttp._agent import options as http
from nhttp.headers import pairs_of

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Sequence

    from nhttp.net import Socket
    from nhttp.tls import SecureContext, TLSSession
    from nhttp.tls._material import Pems
    from nhttp.tls._options import Version

__all__ = ["RequestKeywords", "RequestOptions", "server_name", "tls_options_of"]


class RequestKeywords(http.RequestKeywords, tls.ClientKeywords, total=False):
    """The options of a request as keywords; `RequestOptions` says what they mean."""

    socket: Socket | None


@attrs.define(kw_only=True, slots=False)
class RequestOptions(http.RequestOptions):
    """How to make one request over TLS: an `nhttp.RequestOptions`, and the options of TLS.

    What is None here is as the `Agent` has it, and if that says nothing, as `tls.connect` has it.

    Attributes:
        ca: The authorities to trust instead of the system's: PEM as str or bytes, a path, or
            several of these.
        cert: The client's certificate, with its chain, if the server asks for one.
        key: The key of `cert`.
        pfx: Both of them in one PKCS#12 file: its content, or a path.
        passphrase: Of `key` or `pfx`.
        ciphers: OpenSSL's list of cipher suites for TLS 1.2.
        min_version: ``"TLSv1.2"`` or ``"TLSv1.3"``.
        max_version: The same.
        alpn_protocols: Protocols to offer, such as ``["http/1.1"]``.
        secure_context: Made by `tls.create_secure_context`, instead of all of the above.
        ssl_context: Python's own, instead of all of the above.
        servername: The name that is asked for (SNI) and that the certificate must have. Default:
            that of ``Host`` if it is in `headers`, the host otherwise.
        reject_unauthorized: Whether a server that cannot be verified is refused.
        session: Resumed if the server agrees. Default: the latest one that the agent has.
        handshake_timeout: Seconds for the handshake; 0: any.
        socket: What TLS goes over instead of a new connection, a tunnel for instance. The request
            has an agent of its own then, unless it names one, which may have a connection already.

    Source: https.request of Node 6.
    """

    ca: Pems = None
    cert: Pems = None
    key: Pems = None
    pfx: bytes | os.PathLike[str] | None = None
    passphrase: str | bytes | None = None
    ciphers: str | None = None
    min_version: Version | None = None
    max_version: Version | None = None
    alpn_protocols: Sequence[str] | None = None
    secure_context: SecureContext | None = None
    ssl_context: ssl.SSLContext | None = None
    servername: str | None = None
    reject_unauthorized: bool | None = None
    session: TLSSession | None = None
    handshake_timeout: float | None = None
    socket: Socket | None = None

    @property
    def target_port(self) -> int:
        """The port to connect to."""
        return int(self.port if self.port not in (None, "") else self.default_port or 443)


_TLS = tuple(field.name for field in attrs.fields(tls.ClientOptions))


def tls_options_of(options: http.RequestOptions) -> dict[str, Any]:
    """Give the TLS options that a request has of its own."""
    if not isinstance(options, RequestOptions):
        return {}
    values = options.__dict__
    return {name: values[name] for name in _TLS if values[name] is not None}


def server_name(options: http.RequestOptions) -> str:
    """Give the name that the server's certificate must have: the one that the request is for."""
    if not options.headers or options.method == "CONNECT":  # whose ``Host`` is not the proxy's name
        return options.target_host
    for name, value in pairs_of(options.headers):
        if name.lower() == "host" and isinstance(value, str) and value:
            return _without_port(value)
    return options.target_host


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
