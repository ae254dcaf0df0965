"""Large bodies: their speed, and what they do to the server's memory.

A raw client moves one large body at a time; the growth is the server process's peak (``VmHWM``)
beyond what it had before (``VmRSS``).
"""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

from benchmarks.peers import STREAMS, Peer, Process
from benchmarks.report import Report, median, progress, ratio

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add_arguments", "run"]

MIB = 1024 * 1024
BLOCK = memoryview(bytes(MIB))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the scenario's own options."""
    parser.add_argument("--mib", type=int, default=1024, help="size of each body")
    parser.add_argument("--rounds", type=int, default=3)


@attrs.frozen
class Transfer:
    """What moving one body took."""

    seconds: float
    growth: int  # octets


@attrs.frozen
class Kind:
    """One way to move a body.

    Attributes:
        name: What the table calls it.
        move: Moves so many octets over a fresh connection.
        peers: Who can do it.
        rehearsed: Whether to move it once before: a file is then in the page cache.
    """

    name: str
    move: Callable[[socket.socket, int], None]
    peers: frozenset[str] = frozenset(peer.name for peer in STREAMS)
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
    Kind(
        "download, chunked",
        lambda sock, size: download(sock, "chunked", size),
        frozenset({"nhttp"}),
    ),
    Kind("upload", lambda sock, size: upload(sock, "length", size)),
    Kind("upload, chunked", lambda sock, size: upload(sock, "chunked", size), frozenset({"nhttp"})),
]


def run(options: argparse.Namespace) -> Report:
    """Move a body of each kind through each peer, in turns."""
    size = options.mib * MIB
    found: defaultdict[tuple[str, str], list[Transfer]] = defaultdict(list)
    for turn in range(options.rounds):
        for kind in KINDS:
            for peer in STREAMS:
                if peer.name in kind.peers:
                    progress(f"round {turn + 1}: {kind.name}, {peer.name}")
                    found[kind.name, peer.name].append(measure(peer, kind, size))
    progress("")
    report = Report(
        f"one body of {options.mib} MiB, median of {options.rounds} rounds",
        ["body", *(f"{peer.name} MB/s" for peer in STREAMS), "ratio"]
        + [f"{peer.name} growth MiB" for peer in STREAMS],
    )
    for kind in KINDS:
        transfers = [found[kind.name, peer.name] for peer in STREAMS]
        speeds = [median(size / each.seconds / 1e6 for each in some) for some in transfers]
        growth = [max((each.growth / MIB for each in some), default=None) for some in transfers]
        report.add(kind.name, *speeds, ratio(speeds[0], speeds[1]), *growth)
    return report


def measure(peer: Peer, kind: Kind, size: int) -> Transfer:
    """Move one body through a fresh process."""
    with peer.running() as process:
        # What only ever grows once has grown then.
        move(process, kind, size if kind.rehearsed else MIB)
        before = process.memory("VmRSS")
        began = time.perf_counter()
        move(process, kind, size)
        seconds = time.perf_counter() - began
        return Transfer(seconds, max(0, process.memory("VmHWM") - before))


def move(process: Process, kind: Kind, size: int) -> None:
    """Move one body over a fresh connection."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=60) as sock:
        kind.move(sock, size)
