"""Servers and their messages: events, listeners, options and headers."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import assert_type

import nhttp
from nhttp import IncomingMessage, RequestListener, Server, ServerResponse, create_server
from nhttp.net import Socket


def handler(request: IncomingMessage, response: ServerResponse) -> None: ...
def one_argument(request: IncomingMessage) -> None: ...
def turned_round(response: ServerResponse, request: IncomingMessage) -> None: ...
def tunnel(request: IncomingMessage, socket: Socket, head: bytes) -> None: ...
def silent(socket: Socket) -> None: ...
def nothing() -> None: ...


listener: RequestListener = handler
server = create_server(handler)
assert_type(server, Server)
assert_type(create_server(), Server)
assert_type(create_server(lambda request, response: response.end(request.url)), Server)
create_server(one_argument)  # E: arg-type | reportArgumentType
create_server(turned_round)  # E: arg-type | reportArgumentType
create_server(lambda request, response: response.finnish())  # E: attr-defined | reportAttributeAccessIssue

# Options.
create_server(handler, timeout=30, headers_timeout=5.5, request_timeout=0, keep_alive_timeout=2)
create_server(max_header_size=16_384, max_headers_count=0)
Server(handler, timeout=30.0)
create_server(handler, keepAliveTimeout=5)  # E: call-arg | reportCallIssue
create_server(handler, timeout="30")  # E: arg-type | reportArgumentType
create_server(handler, max_header_size=1.5)  # E: arg-type | reportArgumentType
Server(handler, max_headers_count=None)  # E: arg-type | reportArgumentType
assert_type(server.timeout, float)
assert_type(server.max_headers_count, int)
assert_type(nhttp.STATUS_CODES[404], str)
assert_type(nhttp.max_header_size, int)

# A server's events.
assert_type(server.on("request", handler).on("upgrade", tunnel).once("connect", tunnel), Server)
server.on("checkContinue", handler).prepend_listener("checkExpectation", handler)
server.on("timeout", silent).on("connection", silent).on("close", nothing).on("listening", nothing)
server.on("reqest", handler)  # E: call-overload | reportCallIssue
server.once("checkcontinue", handler)  # E: call-overload | reportCallIssue
server.off("data", nothing)  # E: call-overload | reportCallIssue
server.on("request", tunnel)  # E: call-overload | reportCallIssue
server.on("request", one_argument)  # E: call-overload | reportCallIssue
server.on("upgrade", handler)  # E: call-overload | reportCallIssue
server.on("close", silent)  # E: call-overload | reportCallIssue
server.on("timeout", nothing)  # E: call-overload | reportCallIssue
server.on("request", lambda request, response: response.end(request.headers["host"]))
server.on("request", lambda request, response: request.urll)  # E: call-overload | reportAttributeAccessIssue
server.on("upgrade", lambda request, socket, head: socket.write(head.upper()))
server.on("upgrade", lambda request, socket, head: head.encode())  # E: call-overload | reportAttributeAccessIssue
server.on("clientError", lambda error, socket: socket.end(str(error)))
server.on("clientError", lambda error: None)  # E: call-overload | reportCallIssue
server.on("timeout", lambda socket: socket.destroy())
assert_type(server.set_timeout(5, lambda socket: socket.destroy()), Server)
server.set_timeout(5, nothing)  # E: arg-type | reportArgumentType
assert_type(server.close(nothing), Server)
assert_type(server.listen(0, "127.0.0.1", nothing), Server)
assert_type(server.listen(Path("socket"), nothing), Server)
assert_type(server.listen(path=Path("socket")), Server)
assert_type(server.get_connections(), int)


def look(request: IncomingMessage, response: ServerResponse) -> None:
    # Headers that arrived.
    assert_type(request.headers["host"], str)
    assert_type(request.headers["set-cookie"], list[str])
    assert_type(request.headers["Set-Cookie"], list[str])
    assert_type(request.headers.get("host"), str | None)
    assert_type(request.headers.get("host", ""), str)
    assert_type(request.headers.get("set-cookie"), list[str] | None)
    assert_type(request.headers.get("set-cookie", ()), list[str] | tuple[()])
    request.headers["host"] = "a"  # E: index | reportIndexIssue
    assert_type(request.raw_headers, list[str])
    assert_type(request.headers_distinct, dict[str, list[str]])
    assert_type(request.socket, Socket)
    assert_type(request.read(), bytes)
    request.on("data", lambda block: block.upper()).on("end", nothing).on("aborted", nothing)
    request.on("response", handler)  # E: call-overload | reportCallIssue
    request.on("abborted", nothing)  # E: call-overload | reportCallIssue
    request.on("timeout", silent).set_timeout(5.0, nothing)
    assert_type(request.pipe(response), ServerResponse)

    # What is answered.
    assert_type(response.set_header("A", "1").write_head(200), ServerResponse)
    assert_type(response.end(), ServerResponse)
    assert_type(response.write("x"), bool)
    assert_type(response.get_header("a"), str | list[str] | None)
    response.write_head(200, {"Content-Length": 5, "Content-Type": "text/plain"})
    response.write_head(200, "OK", {"Content-Length": 5, "Set-Cookie": ["a=1", "b=2"]})
    response.write_head(200, [("A", "1"), ("A", "2")])
    response.write_head("200")  # E: arg-type | reportArgumentType
    response.write_head(200, {"A": 1.5})  # E: dict-item | reportArgumentType
    response.set_header("A", None)  # E: arg-type | reportArgumentType
    response.write(5)  # E: arg-type | reportArgumentType
    response.end("x", "utf8", nothing).on("finish", nothing).on("close", nothing)
    response.on("finished", nothing)  # E: call-overload | reportCallIssue
    response.on("finish", silent)  # E: call-overload | reportCallIssue
    response.headers_sent = True  # E: misc | reportAttributeAccessIssue

# Files of the `io` module.


def files(request: IncomingMessage, response: ServerResponse, socket: Socket) -> None:
    assert_type(request.makefile("rb"), io.BufferedReader)
    assert_type(request.makefile("r", encoding="latin-1"), io.TextIOWrapper)
    assert_type(response.makefile("wb"), io.BufferedWriter)
    assert_type(response.makefile("w", newline=""), io.TextIOWrapper)
    assert_type(socket.makefile("rb"), io.BufferedReader)
    assert_type(socket.makefile("wb"), io.BufferedWriter)
    assert_type(socket.makefile("w"), io.TextIOWrapper)
    request.makefile("w")  # E: call-overload | reportCallIssue
    response.makefile("rb")  # E: call-overload | reportCallIssue
    response.makefile("wb", encoding="utf-8")  # E: call-overload | reportCallIssue | reportArgumentType
    zipfile.ZipFile(response.makefile("wb"), "w")
    csv.reader(request.makefile("r", newline=""))
