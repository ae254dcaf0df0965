"""Python's HTTP clients against our server: requests, urllib3, httpx and http.client."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
import urllib3
from interop_support import HELLO, SECONDS, Origin, digest, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import nhttp

BIG = pattern(5_000_000)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


def pieces(data: bytes, size: int = 70_001) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class TestRequests:
    """``requests``, by way of a session as its users have it."""

    @pytest.fixture
    def session(self) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.trust_env = False  # no proxies
            yield session

    def test_a_session_keeps_its_connection(
        self, origin: Origin, session: requests.Session
    ) -> None:
        for _ in range(20):
            assert session.get(origin.url(), timeout=SECONDS).content == HELLO
        assert origin.connections == 1

    def test_json_and_query(self, origin: Origin, session: requests.Session) -> None:
        answer = session.post(
            origin.url("/report"), params={"q": "a b"}, json={"x": 1}, timeout=SECONDS
        )
        seen = answer.json()
        assert (seen["method"], seen["url"]) == ("POST", "/report?q=a+b")
        assert seen["headers"]["content-type"] == "application/json"

    def test_upload_from_a_generator_is_chunked(
        self, origin: Origin, session: requests.Session
    ) -> None:
        answer = session.put(origin.url("/report"), data=pieces(BIG), timeout=SECONDS)
        assert answer.json()["headers"]["transfer-encoding"] == "chunked"
        assert answer.json()["sha256"] == digest(BIG)

    def test_upload_of_an_open_file(
        self, origin: Origin, session: requests.Session, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(BIG)
        with path.open("rb") as file:
            answer = session.put(origin.url("/report"), data=file, timeout=SECONDS)
        assert answer.json()["headers"]["content-length"] == str(len(BIG))
        assert answer.json()["sha256"] == digest(BIG)

    def test_download_piece_by_piece(self, origin: Origin, session: requests.Session) -> None:
        url = origin.url("/drip?n=300&size=10000")
        with session.get(url, stream=True, timeout=SECONDS) as answer:
            assert sum(map(len, answer.iter_content(4096))) == 3_000_000
        assert session.get(origin.url(), timeout=SECONDS).content == HELLO
        assert origin.connections == 1

    def test_a_download_given_up_in_the_middle(
        self, origin: Origin, session: requests.Session
    ) -> None:
        with session.get(origin.url("/hang"), stream=True, timeout=SECONDS) as answer:
            assert answer.status_code == 200
            assert origin.awaited() == "hanging"
        assert [origin.awaited(), origin.awaited()] == ["aborted", "close"]

    def test_a_time_out(self, origin: Origin, session: requests.Session) -> None:
        with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
            session.get(origin.url("/hang"), timeout=(SECONDS, 0.1))
        assert origin.awaited() == "hanging"
        assert [origin.awaited(), origin.awaited()] == ["aborted", "close"]

    def test_head_has_no_body(self, origin: Origin, session: requests.Session) -> None:
        answer = session.head(origin.url(), timeout=SECONDS)
        assert (answer.headers["content-length"], answer.content) == ("11", b"")
        assert session.get(origin.url(), timeout=SECONDS).content == HELLO
        assert origin.connections == 1

    def test_a_multipart_upload(self, origin: Origin, session: requests.Session) -> None:
        answer = session.post(origin.url("/report"), files={"f": BIG[:100_000]}, timeout=SECONDS)
        assert answer.json()["size"] > 100_000


class TestUrllib3:
    """urllib3's pool."""

    @pytest.fixture
    def pool(self, origin: Origin) -> Iterator[urllib3.HTTPConnectionPool]:
        with urllib3.HTTPConnectionPool(
            "127.0.0.1", origin.port, maxsize=1, block=True, timeout=SECONDS, retries=False
        ) as pool:
            yield pool

    def test_a_hundred_requests_through_one_connection(
        self, origin: Origin, pool: urllib3.HTTPConnectionPool
    ) -> None:
        for turn in range(100):
            answer = pool.request("POST", "/echo", body=b"%d" % turn)
            assert (answer.status, answer.data) == (201, b"%d" % turn)
        assert origin.connections == pool.num_connections == 1

    def test_chunks_both_ways(self, pool: urllib3.HTTPConnectionPool) -> None:
        answer = pool.request(
            "PUT", "/echo", body=pieces(BIG[:50_000], 999), chunked=True, preload_content=False
        )
        assert answer.headers["transfer-encoding"] == "chunked"
        assert b"".join(answer.stream(777)) == BIG[:50_000]
        answer.release_conn()

    def test_an_unread_answer_is_drained_for_the_next(
        self, origin: Origin, pool: urllib3.HTTPConnectionPool
    ) -> None:
        answer = pool.request("GET", "/drip?n=10", preload_content=False)
        answer.drain_conn()
        answer.release_conn()
        assert pool.request("GET", "/").data == HELLO
        assert origin.connections == 1

    def test_an_idle_connection_that_was_closed_is_replaced(
        self, origin: Origin, pool: urllib3.HTTPConnectionPool
    ) -> None:
        closed = threading.Event()
        origin.server.on("connection", lambda sock: sock.on("close", closed.set))
        assert pool.request("GET", "/").data == HELLO
        while not closed.wait(0.01):  # it is idle a moment after the client has its answer
            origin.server.close_idle_connections()
        assert pool.request("GET", "/", retries=1).data == HELLO
        assert origin.connections == 2


