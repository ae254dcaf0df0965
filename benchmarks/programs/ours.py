"""nhttp's own servers."""

from __future__ import annotations

import os
import tempfile
import time

import nhttp
from benchmarks.programs.app import BLOCK, BODY, echo, ready, stopped, wait_for_stop
from nhttp import net


def handler(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    """Answer as the manual's first example does, and echo JSON."""
    if request.method == "POST":
        response.write_head(200, {"Content-Type": "application/json"})
        response.end(echo(request.read()))
        return
    response.write_head(200, {"Content-Type": "text/plain"})
    response.end(BODY)


def announce(server: nhttp.Server) -> None:
    """Say where it listens."""
    address = server.address()
    assert isinstance(address, net.Address)
    ready(address.port)


def serve(server: nhttp.Server) -> None:
    """Serve until the process is ended."""
    with server.listen(0, "127.0.0.1"):
        announce(server)
        server.serve_forever()


def nhttp_hello() -> None:
    """Small answers."""
    serve(nhttp.create_server(handler))


def nhttp_own_threads_hello() -> None:
    """Small answers, from a thread for each connection."""
    serve(nhttp.create_server(handler, share_thread=False))


def nhttp_pin_threads_hello() -> None:
    """Small answers, from threads that stay on one core."""
    serve(nhttp.create_server(handler, pin_threads=True))


def nhttp_idle() -> None:
    """Small answers, and connections that stay."""
    server = nhttp.create_server(handler, keep_alive_timeout=0, timeout=0)
    with server.listen(0, "127.0.0.1"):
        announce(server)
        wait_for_stop()
        began = time.perf_counter()
    stopped(time.perf_counter() - began)


def nhttp_streams() -> None:
    """Send and take bodies of any length."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def stream(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
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

    serve(nhttp.create_server(stream))
