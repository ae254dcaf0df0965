"""HTTPS: servers, requests and agents with the options of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import assert_type

import nhttp
from nhttp import IncomingMessage, ServerResponse, https, net, tls


def handler(request: IncomingMessage, response: ServerResponse) -> None: ...
def answered(response: IncomingMessage) -> None: ...
def secured(socket: tls.TLSSocket) -> None: ...
def plain(socket: net.Socket) -> None: ...
def failed(error: Exception, socket: tls.TLSSocket) -> None: ...
def nothing() -> None: ...


# Servers.
server = https.create_server(handler, cert=Path("cert.pem"), key=b"...", timeout=30.0)
assert_type(server, https.Server)
assert_type(https.Server(cert="...", request_cert=True, max_headers_count=5), https.Server)
plain_server: nhttp.Server = server
https.create_server(handler, certificate=b"...")  # E: call-arg | reportCallIssue
https.create_server(handler, cert=5)  # E: arg-type | reportArgumentType
https.create_server(handler, timeout="30")  # E: arg-type | reportArgumentType
https.create_server(handler, min_version="TLSv1.1")  # E: arg-type | reportArgumentType
https.create_server(answered)  # E: arg-type | reportArgumentType

assert_type(server.on("request", handler).on("secureConnection", secured), https.Server)
server.on("tlsClientError", failed).on("connection", plain).once("close", nothing)
server.on("secureConnection", plain)
server.on("secureConnection", lambda socket: socket.get_protocol())
server.on("secureConnection", lambda socket: socket.get_protocoll())  # E: call-overload | reportAttributeAccessIssue
server.on("secureConnection", nothing)  # E: call-overload | reportCallIssue
server.on("secureconnection", secured)  # E: call-overload | reportCallIssue
server.on("connection", secured)  # E: call-overload | reportCallIssue
server.on("clientError", failed)  # E: call-overload | reportCallIssue
server.off("tlsClientError", plain)  # E: call-overload | reportCallIssue

# Requests.
assert_type(https.get("https://localhost/", ca=Path("ca.pem")), nhttp.ClientRequest)
assert_type(https.request({"host": "localhost"}, answered, method="PUT"), nhttp.ClientRequest)
https.get("https://localhost/", min_version="TLSv1.3", reject_unauthorized=False)
https.get("https://localhost/", ssl_context=ssl.create_default_context(), timeout=5)
https.get("https://localhost/", cafile="ca.pem")  # E: call-arg | reportCallIssue
https.get("https://localhost/", reject_unauthorised=False)  # E: call-arg | reportCallIssue
https.get("https://localhost/", max_version="TLSv1.4")  # E: arg-type | reportArgumentType
https.get("https://localhost/", servername=5)  # E: arg-type | reportArgumentType
https.get("https://localhost/", handler)  # E: arg-type | reportArgumentType
nhttp.get("https://localhost/", ca=Path("ca.pem"))  # E: call-arg | reportCallIssue
nhttp.get("https://localhost/", agent=https.global_agent)

options = https.RequestOptions(host="localhost", ca="...", servername="a")
http_options: nhttp.RequestOptions = options
https.get(options, path="/x")
https.RequestOptions(host="localhost", cacert="...")  # E: call-arg | reportCallIssue
https.RequestOptions(session=b"")  # E: arg-type | reportArgumentType

# Agents.
agent = https.Agent(keep_alive=True, max_sockets=4, ca=[b"...", Path("b.pem")], cert=b"", key=b"")
http_agent: nhttp.Agent = agent
assert_type(agent.get("https://localhost/", servername="a"), nhttp.ClientRequest)
assert_type(agent.get_name(options), str)
assert_type(https.global_agent, https.Agent)
https.Agent(keepalive=True)  # E: call-arg | reportCallIssue
https.Agent(max_cached_sessions="5")  # E: arg-type | reportArgumentType
agent.request("https://localhost/", cipher="x")  # E: call-arg | reportCallIssue


class Mine(https.Agent):
    def create_connection(
        self, options: nhttp.RequestOptions, callback: object = None
    ) -> tls.TLSSocket:
        return tls.connect(options.target_port, options.target_host, ca=b"...")


with https.get("https://localhost/") as response:
    assert_type(response, IncomingMessage)
    assert_type(response.socket.encrypted, bool)
    if isinstance(response.socket, tls.TLSSocket):
        assert_type(response.socket.authorized, bool)
        assert_type(response.socket.is_session_reused(), bool)
