"""Noticing that a peer has gone, on sockets that nobody reads at the moment.

A thread that reads a socket learns of its end by reading. While a handler computes, and while a
socket idles in an Agent's pool, nobody reads. One thread looks after such sockets, all of them at
once, where somebody asked for it. It never takes a byte from a socket.

This module knows sockets, and nothing of what they carry.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from nhttp import _cores

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Watch", "Watcher", "watch", "watch_readable"]

THREAD_NAME = "nhttp-watcher"
IDLE_SECONDS = 10.0  # how long the thread stays with nothing to watch

_logger = logging.getLogger("nhttp")


class Watch:
    """One socket being watched; what `watch` and `watch_readable` return.

    Any thread may call `cancel`. `Watcher._lock` guards `callback`, which is let go of when the
    watch is over; the other fields never change.
    """

    __slots__ = ("_watcher", "callback", "descriptor", "readable", "sock")

    def __init__(
        self,
        watcher: Watcher,
        sock: socket.socket,
        callback: Callable[[], object],
        readable: bool,
    ) -> None:
        self._watcher = watcher
        self.sock = sock
        self.descriptor = sock.fileno()  # the socket no longer knows it once it is closed
        self.callback: Callable[[], object] | None = callback
        self.readable = readable  # data counts, too

    def cancel(self) -> bool:
        """Stop watching. The socket may be closed afterwards.

        Never waits, so it may be called from inside the callback, and with locks held that the
        callback wants.

        Returns:
            True when this call stopped it: the callback will never be called. False when the
            callback has been called, is running or is just about to be, or when the watch had been
            cancelled before.
        """
        return self._watcher.discard(self)


class Poller(Protocol):
    """What the watcher needs of the operating system.

    `wait` is called on the watcher thread with no lock held; everything else with the watcher's
    lock held, by any thread, even while the watcher thread is in `wait`.
    """

    def add(self, watch: Watch, /) -> None:
        """Have `wait` return this descriptor when something has happened to it."""
        ...

    def remove(self, watch: Watch, /) -> None:
        """Undo `add`."""
        ...

    def wait(self, timeout: float, /) -> list[int]:
        """Give the descriptors to which something has happened; none when the time is up."""
        ...

    def confirm(self, watch: Watch, /) -> bool:
        """Tell whether what `wait` returned is true of this watch, and is what it waits for.

        Otherwise the descriptor goes on being watched, as far as the poller can.
        """
        ...

    def close(self) -> None:
        """Free what belongs to the operating system."""
        ...


class EpollPoller:
    """Linux: sees the end of a stream even behind data that nobody has read.

    The kernel lets threads add and remove descriptors while another one waits, and what they do
    takes effect on the wait that is going on (epoll_wait(2), "Notes"). So nobody needs to be woken.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, watch: Watch, /) -> None:
        self._epoll.register(watch.descriptor, self._mask(watch))

    def remove(self, watch: Watch, /) -> None:
        with suppress(OSError):  # closed while being watched: the kernel has removed it by itself
            self._epoll.unregister(watch.descriptor)

    def wait(self, timeout: float, /) -> list[int]:
        return [descriptor for descriptor, _ in self._epoll.poll(timeout)]

    def confirm(self, watch: Watch, /) -> bool:
        poll = select.poll()
        poll.register(watch.descriptor, self._mask(watch) & ~select.EPOLLONESHOT)
        if poll.poll(0):
            return True
        with suppress(OSError):  # as above
            self._epoll.modify(watch.descriptor, self._mask(watch))
        return False

    def close(self) -> None:
        self._epoll.close()

    def _mask(self, watch: Watch) -> int:
        # Resets and errors need not be asked for. Once only: a descriptor that was closed here, and
        # is open in another process, cannot be taken out any more (epoll(7), question 6).
        mask = select.EPOLLRDHUP | select.EPOLLONESHOT
        return mask | select.EPOLLIN if watch.readable else mask


