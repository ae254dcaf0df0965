"""Socket: what it does to send files, and to pass on what comes from elsewhere."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from support import (
    in_thread,
    socket_pair,
)

from nhttp.net import Socket
from nhttp.streams import Readable

if TYPE_CHECKING:
    from pathlib import Path


class TestSendfile:
    def test_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"0123456789")
        with socket_pair() as (near, far), path.open("rb") as file:
            assert near._sendfile(file.fileno(), 2, 4) == 4
            assert far.recv(10) == b"2345"
            assert near.bytes_written == 4
            assert near._sendfile(file.fileno(), 10, 4) == 0

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
    def test_what_the_kernel_cannot_do(self, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> int:
            raise OSError(code, "no")

        monkeypatch.setattr(os, "sendfile", refuse)
        with socket_pair() as (near, _):
            assert near._sendfile(0, 0, 1) is None

    def test_where_there_is_no_such_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "sendfile")
        with socket_pair() as (near, _):
            assert near._sendfile(0, 0, 1) is None

    def test_to_a_peer_that_is_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_bytes(b"x")
        with socket_pair(socket.AF_UNIX) as (near, far), path.open("rb") as file:
            far.close()
            with pytest.raises(BrokenPipeError):
                near._sendfile(file.fileno(), 0, 1)
            assert near.destroyed


class Asked(socket.socket):
    """Notes how much is asked of it, and has that and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[int] = []
        self.left = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.blocks.append(size)
        taken = min(size, self.left)
        self.left -= taken
        return bytes(taken)


class TestBlocks:
    def test_more_is_asked_for_as_long_as_blocks_come_full(self) -> None:
        small, large = 64 * 1024, 120 * 1024
        handle = Asked()
        with Socket(handle) as reader:
            handle.left = small + 2 * large + small
            assert len(reader.read(handle.left)) == small + 2 * large + small
            assert handle.blocks == [small, large, large, large]
            handle.left = 5
            assert reader.read(5) == bytes(5)
            assert handle.blocks[4:] == [small], "what is idle again asks for little"


class TestPipes:
    def test_socket_to_socket_and_back(self) -> None:
        big = os.urandom(2_000_000)
        with socket_pair() as (left, left_far), socket_pair() as (right, right_far):
            left.pipe(right)
            right.pipe(left)

            def exchange(end: socket.socket) -> bytes:
                sender = in_thread(end.sendall, big)
                received = b""
                while len(received) < len(big):
                    received += end.recv(65536)
                sender.result()
                end.shutdown(socket.SHUT_WR)
                return received + end.recv(1)

            other = in_thread(exchange, right_far)
            assert exchange(left_far) == big
            assert other.result() == big

    def test_from_a_stream_of_one_s_own(self) -> None:
        class Once(Readable):
            def _read(self, size: int) -> bytes:
                self._last = True
                return b"hello"

        with socket_pair() as (near, far):
            Once().pipe(near)
            assert far.recv(10) == b"hello"
            assert far.recv(10) == b""
