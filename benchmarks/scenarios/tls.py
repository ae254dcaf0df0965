"""A server over TLS: requests per second over kept connections, and one large body.

As `server` and `streams` do, with `ThreadingHTTPServer` and a bare `ssl.SSLSocket` beside it.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Step, interleave
from benchmarks.peers import Peer, present, server, start
from benchmarks.results import OURS
from benchmarks.scenarios.server import add_load, cpus
from benchmarks.scenarios.streams import MIB, SIZE, SPEED
from benchmarks.wrk import Load, wrk

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.options import Options
    from benchmarks.processes import Process
    from benchmarks.results import Results

__all__ = ["measure"]

ROUNDS = 3
SECONDS = 2
CONNECTIONS = 50
HELLO = "hello, 50 connections"
DOWNLOAD = "download"
PEERS = [
    server(OURS, "tls_nhttp"),
    server("bare", "tls_bare"),
    server("http.server+buffered", "tls_stdlib"),
]


def measure(options: Options, results: Results) -> None:
    """Measure what there are tools for."""
    if shutil.which("openssl") is None:
        results.skip("all", "openssl, which makes the certificate, is not installed")
        return
    with certificate() as pem:
        peers = [Peer(peer.name, (*peer.command, pem)) for peer in present(PEERS, options, results)]
        if options.wants(HELLO):
            for placement in options.placements:
                measure_hello(options, results, peers, placement)
        if options.wants(DOWNLOAD):
            measure_download(options, results, peers)


@contextmanager
def certificate() -> Generator[str]:
    """Make a certificate that nobody trusts; give the file that has it, and its key."""
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "both.pem")
        key, cert = Path(folder, "key.pem"), Path(folder, "cert.pem")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        )
        where = ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
        subprocess.run([*command.split(), *where], check=True, capture_output=True, timeout=30)
        pem.write_bytes(key.read_bytes() + cert.read_bytes())
        yield str(pem)


def measure_hello(options: Options, results: Results, peers: list[Peer], placement: str) -> None:
    """Put all servers under load, in turns."""
    if shutil.which("wrk") is None:
        results.skip(HELLO, "wrk is not installed")
        return
    server_cpu, wrk_cpu = cpus(placement)

    def load(process: Process, seconds: int = 1) -> Load:
        url = f"https://127.0.0.1:{process.port}/"
        return wrk(url, connections=CONNECTIONS, seconds=seconds, cpu=wrk_cpu)

    def one(peer: Peer, process: Process) -> None:
        before = process.cpu()
        found = load(process, options.seconds or SECONDS)
        add_load(results, HELLO, placement, peer.name, found, before, process.cpu())

    with ExitStack() as stack:
        with options.turn():
            processes = start(peers, stack, results, server_cpu, load)
        steps = [
            Step(f"{HELLO}, {placement}", peer.name, partial(one, peer, process))
            for peer, process in processes.items()
        ]
        interleave(options, results, options.rounds or ROUNDS, steps)


def measure_download(options: Options, results: Results, peers: list[Peer]) -> None:
    """Have each server send a large body, in turns."""
    size = (options.mib or SIZE) * MIB

    def one(peer: Peer, process: Process) -> None:
        seconds = download(process.port, size)
        results.add(DOWNLOAD, "free", peer.name, SPEED, size / seconds / 1e6)

    # The handler of the standard library's server sends nothing that long.
    able = [peer for peer in peers if peer.name in {OURS, "bare"}]
    with ExitStack() as stack:
        steps = [
            Step(DOWNLOAD, peer.name, partial(one, peer, process))
            for peer, process in start(able, stack, results).items()
        ]
        interleave(options, results, options.rounds or ROUNDS, steps)


def download(port: int, size: int) -> float:
    """Give the seconds that a body takes, without the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    buffer = bytearray(64 * 1024)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain) as sock,
    ):
        began = time.perf_counter()
        sock.sendall(b"GET /length/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
        received = 0
        while received < size:  # the head counts too: it is a hundred octets of a gigabyte
            count = sock.recv_into(buffer)
            if not count:
                raise RuntimeError("the server gave up")
            received += count
        return time.perf_counter() - began
