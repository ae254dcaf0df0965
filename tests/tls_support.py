"""Certificates made on the fly, and plain peers to talk to.

The peers are made of `ssl` alone, so that a mistake of nhttp's is not made on both sides.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from support import SECONDS, Recorder, listening, port_of

from nhttp import tls
from nhttp.errors import SocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp.net import Server

__all__ = [
    "AUTHORITY",
    "CA",
    "OTHER_AUTHORITY",
    "Peer",
    "accepting",
    "as_file",
    "client_context",
    "client_error",
    "echo",
    "echo_server",
    "greet",
    "identity",
    "refused",
    "served",
    "server_context",
]

AUTHORITY = trustme.CA()
OTHER_AUTHORITY = trustme.CA()
CA = AUTHORITY.cert_pem.bytes()


@functools.cache
def identity(*names: str, authority: trustme.CA = AUTHORITY) -> dict[str, Any]:
    """The options `cert` and `key` of somebody with these names; by default ``localhost``."""
    made = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    return {"cert": chain, "key": made.private_key_pem.bytes()}


@contextlib.contextmanager
def as_file(data: bytes) -> Generator[str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


def server_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    pems = identity()
    with as_file(pems["cert"] + pems["key"]) as path:
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.decode())
    return context


class Peer:
    """A blocking TLS peer over a plain socket, that may be written to and read from at once."""

    def __init__(
        self, plain: socket.socket, context: ssl.SSLContext, *, server_side: bool = True
    ) -> None:
        self.plain = plain
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side, name)
        self.lock = threading.Lock()  # guards all above, and what follows
        self.kept = bytearray()  # decrypted, and not received yet
        self.ended = False  # with a close_notify

    def shake(self) -> None:
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.plain.recv(65536)
                assert data, "the other side went in the middle of the handshake"
                self.incoming.write(data)
            else:
                return self.flush()

    def flush(self) -> None:
        self.plain.sendall(self.outgoing.read())

    def send(self, data: bytes) -> None:
        with self.lock:
            self.object.write(data)
            out = self.outgoing.read()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.plain.sendall(out)

    def end(self) -> None:
        """Say close_notify; what comes can still be read."""
        with self.lock:
            self.drain()  # `unwrap` would lose it
            with contextlib.suppress(ssl.SSLError):
                self.object.unwrap()
            out = self.outgoing.read()
        with contextlib.suppress(OSError):
            self.plain.sendall(out)

    def drain(self) -> None:
        """Decrypt all that has come; `lock` is held."""
        try:
            while part := self.object.read(65536):
                self.kept += part
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            pass
        self.ended = True

    def cut(self) -> None:
        """End the connection below, without a close_notify."""
        self.plain.shutdown(socket.SHUT_WR)

    def fail(self) -> None:
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.plain.close()

    def receive(self, size: int) -> bytes:
        """Give so many octets; fewer at the close_notify. An end without one is an error."""
        while True:
            with self.lock:
                if not self.ended:
                    self.drain()
                if self.ended or len(self.kept) >= size:
                    data = bytes(self.kept[:size])
                    del self.kept[:size]
                    return data
            block = self.plain.recv(65536)
            if not block:
                raise ssl.SSLEOFError("no close_notify")
            with self.lock:
                self.incoming.write(block)

    def receive_all(self) -> bytes:
        return self.receive(sys.maxsize)

    def sent_ahead(self) -> int:
        total = 0
        self.plain.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                with self.lock:
                    total += self.object.write(bytes(65536))
                    out = self.outgoing.read()
                self.plain.sendall(out)
        self.plain.settimeout(SECONDS)
        return total


@contextlib.contextmanager
def accepting() -> Generator[tuple[int, Callable[[], socket.socket]]]:
    """A plain listening socket: its port, and a function that accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(SECONDS)

        def accept() -> socket.socket:
            far, _ = listener.accept()
            far.settimeout(SECONDS)
            return stack.enter_context(far)

        yield listener.getsockname()[1], accept


@contextlib.contextmanager
def served(server: Server) -> Generator[int]:
    """The port of a server that listens."""
    with listening(server):
        yield port_of(server)


def echo(socket: tls.TLSSocket) -> None:
    socket.pipe(socket)


def echo_server(**options: Any) -> tls.Server:
    keywords: dict[str, Any] = {**identity(), **options}
    return tls.create_server(echo, **keywords)


def greet(port: int, host: str = "localhost", **options: Any) -> tls.TLSSocket:
    """A socket that has sent something and read it back."""
    keywords: dict[str, Any] = {"ca": CA, **options}
    stream = tls.connect(port, host, **keywords)
    try:
        stream.write(b"hello")
        assert stream.read(5) == b"hello"
    except BaseException:
        stream.destroy()
        raise
    return stream


def refused(port: int, host: str = "localhost", **options: Any) -> SocketError:
    with pytest.raises(SocketError) as caught, greet(port, host, **options):
        pass
    return caught.value


def client_error(server: tls.Server, act: Callable[[int], None]) -> SocketError:
    """What a server is told of a client's doing."""
    recorder = Recorder(server, "tlsClientError", "secureConnection")
    with listening(server):
        act(port_of(server))
        error, stream = recorder.wait("tlsClientError")
        assert isinstance(stream, tls.TLSSocket)
        assert recorder.names == ["tlsClientError"]
    assert stream.destroyed
    assert isinstance(error, SocketError)
    return error
