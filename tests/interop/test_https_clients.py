"""Foreign clients against our https server: curl, requests, Node, openssl, a browser."""

from __future__ import annotations

import json
import queue
import re
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests
from https_support import EXPIRED, SERVER, serving, url_of, write_files
from interop_support import (
    SECONDS,
    browsing,
    digest,
    needs_chromium,
    pattern,
    process_group,
    program,
    run,
)
from support import Recorder, port_of
from tls_support import CA, client_context

import nhttp
from nhttp import tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nhttp import https
    from nhttp.net import Socket


def report(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    """Say what arrived, and over what."""
    sock = request.socket
    assert isinstance(sock, tls.TLSSocket)
    body = request.read()
    seen = {
        "method": request.method,
        "sha256": digest(body),
        "port": sock.remote_port,
        "protocol": sock.get_protocol(),
        "servername": sock.servername,
        "authorized": sock.authorized,
        "resumed": sock.is_session_reused(),
    }
    response.end(json.dumps(seen))


def shout(_request: nhttp.IncomingMessage, sock: Socket, _head: bytes) -> None:
    sock.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
    sock.on("data", lambda data: sock.write(data.upper()))
    sock.on("end", sock.end)


@pytest.fixture
def server() -> Iterator[https.Server]:
    with serving(report, ca=CA, request_cert=True, reject_unauthorized=False) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the certificates as clients want them."""
    write_files(tmp_path)
    return tmp_path


# --- curl --------------------------------------------------------------------------------------


def curl(*arguments: str | Path, data: bytes = b"", ok: bool = True) -> Any:
    always = ("-q", "-sS", "--noproxy", "*", "--max-time", "15")
    return run([program("curl"), *always, *arguments], data, ok=ok)


def test_curl(server: https.Server, folder: Path) -> None:
    done = curl("--cacert", folder / "ca.pem", url_of(server))
    seen = json.loads(done.stdout)
    assert (seen["protocol"], seen["servername"]) == ("TLSv1.3", "localhost")
    assert not seen["authorized"]


def test_curl_with_tls_1_2(server: https.Server, folder: Path) -> None:
    done = curl("--cacert", folder / "ca.pem", "--tls-max", "1.2", url_of(server))
    assert json.loads(done.stdout)["protocol"] == "TLSv1.2"


def test_curl_uploads_and_uses_the_connection_again(server: https.Server, folder: Path) -> None:
    data = pattern(3_000_000)
    url = url_of(server)
    done = curl(
        *("--cacert", folder / "ca.pem", "-w", "\n", "--data-binary", "@-"),
        *(url, "--next", "-sS", "--cacert", folder / "ca.pem", url),
        data=data,
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["method"], first["sha256"]) == ("POST", digest(data))
    assert first["port"] == second["port"]


def test_curl_with_a_certificate(server: https.Server, folder: Path) -> None:
    done = curl("--cacert", folder / "ca.pem", "--cert", folder / "client.pem", url_of(server))
    assert json.loads(done.stdout)["authorized"]


def test_curl_does_not_trust_us_unasked(server: https.Server) -> None:
    seen = Recorder(server, "tlsClientError")
    assert curl(url_of(server), ok=False).returncode == 60
    seen.wait("tlsClientError")


def test_curl_notices_an_expired_certificate(folder: Path) -> None:
    with serving(report, cert=EXPIRED.cert, key=EXPIRED.key) as server:
        assert curl("--cacert", folder / "ca.pem", url_of(server), ok=False).returncode == 60


def test_curl_in_plain_is_told(server: https.Server) -> None:
    done = curl("-i", url_of(server).replace("https:", "http:"))
    assert done.stdout.startswith(b"HTTP/1.1 400 Bad Request\r\n")


# --- requests ----------------------------------------------------------------------------------


def test_requests(server: https.Server, folder: Path) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(folder / "ca.pem")
        session.cert = str(folder / "client.pem")
        first = session.post(url_of(server), data=b"abc", timeout=SECONDS).json()
        second = session.get(url_of(server), timeout=SECONDS).json()
    assert first["sha256"] == digest(b"abc")
    assert first["port"] == second["port"]
    assert second["authorized"]


def test_requests_does_not_trust_us_unasked(server: https.Server) -> None:
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.SSLError):
            session.get(url_of(server), timeout=SECONDS)


# --- Node --------------------------------------------------------------------------------------

NODE = """
const https = require('https');
const fs = require('fs');
const [port, folder] = process.argv.slice(1);
const agent = new https.Agent({
  keepAlive: true, maxSockets: 1, ca: fs.readFileSync(folder + '/ca.pem'),
  cert: fs.readFileSync(folder + '/client.pem'), key: fs.readFileSync(folder + '/client.pem'),
});
function ask(options, next) {
  https.request({ host: 'localhost', family: 4, port, agent, ...options }, (res) => {
    let text = '';
    res.setEncoding('utf8').on('data', (more) => { text += more; });
    res.on('end', () => next(JSON.parse(text)));
  }).end('abc');
}
ask({ method: 'POST' }, (first) => {
  ask({ method: 'POST', agent }, (second) => {
    https.request({
      host: 'localhost', family: 4, port, agent,
      headers: { Connection: 'Upgrade', Upgrade: 'shout' },
    }).on('upgrade', (res, socket, head) => {
      socket.write('hear ye');
      socket.once('data', (data) => {
        console.log(JSON.stringify([first, second, head.toString() + data]));
        socket.destroy();
        agent.destroy();
      });
    }).end();
  });
});
"""


def test_node(server: https.Server, folder: Path) -> None:
    server.on("upgrade", shout)
    done = run([program("node"), "-e", NODE, str(port_of(server)), str(folder)])
    first, second, shouted = json.loads(done.stdout)
    assert first["port"] == second["port"]
    assert first["sha256"] == digest(b"abc")
    assert second["authorized"]
    assert shouted == "HEAR YE"


# --- openssl -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(server: https.Server, folder: Path, version: str) -> None:
    argv: list[str | Path] = [
        *(program("openssl"), "s_client", "-quiet", "-verify_return_error", version),
        *("-CAfile", folder / "ca.pem", "-servername", "localhost"),
        *("-verify_hostname", "localhost", "-connect", f"127.0.0.1:{port_of(server)}"),
    ]
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        taken = process.stdout.read()
        process.kill()
    head, _, body = taken.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["servername"] == "localhost"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_python_resumes_a_session(version: str) -> None:
    context = client_context()
    context.maximum_version = {
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }[version]
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    session: ssl.SSLSession | None = None
    resumed: list[bool] = []
    with serving(report) as server:
        for _ in range(2):
            raw = socket.create_connection(("127.0.0.1", port_of(server)), SECONDS)
            with (
                raw,
                context.wrap_socket(raw, server_hostname="localhost", session=session) as client,
            ):
                client.sendall(request)
                taken = b""
                while block := client.recv(65536):
                    taken += block
                resumed.append(json.loads(taken.partition(b"\r\n\r\n")[2])["resumed"])
                session = client.session
    assert resumed == [False, True]


# --- a browser ---------------------------------------------------------------------------------


PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script type="module">
  import { answer } from "./module.mjs";
  const seen = { answer, secure: window.isSecureContext, protocol: location.protocol };
  try {
    const big = await (await fetch("big")).arrayBuffer();
    seen.size = big.byteLength;
    seen.sizes = [];
    for (const each of await Promise.all([...Array(12).keys()].map((n) => fetch("data.json?" + n))))
      seen.sizes.push((await each.text()).length);
  } catch (error) {
    seen.error = String(error);
  }
  await fetch(RESULT, { method: "POST", mode: "no-cors", body: JSON.stringify(seen) });
</script>
"""


@pytest.mark.timeout(120)
@needs_chromium
def test_a_browser_at_nhttp_serve(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    cert, key = SERVER.write(tmp_path)
    (root / "module.mjs").write_text("export const answer = 6 * 7;\n")
    (root / "data.json").write_text('{"a": 1}')
    (root / "big").write_bytes(pattern(3_000_000))
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    def collect(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        if request.method == "POST":
            results.put(json.loads(request.read()))
        response.end()

    command = [sys.executable, "-m", "nhttp", "serve", str(root), "--port", "0"]
    with (
        serving(collect) as collector,
        process_group(
            [*command, "--cert", cert, "--key", key],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as server,
    ):  # fmt: skip
        (root / "index.html").write_text(PAGE.replace("RESULT", json.dumps(url_of(collector))))
        assert server.stdout is not None
        match = re.search(r"https://\S+", server.stdout.readline())
        assert match is not None
        # There is no other way to have it trust the tests' authority.
        with browsing(match[0], tmp_path / "profile", "--ignore-certificate-errors"):
            seen = results.get(timeout=SECONDS * 2)
        server.terminate()
        _, log = server.communicate(timeout=SECONDS)
    assert seen == {
        "answer": 42,
        "secure": True,
        "protocol": "https:",
        "size": 3_000_000,
        "sizes": [8] * 12,
    }
    assert server.returncode == 0
    assert "Traceback" not in log
