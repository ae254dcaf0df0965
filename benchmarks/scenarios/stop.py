"""Stopping: how long leaving a server's ``with`` block takes, with idle connections around."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import nhttp
from benchmarks.options import Options, Step, interleave
from benchmarks.results import OURS, Metric
from nhttp import net

if TYPE_CHECKING:
    from benchmarks.results import Results

__all__ = ["measure"]

STOP = Metric("stop", "ms", higher_is_better=False)
ROUNDS = 10
IDLE = (0, 1, 50, 200)


def measure(options: Options, results: Results) -> None:
    """Stop a server with so many idle connections, again and again."""

    def one(idle: int) -> None:
        results.add(f"{idle:,} idle", "free", OURS, STOP, stop(idle) * 1000)

    steps = [
        Step(f"{idle:,} idle", OURS, partial(one, idle))
        for idle in options.idle or IDLE
        if options.wants(f"{idle:,} idle")
    ]
    interleave(options, results, options.rounds or ROUNDS, steps)


def stop(idle: int) -> float:
    """Give the seconds that stopping takes."""
    with ExitStack() as clients:
        with nhttp.create_server(hello).listen(0, "127.0.0.1") as server:
            address = server.address()
            assert isinstance(address, net.Address)
            for _ in range(idle):
                sock = socket.create_connection(("127.0.0.1", address.port), timeout=10)
                clients.enter_context(sock)
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(65536).endswith(b"hello")
            began = time.perf_counter()
        return time.perf_counter() - began


def hello(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    """Answer."""
    response.end("hello")
