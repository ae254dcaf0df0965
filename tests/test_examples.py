"""Each file of examples/, run for real: imported, and its server asked over a socket."""

from __future__ import annotations

import http.client
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from https_support import write_files

import nhttp
from nhttp import https, net

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 10.0


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def example(name: str) -> Any:
    return importlib.import_module(name)


@contextmanager
def serving(server: nhttp.Server) -> Generator[int]:
    """Give the port of a server that must have no connection left at the end."""
    server.listen(0, "127.0.0.1")
    address = server.address()
    assert isinstance(address, net.Address)
    yield address.port
    server.close()
    closed = server.wait_closed(SECONDS)
    server.close_all_connections()
    assert closed


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        return response.status, response.read()


@contextmanager
def speaking(port: int, head: str) -> Generator[tuple[socket.socket, bytes]]:
    """Send a head, and give the connection with the head that came back."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        sock.sendall(head.replace("\n", "\r\n").encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and (octet := sock.recv(1)):
            answer += octet
        yield sock, answer


def test_every_example_is_tested() -> None:
    tests = " ".join(globals()).lower()
    assert [
        path.stem
        for path in EXAMPLES.glob("*.py")
        if f"test_{path.stem}" not in tests and f"test{path.stem}" not in tests
    ] == []


def test_hello() -> None:
    with serving(nhttp.create_server(example("hello").hello)) as port:
        assert ask(port, "GET", "/status?name=ryan") == (200, b"You asked for /status?name=ryan\n")


def test_hello_as_a_program() -> None:
    # The block at the end of each example, on a port that is sure to be free.
    source = (EXAMPLES / "hello.py").read_text(encoding="utf-8")
    told = "print(server.address().port, flush=True); server.serve_forever()"
    source = source.replace("8000", "0").replace("server.serve_forever()", told)
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert ask(int(process.stdout.readline()), "GET", "/") == (200, b"You asked for /\n")
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_echo() -> None:
    data = bytes(range(256)) * 4000
    blocks = (data[start : start + 100_000] for start in range(0, len(data), 100_000))
    with serving(nhttp.create_server(example("echo").echo)) as port:
        assert ask(port, "POST", "/", data) == (200, data)
        assert ask(port, "PUT", "/", blocks) == (200, data)
        assert ask(port, "GET", "/") == (200, b"")


class TestUpload:
    """upload.py, in a directory of its own and with a limit of 1000 octets."""

    @pytest.fixture
    def port(self, tmp_path: Path) -> Iterator[int]:
        module = example("upload")
        with serving(module.create_server(module.Uploads(tmp_path, limit=1000))) as port:
            yield port

    def test_it_is_stored(self, port: int, tmp_path: Path) -> None:
        assert ask(port, "PUT", "/file.txt", b"x" * 1000) == (201, b"")
        assert ask(port, "PUT", "/chunked", iter([b"a", b"b"])) == (201, b"")
        assert (tmp_path / "file.txt").read_bytes() == b"x" * 1000
        assert (tmp_path / "chunked").read_bytes() == b"ab"
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize(
        ("method", "path", "size", "status"),
        [
            ("GET", "/file", 0, 405),
            ("PUT", "/../file", 1, 400),
            ("PUT", "/.hidden", 1, 400),
            ("PUT", "/file", 1001, 413),
        ],
    )
    def test_it_is_refused(
        self, port: int, tmp_path: Path, method: str, path: str, size: int, status: int
    ) -> None:
        assert ask(port, method, path, b"x" * size)[0] == status
        assert not list(tmp_path.iterdir())

    def test_it_is_cut_off_at_the_limit(self, port: int, tmp_path: Path) -> None:
        assert ask(port, "PUT", "/file", iter([b"x" * 900] * 5))[0] == 413
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("size", "answer"), [(4, b"100 "), (4000, b"413 ")])
    def test_who_asks_first_is_told_first(self, port: int, size: int, answer: bytes) -> None:
        head = f"PUT /f HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: {size}\n\n"
        with speaking(port, head) as (sock, told):
            assert told.startswith(b"HTTP/1.1 " + answer)
            if size == 4:
                sock.sendall(b"body")
                assert sock.recv(100).startswith(b"HTTP/1.1 201 Created")

    def test_one_that_breaks_off_leaves_nothing(self, port: int, tmp_path: Path) -> None:
        with speaking(
            port, "PUT /f HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 9\n\n"
        ) as (sock, told):
            assert told.startswith(b"HTTP/1.1 100 ")
            sock.sendall(b"half")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100)[:12] in (b"", b"HTTP/1.1 400")
        assert not list(tmp_path.iterdir())


def test_events() -> None:
    broadcast = example("events").Broadcast()
    server = nhttp.create_server(broadcast)
    gone = threading.Semaphore(0)
    server.on("connection", lambda sock: sock.on("close", gone.release))
    with serving(server) as port:
        request = "GET / HTTP/1.1\nHost: a\n\n"
        with speaking(port, request) as (one, head), speaking(port, request) as (two, _):
            assert b"\r\nContent-Type: text/event-stream\r\n" in head
            with one.makefile("rb") as reader:
                while len(broadcast) < 2:  # the second handler may still be running
                    broadcast.send("early")
                broadcast.send("tick")
                assert b"data: tick\n" in iter(reader.readline, b"")
            two.close()
            assert gone.acquire(timeout=SECONDS)
            assert len(broadcast) == 1
        assert gone.acquire(timeout=SECONDS)
        assert len(broadcast) == 0


class TestTunnel:
    """tunnel.py, to a server of ours and to nowhere."""

    @pytest.fixture
    def port(self) -> Iterator[int]:
        with serving(example("tunnel").create_server()) as port:
            yield port

    def test_it_connects(self, port: int) -> None:
        with serving(nhttp.create_server(example("echo").echo)) as origin:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            connection.set_tunnel("127.0.0.1", origin)
            with closing(connection):
                for data in (b"abc", b"x" * 3_000_000):
                    connection.request("POST", "/", data)
                    assert connection.getresponse().read() == data

    def test_what_came_early_goes_through(self, port: int) -> None:
        with serving(nhttp.create_server(example("hello").hello)) as origin:
            head = f"CONNECT 127.0.0.1:{origin} HTTP/1.1\nHost: a\n\n"
            early = "GET /early HTTP/1.1\nHost: a\n\n"
            with speaking(port, head + early) as (sock, established):
                assert established.startswith(b"HTTP/1.1 200 Connection Established\r\n")
                sock.shutdown(socket.SHUT_WR)
                with sock.makefile("rb") as reader:
                    assert reader.read().endswith(b"You asked for /early\n")

    def test_nobody_is_there(self, port: int) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # and not listening
            nowhere = unused.getsockname()[1]
            with speaking(port, f"CONNECT 127.0.0.1:{nowhere} HTTP/1.1\nHost: a\n\n") as (_, head):
                assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

    def test_other_requests_are_answered(self, port: int) -> None:
        assert ask(port, "GET", "/") == (200, b"okay")


def test_upgrade() -> None:
    with serving(example("upgrade").create_server()) as port:
        head = "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: {}\n\n"
        with speaking(port, head.format("echo") + "early, ") as (sock, answer):
            assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            sock.sendall(b"late")
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as reader:
                assert reader.read() == b"early, late"
        with speaking(port, head.format("smtp")) as (_, answer):
            assert answer.startswith(b"HTTP/1.1 400 ")


def test_https_hello(tmp_path: Path) -> None:
    write_files(tmp_path)
    cert, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    with serving(example("https_hello").create_server(cert, key, ca)) as port:
        url = f"https://localhost:{port}/"
        for shown, greeting in ((None, b"whoever"), (tmp_path / "client.pem", b"somebody")):
            with https.Agent(ca=ca, cert=shown) as agent, agent.get(url) as response:
                assert response.read().startswith(b"Hello, " + greeting)


def test_https_through_proxy(tmp_path: Path) -> None:
    write_files(tmp_path)
    server = example("https_hello").create_server(tmp_path / "cert.pem", tmp_path / "key.pem")
    with (
        serving(server) as port,
        serving(example("tunnel").create_server()) as proxy,
        example("https_through_proxy").ProxyAgent(
            f"http://127.0.0.1:{proxy}/", ca=tmp_path / "ca.pem"
        ) as agent,
        agent.get(f"https://localhost:{port}/") as response,
    ):
        assert response.read().startswith(b"Hello, whoever")


def test_processes() -> None:
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        # Buffered: each process then writes its line in one go.
        environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
        with subprocess.Popen(
            [sys.executable, str(EXAMPLES / "processes.py"), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None
                count = os.cpu_count() or 1
                listening = {process.stdout.readline().split()[1] for _ in range(count)}
                served = {ask(port, "GET", "/")[1].decode().split()[-1] for _ in range(20)}
            finally:
                os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
            _, errors = process.communicate(timeout=SECONDS)
    assert len(listening) == count
    assert served <= listening
    assert (process.returncode, errors) == (0, "")
