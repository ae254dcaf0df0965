"""The end of a peer whom nobody reads, noticed while somebody does read after all."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import socket
import threading

from support import SECONDS, in_thread, raw_pair

from nhttp.net import Socket


class Slow(Socket):
    """Pauses between fetching a block and giving it to whoever asked."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(handle, allow_half_open=True)
        self.filled = threading.Event()
        self.go = threading.Event()

    def _fill(self, limit: float) -> None:
        super()._fill(limit)
        self.filled.set()
        assert self.go.wait(SECONDS)

    def _peek(self) -> bool:
        return False  # it looked before that block was kept, and behind it


def test_whoever_notices_the_end_takes_nothing_from_a_reader() -> None:
    near, far = raw_pair(socket.AF_INET)
    with far:
        stream = Slow(near)
        far.sendall(b"data")
        reader = in_thread(stream.read1)
        assert stream.filled.wait(SECONDS)
        far.shutdown(socket.SHUT_WR)
        stream._take_end()
        stream.go.set()
        assert reader.result() == b"data"
        stream.destroy()
