"""Proxies that others wrote: haproxy before our server, tinyproxy behind our client."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING

import pytest
from interop_support import (
    HELLO,
    SECONDS,
    Origin,
    await_port,
    free_port,
    pattern,
    program,
    running,
)
from support import in_thread, listening, port_of

import nhttp
from nhttp import net

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = pattern(256 * 1024)
BLOCKS = 16


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


@pytest.fixture
def agent() -> Iterator[nhttp.Agent]:
    with nhttp.Agent(keep_alive=True) as agent:
        yield agent


# haproxy.

HAPROXY = """
defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
  http-reuse always
frontend before
  bind 127.0.0.1:{port}
  default_backend behind
backend behind
  server origin 127.0.0.1:{origin}
"""


@pytest.fixture
def haproxy(origin: Origin, tmp_path: Path) -> Iterator[str]:
    binary, port = program("haproxy"), free_port()
    config, log = tmp_path / "haproxy.cfg", tmp_path / "log"
    config.write_text(HAPROXY.format(port=port, origin=origin.port))
    with (
        log.open("w") as errors,
        running([binary, "-db", "-f", str(config)], stderr=errors) as process,
    ):
        await_port(port, process, log)
        yield f"http://127.0.0.1:{port}"


def test_haproxy_keeps_its_connection(haproxy: str, origin: Origin, agent: nhttp.Agent) -> None:
    for size in range(5):
        with agent.get(f"{haproxy}/drip?n=2&size={size}") as response:
            assert response.read() == b"x" * 2 * size
    assert origin.connections == 1


def test_haproxy_streams_both_ways(haproxy: str, agent: nhttp.Agent) -> None:
    request = agent.request(f"{haproxy}/echo", method="POST")
    answered = in_thread(lambda: request.get_response(SECONDS).read())
    for _ in range(BLOCKS):
        request.write(BLOCK)
    request.end()
    assert answered.result() == BLOCK * BLOCKS


def test_haproxy_passes_hints_and_trailers_on(haproxy: str, agent: nhttp.Agent) -> None:
    hints: list[int] = []
    request = agent.get(f"{haproxy}/hints")
    request.on("information", lambda information: hints.append(information.status_code))
    with request as response:
        assert response.read() == HELLO
    assert hints == [103]
    with agent.get(f"{haproxy}/trailers") as response:
        assert response.read() == b"body"
        assert response.trailers == {"x-sum": "c0ffee"}


def test_haproxy_lets_an_upgrade_through(haproxy: str, agent: nhttp.Agent) -> None:
    heard: list[bytes] = []
    over = threading.Event()

    def on_upgrade(_response: nhttp.IncomingMessage, socket: net.Socket, head: bytes) -> None:
        heard.append(head)
        socket.on("data", heard.append)
        socket.on("close", over.set)
        socket.end("quiet")

    headers = {"Connection": "Upgrade", "Upgrade": "shout"}
    agent.request(haproxy, headers=headers).on("upgrade", on_upgrade).end()
    assert over.wait(SECONDS)
    assert b"".join(heard) == b"HEAR YE\nQUIET"


# tinyproxy.

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 10
LogFile "{log}"
"""


@pytest.fixture
def tinyproxy(tmp_path: Path) -> Iterator[str]:
    binary, port = program("tinyproxy"), free_port()
    config, log = tmp_path / "tinyproxy.conf", tmp_path / "log"
    config.write_text(TINYPROXY.format(port=port, log=log))
    with running([binary, "-d", "-c", str(config)]) as process:
        await_port(port, process)
        yield f"http://127.0.0.1:{port}"


def test_tinyproxy_passes_a_request_on(tinyproxy: str, origin: Origin, agent: nhttp.Agent) -> None:
    request = agent.request(tinyproxy, path=origin.url("/echo"), method="POST")
    request.end("through the proxy")
    with request as response:
        assert (response.status_code, response.read()) == (201, b"through the proxy")


def test_tinyproxy_tunnels_both_ways_at_once(tinyproxy: str, agent: nhttp.Agent) -> None:
    whole = zlib.crc32(BLOCK * BLOCKS)
    received: dict[str, int] = {}

    def talk(socket: net.Socket, name: str, head: bytes = b"") -> None:
        def speak() -> None:
            for _ in range(BLOCKS):
                socket.write(BLOCK)

        speaking = in_thread(speak)
        received[name] = zlib.crc32(head + socket.read(len(BLOCK) * BLOCKS - len(head)))
        speaking.result()
        # tinyproxy closes both ways when one has ended: each side waits for the other's all-clear.
        socket.write(b"!")
        assert socket.read(1) == b"!"
        socket.end()

    served, over = threading.Event(), threading.Event()

    def serve(socket: net.Socket) -> None:
        talk(socket, "there")
        served.set()

    def on_connect(_response: nhttp.IncomingMessage, socket: net.Socket, head: bytes) -> None:
        talk(socket, "here", head)
        over.set()

    with listening(net.create_server(serve, allow_half_open=True)) as server:
        path = f"127.0.0.1:{port_of(server)}"
        agent.request(tinyproxy, method="CONNECT", path=path).on("connect", on_connect).end()
        assert over.wait(SECONDS)
        assert served.wait(SECONDS)
    assert received == {"here": whole, "there": whole}
