"""Who takes part: the name of each peer, its command, and what must be installed for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import attrs

from benchmarks.processes import ROOT, Process, running
from benchmarks.results import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from benchmarks.options import Options
    from benchmarks.results import Results

__all__ = ["CLIENTS", "NAMES", "SERVERS", "Peer", "client", "present", "server", "start"]

PARSERS = ("h11", "httptools")


@attrs.frozen
class Peer:
    """A program to measure.

    Attributes:
        name: What tables call it.
        command: The program and its arguments.
        needs: Modules that must be installed.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """What it would need and does not find; None: it can take part."""
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
        if not self.command[0]:
            return "NHTTP_NODE6 does not name a program"
        if shutil.which(self.command[0]) is None:
            return f"{self.command[0]} is not installed"
        return None


def server(name: str, program: str, *needs: str) -> Peer:
    """Give the peer that is a function of `benchmarks.programs`."""
    return Peer(name, (sys.executable, "-m", "benchmarks.programs", program), needs)


def client(name: str, program: str, *needs: str) -> Peer:
    """Give the peer that is a function of `benchmarks.clients`."""
    return Peer(name, (sys.executable, "-m", "benchmarks.clients", program), needs)


def node(name: str, program: str, script: str) -> Peer:
    """Give the peer that is a script for a Node."""
    return Peer(name, (program, str(ROOT / "benchmarks" / script)))


NODE6 = os.environ.get("NHTTP_NODE6", "")

SERVERS = [
    server(OURS, "nhttp_hello"),
    server("nhttp+own_threads", "nhttp_own_threads_hello"),
    server("nhttp+pin_threads", "nhttp_pin_threads_hello"),
    server("bare", "bare_hello"),
    server("http.server", "stdlib_hello"),
    server("http.server+nodelay", "stdlib_nodelay_hello"),
    server("http.server+buffered", "stdlib_buffered_hello"),
    server("waitress", "waitress_hello", "waitress"),
    server("cheroot", "cheroot_hello", "cheroot"),
    server("gunicorn", "gunicorn_hello", "gunicorn"),
    server("uvicorn", "uvicorn_hello", "uvicorn", "httptools"),
    server("uvicorn+uvloop", "uvicorn_uvloop_hello", "uvicorn", "httptools", "uvloop"),
    server("granian", "granian_hello", "granian"),
    node("node", "node", "programs/hello.js"),
    node("node6", NODE6, "programs/hello.js"),
]
CLIENTS = [
    client(OURS, "nhttp_get"),
    client("bare", "bare_get"),
    client("http.client", "stdlib_get"),
    client("urllib3", "urllib3_get", "urllib3"),
    client("requests", "requests_get", "requests"),
    client("httpx", "httpx_get", "httpx"),
    node("node", "node", "clients/get.js"),
    node("node6", NODE6, "clients/get.js"),
]
NAMES = sorted({peer.name for peer in (*SERVERS, *CLIENTS)} | {*PARSERS})


def present(peers: Iterable[Peer], options: Options, results: Results) -> list[Peer]:
    """Give those who are invited and can come; the others are noted."""
    found: list[Peer] = []
    for peer in peers:
        if not options.invites(peer.name):
            continue
        if peer.missing is None:
            found.append(peer)
        else:
            results.skip(peer.name, peer.missing)
    return found


def start(
    peers: Iterable[Peer],
    stack: ExitStack,
    results: Results,
    cpu: int | None = None,
    warm_up: Callable[[Process], object] | None = None,
) -> dict[Peer, Process]:
    """Run servers; one that fails is noted.

    Args:
        peers: They.
        stack: What ends them.
        results: Where failures are noted.
        cpu: The one CPU that they may use. Default: all.
        warm_up: Called with each.
    """
    processes: dict[Peer, Process] = {}
    for peer in peers:
        try:
            process = stack.enter_context(running(peer.command, cpu))
            if warm_up is not None:
                warm_up(process)
        except (OSError, RuntimeError) as error:
            results.skip(peer.name, f"failed: {error}")
        else:
            processes[peer] = process
    return processes
