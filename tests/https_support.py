"""What the tests of https share, besides `tls_support`: certificates, servers, requests."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from support import SECONDS, listening, port_of
from tls_support import AUTHORITY, CA, OTHER_AUTHORITY, client_context

from nhttp import https

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator
    from pathlib import Path

    import nhttp

__all__ = [
    "CLIENT",
    "EXPIRED",
    "OTHER_CA",
    "SERVER",
    "Identity",
    "identity",
    "serving",
    "tls_client",
    "trusting",
    "url_of",
    "write_files",
]


class Identity(NamedTuple):
    """A certificate and its key, as PEM."""

    cert: bytes
    key: bytes

    def write(self, folder: Path) -> tuple[str, str]:
        """Put both into files; their paths."""
        cert, key = folder / "cert.pem", folder / "key.pem"
        cert.write_bytes(self.cert)
        key.write_bytes(self.key)
        return str(cert), str(key)


OTHER_CA = OTHER_AUTHORITY.cert_pem.bytes()


@functools.cache
def identity(*names: str, expired: bool = False) -> Identity:
    """Issue a certificate for names or addresses."""
    until = dt.datetime(2021, 1, 1, tzinfo=dt.UTC) if expired else None
    since = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if expired else None
    issued = AUTHORITY.issue_cert(*names, not_after=until, not_before=since)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return Identity(chain, issued.private_key_pem.bytes())


SERVER = identity("localhost", "127.0.0.1", "::1")
CLIENT = identity("somebody@example.org")
EXPIRED = identity("localhost", "127.0.0.1", expired=True)


def write_files(folder: Path) -> None:
    """Put what a program may need into a folder: ca.pem, cert.pem, key.pem, client.pem."""
    SERVER.write(folder)
    (folder / "ca.pem").write_bytes(CA)
    (folder / "client.pem").write_bytes(CLIENT.cert + CLIENT.key)


@contextlib.contextmanager
def serving(
    listener: nhttp.RequestListener | None = None, **options: Any
) -> Generator[https.Server]:
    """An https server on loopback that is closed, with its connections, at the end."""
    given: dict[str, Any] = {"cert": SERVER.cert, "key": SERVER.key, **options}
    server = https.create_server(listener, **given)
    with listening(server):
        yield server


def url_of(server: nhttp.Server, path: str = "/", host: str = "localhost") -> str:
    return f"https://{host}:{port_of(server)}{path}"


def trusting(**options: Any) -> Any:
    """Keywords of a request that trusts the tests' authority."""
    return {"ca": CA, **options}


@contextlib.contextmanager
def tls_client(port: int, **options: Any) -> Generator[ssl.SSLSocket]:
    """Python's own TLS client, connected to a server of ours."""
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as raw,
        client_context().wrap_socket(raw, server_hostname="localhost", **options) as client,
    ):
        yield client
