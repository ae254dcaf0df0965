"""Wire: what TLS runs over. The kernel's socket, or another `net.Socket`, which may be TLS, too."""

from __future__ import annotations

import contextlib
import socket
from socket import MSG_DONTWAIT
from typing import TYPE_CHECKING, Protocol

from nhttp.errors import ConnectionReset
from nhttp.net._socket import await_readable

if TYPE_CHECKING:
    from collections.abc import Generator

    from nhttp.net import Socket

__all__ = ["KernelWire", "StreamWire", "Wire"]


class Wire(Protocol):
    """Both kinds. Failures are `OSError`."""

    def receive(self, size: int, /) -> bytes:
        """Block until there is something; ``b""`` at the end."""
        ...

    def send(self, data: bytes, /) -> None:
        """Block until all of it is taken."""
        ...

    def send_now(self, data: bytes, /) -> int:
        """Send as much as is possible without blocking; give how much that was."""
        ...

    def await_data(self, seconds: float) -> bool:
        """Whether `receive` would not block, within so many seconds."""
        ...

    def end(self) -> None:
        """Send the end."""
        ...


class KernelWire:
    """A connected socket of the operating system."""

    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle
        self.receive = handle.recv
        self.send = handle.sendall

    def send_now(self, data: bytes, /) -> int:
        try:
            return self._handle.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def await_data(self, seconds: float) -> bool:
        return await_readable(self._handle, seconds)

    def end(self) -> None:
        self._handle.shutdown(socket.SHUT_WR)


class StreamWire:
    """Another socket of nhttp's, connected, that nobody else uses."""

    def __init__(self, inner: Socket) -> None:
        self._inner = inner

    def receive(self, size: int) -> bytes:
        with _as_network_error(self._inner, "read"):
            return self._inner.read1(size)

    def send(self, data: bytes) -> None:
        with _as_network_error(self._inner, "write"):
            self._inner.write(data)

    def send_now(self, data: bytes, /) -> int:
        del data
        return 0  # writing there may block

    def await_data(self, seconds: float) -> bool:
        return self._inner._await_readable(seconds)

    def end(self) -> None:
        with _as_network_error(self._inner, "write"):
            self._inner.end()


@contextlib.contextmanager
def _as_network_error(inner: Socket, syscall: str) -> Generator[None]:
    """Somebody has ended or destroyed the inner socket: for TLS its connection is gone."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if not inner._is_loss(error):
            raise
        raise ConnectionReset(
            f"the connection below was given up: {error}", "ECONNRESET", syscall=syscall
        ) from error
