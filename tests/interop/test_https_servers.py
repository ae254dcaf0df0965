"""Our https client against foreign servers: Node, nginx, openssl, Python's own."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from https_support import CLIENT, write_files
from interop_support import (
    SECONDS,
    await_port,
    digest,
    free_port,
    nginx_serving,
    pattern,
    program,
    running,
)
from tls_support import CA

from nhttp import https, tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nhttp.incoming import IncomingMessage

TRUST: dict[str, Any] = {"ca": CA}


class Answered:
    """An answer with its whole body."""

    def __init__(self, response: IncomingMessage) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.body = response.read()
        assert response.request is not None
        self.reused = response.request.reused_socket
        sock = response.socket
        assert isinstance(sock, tls.TLSSocket)
        self.resumed = sock.is_session_reused()
        self.protocol = sock.get_protocol()


def ask(agent: https.Agent, url: str, body: bytes = b"", **options: Any) -> Answered:
    # Who has the same port on the other loopback address is somebody else.
    asked = agent.request(url, family=4, **options)
    asked.end(body) if body else asked.end()
    return Answered(asked.get_response(SECONDS))


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def agent(request: pytest.FixtureRequest) -> Iterator[https.Agent]:
    version = request.param
    with https.Agent(
        keep_alive=True, max_sockets=1, min_version=version, max_version=version, **TRUST
    ) as agent:
        yield agent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_files(folder)
    (folder / "file").write_bytes(pattern(1_000_000))
    return folder


# --- Node --------------------------------------------------------------------------------------

NODE = """
const https = require('https');
const fs = require('fs');
const folder = process.argv[1];
const read = (name) => fs.readFileSync(folder + '/' + name);
https.createServer({
  cert: read('cert.pem'), key: read('key.pem'), ca: read('ca.pem'), requestCert: true,
  rejectUnauthorized: false,
}, (req, res) => {
  if (req.url === '/authorized') res.end(String(req.socket.authorized));
  else if (req.url === '/close') { res.setHeader('Connection', 'close'); res.end('bye'); }
  else if (req.url === '/echo') req.pipe(res);
  else if (req.url === '/until') { res.useChunkedEncodingByDefault = false; res.end('all'); }
  else res.end('hello');
}).on('upgrade', (req, socket) => {
  socket.write('HTTP/1.1 101 Go\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
  socket.pipe(socket);
}).listen(0, '127.0.0.1', function() { console.log(this.address().port); });
"""


@pytest.fixture(scope="module")
def node(files: Path) -> Iterator[str]:
    with running([program("node"), "-e", NODE, str(files)]) as process:
        assert process.stdout is not None
        yield f"https://localhost:{int(process.stdout.readline())}"


def test_node_keeps_the_connection(node: str, agent: https.Agent) -> None:
    first, second = ask(agent, node + "/"), ask(agent, node + "/")
    assert (first.body, second.body) == (b"hello", b"hello")
    assert (first.reused, second.reused) == (False, True)


def test_node_resumes_sessions(node: str, agent: https.Agent) -> None:
    assert [ask(agent, node + "/close").resumed for _ in range(3)] == [False, True, True]


def test_node_echoes_an_upload(node: str, agent: https.Agent) -> None:
    data = pattern(3_000_000)
    with https.Agent(**TRUST) as other:
        taken: list[bytes] = []
        over = threading.Event()

        def answered(response: IncomingMessage) -> None:
            response.on("data", taken.append).on("end", over.set)

        request = other.request(node + "/echo", answered, method="POST")
        for start in range(0, len(data), 100_000):
            request.write(data[start : start + 100_000])
        request.end()
        assert over.wait(SECONDS)
    assert digest(b"".join(taken)) == digest(data)


def test_node_asks_for_a_certificate(node: str, agent: https.Agent) -> None:
    assert ask(agent, node + "/authorized").body == b"false"
    options = {"cert": CLIENT.cert, "key": CLIENT.key}
    assert ask(agent, node + "/authorized", **options).body == b"true"


def test_node_upgrades(node: str, agent: https.Agent) -> None:
    said = threading.Event()
    taken: list[bytes] = []

    def upgraded(_response: IncomingMessage, sock: Any, head: bytes) -> None:
        def note(data: bytes) -> None:
            taken.append(data)
            said.set()
            sock.destroy()

        sock.on("data", note)
        sock.write(b"hello")

    request = agent.get(node, headers={"Connection": "Upgrade", "Upgrade": "echo"})
    request.on("upgrade", upgraded)
    assert said.wait(SECONDS)
    assert taken == [b"hello"]


# --- nginx -------------------------------------------------------------------------------------

SETTINGS = """
  ssl_session_cache shared:SSL:1m;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    root {folder};
    location /none {{ return 204; }}
  }}
"""


@pytest.fixture(scope="module")
def nginx(files: Path) -> Iterator[str]:
    with nginx_serving(files, SETTINGS) as port:
        yield f"https://localhost:{port}"


def test_nginx_closes_after_so_many_requests_and_resumes(nginx: str, agent: https.Agent) -> None:
    seen = [ask(agent, nginx + "/none") for _ in range(5)]
    assert [each.reused for each in seen] == [False, True, True, False, True]
    assert [each.resumed for each in seen] == [False, False, False, True, True]


def test_nginx_sends_a_file(nginx: str, agent: https.Agent) -> None:
    answer = ask(agent, nginx + "/file")
    assert (answer.status, digest(answer.body)) == (200, digest(pattern(1_000_000)))
    assert answer.protocol == agent._security.options.min_version


# --- openssl -----------------------------------------------------------------------------------


def test_openssl_s_server(files: Path, agent: https.Agent) -> None:
    port = free_port()
    argv = [
        *(program("openssl"), "s_server", "-quiet", "-WWW", "-accept", f"127.0.0.1:{port}"),
        *("-cert", str(files / "cert.pem"), "-key", str(files / "key.pem")),
    ]
    with running(argv, cwd=files, stderr=subprocess.DEVNULL) as process:
        await_port(port, process)
        answer = ask(agent, f"https://localhost:{port}/file")
    assert digest(answer.body) == digest(pattern(1_000_000))


# --- Python ------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_pythons_own_server(files: Path, agent: https.Agent) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "cert.pem", files / "key.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"https://localhost:{server.server_port}/"
            assert [ask(agent, url).reused for _ in range(3)] == [False, True, True]
            agent.destroy()
        finally:
            server.shutdown()
            thread.join(SECONDS)
