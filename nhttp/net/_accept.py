"""Listening: one listening socket, and the thread that accepts from it.

Each call of `Server.listen` makes one. Its thread emits ``'listening'``, accepts until it is told
to stop, waits until the last connection is gone, and emits ``'close'``, unless the server has been
opened again meanwhile.

Where new connections rest at once, to be served by the thread that serves all who rest (`_turns`),
that thread accepts them as well, and this one sleeps: between two threads, each connection would
hand the interpreter's lock over several times.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

from nhttp import _threads, _turns
from nhttp.errors import socket_error
from nhttp.net._address import address_of, describe
from nhttp.net._descriptor import Forks

if TYPE_CHECKING:
    from pathlib import Path

    from nhttp.net._server import Server

__all__ = ["Listening"]

_log = logging.getLogger("nhttp.net")

_AT_ONCE = 4  # connections that are accepted before others have a turn
_RETRY_SECONDS = 0.1  # between attempts to accept while the system is out of something

# The connection was gone before it was accepted: nothing to do.
_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM, errno.ENETDOWN}
# The system is out of something that other connections will give back.
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Listening:
    """One listening socket.

    `run` is its thread, which also calls `accept_one`, or has a `Deputy` do so; any thread may call
    `stop`, `share` and `fileno`. `ref` and `unref` are called with the server's `_lock` held, which
    guards `referenced`.

    Shutting the socket down has it refuse connections at once, for everybody who listens on it. So
    where that may be others, another server or another process, it is only closed.
    """

    def __init__(
        self, server: Server, handle: socket.socket, path: str | None, *, shared: bool
    ) -> None:
        self.server = server
        self.address = address_of(handle.family, handle.getsockname())
        self.stopping = threading.Event()
        self.referenced = False
        # Held while the handle is shut down or closed, neither of which blocks: a descriptor that
        # was closed may be somebody else's already. Guards `_shared` and `_file`, too.
        self._handle_lock = threading.Lock()
        self._handle = handle
        self._forks = Forks.count
        self._handle.setblocking(False)
        self._shared = shared
        self._woken, self._waker = os.pipe()  # tells whoever accepts to stop
        self._rests = False  # the connection that was accepted last rests
        # A Unix socket's file, removed at the end if it is still the same one.
        self._file = None if path is None else _file(path)

    def ref(self) -> None:
        if not self.referenced and not self.stopping.is_set():
            self.referenced = True
            _threads.ref()

    def unref(self) -> None:
        if self.referenced:
            self.referenced = False
            _threads.unref()

    def share(self) -> None:
        """Somebody else is about to listen on the same socket."""
        with self._handle_lock:
            self._shared = True

    def fileno(self) -> int:
        return self._handle.fileno()

    # The accept thread.

    def run(self) -> None:
        server = self.server
        if not self.stopping.is_set():
            self._call(server._latch, "listening")
        try:
            self._accept_all()
        finally:
            self.give_back()
        listeners = server._take_close(self)
        if listeners is None:
            return
        for listener in listeners:
            self._call(listener)
        server._all_closed(self)

    def _call(self, function: Any, *args: object) -> Any:
        try:
            return function(*args)
        except Exception:
            _log.exception("a listener of %r raised", self.server)

    def _accept_all(self) -> None:
        while True:
            try:
                if not self.accept_one():
                    return
            except BlockingIOError:
                self._await_connection()
            if self._rests:
                Deputy(self).stand_in(self._handle, self._woken)

    def accept_one(self) -> bool:
        """Accept who waits; on the accept thread, or while that sleeps.

        Returns:
            False: nobody is to be accepted any more.

        Raises:
            BlockingIOError: Nobody waits.
        """
        if self.stopping.is_set():
            return False
        try:
            handle, peer = self._handle.accept()
        except BlockingIOError:
            raise
        except OSError as error:
            return self._survive(error)
        if self.stopping.is_set():
            handle.close()
            return False
        self._rests = self._call(self.server._adopt, handle, peer) is True
        return True

    def _await_connection(self) -> None:
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        poll.poll()

    def _survive(self, error: OSError) -> bool:
        """Decide what a failed accept means; False ends the accepting."""
        if self.stopping.is_set():
            return False
        if error.errno in _GONE:
            return True
        if error.errno in _SHORTAGE:
            _log.warning("cannot accept for now: %s", error)
            self.stopping.wait(_RETRY_SECONDS)
            return True
        failure = socket_error(error, "accept", describe(self.address))
        _log.error("cannot accept any more: %s", failure)
        with self.server._lock:
            if self.server._listening is self:
                self.server._listening = None
        self.stopping.set()
        if self.server.listener_count("error"):
            self._call(self.server.emit, "error", failure)
        return False

    # The end.

    def stop(self) -> None:
        """Stop accepting; more than once does no harm."""
        self.stopping.set()
        if self._forks != Forks.count:
            # The parent accepts, the file is its own, and no thread here waits to be woken.
            self._handle.close()
            return
        with self._handle_lock:
            self._remove_file()
            if self._handle.fileno() < 0:
                return
            os.write(self._waker, b"\0")
            if not self._shared:
                with contextlib.suppress(OSError):  # not everywhere: then closing it must do
                    self._handle.shutdown(socket.SHUT_RDWR)

    def give_back(self) -> None:
        """Close the listening socket, and let the process end."""
        with self._handle_lock:
            self._remove_file()
            self._handle.close()
            os.close(self._woken)
            os.close(self._waker)
        with self.server._lock:
            self.unref()

    def _remove_file(self) -> None:
        """Remove a Unix socket's file, once: whoever listens there next need not wait.

        `_handle_lock` is held.
        """
        file, self._file = self._file, None
        if file is not None and _identity(file[0]) == file[1]:
            with contextlib.suppress(OSError):
                file[0].unlink()


class Deputy:
    """Accepts in the accept thread's place, which sleeps meanwhile, as one who rests in `_turns`.

    What it waits with is an epoll of its own, for there are two things to wait for. So it has a
    turn, too, when it is to stop, and there is always one thread that accepts.
    """

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._back = threading.Lock()  # a binary semaphore: held, except while it wakes the thread
        self._back.acquire()
        self._descriptor = -1  # the epoll's

    def stand_in(self, *descriptors: int | socket.socket) -> None:
        """Accept until the calling thread, which waits, has to go on by itself; once.

        That is at once, if it cannot rest now.

        Args:
            *descriptors: What there is something to do for when it can be read.
        """
        with contextlib.suppress(OSError), select.epoll() as epoll:  # no descriptor or memory
            for each in descriptors:
                epoll.register(each, select.EPOLLIN)
            self._descriptor = epoll.fileno()
            if _turns.rest(self):
                self._back.acquire()

    # On the thread that leads.

    def fileno(self) -> int:
        return self._descriptor

    def turn(self) -> bool:
        """Accept those who wait; False: the accept thread goes on."""
        rests = False
        try:
            goes_on = self._accept_some()
            _turns.excuse(self)  # how long a handler takes is not to be seen from this
            rests = goes_on and _turns.rest(self)
        finally:
            if not rests:
                _turns.leave(self)
                self._back.release()
        return rests

    def _accept_some(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return all(self._listening.accept_one() for _ in range(_AT_ONCE))
        return True


def _file(name: str) -> tuple[Path, tuple[int, int] | None]:
    from pathlib import Path  # it loads slowly, and few servers have a file

    path = Path(name)
    return path, _identity(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
