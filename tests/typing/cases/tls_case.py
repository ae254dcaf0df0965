"""TLS: options, events, and what was agreed on."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import assert_type

from nhttp import net, tls


def secure(socket: tls.TLSSocket) -> None: ...
def plain(socket: net.Socket) -> None: ...
def nothing() -> None: ...
def resumed(session: tls.TLSSession) -> None: ...
def failed(error: Exception, socket: tls.TLSSocket) -> None: ...
def choose(name: str) -> tls.SecureContext | None: ...


# Options.
socket = tls.connect(443, "localhost", nothing, ca=Path("ca.pem"), reject_unauthorized=False)
assert_type(socket, tls.TLSSocket)
tls.connect(443, nothing, servername="localhost", min_version="TLSv1.2", handshake_timeout=5)
tls.connect(443, ca=["a", b"b", Path("c")], alpn_protocols=["http/1.1"], session=socket.get_session())
tls.connect(socket=net.connect(443), ssl_context=ssl.create_default_context())
tls.connect(443, rejectUnauthorized=False)  # E: call-arg | reportCallIssue
tls.connect(443, min_version="TLSv1.1")  # E: arg-type | reportArgumentType
tls.connect(443, ca=5)  # E: arg-type | reportArgumentType
tls.connect(443, request_cert=True)  # E: call-arg | reportCallIssue
tls.connect(443, session=b"x")  # E: arg-type | reportArgumentType
tls.connect(socket=ssl.create_default_context())  # E: arg-type | reportArgumentType
assert_type(tls.TLSSocket(ca="x").connect(443, "localhost"), tls.TLSSocket)
tls.TLSSocket(tls.ClientOptions(ca=b"x", passphrase="y"))
tls.ClientOptions(handshake_timeout="x")  # E: arg-type | reportArgumentType
server = tls.create_server(secure, cert=Path("cert.pem"), key=Path("key.pem"), sni_callback=choose)
assert_type(server, tls.Server)
tls.create_server(plain, pfx=b"x", passphrase="y", request_cert=True)
tls.create_server(lambda socket: socket.get_protocol(), cert="x")
tls.create_server(nothing, cert="x")  # E: arg-type | reportArgumentType
tls.create_server(secure, cert="x", servername="y")  # E: call-arg | reportCallIssue
tls.create_server(secure, cert="x", sni_callback=nothing)  # E: arg-type | reportArgumentType
context = tls.create_secure_context(cert=b"x", ciphers="ECDHE+AESGCM")
assert_type(context, tls.SecureContext)
tls.create_secure_context(request_cert=True)  # E: call-arg | reportCallIssue
server.add_context("a.example", context)
server.add_context("a.example", {"cert": b"x"})
server.add_context("a.example", b"x")  # E: arg-type | reportArgumentType
server.set_secure_context(cert=b"x")

# A socket is a `net.Socket`.
plain(socket)
secure(net.Socket())  # E: arg-type | reportArgumentType
assert_type(socket.on("secureConnect", nothing).once("session", resumed), tls.TLSSocket)
socket.on("data", lambda chunk: chunk).on("connect", nothing).on("timeout", nothing)
socket.on("session", lambda session: session.is_resumable)
socket.on("session", lambda session: session.ticket)  # E: call-overload | reportAttributeAccessIssue
socket.on("session", nothing)  # E: call-overload | reportCallIssue
socket.on("secureConnect", resumed)  # E: call-overload | reportCallIssue
socket.on("secureconnect", nothing)  # E: call-overload | reportCallIssue
net.Socket().on("secureConnect", nothing)  # E: call-overload | reportCallIssue

# A server is a `net.Server`.
assert_type(server.on("secureConnection", secure).on("tlsClientError", failed), tls.Server)
server.on("secureConnection", plain).on("connection", plain).on("close", nothing)
server.on("connection", secure)  # E: call-overload | reportCallIssue
server.on("secureConnection", failed)  # E: call-overload | reportCallIssue
server.on("tlsClientError", secure)  # E: call-overload | reportCallIssue
server.on("secureConnect", nothing)  # E: call-overload | reportCallIssue
server.on("tlsClientError", lambda error, socket: socket.encrypted)

# What was agreed on.
assert_type(socket.encrypted, bool)
assert_type(net.Socket().encrypted, bool)
assert_type(socket.authorized, bool)
assert_type(socket.authorization_error, tls.CertificateError | None)
assert_type(socket.alpn_protocol, str | None)
assert_type(socket.servername, str | None)
assert_type(socket.get_protocol(), str | None)
assert_type(socket.get_cipher(), tls.Cipher | None)
assert_type(socket.get_session(), tls.TLSSession | None)
certificate = socket.get_peer_certificate(detailed=True)
assert_type(certificate, tls.PeerCertificate | None)
if certificate is not None:
    assert_type(certificate["subject"], dict[str, str | list[str]])
    assert_type(certificate["raw"], bytes)
    certificate["serialNumber"]  # E: typeddict-item | reportGeneralTypeIssues
try:
    socket.read()
except tls.CertificateError as error:
    assert_type(error.code, str)
    assert_type(error.verify_code, int)
