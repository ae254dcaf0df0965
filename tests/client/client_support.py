"""A server of plain sockets whose every connection follows a script, for tests of the client."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from support import SECONDS

from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp.client import ClientRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp import net
    from nhttp.incoming import IncomingMessage

__all__ = [
    "CHUNKED",
    "HEAD_END",
    "OK",
    "Followed",
    "Gated",
    "Peer",
    "Scripted",
    "answer",
    "fields",
    "ignore",
    "keeping",
    "scripted",
    "stalling",
]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"
)
HEAD_END = CHUNKED.index(b"\r\n\r\n") + 4


class Peer:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket, index: int) -> None:
        self.sock = sock
        self.index = index  # which connection of the server this is
        self.head = b""
        self._rest = b""

    def read_head(self) -> bytes:
        """Give a request's head; ``b""`` when the client has ended."""
        while b"\r\n\r\n" not in self._rest:
            block = self.sock.recv(65536)
            if not block:
                return b""
            self._rest += block
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        self.head = head + b"\r\n\r\n"
        return self.head

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            block = self.sock.recv(65536)
            if not block:
                break
            self._rest += block
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            block = self.sock.recv(65536)
            assert block, "the client has ended"
            self._rest += block
        data, self._rest = self._rest.split(mark, 1)
        return data + mark

    def read_all(self) -> bytes:
        while block := self.sock.recv(65536):
            self._rest += block
        return self._rest

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the client gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Scripted:
    """Runs `script` for every connection, on a thread of its own."""

    def __init__(self, script: Callable[[Peer], object]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.peers: list[Peer] = []
        self.heads: list[bytes] = []
        self.failures: list[BaseException] = []
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def options(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port}

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing:
                sock.close()
                return
            sock.settimeout(SECONDS)
            peer = Peer(sock, len(self.peers))
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        with peer.sock:
            try:
                self._script(peer)
            except (ConnectionError, TimeoutError):
                pass  # the client may go when it wants
            except BaseException as error:
                self.failures.append(error)

    def close(self) -> None:
        self._closing = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._acceptor.join(SECONDS)
        self._listener.close()
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a script waits for the client in vain"
        if self.failures:
            raise self.failures[0]


@contextlib.contextmanager
def scripted(script: Callable[[Peer], object]) -> Generator[Scripted]:
    server = Scripted(script)
    try:
        yield server
    finally:
        server.close()


def answer(*octets: bytes) -> Callable[[Peer], None]:
    """A script: one answer to every request, until the client ends."""

    def script(peer: Peer) -> None:
        while peer.read_head():
            for each in octets:
                peer.send(each)

    return script


def ignore(*_arguments: object) -> None:
    """A listener that does nothing."""


def stalling(octets: bytes) -> Callable[[Peer], None]:
    """A script that sends this, and waits for the client to go."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(octets)
        assert peer.read_all() == b""

    return script


def keeping(heads: list[bytes], body: int = 0) -> Any:
    """A script that keeps the heads, takes a body, and answers."""

    def script(peer: Peer) -> None:
        while head := peer.read_head():
            heads.append(head)
            peer.read(body)
            peer.send(OK)

    return script


def fields(head: bytes) -> list[str]:
    return head.decode("latin-1").split("\r\n")[1:-2]


class Gated(Agent):
    """Its sockets come when they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.give: Callable[[], object] = lambda: None

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,
    ) -> net.Socket | None:
        assert callback is not None
        self.give = lambda: callback(None, super(Gated, self).create_connection(options))
        self.asked.set()
        return None


class Followed(ClientRequest):
    """Says when its own thread is done with it."""

    def __init__(
        self,
        url: str,
        callback: Callable[[IncomingMessage], object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(RequestOptions.gather(url, options), callback)
        self.done = threading.Event()

    def _run_referenced(self, work: Callable[..., None], args: tuple[object, ...]) -> None:
        super()._run_referenced(work, args)
        self.done.set()
