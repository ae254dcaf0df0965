"""The conformance suite on every kind of stream: in memory, TCP over IPv4 and IPv6, Unix."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conformance import Conformance
from support import SECONDS, raw_pair

from nhttp.net import Socket
from nhttp.streams import Duplex

if TYPE_CHECKING:
    from collections.abc import Generator

    from conformance import Far

ROOM = 256 * 1024  # octets that one direction of a stream in memory holds


class Channel:
    """One direction: octets on their way, with room for so many."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.octets = bytearray()
        self.ended = False
        self.failure: OSError | None = None
        self.closed = False  # by the side that is told so by an exception

    def put(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            with self.changed:
                assert self.changed.wait_for(lambda: len(self.octets) < ROOM or self.over, SECONDS)
                self.check()
                count = ROOM - len(self.octets)
                self.octets += view[:count]
                view = view[count:]
                self.changed.notify_all()

    def get(self, size: int) -> bytes:
        with self.changed:
            assert self.changed.wait_for(lambda: self.octets or self.ended or self.over, SECONDS)
            if not self.octets:
                self.check()
            data = bytes(self.octets[:size])
            del self.octets[:size]
            self.changed.notify_all()
            return data

    @property
    def over(self) -> bool:
        return self.closed or self.failure is not None

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise OSError("closed")

    def set(self, **state: Any) -> None:
        with self.changed:
            self.__dict__.update(state)
            self.changed.notify_all()


class MemoryStream(Duplex):
    """A stream of two channels: the least that a subclass has to do."""

    def __init__(self, incoming: Channel, outgoing: Channel) -> None:
        super().__init__()
        self.incoming = incoming
        self.outgoing = outgoing

    def _read(self, size: int) -> bytes:
        return self.incoming.get(max(size, 65536))  # `size` is a hint

    def _writev(self, chunks: Any) -> None:
        for chunk in chunks:
            self.outgoing.put(chunk)

    def _final(self) -> None:
        self.outgoing.set(ended=True)

    def _destroy(self, error: BaseException | None) -> None:
        self.incoming.set(closed=True)
        self.outgoing.set(closed=True)
        super()._destroy(error)


class FarMemory:
    """The other end of a `MemoryStream`."""

    def __init__(self, incoming: Channel, outgoing: Channel) -> None:
        self.incoming = incoming
        self.outgoing = outgoing

    def send(self, data: bytes) -> None:
        self.outgoing.put(data)

    def end(self) -> None:
        self.outgoing.set(ended=True)

    def fail(self) -> None:
        self.outgoing.set(failure=OSError("broken"))

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (block := self.incoming.get(size - len(data))):
            data += block
        return data

    def receive_all(self) -> bytes:
        return b"".join(iter(lambda: self.incoming.get(65536), b""))

    def sent_ahead(self) -> int:
        total = 0
        with self.outgoing.changed:
            while self.outgoing.changed.wait_for(lambda: len(self.outgoing.octets) < ROOM, 0.05):
                count = ROOM - len(self.outgoing.octets)
                self.outgoing.octets += bytes(count)
                self.outgoing.changed.notify_all()
                total += count
        return total


class FarSocket:
    """The other end of a `Socket`: a plain one."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.plain.sendall(data)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.plain.shutdown(socket.SHUT_WR)

    def fail(self) -> None:
        if self.plain.family == socket.AF_UNIX:
            # What was not read when one side closes resets the other, as with TCP.
            self.unread()
        else:
            self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.plain.close()

    def unread(self) -> None:
        """Have something come that this side will never read."""

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (block := self.plain.recv(size - len(data))):
            data += block
        return data

    def receive_all(self) -> bytes:
        return b"".join(iter(lambda: self.plain.recv(65536), b""))

    def sent_ahead(self) -> int:
        total = 0
        self.plain.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                total += self.plain.send(bytes(65536))
        self.plain.settimeout(SECONDS)
        return total


class TestInMemory(Conformance):
    @contextlib.contextmanager
    def open(self) -> Generator[tuple[Duplex, Far]]:
        there, back = Channel(), Channel()
        stream = MemoryStream(back, there)
        try:
            yield stream, FarMemory(there, back)
        finally:
            stream.destroy()


class OfSockets(Conformance):
    family: int

    @contextlib.contextmanager
    def open(self) -> Generator[tuple[Duplex, Far]]:
        near, plain = raw_pair(self.family)
        stream = Socket(near, allow_half_open=True)
        far = FarSocket(plain)
        if self.family == socket.AF_UNIX:
            far.unread = lambda: _ignore(stream)  # type: ignore[method-assign]
        try:
            with plain:
                yield stream, far
        finally:
            stream.destroy()


def _ignore(stream: Socket) -> None:
    with contextlib.suppress(OSError):
        stream._open_handle().send(b"never read")


class TestTCPv4(OfSockets):
    family: int = socket.AF_INET


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
class TestTCPv6(OfSockets):
    family: int = socket.AF_INET6


class TestUnix(OfSockets):
    family: int = socket.AF_UNIX
