"""TLS through a proxy: in a tunnel, and in a tunnel that is in TLS itself."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from https_support import SERVER, serving, trusting, url_of
from support import SECONDS, listening, port_of
from tls_support import CA

import nhttp
from nhttp import https, net, tls
from nhttp.errors import TunnelRefused

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def example(name: str) -> Any:
    return importlib.import_module(name)


def hello(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end(f"{request.headers['host']} has {request.url}")


def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    request.pipe(response)


@contextlib.contextmanager
def proxying(kind: str) -> Generator[tuple[str, list[str]]]:
    """A proxy, over TLS or not; its URL, and the targets that it was asked for."""
    asked: list[str] = []
    tunnel = example("tunnel")

    def on_connect(request: nhttp.IncomingMessage, client: net.Socket, head: bytes) -> None:
        asked.append(request.url)
        tunnel.on_connect(request, client, head)

    server: nhttp.Server = (
        nhttp.create_server()
        if kind == "http"
        else https.create_server(cert=SERVER.cert, key=SERVER.key)
    )
    with listening(server.on("connect", on_connect)):
        yield f"{kind}://localhost:{port_of(server)}/", asked


proxies = pytest.mark.parametrize("kind", ["http", "https"])


@proxies
def test_a_request_over_a_tunnel(kind: str) -> None:
    """The recipe of Node's users: CONNECT, and then a request over its socket."""
    got: list[bytes] = []
    over = threading.Event()
    with serving(hello) as server, proxying(kind) as (proxy, asked):
        target = f"localhost:{port_of(server)}"

        def connected(_: nhttp.IncomingMessage, tunnel: net.Socket, head: bytes) -> None:
            assert head == b""
            assert tunnel.encrypted == (kind == "https")
            request = https.get(url_of(server, "/a"), socket=tunnel, agent=False, **trusting())
            response = request.get_response(SECONDS)
            assert isinstance(response.socket, tls.TLSSocket)
            assert response.socket.authorized
            got.append(response.read())
            over.set()

        module = https if kind == "https" else nhttp
        trust: dict[str, Any] = trusting() if kind == "https" else {}
        request = module.request(
            proxy, method="CONNECT", path=target, headers={"Host": target}, agent=False, **trust
        )
        request.on("connect", connected).end()
        assert over.wait(SECONDS)
    assert got == [f"{target} has /a".encode()]
    assert asked == [target]


@proxies
def test_an_agent_that_goes_through_a_proxy(kind: str) -> None:
    proxy_agent = example("https_through_proxy").ProxyAgent
    with (
        serving(hello) as server,
        proxying(kind) as (proxy, asked),
        proxy_agent(proxy, keep_alive=True, ca=CA) as agent,
    ):
        for path, reused in (("/a", False), ("/b", True)):
            request = agent.get(url_of(server, path))
            body = request.get_response(SECONDS).read()
            assert body == f"localhost:{port_of(server)} has {path}".encode()
            assert request.reused_socket == reused
        assert asked == [f"localhost:{port_of(server)}"]


@proxies
def test_a_large_body_both_ways_through_a_tunnel(kind: str) -> None:
    data = hashlib.sha256(b"seed").digest() * 100_000  # 3.2 MB
    proxy_agent = example("https_through_proxy").ProxyAgent
    with (
        serving(echo) as server,
        proxying(kind) as (proxy, _),
        proxy_agent(proxy, ca=CA) as agent,
    ):
        taken: list[bytes] = []
        over = threading.Event()

        def answered(response: nhttp.IncomingMessage) -> None:
            response.on("data", taken.append).on("end", over.set)

        request = agent.request(url_of(server), answered, method="POST")
        for start in range(0, len(data), 100_000):
            request.write(data[start : start + 100_000])
        request.end()
        assert over.wait(SECONDS)
    assert hashlib.sha256(b"".join(taken)).digest() == hashlib.sha256(data).digest()


def test_a_proxy_that_refuses() -> None:
    proxy_agent = example("https_through_proxy").ProxyAgent

    def refuse(_: nhttp.IncomingMessage, client: net.Socket, _head: bytes) -> None:
        client.end("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with (
        listening(nhttp.create_server().on("connect", refuse)) as server,
        proxy_agent(f"http://127.0.0.1:{port_of(server)}/") as agent,
        pytest.raises(TunnelRefused, match="407"),
    ):
        agent.get("https://localhost/").get_response(SECONDS)


def test_a_tunnel_to_another_server_than_expected() -> None:
    proxy_agent = example("https_through_proxy").ProxyAgent
    with (
        serving(hello) as server,
        proxying("http") as (proxy, _),
        proxy_agent(proxy) as agent,  # does not trust the tests' authority
        pytest.raises(tls.CertificateError),
    ):
        agent.get(url_of(server)).get_response(SECONDS)
