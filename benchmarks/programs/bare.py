"""No HTTP at all: the most that a thread for each connection can do in Python."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from benchmarks.programs.app import BLOCK, BODY, ready, stopped, wait_for_stop

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Length: 11\r\n"
)
ANSWER = HEAD + b"\r\n" + BODY
LAST_ANSWER = HEAD + b"Connection: close\r\n\r\n" + BODY


def accept_forever(
    serve_one: Callable[[socket.socket], None], listener: socket.socket | None = None
) -> NoReturn:
    """Run `serve_one` on a thread for each connection."""
    if listener is None:
        listener = listen()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection,), daemon=True).start()


def listen() -> socket.socket:
    """Listen, and say where."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    ready(listener.getsockname()[1])
    return listener


def answer_all(connection: socket.socket) -> None:
    """Receive, and send the same octets whatever it was."""
    with connection, suppress(ConnectionError):  # wrk leaves so
        while connection.recv(65536):
            connection.sendall(ANSWER)


def answer_once(connection: socket.socket) -> None:
    """Receive, send, close."""
    with connection, suppress(ConnectionError):
        if connection.recv(65536):
            connection.sendall(LAST_ANSWER)


def bare_hello() -> None:
    """Connections that are kept."""
    accept_forever(answer_all)


def bare_closing_hello() -> None:
    """A connection for each request."""
    accept_forever(answer_once)


def bare_idle() -> None:
    """Connections that are kept, and a listener that can be closed."""
    listener = listen()
    threading.Thread(target=accept_forever, args=(answer_all, listener), daemon=True).start()
    wait_for_stop()
    began = time.perf_counter()
    listener.close()
    stopped(time.perf_counter() - began)


def bare_streams() -> None:
    """Send and take bodies with as little between socket and client as there can be."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def serve_one(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            if head.startswith(b"PUT"):
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                left = size
                while left and (data := connection.recv(65536)):
                    left -= len(data)
                count = b"%d" % (size - left)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count)
                )
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
