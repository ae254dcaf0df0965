"""nhttp's client against foreign servers, in both styles: Node, nginx, Python's own, and nhttp's.

``NHTTP_NODE6`` may name a Node 6, as in test_node_client.py.
"""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from interop_support import (
    HELLO,
    SECONDS,
    Origin,
    digest,
    nginx_serving,
    pattern,
    program,
    running,
)

from nhttp._agent.agent import Agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket

SCRIPT = Path(__file__).with_name("node_server.js")

# Said, because what was all written before there is a socket may go out with its length instead.
CHUNKED = {"Transfer-Encoding": "chunked"}


class Answered:
    """An answer with its whole body."""

    def __init__(self, response: IncomingMessage, body: bytes) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.trailers = response.trailers
        self.body = body
        assert response.request is not None
        self.reused = response.request.reused_socket

    def json(self) -> Any:
        return json.loads(self.body)


def ask_blocking(agent: Agent, url: str, chunks: Any = (), **options: Any) -> Answered:
    asked = agent.request(url, **options)
    for chunk in chunks:
        asked.write(chunk)
    asked.end()
    response = asked.get_response(SECONDS)
    return Answered(response, response.read())


def ask_by_callback(agent: Agent, url: str, chunks: Any = (), **options: Any) -> Answered:
    answers: list[Answered] = []
    errors: list[Exception] = []
    over = threading.Event()

    def on_response(response: IncomingMessage) -> None:
        taken: list[bytes] = []

        def on_end() -> None:
            answers.append(Answered(response, b"".join(taken)))
            over.set()

        response.on("data", taken.append)
        response.on("end", on_end)
        response.on("close", over.set)

    def on_error(error: Exception) -> None:
        errors.append(error)
        over.set()

    asked = agent.request(url, on_response, **options).on("error", on_error)
    for chunk in chunks:
        asked.write(chunk)
    asked.end()
    assert over.wait(SECONDS), "no answer"
    if errors:
        raise errors[0]
    return answers[0]


