"""What the suite for byte streams is made of: both ends of a stream, destinations, fixtures."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from support import SECONDS

from nhttp.streams import Duplex, Writable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


BIG = bytes(range(256)) * 4096 * 3  # 3 MiB: more than any buffer between the two ends


class Far(Protocol):
    """The other end of a stream: what the tests send and receive with."""

    def send(self, data: bytes) -> None:
        """Have the stream under test receive something; blocks while nothing fits."""

    def end(self) -> None:
        """Have it receive the end."""

    def fail(self) -> None:
        """Have its reading and writing fail."""

    def receive(self, size: int) -> bytes:
        """Give exactly so many octets of what it wrote; fewer at the end."""
        ...

    def receive_all(self) -> bytes:
        """Give everything up to its end."""
        ...

    def sent_ahead(self) -> int:
        """Send until nothing fits any more for a moment; give how much that was."""
        ...


class Collected(Writable):
    """A destination in memory, that can be told to be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []
        self.finals = 0
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def _writev(self, chunks: Any) -> None:
        self.entered.release()
        assert self.gate.wait(SECONDS)
        if self.fails is not None:
            raise self.fails
        self.taken.append(b"".join(chunks))

    def _final(self) -> None:
        self.finals += 1

    @property
    def data(self) -> bytes:
        return b"".join(self.taken)


class Throttled(Collected):
    """A destination that queues: `write` returns False, and 'drain' follows when it is told to."""

    def write(self, chunk: Any, encoding: Any = None, callback: Any = None) -> bool:
        super().write(chunk, encoding, callback)
        with self._lock:
            self._need_drain = True
        return False

    def drain(self) -> None:
        with self._lock:
            self._need_drain = False
        self.emit("drain")


def feed(far: Far, data: bytes) -> None:
    far.send(data)
    far.end()


class Kind:
    """A kind of stream: how to make one, and the other end of it."""

    def open(self) -> AbstractContextManager[tuple[Duplex, Far]]:
        raise NotImplementedError

    @pytest.fixture
    def pair(self) -> Any:
        with self.open() as pair:
            yield pair

    @pytest.fixture
    def stream(self, pair: tuple[Duplex, Far]) -> Duplex:
        return pair[0]

    @pytest.fixture
    def far(self, pair: tuple[Duplex, Far]) -> Far:
        return pair[1]
