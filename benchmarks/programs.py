"""The Python servers that take part: ``python -m benchmarks.programs NAME``.

Each answers on a free port of 127.0.0.1 and prints ``port N`` first. ``*_hello`` answer every GET
with `BODY`. ``*_streams`` give as many octets as ``GET /length/N`` asks for (also ``/chunked/N``
and ``/file/N``, where they can), and count what a PUT brings.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NoReturn

import nhttp
from nhttp import net

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b"hello world"
BLOCK = bytes(64 * 1024)


def ready(port: int) -> None:
    """Tell whoever started this process."""
    print(f"port {port}", flush=True)


# nhttp.


def serve(server: nhttp.Server) -> None:
    """Run one of ours."""
    with server.listen(0, "127.0.0.1"):
        address = server.address()
        assert isinstance(address, net.Address)
        ready(address.port)
        server.serve_forever()


def nhttp_hello() -> None:
    """Answer as the manual's first example does."""

    def handler(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end(BODY)

    serve(nhttp.create_server(handler))


def nhttp_streams() -> None:
    """Send and take bodies of any length."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def handler(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        if request.method == "PUT":
            response.end(str(sum(map(len, request))))
            return
        _, how, size = request.url.split("/")
        if how != "chunked":
            response.set_header("Content-Length", size)
        if how == "file":
            os.truncate(file.fileno(), int(size))
            response.write_file(file)
        else:
            for _ in range(int(size) // len(BLOCK)):
                response.write(BLOCK)
        response.end()

    serve(nhttp.create_server(handler))


# The standard library.


def stdlib_hello() -> None:
    """`ThreadingHTTPServer`, with HTTP/1.1 and so with connections that are kept."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body leave together, else Nagle's algorithm makes it 40 ms

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 511  # as ours: 50 clients come at once

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that leave with a reset, as wrk does

    with Server(("127.0.0.1", 0), Handler) as server:
        ready(server.server_port)
        server.serve_forever()


# No HTTP at all: the most that a thread for each connection can do in Python.


def accept_forever(serve_one: Callable[[socket.socket], None]) -> NoReturn:
    """Run `serve_one` on a thread for each connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()


def bare_hello() -> None:
    """Receive, and send the same octets whatever it was."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n" + BODY

    def serve_one(connection: socket.socket) -> None:
        with connection, suppress(ConnectionResetError):  # wrk leaves so
            while connection.recv(65536):
                connection.sendall(answer)

    accept_forever(serve_one)


def bare_streams() -> None:
    """Send and take bodies with as little between socket and client as there can be."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def serve_one(connection: socket.socket) -> None:
        with connection, connection.makefile("rb", buffering=0) as reader:
            head = b""
            while b"\r\n\r\n" not in head:
                head += reader.read(1)
            if head.startswith(b"PUT"):
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                left = size
                while left and (data := connection.recv(65536)):
                    left -= len(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n%d" % (size - left))
                return
            _, how, text = head.split()[1].split(b"/")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % text)
            if how == b"file":
                os.truncate(file.fileno(), int(text))
                connection.sendfile(file)
            else:
                for _ in range(int(text) // len(BLOCK)):
                    connection.sendall(BLOCK)

    accept_forever(serve_one)


PROGRAMS: dict[str, Callable[[], None]] = {
    program.__name__: program
    for program in (nhttp_hello, nhttp_streams, stdlib_hello, bare_hello, bare_streams)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
