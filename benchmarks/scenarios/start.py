"""Starting: how long an import takes, and how long a fresh process until its first answer.

Every sample is a fresh interpreter with its byte code cached. *import* is the import alone, as
measured within; *first answer* counts from the start of the process to a whole answer from a small
server.
"""

from __future__ import annotations

import socket
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.options import Options, Step, interleave
from benchmarks.processes import output_of, running
from benchmarks.results import OURS, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Results

__all__ = ["measure"]

IMPORT = Metric("import", "ms", higher_is_better=False)
ANSWER = Metric("first answer", "ms", higher_is_better=False)
ROUNDS = 25
MODULES = {
    OURS: "nhttp",
    "http.server": "http.server",
    "http.client": "http.client",
    "urllib3": "urllib3",
    "requests": "requests",
    "httpx": "httpx",
    "uvicorn": "uvicorn",
}
IMPORTING = """
import time
began = time.perf_counter()
import {}
print((time.perf_counter() - began) * 1000)
"""
PROGRAMS = {
    OURS: """
import nhttp
server = nhttp.create_server(lambda request, response: response.end("hello world"))
with server.listen(0, "127.0.0.1"):
    print("port", server.address().port, flush=True)
    server.serve_forever()
""",
    "http.server": """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "11")
        self.end_headers()
        self.wfile.write(b"hello world")
with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print("port", server.server_port, flush=True)
    server.serve_forever()
""",
    "bare": """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print("port", server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 11\\r\\n\\r\\nhello world")
    connection.recv(1)
""",
}


def measure(options: Options, results: Results) -> None:
    """Start fresh interpreters, in turns."""
    steps: list[Step] = []

    def add(case: str, measures: dict[str, Callable[[], float]], metric: Metric) -> None:
        def one(name: str) -> None:
            results.add(case, "free", name, metric, measures[name]())

        if options.wants(case):
            steps.extend(
                Step(case, name, partial(one, name)) for name in measures if options.invites(name)
            )

    add("import", {name: partial(import_time, text) for name, text in MODULES.items()}, IMPORT)
    add("serve", {name: partial(answer_time, text) for name, text in PROGRAMS.items()}, ANSWER)
    interleave(options, results, options.rounds or ROUNDS, steps)


def import_time(module: str) -> float:
    """Give the milliseconds that an import takes."""
    return float(output_of([sys.executable, "-c", IMPORTING.format(module)], 30))


def answer_time(program: str) -> float:
    """Give the milliseconds from the start of a server to its first answer."""
    began = time.perf_counter()
    with running([sys.executable, "-c", program]) as process:
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"hello world") and (data := sock.recv(65536)):
                answer += data
            assert answer.endswith(b"hello world"), answer
        return (time.perf_counter() - began) * 1000
