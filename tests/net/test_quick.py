"""Sending with the interpreter's lock kept: the same octets, the same errors, no waiting."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

import pytest
from support import SECONDS, socket_pair

from nhttp.net import _quick
from nhttp.net._quick import QUICK_AT_MOST, load_quick_send

pytestmark = pytest.mark.skipif(load_quick_send() is None, reason="not on this interpreter")


def test_small_pieces_arrive_in_order_behind_a_full_buffer() -> None:
    with socket_pair() as (near, far):
        near._quick_send = load_quick_send()
        pieces = [bytes([each % 256]) * QUICK_AT_MOST for each in range(512)]
        total = sum(map(len, pieces))
        received = bytearray()

        def read() -> None:
            while len(received) < total:
                received.extend(far.recv(65536))

        reader = threading.Thread(target=read)
        blocked = threading.Event()
        send = near._quick_send

        def quick(descriptor: int, data: bytes, size: int, flags: int) -> int:
            assert send is not None
            sent = send(descriptor, data, size, flags)
            if sent < size:
                blocked.set()  # the buffer is full: only now does anybody read
            return sent

        near._quick_send = quick

        def start_reading() -> None:
            blocked.wait(SECONDS)
            reader.start()

        starter = threading.Thread(target=start_reading)
        starter.start()
        for piece in pieces:
            near.write(piece)
        starter.join(SECONDS)
        reader.join(SECONDS)
        assert blocked.is_set()
        assert bytes(received) == b"".join(pieces)
        assert near.bytes_written == total


def test_an_error_is_the_one_that_an_ordinary_send_meets() -> None:
    with socket_pair() as (near, far):
        near._quick_send = load_quick_send()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while not near.destroyed:
                near.write(b"x")
        assert isinstance(near.errored, (BrokenPipeError, ConnectionResetError))


def test_only_small_octets_go_that_way() -> None:
    with socket_pair() as (near, far):
        sizes: list[int] = []

        def quick(_descriptor: int, _data: bytes, size: int, _flags: int) -> int:
            sizes.append(size)
            return -1

        near._quick_send = quick
        near.write(b"abc")
        near.write(bytearray(b"def"))
        near.write(b"x" * (QUICK_AT_MOST + 1))
        assert sizes == [3]
        expected = 6 + QUICK_AT_MOST + 1
        received = b""
        while len(received) < expected:
            received += far.recv(65536)
        assert received[:6] == b"abcdef"


def test_without_ctypes_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert _quick.load_quick_send.__wrapped__() is None


def test_without_a_lock_to_keep_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert _quick.load_quick_send.__wrapped__() is None
