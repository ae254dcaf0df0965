"""Large bodies: their speed, and what they do to the memory of who sends or receives them.

Servers are measured with a client that only sends and receives, clients with a server that does no
more either, one body at a time. The growth is the peak of the process (``VmHWM``) beyond what it
had before (``VmRSS``), after a small body.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks.options import Options, Step, interleave
from benchmarks.peers import Peer, client, server
from benchmarks.processes import Process, output_of, running
from benchmarks.results import OURS, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Results

__all__ = ["measure"]

MIB = 1024 * 1024
BLOCK = memoryview(bytes(MIB))
SPEED = Metric("speed", "MB/s", higher_is_better=True)
GROWTH = Metric("growth", "MiB", higher_is_better=False)
ROUNDS = 3
SIZE = 1024
SERVERS = {OURS: server(OURS, "nhttp_streams"), "bare": server("bare", "bare_streams")}
CLIENTS = {
    "download by the client": {
        OURS: client(OURS, "nhttp_download"),
        "bare": client("bare", "bare_download"),
    },
    "upload by the client": {
        OURS: client(OURS, "nhttp_upload"),
        "bare": client("bare", "bare_upload"),
    },
}


@attrs.frozen
class Kind:
    """One way to move a body to or from a server.

    Attributes:
        name: What the table calls it.
        move: Moves so many octets over a fresh connection.
        peers: Who can do it.
        rehearsed: Whether to move it once before: a file is then in the page cache.
    """

    name: str
    move: Callable[[socket.socket, int], None]
    peers: tuple[str, ...] = (OURS, "bare")
    rehearsed: bool = False


def download(sock: socket.socket, how: str, size: int) -> None:
    """Ask for a body and drop it."""
    sock.sendall(f"GET /{how}/{size} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    buffer = bytearray(MIB)
    received = 0
    while count := sock.recv_into(buffer):
        received += count
    assert received > size, received


def upload(sock: socket.socket, how: str, size: int) -> None:
    """Send a body, and see that all of it was counted."""
    chunked = how == "chunked"
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    sock.sendall(f"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n".encode())
    for _ in range(size // MIB):
        if chunked:
            sock.sendall(b"%x\r\n" % MIB)
        sock.sendall(BLOCK)
        if chunked:
            sock.sendall(b"\r\n")
    if chunked:
        sock.sendall(b"0\r\n\r\n")
    answer = b""
    while data := sock.recv(65536):
        answer += data
    assert answer.endswith(b"%d" % size), answer


KINDS = [
    Kind("download", lambda sock, size: download(sock, "length", size)),
    Kind("download, from a file", lambda sock, size: download(sock, "file", size), rehearsed=True),
    Kind("download, chunked", lambda sock, size: download(sock, "chunked", size), (OURS,)),
    Kind("upload", lambda sock, size: upload(sock, "length", size)),
    Kind("upload, chunked", lambda sock, size: upload(sock, "chunked", size), (OURS,)),
]


def measure(options: Options, results: Results) -> None:
    """Move a body of each kind through each peer, in turns."""
    if not Path("/proc/self/status").exists():
        results.skip("all", "there is no /proc to read memory from")
        return
    size = (options.mib or SIZE) * MIB
    steps = [
        Step(kind.name, name, partial(through_server, results, SERVERS[name], kind, size))
        for kind in KINDS
        for name in kind.peers
        if options.invites(name) and options.wants(kind.name)
    ]
    steps += [
        Step(case, name, partial(through_client, results, peer, case, size))
        for case, peers in CLIENTS.items()
        for name, peer in peers.items()
        if options.invites(name) and options.wants(case)
    ]
    interleave(options, results, options.rounds or ROUNDS, steps)


def through_server(results: Results, peer: Peer, kind: Kind, size: int) -> None:
    """Move one body through a fresh server."""
    with running(peer.command) as process:
        # What only ever grows once has grown then.
        move(process, kind, size if kind.rehearsed else MIB)
        before = process.memory("VmRSS")
        began = time.perf_counter()
        move(process, kind, size)
        seconds = time.perf_counter() - began
        growth = max(0, process.memory("VmHWM") - before)
    results.add(kind.name, "free", peer.name, SPEED, size / seconds / 1e6)
    results.add(kind.name, "free", peer.name, GROWTH, growth / MIB)


def move(process: Process, kind: Kind, size: int) -> None:
    """Move one body over a fresh connection."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=60) as sock:
        kind.move(sock, size)


def through_client(results: Results, peer: Peer, case: str, size: int) -> None:
    """Move one body through a fresh client."""
    with running(SERVERS["bare"].command) as process:
        printed = output_of([*peer.command, str(process.port), str(size)], 120)
    _, seconds, growth = printed.split()
    results.add(case, "free", peer.name, SPEED, size / float(seconds) / 1e6)
    results.add(case, "free", peer.name, GROWTH, int(growth) / MIB)