class SelectorPoller:
    """Elsewhere: whatever `selectors` has, and a look at the first byte.

    An end is seen when nothing stands in front of it. Once data has arrived, a watch that waits for
    the end alone sees nothing any more: watching on would find the same data without a pause.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # Not every selector looks at what was added while it waits: one byte makes it start anew.
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def add(self, watch: Watch, /) -> None:
        self._selector.register(watch.descriptor, selectors.EVENT_READ)
        with suppress(BlockingIOError):  # as many are on their way as fit
            self._waker.send(b"\0")

    def remove(self, watch: Watch, /) -> None:
        with suppress(KeyError):  # data had arrived
            self._selector.unregister(watch.descriptor)

    def wait(self, timeout: float, /) -> list[int]:
        found = [key.fd for key, _ in self._selector.select(timeout)]
        if self._woken.fileno() in found:
            self._woken.recv(4096)
        return found

    def confirm(self, watch: Watch, /) -> bool:
        try:
            data = watch.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if data and not watch.readable:
            self.remove(watch)
            return False
        return True

    def close(self) -> None:
        self._selector.close()
        self._woken.close()
        self._waker.close()


_SystemPoller = EpollPoller if hasattr(select, "epoll") else SelectorPoller


class Watcher:
    """The watcher thread, which runs while there are sockets to watch, and a little longer.

    Any thread may call `watch`, `watch_readable` and `Watch.cancel`. `_lock` guards `_poller` and
    `_watches`, and so which descriptors are registered: a descriptor that was taken out under the
    lock may be closed. It is reentrant because a finalizer may call `cancel` on a thread that is
    in here already. Callbacks are called on the watcher thread without it.

    The kernel speaks of descriptors, and by the time the watcher looks at what it said the
    descriptor may belong to another socket, newly watched. So it asks again, under the lock, before
    it believes it.
    """

    def __init__(
        self,
        poller: Callable[[], Poller] = _SystemPoller,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._new_poller = poller
        self._idle_seconds = idle_seconds
        self._lock = threading.RLock()
        self._poller: Poller | None = None  # there is one exactly while the thread runs
        self._watches: dict[int, Watch] = {}

    def watch(self, sock: socket.socket, callback: Callable[[], object]) -> Watch:
        """Call back once when the peer has closed its side of the connection, or reset it.

        Data that arrives does not count. On Linux neither does data that stands in front of the
        end; elsewhere (see `SelectorPoller`) it hides the end.

        Args:
            sock: A connected stream socket, TCP or Unix, which stays open until the watch has been
                cancelled or has fired.
            callback: Called on the watcher thread, at most once. It must be quick and must not
                block. What it raises is logged.

        Returns:
            The watch, to `cancel` it.

        Raises:
            ValueError: The socket is being watched already, or is closed.
            RuntimeError: The watcher thread has to be started and cannot be.
        """
        return self._add(Watch(self, sock, callback, readable=False))

    def watch_readable(self, sock: socket.socket, callback: Callable[[], object]) -> Watch:
        """Call back once when there is anything to read: data, the end, or an error.

        For a pooled socket, which owes nobody an answer: whatever comes, it is of no more use.
        Arguments, result and exceptions are those of `watch`.
        """
        return self._add(Watch(self, sock, callback, readable=True))

    def discard(self, watch: Watch) -> bool:
        """Stop watching; see `Watch.cancel`."""
        with self._lock:
            if self._watches.get(watch.descriptor) is not watch:
                return False
            del self._watches[watch.descriptor]
            watch.callback = None
            assert self._poller is not None
            self._poller.remove(watch)
            return True

    def after_fork(self) -> None:
        """Forget everything; called in the child, where the thread does not exist.

        The descriptors are not unregistered: an epoll is shared with the parent.
        """
        self._lock = threading.RLock()
        self._watches = {}
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.close()

    def _add(self, watch: Watch) -> Watch:
        with self._lock:
            old = self._watches.get(watch.descriptor)
            if old is not None:
                if old.sock is watch.sock:
                    raise ValueError("the socket is being watched already")
                self.discard(old)  # of a socket that was closed without cancelling
            poller = self._poller or self._start()
            poller.add(watch)
            self._watches[watch.descriptor] = watch
        return watch

    def _start(self) -> Poller:
        poller = self._poller = self._new_poller()
        thread = threading.Thread(target=self._main, args=(poller,), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except Exception:
            self._poller = None
            poller.close()
            raise
        return poller

    def _main(self, poller: Poller) -> None:
        """Wait and call back in turns; the life of the thread."""
        _cores.release()
        while True:
            found = poller.wait(self._idle_seconds)
            for descriptor in found:
                self._look(poller, descriptor)
            if not found:
                with self._lock:
                    if not self._watches:
                        self._poller = None
                        poller.close()
                        return

    def _look(self, poller: Poller, descriptor: int) -> None:
        """See what has happened; a call of its own, so that no watch is held while waiting."""
        with self._lock:
            watch = self._watches.get(descriptor)
            if watch is None or not poller.confirm(watch):
                return
            callback = watch.callback
            self.discard(watch)
        assert callback is not None
        try:
            callback()
        except BaseException:
            _logger.exception("a watch's callback raised")


_watcher = Watcher()

watch = _watcher.watch
watch_readable = _watcher.watch_readable

os.register_at_fork(after_in_child=_watcher.after_fork)
