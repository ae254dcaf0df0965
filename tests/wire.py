"""A client made of one raw socket, and a server on loopback: what the tests of servers stand on."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import nhttp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SECONDS = 20.0  # a wait that takes this long has failed
GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(body: str, *fields: str) -> str:
    lines = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines) + f"\r\n\r\n{body}"


def chunked(*chunks: str, fields: tuple[str, ...] = (), trailers: tuple[str, ...] = ()) -> str:
    head = "\r\n".join(["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", *fields])
    body = "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in chunks)
    return f"{head}\r\n\r\n{body}0\r\n" + "".join(f"{each}\r\n" for each in trailers) + "\r\n"


@dataclass(frozen=True)
class Answer:
    """A response as it was on the wire."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str | None:
        """The one value of a field; None when there is none."""
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None


class Wire:
    """A client."""

    def __init__(self, server: nhttp.net.Server) -> None:
        address = server.address()
        if isinstance(address, nhttp.net.Address):
            self.socket = socket.create_connection(address[:2], timeout=SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            assert address is not None
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(SECONDS)
            self.socket.connect(address)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, data: str | bytes) -> Self:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def end(self) -> Self:
        """Half-close: nothing more comes from this side."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Vanish with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self) -> bytes:
        return self.socket.recv(65536)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            data = self.receive()
            assert data, f"closed after {self.buffer!r}"
            self.buffer += data
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.receive()
            assert data, f"closed after {self.buffer!r}"
            self.buffer += data
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as that."""
        with contextlib.suppress(ConnectionResetError):
            while data := self.receive():
                self.buffer += data
        found, self.buffer = self.buffer, b""
        return found

    def is_closed(self) -> bool:
        """Wait for the server to close, with nothing said in front of it."""
        return self.rest() == b""

    def head(self) -> Answer:
        line, *fields = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = line.split(" ", 2)
        return Answer(version, int(status), reason, [_field(each) for each in fields], b"", [])

    def answer(self, *, body: bool = True) -> Answer:
        """Take one response; `body` is False when it has none whatever its fields say."""
        head = self.head()
        if not body or head.status < 200 or head.status in (204, 304):
            return head
        if head["transfer-encoding"] is not None:
            data, trailers = self._chunks()
            return replace(head, body=data, trailers=trailers)
        length = head["content-length"]
        return replace(head, body=self.rest() if length is None else self.exactly(int(length)))

    def _chunks(self) -> tuple[bytes, list[tuple[str, str]]]:
        data = b""
        while size := int(self.until(b"\r\n"), 16):
            data += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        trailers = [_field(line.decode("latin-1")) for line in iter(self._line, b"")]
        return data, trailers

    def _line(self) -> bytes:
        return self.until(b"\r\n")

    def ask(self, request: str | bytes = GET, *, body: bool = True) -> Answer:
        return self.send(request).answer(body=body)


def _field(line: str) -> tuple[str, str]:
    name, value = line.split(": ", 1)
    return name, value


@contextlib.contextmanager
def serving(
    listener: Callable[[nhttp.IncomingMessage, nhttp.ServerResponse], object] | None = None,
    **options: Any,
) -> Generator[nhttp.Server]:
    """A server on loopback that is closed, with all its connections gone, at the end.

    An assertion that fails in the listener fails the test.
    """
    failed: list[AssertionError] = []

    def checked(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        assert listener is not None
        try:
            listener(request, response)
        except AssertionError as error:
            failed.append(error)
            raise

    server = nhttp.create_server(checked if listener else None, **options)
    with server.listen(0, "127.0.0.1"):
        server.grace = SECONDS
        try:
            yield server
        finally:
            server.close_idle_connections()
    assert server.wait_closed(0), "a connection is left"
    if failed:
        raise failed[0]


@contextlib.contextmanager
def connected(
    listener: Callable[[nhttp.IncomingMessage, nhttp.ServerResponse], object] | None = None,
    **options: Any,
) -> Generator[Wire]:
    """A server and one client of it."""
    with serving(listener, **options) as server, Wire(server) as wire:
        yield wire


def answered(write: Callable[[nhttp.ServerResponse], object], request: str = GET) -> Answer:
    """What a client sees of what a handler writes: one answer, and nothing behind it."""
    raised: list[Exception] = []

    def listener(_: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        try:
            write(response)
        except Exception as error:
            raised.append(error)
            raise

    with connected(listener) as wire:
        answer = wire.ask(request, body=not request.startswith("HEAD"))
        assert wire.end().is_closed()
    assert answer.status == 500 or raised == []
    return answer


def ok(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    """Answer with what was sent."""
    response.end(request.read())


class Signal(threading.Event):
    """An event that insists on happening; usable as a listener."""

    def __call__(self, *_arguments: object) -> None:
        self.set()

    def happens(self) -> bool:
        assert self.wait(SECONDS), "this did not happen in time"
        return True
