"""Stopping: how long leaving a server's ``with`` block takes, with idle connections around."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import nhttp
from benchmarks.report import Report, median, progress
from nhttp import net

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's own options."""
    parser.add_argument("--idle", type=int, nargs="+", default=[0, 1, 50, 200], metavar="N")
    parser.add_argument("--rounds", type=int, default=10)


def run(options: argparse.Namespace) -> Report:
    """Stop a server with so many idle connections, again and again."""
    report = Report(
        f"leaving the with block, {options.rounds} rounds",
        ["idle connections", "median ms", "max ms"],
    )
    for idle in options.idle:
        progress(f"{idle} connections")
        times = [stop(idle) * 1000 for _ in range(options.rounds)]
        report.add(idle, median(times), max(times))
    progress("")
    return report


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
