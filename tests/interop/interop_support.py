"""What the tests with foreign clients share: a server with a route for each thing clients do.

Every client meets the same `Origin`, so that a test is the client's half alone: what it sends, and
what it makes of the answer. What reached the server comes back in the answer itself (``/report``),
or by way of `Origin.seen`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest

import nhttp
from nhttp import net

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from nhttp.net import Socket

SECONDS = 20.0  # that a client may take before its test has failed

HELLO = b"hello world"


class Origin:
    """A server on a free loopback port, with what foreign clients can ask of it.

    ``/``: `HELLO`. ``/report``: what arrived, as JSON. ``/echo``: the body, streamed back.
    ``/drip?n=3&size=5``: n chunks of so many octets. ``/trailers``: a body with trailers.
    ``/file``: `file`, or the range of it. ``/hints``: 103 and 200. ``/hang``: a head and no end.
    ``/early``: 413, with the body unread. CONNECT goes to wherever it asks, on this machine; an
    upgrade to ``shout`` echoes in capitals.
    """

    def __init__(self) -> None:
        self.server = nhttp.create_server(self.on_request)
        self.server.on("connection", self.on_connection)
        self.server.on("connect", on_connect)
        self.server.on("upgrade", on_upgrade)
        self.connections = 0
        self.file: Path | None = None
        self.seen: queue.Queue[str] = queue.Queue()  # what befell a request of /hang

    def listen(self, host: str = "127.0.0.1", *, path: Path | None = None) -> Self:
        if path is not None:
            self.server.listen(path=str(path))
        else:
            self.server.listen(0, host)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.server.close()
        closed = self.server.wait_closed(SECONDS / 4)
        self.server.close_all_connections()
        assert closed or error is not None, "a connection is still open after its client has gone"

    @property
    def port(self) -> int:
        address = self.server.address()
        assert isinstance(address, net.Address)
        return address.port

    def url(self, path: str = "/") -> str:
        address = self.server.address()
        assert isinstance(address, net.Address)
        host = f"[{address.address}]" if address.family == "IPv6" else address.address
        return f"http://{host}:{address.port}{path}"

    def awaited(self) -> str:
        """Give what befell the request of /hang next."""
        return self.seen.get(timeout=SECONDS)

    def on_connection(self, _socket: Socket) -> None:
        self.connections += 1

    def on_request(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        target = urlsplit(request.url)
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        match target.path:
            case "/":
                response.end(HELLO)
            case "/report":
                response.set_header("Content-Type", "application/json")
                response.end(json.dumps(report(request)))
            case "/echo":
                response.status_code = 201
                request.pipe(response)
            case "/drip":
                for _ in range(int(query.get("n", 3))):
                    response.write(b"x" * int(query.get("size", 5)))
                response.end()
            case "/trailers":
                response.write_head(200, {"Trailer": "X-Sum"})
                response.write("body")
                response.add_trailers({"X-Sum": "c0ffee"})
                response.end()
            case "/file":
                self.send_file(request, response)
            case "/hints":
                response.write_early_hints({"Link": "</style.css>; rel=preload"})
                response.end(HELLO)
            case "/hang":
                self.hang(request, response)
            case "/early":
                response.write_head(413)
                response.end("too much")
            case _:
                response.write_head(404)
                response.end()

    def send_file(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert self.file is not None
        size = self.file.stat().st_size
        wanted = request.headers.get("range")
        if wanted is None:
            response.set_header("Content-Length", size)
            response.write_file(self.file)
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last or size - 1) + 1
            response.status_code = 206
            response.set_header("Content-Length", stop - start)
            response.set_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            response.write_file(self.file, start, stop - start)
        response.end()

    def hang(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        def gone() -> None:
            self.seen.put("close")
            response.destroy()

        self.seen.put("hanging")
        request.on("aborted", lambda: self.seen.put("aborted"))
        response.on("close", gone)
        response.flush_headers()


def report(request: nhttp.IncomingMessage) -> dict[str, Any]:
    body = request.read()
    return {
        "method": request.method,
        "url": request.url,
        "version": request.http_version,
        "headers": dict(request.headers),
        "trailers": dict(request.trailers),
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "port": request.socket.remote_port,
    }


def on_connect(request: nhttp.IncomingMessage, client: Socket, head: bytes) -> None:
    host, _, port = request.url.rpartition(":")
    assert host in ("127.0.0.1", "localhost"), host
    upstream = net.Socket()

    def connected() -> None:
        client.write("HTTP/1.1 200 Connection Established\r\n\r\n")
        if head:
            upstream.write(head)
        upstream.pipe(client)
        client.pipe(upstream)

    upstream.connect(int(port), host, connected)
    client.on("close", upstream.destroy)
    upstream.on("close", client.destroy)


def on_upgrade(request: nhttp.IncomingMessage, sock: Socket, head: bytes) -> None:
    protocol = request.headers["upgrade"]
    if protocol != "shout":
        sock.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return
    sock.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
    sock.write(b"HEAR YE\n" + head.upper())
    sock.on("data", lambda chunk: sock.write(chunk.upper()))
    sock.on("end", sock.end)


def pattern(size: int) -> bytes:
    """Give octets that repeat with no power of two, so that a lost or doubled block shows."""
    block = bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def program(name: str, variable: str | None = None) -> str:
    """Give the path of a program, or skip the test that asks.

    Args:
        name: Looked for on the path, and where servers are that not everybody has on it.
        variable: An environment variable that names the program instead.
    """
    if variable is not None:
        path = os.environ.get(variable)
        if path is None:
            pytest.skip(f"{variable} names no program")
        return path
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(
    argv: Sequence[str | Path], data: bytes = b"", *, ok: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run a client to its end.

    Args:
        argv: The program and its arguments.
        data: Its standard input.
        ok: Whether anything but success fails the test.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    done = subprocess.run(
        argv, input=data, capture_output=True, timeout=SECONDS, check=False, env=environment
    )
    if ok:
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(argv: list[str], **options: Any) -> Generator[subprocess.Popen[str]]:
    """Run a server; it is ended by its own pid."""
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def free_port() -> int:
    """Give a port for a program that cannot choose one itself.

    It lies below those that the kernel gives out, which tests in other processes get meanwhile.
    """
    chance = random.SystemRandom()  # these processes all begin with the same seed
    while True:
        port = chance.randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def await_port(port: int, process: subprocess.Popen[str], log: Path | None = None) -> None:
    """Wait until a program listens; `log` is where it says why it does not."""
    pause = threading.Event()
    while not _answers(port):
        assert process.poll() is None, log and log.read_text()
        pause.wait(0.01)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), SECONDS):
        return True
    return False


NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 3;
"""


@contextlib.contextmanager
def nginx_serving(folder: Path, settings: str, **values: object) -> Generator[int]:
    """Run nginx, and give its port.

    Args:
        folder: For what it writes.
        settings: The rest of its http block, with ``{folder}``, ``{port}`` and other `values`.
    """
    binary = program("nginx")
    port = free_port()
    config, log = folder / "nginx.conf", folder / "error.log"
    config.write_text((NGINX + settings + "}}\n").format(folder=folder, port=port, **values))
    argv = [binary, "-c", str(config), "-p", str(folder), "-e", str(log)]
    with running(argv) as process:
        await_port(port, process, log)
        yield port


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

QUIETLY = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextlib.contextmanager
def browsing(url: str, profile: Path, *flags: str) -> Generator[None]:
    """Have Chromium show a page, and kill it at the end, with all that it starts."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIETLY, *flags, f"--user-data-dir={profile}", url]
    nothing = subprocess.DEVNULL
    with process_group(command, stdin=nothing, stdout=nothing, stderr=nothing):
        yield


@contextlib.contextmanager
def process_group(command: list[str], **options: Any) -> Generator[subprocess.Popen[str]]:
    """A program, with all that it starts killed at the end."""
    with subprocess.Popen(command, text=True, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
