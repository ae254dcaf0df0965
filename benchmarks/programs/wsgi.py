"""Servers for WSGI: one process each, as the others have."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from benchmarks.programs.app import BODY, echo, free_port, ready

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer."""
    body, kind = BODY, "text/plain"
    if environ["REQUEST_METHOD"] == "POST":
        body = echo(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        kind = "application/json"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def waitress_hello() -> None:
    """Waitress, with its defaults: four threads behind one that does all I/O."""
    import waitress

    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    ready(listener.getsockname()[1])
    waitress.serve(application, sockets=[listener], _quiet=True)


def cheroot_hello() -> None:
    """CherryPy's server, with its defaults: ten threads."""
    from cheroot import wsgi

    port = free_port()
    server = wsgi.Server(("127.0.0.1", port), application, request_queue_size=511)
    server.prepare()
    ready(port)
    server.serve()


def gunicorn_hello() -> None:
    """Gunicorn, with one worker of eight threads."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    listener.set_inheritable(True)
    ready(listener.getsockname()[1])
    run("gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", "8", "--keep-alive", "60")


def granian_hello() -> None:
    """Granian, whose I/O is Rust, with one worker."""
    port = free_port()
    ready(port)
    run("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--no-ws")


def run(module: str, *arguments: str) -> None:
    """Become another program that serves `application`."""
    os.execv(
        sys.executable,
        [sys.executable, "-m", module, *arguments, "benchmarks.programs.wsgi:application"],
    )
