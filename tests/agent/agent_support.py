"""A server made of raw sockets, for what an agent must put up with; and agents without any."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp._agent.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nhttp._agent.channel import Channel

SECONDS = 10.0

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """One connection, at the server's end."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.number = number  # 0 for the server's first connection
        self.buffer = b""

    def request(self) -> bytes | None:
        """Take the head of the next request; None when the client has ended."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer_all(self, answer: bytes = OK) -> None:
        while self.request() is not None:
            self.send(answer)


class RawServer:
    """Serves each connection by a function, on a thread of its own."""

    def __init__(self, serve: Callable[[Peer], object] = Peer.answer_all) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = f"127.0.0.1:{self.port}:"
        self.peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(SECONDS)
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a connection of the raw server does not end"
        for peer in self.peers:
            peer.close()

    @property
    def connections(self) -> int:
        return len(self.peers)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock, len(self.peers))
            self.peers.append(peer)
            thread = threading.Thread(target=self._run, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, peer: Peer) -> None:
        with contextlib.suppress(OSError):
            self._serve(peer)


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


def fetch(agent: Agent, url: str) -> bytes:
    body: bytes = agent.get(url).get_response().read()
    return body


def options(**keywords: Any) -> RequestOptions:
    return RequestOptions.gather(None, keywords)


class Making(Agent):
    """Makes its sockets in the way a test asks for."""

    def __init__(self, way: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.way = way

    def create_connection(self, options: Any, callback: Any = None) -> Any:
        return self.way(options, callback)


def connected_to(options: RequestOptions) -> net.Socket:
    return net.Socket(socket.create_connection((options.target_host, options.target_port)))


class PairAgent(Agent):
    """Its sockets are pairs, and nobody is at the other end: for asking without HTTP."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(keep_alive=True, **keywords)
        self.far: list[Any] = []
        self.made = 0

    def create_connection(self, options: Any, callback: Any = None) -> net.Socket:
        near, far = socket.socketpair()
        self.far.append(far)
        self.made += 1
        return net.Socket(near)

    def destroy(self) -> None:
        super().destroy()
        for far in self.far:
            far.close()


OPTIONS = RequestOptions.gather("http://h/", {})
NAME = "h:80:"  # theirs


def waiter(agent: Agent) -> Waiter:
    return Waiter(agent, None, OPTIONS, NAME)


def settle(agent: Agent, asked: Waiter) -> Channel:
    agent._ask(asked)
    return agent._settle(asked)[0]


def obtain(agent: Agent) -> Channel:
    return settle(agent, waiter(agent))


def waiting(agent: Agent) -> int:
    with agent._lock:
        return sum(map(len, agent._pool.requests.values()))
