"""The watcher: told when a peer goes, without reading."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
from watcher_support import SECONDS, Calls, Ending, Hooked, Pairs, WatcherTests, reset, settle

from nhttp._watcher import THREAD_NAME, Poller, SelectorPoller

if TYPE_CHECKING:
    from collections.abc import Callable


class TestWatch(WatcherTests):
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


class TestWatchReadable(WatcherTests):
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


class TestCancel(WatcherTests):
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


class TestDescriptors(WatcherTests):
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
