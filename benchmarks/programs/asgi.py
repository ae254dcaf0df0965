"""uvicorn: asyncio, with httptools (C) as its parser; with uvloop (C) as its loop, too."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Literal

import uvicorn

from benchmarks.programs.app import BODY, echo, ready

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer."""
    assert scope["type"] == "http"
    body, kind = BODY, b"text/plain"
    if scope["method"] == "POST":
        got = b""
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            got += message["body"]
            more = message["more_body"]
        body, kind = echo(got), b"application/json"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": 200, "headers": headers, "trailers": False}
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def serve(loop: Literal["asyncio", "uvloop"]) -> None:
    """Run it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    # asyncio turns Nagle's algorithm off for sockets that it has made itself, and for those alone.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready(listener.getsockname()[1])
    config = uvicorn.Config(
        application,
        http="httptools",
        loop=loop,
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    uvicorn.Server(config).run([listener])


def uvicorn_hello() -> None:
    """With Python's own loop."""
    serve("asyncio")


def uvicorn_uvloop_hello() -> None:
    """With uvloop."""
    serve("uvloop")
