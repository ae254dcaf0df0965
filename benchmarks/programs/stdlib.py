"""`ThreadingHTTPServer` as people write it, with HTTP/1.1 and so with kept connections."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.programs.app import BODY, echo, ready, stopped, wait_for_stop


class Documented(BaseHTTPRequestHandler):
    """As its documentation shows: the head and the body leave in a segment each.

    With Nagle's algorithm on, the second waits until the client has acknowledged the first.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a few octets."""
        self.answer("text/plain", BODY)

    def do_POST(self) -> None:
        """Echo JSON."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer("application/json", echo(body))

    def answer(self, kind: str, body: bytes) -> None:
        """Send head and body."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")  # wrk goes by it
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet, as the others do."""


class NoDelay(Documented):
    """As above, with Nagle's algorithm off: nothing waits, still two segments and two calls."""

    disable_nagle_algorithm = True


class Buffered(NoDelay):
    """At its fastest: head and body leave together. It flushes after each request by itself."""

    wbufsize = -1


class Server(ThreadingHTTPServer):
    """It, with room for clients that come all at once."""

    request_queue_size = 511

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet of clients that leave with a reset, as wrk does."""


def serve(handler: type[BaseHTTPRequestHandler]) -> None:
    """Run one."""
    with Server(("127.0.0.1", 0), handler) as server:
        ready(server.server_port)
        server.serve_forever()


def stdlib_hello() -> None:
    """As documented."""
    serve(Documented)


def stdlib_nodelay_hello() -> None:
    """With TCP_NODELAY."""
    serve(NoDelay)


def stdlib_buffered_hello() -> None:
    """With TCP_NODELAY and a buffer."""
    serve(Buffered)


def stdlib_idle() -> None:
    """At its fastest, and able to stop; connections stay open until the process ends."""
    server = Server(("127.0.0.1", 0), Buffered)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready(server.server_port)
    wait_for_stop()
    began = time.perf_counter()
    server.shutdown()
    server.server_close()
    stopped(time.perf_counter() - began)
