"""Servers over TLS: ``tls_* PEM``, with a file that has a certificate and its key.

They answer a GET with `app.BODY`, or with as many octets as ``/length/N`` asks for.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs.app import BLOCK, BODY, ready
from benchmarks.programs.bare import ANSWER, accept_forever
from benchmarks.programs.ours import serve
from benchmarks.programs.stdlib import Buffered, Server
from nhttp import https

if TYPE_CHECKING:
    import socket

    import nhttp


def tls_nhttp(pem: str) -> None:
    """Answer as nhttp does."""

    def handler(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        if not request.url.startswith("/length/"):
            response.write_head(200, {"Content-Type": "text/plain"})
            response.end(BODY)
            return
        size = int(request.url.removeprefix("/length/"))
        response.set_header("Content-Length", size)
        for _ in range(size // len(BLOCK)):
            response.write(BLOCK)
        response.end()

    serve(https.create_server(handler, cert=Path(pem), key=Path(pem)))


def make_context(pem: str) -> ssl.SSLContext:
    """Give what `ssl` needs to be a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def tls_stdlib(pem: str) -> None:
    """`ThreadingHTTPServer` at its fastest, over TLS as its documentation shows it."""
    with Server(("127.0.0.1", 0), Buffered) as server:
        server.socket = make_context(pem).wrap_socket(server.socket, server_side=True)
        ready(server.server_port)
        server.serve_forever()


def tls_bare(pem: str) -> None:
    """A loop for each connection that knows no HTTP, but when a long answer is wanted."""
    context = make_context(pem)

    def serve_one(plain: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            while request := connection.recv(65536):
                if not request.startswith(b"GET /length/"):
                    connection.sendall(ANSWER)
                    continue
                size = int(request.split()[1].removeprefix(b"/length/"))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                for _ in range(size // len(BLOCK)):
                    connection.sendall(BLOCK)

    accept_forever(serve_one)
