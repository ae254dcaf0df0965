"""What the tests of the watcher share: pairs of sockets, callbacks that count, fixtures."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from nhttp._watcher import EpollPoller, Poller, SelectorPoller, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 20.0  # a wait that takes this long has failed

POLLERS: list[type[EpollPoller | SelectorPoller]] = [SelectorPoller]
if hasattr(select, "epoll"):
    POLLERS.append(EpollPoller)


class Pairs:
    """Connected sockets, closed with the test."""

    def __init__(self, stack: ExitStack, family: str) -> None:
        self._stack = stack
        self._family = family

    def make(self) -> tuple[socket.socket, socket.socket]:
        if self._family == "unix":
            pair = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                near = socket.create_connection(server.getsockname())
                pair = near, server.accept()[0]
        for sock in pair:
            self._stack.enter_context(sock)
        return pair


class Calls:
    """A callback that counts."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self._called = threading.Event()

    def __call__(self) -> None:
        self.threads.append(threading.current_thread())
        self._called.set()

    @property
    def count(self) -> int:
        return len(self.threads)

    def wait(self) -> threading.Thread:
        """Wait for the first call, and give the thread that it came on."""
        assert self._called.wait(SECONDS)
        return self.threads[0]


class Ending(Watcher):
    """A watcher whose thread ends with the test."""

    def end(self) -> None:
        self._idle_seconds = 0.0
        for watch in list(self._watches.values()):
            watch.cancel()
        near, far = socket.socketpair()
        with near, far:
            calls = Calls()
            self.watch(near, calls)
            far.close()
            join(calls.wait())


class Hooked:
    """A poller that does something between what the kernel said and the watcher's hearing it."""

    def __init__(self, inner: Poller) -> None:
        self._inner = inner
        self.add = inner.add
        self.remove = inner.remove
        self.confirm = inner.confirm
        self.close = inner.close
        self.hook: Callable[[list[int]], None] | None = None

    def wait(self, timeout: float, /) -> list[int]:
        found = self._inner.wait(timeout)
        if self.hook is not None:
            self.hook(found)
        return found


def join(thread: threading.Thread) -> None:
    thread.join(SECONDS)
    assert not thread.is_alive()


def settle(watcher: Watcher, pairs: Pairs) -> None:
    """Wait until the watcher has seen all that had happened when this was called.

    Two rounds: in the first, another socket's turn may come after this one's.
    """
    for _ in range(2):
        near, far = pairs.make()
        calls = Calls()
        watcher.watch(near, calls)
        far.close()
        calls.wait()


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class WatcherTests:
    """Fixtures: watchers with each kind of poller, and sockets for them."""

    @pytest.fixture(params=["tcp", "unix"])
    def pairs(self, request: pytest.FixtureRequest) -> Iterator[Pairs]:
        with ExitStack() as stack:
            yield Pairs(stack, request.param)

    @pytest.fixture
    def tcp(self) -> Iterator[Pairs]:
        with ExitStack() as stack:
            yield Pairs(stack, "tcp")

    @pytest.fixture(params=POLLERS)
    def poller(self, request: pytest.FixtureRequest) -> Callable[[], Poller]:
        kind: Callable[[], Poller] = request.param
        return kind

    @pytest.fixture
    def watcher(self, poller: Callable[[], Poller]) -> Iterator[Ending]:
        watcher = Ending(poller, idle_seconds=SECONDS)
        yield watcher
        watcher.end()