@pytest.fixture(params=[ask_blocking, ask_by_callback], ids=["blocking", "callback"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Answered]:
    style: Callable[..., Answered] = request.param
    return style


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        yield agent


# Node.


@pytest.fixture(scope="module", params=["node", "node6"])
def node(request: pytest.FixtureRequest) -> Iterator[str]:
    binary = program("node", "NHTTP_NODE6" if request.param == "node6" else None)
    with running([binary, str(SCRIPT)]) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def test_node_keep_alive(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    first, second = ask(agent, node + "/"), ask(agent, node + "/")
    assert (first.status, first.body, first.reused) == (200, b"hello", False)
    assert (second.status, second.body, second.reused) == (200, b"hello", True)
    assert "keep-alive" in str(first.headers["connection"]).lower()


def test_node_closing(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    assert ask(agent, node + "/close").body == b"bye"
    assert not ask(agent, node + "/").reused


def test_node_chunked_with_trailers(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, node + "/chunked")
    assert answer.body == b"onetwo"
    assert dict(answer.trailers) == {"x-sum": "c0ffee"}
    assert ask(agent, node + "/").reused


def test_node_chunked_upload(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    chunks = [bytes([n]) * 10_000 for n in range(100)]
    seen = ask(agent, node + "/report", chunks, method="POST", headers=CHUNKED).json()
    assert seen["headers"]["transfer-encoding"] == "chunked"
    assert (seen["size"], seen["sha256"]) == (1_000_000, digest(b"".join(chunks)))


def test_node_upload_of_known_length(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    body = pattern(3_000_000)
    headers = {"Content-Length": len(body)}
    seen = ask(agent, node + "/report", [body], method="PUT", headers=headers).json()
    assert seen["headers"]["content-length"] == str(len(body))
    assert seen["sha256"] == digest(body)


def test_node_echo_of_a_body_larger_than_all_buffers(
    node: str, agent: Agent, ask: Callable[..., Answered]
) -> None:
    """By callbacks only: who writes it all before reading needs a server that reads it all."""
    if ask is ask_blocking:
        pytest.skip("one thread that writes all of it first does not work with any echo: see docs")
    body = pattern(8_000_000)
    answer = ask(agent, node + "/echo", [body], method="POST")
    assert (answer.status, digest(answer.body)) == (201, digest(body))


def test_node_big_body(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, node + "/big")
    assert digest(answer.body) == digest(b"".join(bytes([65 + n]) * 1024**2 for n in range(8)))
    assert ask(agent, node + "/").reused


def test_node_head(node: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, node + "/", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "5"
    assert ask(agent, node + "/").reused


@pytest.mark.parametrize("status", [204, 304])
def test_node_answers_without_a_body(
    node: str, agent: Agent, ask: Callable[..., Answered], status: int
) -> None:
    answer = ask(agent, f"{node}/{status}")
    assert (answer.status, answer.body) == (status, b"")
    assert ask(agent, node + "/").reused


def test_node_redirects_are_not_followed(
    node: str, agent: Agent, ask: Callable[..., Answered]
) -> None:
    answer = ask(agent, node + "/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "/report")
    assert answer.body == b"moved"


def test_node_continue(node: str, agent: Agent) -> None:
    asked = agent.request(node + "/report", method="POST", headers={"Expect": "100-continue"})
    assert asked.wait_continue(SECONDS)
    asked.end("body")
    assert json.loads(asked.get_response(SECONDS).read())["sha256"] == digest(b"body")


@pytest.mark.parametrize("event", ["upgrade", "connect"])
def test_node_tunnels(node: str, agent: Agent, event: Any) -> None:
    got: list[bytes] = []
    over = threading.Event()

    def on_tunnel(response: IncomingMessage, sock: Socket, head: bytes) -> None:
        got.append(head)
        sock.on("data", got.append).on("end", over.set)
        sock.write("quiet")

    options: dict[str, Any] = {"method": "CONNECT", "path": "other:80"}
    if event == "upgrade":
        options = {"headers": {"Connection": "Upgrade", "Upgrade": "shout"}}
    agent.request(node + "/", **options).on(event, on_tunnel).end()
    assert over.wait(SECONDS)
    assert b"".join(got) == (b"QUIET" if event == "upgrade" else b"tunnel quiet")
    assert agent.sockets == {}


def test_node_many_side_by_side(node: str) -> None:
    with Agent(keep_alive=True, max_sockets=4) as agent:
        done = threading.Semaphore(0)
        bodies: list[bytes] = []

        def on_response(response: IncomingMessage) -> None:
            response.on("data", bodies.append).on("end", done.release)

        for _ in range(100):
            agent.get(node + "/", on_response)
        for _ in range(100):
            assert done.acquire(timeout=SECONDS)
        assert bodies == [b"hello"] * 100
        assert sum(map(len, agent.free_sockets.values())) <= 4


# nginx.

SETTINGS = """
  gzip on;
  gzip_min_length 1;
  gzip_types *;
  client_max_body_size 64m;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/root;
    location /moved {{ return 301 /file; }}
    location /none {{ return 204; }}
    location /sink {{ proxy_pass http://127.0.0.1:{origin}/report; }}
  }}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "root").mkdir()
    (folder / "root" / "file").write_bytes(pattern(1_000_000))
    with (
        Origin().listen() as origin,
        nginx_serving(folder, SETTINGS, origin=origin.port) as port,
    ):
        yield f"http://127.0.0.1:{port}"


def test_nginx_closes_after_so_many_requests(
    nginx: str, agent: Agent, ask: Callable[..., Answered]
) -> None:
    seen = [ask(agent, nginx + "/none") for _ in range(7)]
    assert {each.status for each in seen} == {204}
    assert [each.reused for each in seen] == [False, True, True, False, True, True, False]


def test_nginx_file(nginx: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, nginx + "/file")
    assert answer.body == pattern(1_000_000)
    assert answer.headers["content-length"] == "1000000"


def test_nginx_gzip_is_passed_through(
    nginx: str, agent: Agent, ask: Callable[..., Answered]
) -> None:
    answer = ask(agent, nginx + "/file", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert gzip.decompress(answer.body) == pattern(1_000_000)
    assert ask(agent, nginx + "/none").reused


def test_nginx_range(nginx: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, nginx + "/file", headers={"Range": "bytes=1000-1999"})
    assert answer.status == 206
    assert answer.headers["content-range"] == "bytes 1000-1999/1000000"
    assert answer.body == pattern(1_000_000)[1000:2000]


def test_nginx_not_modified(nginx: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    tag = ask(agent, nginx + "/file", method="HEAD").headers["etag"]
    answer = ask(agent, nginx + "/file", headers={"If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")
    assert ask(agent, nginx + "/none").reused


def test_nginx_redirect(nginx: str, agent: Agent, ask: Callable[..., Answered]) -> None:
    answer = ask(agent, nginx + "/moved")
    assert answer.status == 301
    assert str(answer.headers["location"]).endswith("/file")


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_nginx_upload(nginx: str, agent: Agent, ask: Callable[..., Answered], framing: str) -> None:
    body = pattern(5_000_000)
    headers = {"Content-Length": len(body)} if framing == "length" else {}
    answer = ask(agent, nginx + "/sink", [body[:100], body[100:]], method="POST", headers=headers)
    assert answer.json()["sha256"] == digest(body)


# http.server.


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(params=["HTTP/1.0", "HTTP/1.1"])
def stdlib(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "file").write_bytes(pattern(300_000))
    handler = type("Versioned", (Handler,), {"protocol_version": request.param})
    made = functools.partial(handler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.socket.close()


def test_stdlib(stdlib: str, ask: Callable[..., Answered]) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        assert ask(agent, stdlib + "/file").body == pattern(300_000)
        assert ask(agent, stdlib + "/none").status == 404
        head = ask(agent, stdlib + "/file", method="HEAD")
        assert (head.headers["content-length"], head.body) == ("300000", b"")
        answer = ask(agent, stdlib + "/", [b"body"], method="POST", headers={"Content-Length": 4})
        assert answer.body == b"body"


# nhttp itself.


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with Origin().listen() as origin:
        origin.file = tmp_path / "file"
        origin.file.write_bytes(pattern(5_000_000))
        yield origin


def test_nhttp_itself(origin: Origin, ask: Callable[..., Answered]) -> None:
    with Agent(keep_alive=True, max_sockets=1) as agent:
        assert ask(agent, origin.url("/")).body == HELLO
        assert ask(agent, origin.url("/drip?n=50&size=999")).body == b"x" * 49_950
        answer = ask(agent, origin.url("/trailers"))
        assert (answer.body, dict(answer.trailers)) == (b"body", {"x-sum": "c0ffee"})
        assert ask(agent, origin.url("/hints")).body == HELLO
        assert ask(agent, origin.url("/file")).body == pattern(5_000_000)
        part = ask(agent, origin.url("/file"), headers={"Range": "bytes=5-9"})
        assert (part.status, part.body) == (206, pattern(10)[5:])
        options: dict[str, Any] = {"method": "POST", "headers": CHUNKED}
        seen = ask(agent, origin.url("/report"), [b"a" * 99, b"b"], **options).json()
        assert (seen["size"], seen["headers"]["transfer-encoding"]) == (100, "chunked")
        assert ask(agent, origin.url("/echo"), [b"echo"], method="POST").body == b"echo"
        assert ask(agent, origin.url("/"), method="HEAD").body == b""
        assert origin.connections == 1


def test_nhttp_early_refusal_of_a_large_body(
    origin: Origin, ask: Callable[..., Answered], agent: Agent
) -> None:
    answer = ask(agent, origin.url("/early"), [pattern(3_000_000)], method="POST")
    assert (answer.status, answer.body) == (413, b"too much")


def test_nhttp_over_a_unix_socket(tmp_path: Path, ask: Callable[..., Answered]) -> None:
    path = tmp_path / "s"
    with Origin().listen(path=path), Agent(keep_alive=True) as agent:
        for reused in (False, True):
            answer = ask(agent, "http://localhost/", socket_path=str(path))
            assert (answer.body, answer.reused) == (HELLO, reused)