class TestHttpx:
    """httpx, which is h11 underneath: the strictest reader of what we send."""

    @pytest.fixture
    def client(self, origin: Origin) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=origin.url(), timeout=SECONDS, trust_env=False) as client:
            yield client

    def test_requests_share_a_connection(self, origin: Origin, client: httpx.Client) -> None:
        for _ in range(20):
            assert client.get("/").content == HELLO
        assert origin.connections == 1

    def test_streaming_both_ways(self, client: httpx.Client) -> None:
        with client.stream("POST", "/echo", content=pieces(BIG)) as answer:
            assert answer.status_code == 201
            assert digest(b"".join(answer.iter_bytes())) == digest(BIG)

    def test_interim_answers_and_trailers_are_passed_over(
        self, origin: Origin, client: httpx.Client
    ) -> None:
        assert client.get("/hints").content == HELLO
        assert client.get("/trailers").content == b"body"
        assert client.get("/").content == HELLO
        assert origin.connections == 1

    def test_empty_answers(self, origin: Origin, client: httpx.Client) -> None:
        assert client.get("/nowhere").status_code == 404
        assert client.head("/drip").status_code == 200
        assert client.options("/").content == HELLO
        assert origin.connections == 1

    def test_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        transport = httpx.HTTPTransport(uds=str(path))
        with (
            Origin().listen(path=path),
            httpx.Client(transport=transport, timeout=SECONDS) as client,
        ):
            assert client.get("http://localhost/").content == HELLO


class TestHttpClient:
    """The standard library's client, and what can be said on its socket directly."""

    @pytest.fixture
    def connection(self, origin: Origin) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=SECONDS)
        yield connection
        connection.close()

    @staticmethod
    def ask(
        connection: http.client.HTTPConnection, method: str, path: str, **arguments: Any
    ) -> bytes:
        connection.request(method, path, **arguments)
        return connection.getresponse().read()

    def test_keep_alive(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        assert self.ask(connection, "GET", "/") == HELLO
        assert self.ask(connection, "HEAD", "/") == b""
        assert self.ask(connection, "GET", "/drip") == b"x" * 15
        assert self.ask(connection, "POST", "/echo", body=b"abc") == b"abc"
        assert origin.connections == 1

    def test_chunked_upload(self, connection: http.client.HTTPConnection) -> None:
        answer = self.ask(
            connection,
            "PUT",
            "/report",
            body=pieces(BIG),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert json.loads(answer)["sha256"] == digest(BIG)

    def test_continue_comes_before_the_body(
        self, origin: Origin, connection: http.client.HTTPConnection
    ) -> None:
        connection.putrequest("POST", "/report")
        connection.putheader("Content-Length", "4")
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        sock: socket.socket = connection.sock
        assert receive(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"body")
        assert json.loads(connection.getresponse().read())["sha256"] == digest(b"body")

    def test_an_expectation_that_nobody_can_meet(
        self, connection: http.client.HTTPConnection
    ) -> None:
        connection.request("GET", "/", headers={"Expect": "the-unexpected"})
        assert connection.getresponse().status == 417

    def test_pipelined_requests_are_answered_in_order(self, origin: Origin) -> None:
        paths = [f"/report?{n}" for n in range(50)]
        with socket.create_connection(("127.0.0.1", origin.port), timeout=SECONDS) as sock:
            sock.sendall(
                b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % p.encode() for p in paths)
            )
            reader = sock.makefile("rb")
            assert [next_body(reader)["url"] for _ in paths] == paths
        assert origin.connections == 1

    def test_a_tunnel(self, origin: Origin) -> None:
        with Origin().listen() as other:
            connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=SECONDS)
            connection.set_tunnel("127.0.0.1", other.port)
            assert self.ask(connection, "GET", "/") == HELLO
            assert self.ask(connection, "POST", "/echo", body=BIG) == BIG
            connection.close()
            assert (origin.connections, other.connections) == (1, 1)

    def test_an_upgrade(self, origin: Origin) -> None:
        with socket.create_connection(("127.0.0.1", origin.port), timeout=SECONDS) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly "
            )
            assert receive(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            assert receive(sock, b"EARLY ") == b"HEAR YE\nEARLY "
            sock.sendall(b"and late\n")
            assert receive(sock, b"\n") == b"AND LATE\n"
            sock.shutdown(socket.SHUT_WR)

    @pytest.mark.parametrize("path", ["/report", "/echo"])
    def test_a_client_that_ends_its_side_still_gets_its_answer(
        self, origin: Origin, path: str
    ) -> None:
        request = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".encode()
        for _ in range(20):  # the end may come before, while or after the answer is made
            with socket.create_connection(("127.0.0.1", origin.port), timeout=SECONDS / 4) as sock:
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
                with sock.makefile("rb") as reader:
                    answer = reader.read()
            assert answer.startswith(b"HTTP/1.1 20")
            assert digest(b"abc").encode() in answer or answer.endswith(b"abc\r\n0\r\n\r\n")

    def test_a_server_that_closes_lets_a_running_answer_end(self, origin: Origin) -> None:
        def on_request(_: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
            origin.server.close()
            response.end("last words")

        origin.server.remove_all_listeners("request")
        origin.server.on("request", on_request)
        connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=SECONDS)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.headers["connection"], answer.read()) == ("close", b"last words")
        assert origin.server.wait_closed(SECONDS)
        connection.close()


def receive(sock: socket.socket, end: bytes) -> bytes:
    """Read up to `end`, octet by octet: what follows is somebody else's."""
    data = b""
    while not data.endswith(end):
        octet = sock.recv(1)
        assert octet, data
        data += octet
    return data


def next_body(reader: Any) -> dict[str, Any]:
    """Read one response with a length, and its JSON."""
    assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
    headers = http.client.parse_headers(reader)
    body: dict[str, Any] = json.loads(reader.read(int(headers["content-length"])))
    return body
