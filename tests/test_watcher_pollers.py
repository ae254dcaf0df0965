"""What the watcher asks the kernel with: each poller by itself, without a thread."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import pytest
from watcher_support import SECONDS, Calls, Pairs, WatcherTests

from nhttp._watcher import EpollPoller, Poller, SelectorPoller, Watch, Watcher

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


def fill(sock: socket.socket) -> None:
    """Send until no more fits."""
    while True:
        sock.send(bytes(65536))


class TestPollers(WatcherTests):
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

    @pytest.mark.parametrize("readable", [False, True])
    def test_a_reset_is_confirmed(
        self, poller: Callable[[], Poller], pairs: Pairs, readable: bool
    ) -> None:
        near, far = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=readable)
        each = poller()
        each.add(watch)
        near.send(b"unread")  # which makes it a reset
        far.close()
        assert near.fileno() in each.wait(SECONDS)
        assert each.confirm(watch)
        each.close()

    @pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")
    def test_what_is_closed_here_alone_is_not_seen_again_and_again(self, pairs: Pairs) -> None:
        near, far = pairs.make()
        watch = Watch(Watcher(), near, Calls(), readable=False)
        each = EpollPoller()
        each.add(watch)
        with near.dup():  # as a child has it
            near.close()
            each.remove(watch)
            far.close()
            assert each.wait(SECONDS) == [watch.descriptor]
            assert each.wait(0) == []
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
