"""Where the work of a small request goes: calls of Python functions, and instructions, by layer.

What is counted is what the interpreter executes of nhttp's own code, or of the standard library's
where that does the same: each call of a function, and each instruction of its bytecode. Neither
depends on the machine or on what else it does, so one round is enough, and a change that saves
something shows, however little it is. What is not seen is the time that an instruction takes, the
kernel's part of it, and C code such as regular expressions: for that see *cpu* and *kernel* of the
server scenario.
"""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nhttp
from benchmarks.options import Step, interleave
from benchmarks.programs.app import BLOCK, BODY
from benchmarks.results import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import CodeType, FrameType

    from benchmarks.options import Options
    from benchmarks.results import Results

__all__ = ["measure"]

CALLS = Metric("calls", "per request", higher_is_better=False)
INSTRUCTIONS = Metric("instructions", "per request", higher_is_better=False)
WARM_UP = 200  # until everything is loaded, cached and specialised
REQUESTS = 50
SECONDS = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
)

PACKAGE = Path(nhttp.__file__).parent
LIBRARY = Path(http.client.__file__).parents[1]
# Modules by what they are there for; the first that fits counts.
LAYERS = {
    "parser": ("_parser",),
    "threads, turns, timers": ("_threads", "_turns", "_resting", "_timers", "_watcher"),
    "connection": ("_connection", "_receiving", "_gone", "_closing", "server"),
    "agent": ("_agent",),
    "request": ("_request", "client", "_exchange"),
    "messages": ("incoming", "response", "outgoing", "headers", "_encoding", "_date"),
    "streams": ("streams",),
    "events": ("events",),
    "sockets": ("net",),
}
ELSEWHERE = "elsewhere"
ALL = "all of it"


def measure(options: Options, results: Results) -> None:
    """Count each case once in a round."""
    if sys.version_info >= (3, 12):
        # 3.12 was seen to crash when it traces instructions in several threads.
        results.skip("all", "instructions are counted on CPython 3.11 only")
        return
    cases = {
        "server, small GET": profile_server,
        "client, small GET": profile_client,
        "client, upload, a write of 64 KiB": profile_upload,
        "http.client, small GET": profile_stdlib,
    }
    steps = [
        Step(case, "nhttp", partial(add, results, case, count))
        for case, count in cases.items()
        if options.wants(case)
    ]
    interleave(options, results, options.rounds or 1, steps)


class Counts:
    """What was executed while `on`, by function; installed as a trace function.

    A function that was called before is not seen, such as the loop that a thread is in.

    Args:
        within: Where code is that counts.
    """

    def __init__(self, within: Path = PACKAGE) -> None:
        self.within = str(within)
        self.on = False
        self.calls: Counter[CodeType] = Counter()
        self.instructions: Counter[CodeType] = Counter()

    def trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Count one call, and have its instructions counted."""
        del event
        if not self.on or not frame.f_code.co_filename.startswith(self.within):
            return None
        self.calls[frame.f_code] += 1
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.step

    def step(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Count one instruction."""
        if event == "opcode":
            self.instructions[frame.f_code] += 1
        return self.step


def add(results: Results, case: str, count: Callable[[], Counts]) -> None:
    """Count, and add what was found, by layer and in all."""
    counts = count()
    for metric, counted in ((CALLS, counts.calls), (INSTRUCTIONS, counts.instructions)):
        layers = dict.fromkeys([*LAYERS, ELSEWHERE], 0)
        for code, number in counted.items():
            layers[layer_of(code)] += number
        for layer, number in {ALL: sum(layers.values()), **layers}.items():
            if number:
                results.add(case, "free", layer, metric, number / REQUESTS)


def layer_of(code: CodeType) -> str:
    """Give the layer that a function belongs to."""
    file = Path(code.co_filename)
    if not file.is_relative_to(PACKAGE):
        return ELSEWHERE
    module = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return next((layer for layer, units in LAYERS.items() if module in units), ELSEWHERE)


def profile_server() -> Counts:
    """Count what a server executes for a connection that rests between its requests."""
    counts = Counts()

    def handler(_: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end(BODY)

    threading.settrace(counts.trace)  # for the threads that are started from here on
    try:
        with nhttp.create_server(handler).listen(0, "127.0.0.1") as server:
            address = server.address()
            assert isinstance(address, nhttp.net.Address)
            with (
                socket.create_connection(address[:2]) as first,
                socket.create_connection(address[:2]) as second,
            ):
                for number in range(WARM_UP + REQUESTS):
                    counts.on = number >= WARM_UP
                    for each in (first, second) if number < 2 else (first,):
                        each.sendall(REQUEST)
                        take(each, BODY)
                counts.on = False
    finally:
        threading.settrace(None)
    return counts


def profile_client() -> Counts:
    """Count what a client executes for a request on a connection of its agent."""
    with answering() as port, nhttp.Agent(keep_alive=True) as agent:
        url = f"http://127.0.0.1:{port}/"

        def ask() -> None:
            assert nhttp.get(url, agent=agent).get_response().read() == BODY

        return traced(ask)


def profile_upload() -> Counts:
    """Count what a client executes for a piece of a body."""
    with answering() as port:
        size = (WARM_UP + REQUESTS) * len(BLOCK)
        request = nhttp.request(
            f"http://127.0.0.1:{port}/", method="PUT", headers={"Content-Length": size}
        )
        counts = traced(lambda: request.write(BLOCK))
        request.destroy()
        return counts


def profile_stdlib() -> Counts:
    """Count what `http.client` executes for the same request, on one connection."""
    with answering() as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask() -> None:
            connection.request("GET", "/")
            assert connection.getresponse().read() == BODY

        counts = traced(ask, LIBRARY)
        connection.close()
        return counts


def traced(act: Callable[[], object], within: Path = PACKAGE) -> Counts:
    """Count what this thread executes for something that it does again and again."""
    counts = Counts(within)
    before = sys.gettrace()
    for number in range(WARM_UP + REQUESTS):
        if number == WARM_UP:
            counts.on = True
            sys.settrace(counts.trace)
        act()
    sys.settrace(before)
    return counts


@contextmanager
def answering() -> Generator[int]:
    """Run a server that answers whatever comes in one piece; give its port."""

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):  # an upload is given up in the middle
                while connection.recv(len(BLOCK)):
                    connection.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(SECONDS)


def take(connection: socket.socket, end: bytes) -> None:
    """Read an answer."""
    data = b""
    while not data.endswith(end):
        block = connection.recv(65536)
        assert block, "the server has closed"
        data += block
