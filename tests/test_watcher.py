"""The watcher: told when a peer goes, without reading."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nhttp import _watcher
from nhttp._watcher import THREAD_NAME, EpollPoller, Poller, SelectorPoller, Watch, Watcher

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


@pytest.fixture(params=["tcp", "unix"])
def pairs(request: pytest.FixtureRequest) -> Iterator[Pairs]:
    with ExitStack() as stack:
        yield Pairs(stack, request.param)


@pytest.fixture
def tcp() -> Iterator[Pairs]:
    with ExitStack() as stack:
        yield Pairs(stack, "tcp")


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


def join(thread: threading.Thread) -> None:
    thread.join(SECONDS)
    assert not thread.is_alive()


@pytest.fixture(params=POLLERS)
def poller(request: pytest.FixtureRequest) -> Callable[[], Poller]:
    kind: Callable[[], Poller] = request.param
    return kind


@pytest.fixture
def watcher(poller: Callable[[], Poller]) -> Iterator[Ending]:
    watcher = Ending(poller, idle_seconds=SECONDS)
    yield watcher
    watcher.end()


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


def fill(sock: socket.socket) -> None:
    """Send until no more fits."""
    while True:
        sock.send(bytes(65536))


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class TestWatch:
    def test_fires_when_the_peer_closes(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watcher.watch(near, calls)
        far.close()
        thread = calls.wait()
        assert (thread.name, thread.daemon) == (THREAD_NAME, True)

    def test_fires_when_the_peer_has_gone_before(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        far.close()
        calls = Calls()
        watcher.watch(near, calls)
        calls.wait()

    def test_fires_when_the_peer_shuts_its_side(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watcher.watch(near, calls)
        far.shutdown(socket.SHUT_WR)
        calls.wait()

    def test_fires_when_the_peer_resets(self, watcher: Ending, tcp: Pairs) -> None:
        near, far = tcp.make()
        calls = Calls()
        watcher.watch(near, calls)
        reset(far)
        calls.wait()

    def test_does_not_fire_when_data_arrives(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watch = watcher.watch(near, calls)
        far.send(b"data")
        settle(watcher, pairs)
        assert calls.count == 0
        assert near.recv(10) == b"data"
        assert watch.cancel()

    def test_an_end_behind_data(
        self, watcher: Ending, pairs: Pairs, poller: Callable[[], Poller]
    ) -> None:
        near, far = pairs.make()
        calls = Calls()
        watch = watcher.watch(near, calls)
        far.send(b"data")
        settle(watcher, pairs)
        far.close()
        if poller is SelectorPoller:  # as documented: it sees the data only
            settle(watcher, pairs)
            assert watch.cancel()
            assert calls.count == 0
        else:
            calls.wait()
        assert near.recv(10) == b"data"

    def test_fires_once(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watch = watcher.watch(near, calls)
        far.shutdown(socket.SHUT_WR)
        calls.wait()
        far.close()
        settle(watcher, pairs)
        assert calls.count == 1
        assert not watch.cancel()

    def test_many_at_once(self, watcher: Ending, pairs: Pairs) -> None:
        made = [(pairs.make(), Calls()) for _ in range(50)]
        watches = [watcher.watch(near, calls) for (near, _), calls in made]
        for (_, far), _ in made[::2]:
            far.close()
        for _, calls in made[::2]:
            calls.wait()
        settle(watcher, pairs)
        assert [calls.count for _, calls in made] == [1, 0] * 25
        assert [watch.cancel() for watch in watches] == [False, True] * 25

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
    def test_a_callback_that_raises_is_logged(
        self,
        watcher: Ending,
        pairs: Pairs,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
    ) -> None:
        def callback() -> None:
            raise error

        near, far = pairs.make()
        watcher.watch(near, callback)
        far.close()
        settle(watcher, pairs)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("nhttp", logging.ERROR)
        assert record.exc_info is not None
        assert record.exc_info[1] is error

    def test_a_socket_is_watched_once_at_a_time(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        first, second = Calls(), Calls()
        watch = watcher.watch(near, first)
        with pytest.raises(ValueError, match="being watched already"):
            watcher.watch_readable(near, second)
        assert watch.cancel()
        watcher.watch(near, second)
        far.close()
        second.wait()
        assert first.count == 0

    def test_a_closed_socket_is_refused(self, watcher: Ending, pairs: Pairs) -> None:
        near, _ = pairs.make()
        near.close()
        with pytest.raises(ValueError, match="-1"):
            watcher.watch(near, Calls())
        settle(watcher, pairs)


class TestWatchReadable:
    def test_fires_when_data_arrives(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watcher.watch_readable(near, calls)
        settle(watcher, pairs)
        assert calls.count == 0
        far.send(b"data")
        calls.wait()
        assert near.recv(10) == b"data"

    def test_fires_when_data_is_there(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        far.send(b"data")
        calls = Calls()
        watcher.watch_readable(near, calls)
        calls.wait()

    def test_fires_when_the_peer_closes(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watcher.watch_readable(near, calls)
        far.close()
        calls.wait()

    def test_fires_when_the_peer_resets(self, watcher: Ending, tcp: Pairs) -> None:
        near, far = tcp.make()
        calls = Calls()
        watcher.watch_readable(near, calls)
        reset(far)
        calls.wait()


class TestCancel:
    def test_what_was_cancelled_does_not_fire(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        calls = Calls()
        watch = watcher.watch(near, calls)
        assert watch.cancel()
        assert not watch.cancel()
        far.close()
        settle(watcher, pairs)
        assert calls.count == 0

    def test_the_descriptor_may_be_closed_and_used_again(
        self, watcher: Ending, pairs: Pairs
    ) -> None:
        near, far = pairs.make()
        first, second = Calls(), Calls()
        watch = watcher.watch(near, first)
        assert watch.cancel()
        other, peer = pairs.make()
        descriptor = near.detach()
        os.dup2(other.fileno(), descriptor)
        with socket.socket(fileno=descriptor) as reused:
            watcher.watch(reused, second)
            far.close()
            settle(watcher, pairs)
            assert second.count == 0
            peer.close()
            second.wait()
        assert first.count == 0

    def test_from_inside_the_callback(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        results: list[bool] = []
        with watcher._lock:
            watch = watcher.watch(near, lambda: results.append(watch.cancel()))
        far.close()
        settle(watcher, pairs)
        assert results == [False]

    def test_while_the_callback_runs_it_does_not_wait(self, watcher: Ending, pairs: Pairs) -> None:
        near, far = pairs.make()
        entered, leave = threading.Event(), threading.Event()

        def callback() -> None:
            entered.set()
            leave.wait(SECONDS)

        watch = watcher.watch(near, callback)
        far.close()
        assert entered.wait(SECONDS)
        assert not watch.cancel()
        leave.set()

    def test_lets_go_of_the_callback(self, watcher: Ending, pairs: Pairs) -> None:
        class Connection:
            def gone(self) -> None:
                pass

        connection = Connection()
        reference = weakref.ref(connection)
        watch = watcher.watch(pairs.make()[0], connection.gone)
        del connection
        assert reference() is not None
        assert watch.cancel()
        assert reference() is None


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


class TestDescriptors:
    """The kernel speaks of descriptors; they pass from one socket to the next."""

    @pytest.mark.parametrize("readable", [False, True])
    def test_what_was_said_of_a_closed_socket_is_not_believed_of_the_next(
        self, poller: Callable[[], Poller], pairs: Pairs, readable: bool
    ) -> None:
        hooked = Hooked(poller())
        watcher = Ending(lambda: hooked, idle_seconds=SECONDS)
        near, far = pairs.make()
        other, peer = pairs.make()
        first, second = Calls(), Calls()
        descriptor = near.fileno()
        swapped: list[socket.socket] = []

        def swap(found: list[int]) -> None:
            if descriptor in found:
                hooked.hook = None
                assert watch.cancel()
                near.detach()
                os.dup2(other.fileno(), descriptor)
                swapped.append(socket.socket(fileno=descriptor))
                method = watcher.watch_readable if readable else watcher.watch
                method(swapped[0], second)

        hooked.hook = swap
        watch = watcher.watch(near, first)
        far.close()
        settle(watcher, pairs)
        assert swapped
        assert (first.count, second.count) == (0, 0)
        peer.close()
        second.wait()
        swapped[0].close()
        watcher.end()

    def test_a_socket_closed_without_cancelling_gives_way_to_the_next(
        self, watcher: Ending, pairs: Pairs
    ) -> None:
        near, _ = pairs.make()
        other, peer = pairs.make()
        first, second = Calls(), Calls()
        watch = watcher.watch(near, first)
        descriptor = near.detach()
        os.dup2(other.fileno(), descriptor)
        with socket.socket(fileno=descriptor) as reused:
            watcher.watch(reused, second)
            assert not watch.cancel()
            peer.close()
            second.wait()
        assert first.count == 0

    def test_confirming_what_is_no_longer_registered_does_no_harm(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        near, _ = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=False)
        this = poller()
        this.add(watch)
        this.remove(watch)
        assert not this.confirm(watch)
        this.remove(watch)
        this.close()


class TestPollers:
    """Each by itself, without a thread."""

    def test_what_is_not_confirmed_goes_on_being_watched(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        near, far = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=True)
        each = poller()
        each.add(watch)
        for _ in range(3):
            far.sendall(b"x")
            assert near.fileno() in each.wait(SECONDS)
            assert near.recv(1) == b"x"
            assert not each.confirm(watch)  # somebody has read it meanwhile
        each.close()

    def test_data_that_nobody_reads_is_not_seen_again_and_again(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        near, far = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=False)
        each = poller()
        each.add(watch)
        far.sendall(b"x")
        if near.fileno() in each.wait(0.0):
            assert not each.confirm(watch)
        assert each.wait(0.0) == []
        each.close()

    def test_a_selector_that_waits_is_woken_by_what_is_added(self, pairs: Pairs) -> None:
        near, _ = pairs.make()
        each = SelectorPoller()
        each.add(Watch(Watcher(), near, Calls(), readable=True))
        assert each.wait(SECONDS) == [each._woken.fileno()]
        assert each.wait(0.0) == []
        each.close()

    def test_closing_gives_the_descriptors_back(self, poller: Callable[[], Poller]) -> None:
        each: Any = poller()
        each.close()
        if isinstance(each, SelectorPoller):
            assert each._selector.get_map() is None
            assert each._woken.fileno() == each._waker.fileno() == -1
        else:
            assert each._epoll.closed


class TestThread:
    def test_ends_when_nothing_is_watched_and_comes_back(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        watcher = Watcher(poller, idle_seconds=0.0)
        threads: set[threading.Thread] = set()
        for _ in range(2):
            near, far = pairs.make()
            calls = Calls()
            watcher.watch(near, calls)
            far.close()
            thread = calls.wait()
            join(thread)
            threads.add(thread)
        assert len(threads) == 2
        assert watcher._poller is None

    def test_stays_while_something_is_watched(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        hooked = Hooked(poller())
        watcher = Watcher(lambda: hooked, idle_seconds=0.0)
        idle = threading.Semaphore(0)

        def count(found: list[int]) -> None:
            if not found:
                idle.release()

        near, far = pairs.make()
        calls = Calls()
        hooked.hook = count
        with watcher._lock:
            watcher.watch(near, calls)
        for _ in range(3):
            assert idle.acquire(timeout=SECONDS)
        far.close()
        join(calls.wait())

    def test_a_thread_that_cannot_start_leaves_everything_as_it_was(
        self, watcher: Ending, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        near, far = pairs.make()
        calls = Calls()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                watcher.watch(near, calls)
        assert watcher._poller is None
        watcher.watch(near, calls)
        far.close()
        calls.wait()

    def test_waking_it_never_blocks(self, pairs: Pairs) -> None:
        this = SelectorPoller()
        with pytest.raises(BlockingIOError):
            fill(this._waker)
        near, far = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=False)
        this.add(watch)
        far.close()
        while near.fileno() not in this.wait(0.0):
            pass
        assert this.confirm(watch)
        this.close()

    def test_everything_is_forgotten_after_a_fork(
        self, poller: Callable[[], Poller], pairs: Pairs
    ) -> None:
        closed: list[Hooked] = []

        class Parents(Hooked):
            """The poller of a thread that is not in this process."""

            def __init__(self) -> None:
                super().__init__(poller())
                inner_close = self.close

                def close() -> None:
                    inner_close()
                    closed.append(self)

                self.close = close

        watcher = Ending(poller, idle_seconds=SECONDS)
        watcher.after_fork()
        parents = watcher._poller = Parents()
        near, far = pairs.make()
        first, second = Calls(), Calls()
        watch = watcher.watch(near, first)
        watcher.after_fork()
        assert closed == [parents]
        assert not watch.cancel()
        watcher.watch(near, second)
        far.close()
        second.wait()
        assert first.count == 0
        watcher.end()

    @pytest.mark.parametrize("method", ["watch", "watch_readable"])
    def test_works_in_a_forked_child(self, method: str) -> None:
        lines = [
            "import os, socket, sys, threading",
            f"from nhttp._watcher import {method} as watch",
            "near, far = socket.socketpair()",
            "fired = threading.Event()",
            "watch(near, fired.set)",
            "child = os.fork()",
            "if child:",
            "    _, status = os.waitpid(child, 0)",
            "    far.close()",
            f"    if not fired.wait({SECONDS}): sys.exit(2)",
            "    sys.exit(os.waitstatus_to_exitcode(status))",
            "far.close()",
            "near, far = socket.socketpair()",
            "watch(near, fired.set)",
            "far.close()",
            f"sys.exit(0 if fired.wait({SECONDS}) else 1)",
        ]
        root = Path(_watcher.__file__).parents[1]
        result = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "\n".join(lines)],
            env={**os.environ, "PYTHONPATH": str(root)},
            timeout=2 * SECONDS,
            check=False,
        )
        assert result.returncode == 0
