"""Much data: bodies and tunnels of any length pass through little memory."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from client_support import Peer, scripted
from support import SECONDS, in_thread, listening, port_of

import nhttp
from nhttp import net
from nhttp.client import get, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nhttp.incoming import IncomingMessage

BLOCK = bytes(64 * 1024)
BLOCKS = 512
SIZE = BLOCKS * len(BLOCK)
ROOM = 4 * 1024 * 1024  # what may be held at once: an eighth of what passes

TUNNELLED = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < ROOM


def send_much(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    for _ in range(BLOCKS):
        peer.send(BLOCK)


def take_much(peer: Peer) -> None:
    peer.read_head()
    left = SIZE
    while left:
        left -= len(peer.read(min(left, len(BLOCK))))
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_download_in_blocking_style() -> None:
    with scripted(send_much) as server, get(server.url) as response:
        assert sum(map(len, response)) == SIZE


def test_a_download_by_callbacks() -> None:
    came = 0
    ended = threading.Event()

    def count(data: bytes) -> None:
        nonlocal came
        came += len(data)

    def answered(response: IncomingMessage) -> None:
        response.on("data", count).on("end", ended.set)

    with scripted(send_much) as server:
        get(server.url, answered)
        assert ended.wait(SECONDS)
    assert came == SIZE


def test_an_upload_in_blocking_style() -> None:
    with scripted(take_much) as server:
        req = request(server.url, method="PUT", headers={"Content-Length": SIZE})
        for _ in range(BLOCKS):
            req.write(BLOCK)
        req.end()
        assert req.get_response().read() == b"ok"


def test_an_upload_by_callbacks_at_the_pace_of_drain() -> None:
    ended = threading.Event()
    with scripted(take_much) as server:
        req = request(
            server.url,
            lambda response: response.resume().on("end", ended.set),
            method="PUT",
            headers={"Content-Length": SIZE},
        )
        drained = threading.Semaphore(0)
        req.on("drain", drained.release)
        for _ in range(BLOCKS):
            if not req.write(BLOCK):
                assert drained.acquire(timeout=SECONDS)
        req.end()
        assert ended.wait(SECONDS)


def connect_through(proxy_port: int, port: int) -> net.Socket:
    """Ask a proxy for a tunnel, and give its near end."""
    tunnels: list[net.Socket] = []
    connected = threading.Event()

    def opened(response: IncomingMessage, tunnel: net.Socket, head: bytes) -> None:
        assert (response.status_code, head) == (200, b"")
        tunnels.append(tunnel)
        connected.set()

    req = request(
        host="127.0.0.1", port=proxy_port, method="CONNECT", path=f"127.0.0.1:{port}", agent=False
    )
    req.on("connect", opened)
    req.end()
    assert connected.wait(SECONDS)
    return tunnels[0]


def proxy(request: nhttp.IncomingMessage, client: net.Socket, head: bytes) -> None:
    """The manual's own, of the example of 'connect'."""
    upstream = net.Socket(allow_half_open=True)

    def connected() -> None:
        client.write("HTTP/1.1 200 Connection Established\r\nProxy-agent: nhttp\r\n\r\n")
        upstream.write(head)
        upstream.pipe(client)
        client.pipe(upstream)

    host, _, port = request.url.partition(":")
    upstream.connect(int(port), host, connected)


def echo(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)


def pass_through_a_tunnel(size: int) -> None:
    """Write to an echo and read from it at once, and compare."""
    blocks = [random.Random(1).randbytes(len(BLOCK)) for _ in range(4)]
    sent, came = hashlib.sha256(), hashlib.sha256()
    server = nhttp.create_server().on("connect", proxy)
    with listening(server), socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        echoing = in_thread(echo, listener)
        tunnel = connect_through(port_of(server), listener.getsockname()[1])

        def write() -> None:
            for number in range(size // len(BLOCK)):
                block = blocks[number % len(blocks)]
                sent.update(block)
                tunnel.write(block)
            tunnel.end()

        writing = in_thread(write)
        for data in tunnel:
            came.update(data)
        writing.result()
        echoing.result()
    assert came.digest() == sent.digest()


def test_a_tunnel_in_both_directions_at_once() -> None:
    pass_through_a_tunnel(TUNNELLED)
