"""Noticing that a client has gone while its request is being served and nobody reads.

A thread that reads learns of the end by reading. While a handler computes nobody reads, so the
process's watcher looks after the socket where somebody listens for ``'aborted'`` or ``'close'``.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket as socket_module
import termios
import threading
from typing import TYPE_CHECKING

from nhttp import _threads, _watcher
from nhttp.errors import socket_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._parser import RequestParser
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket
    from nhttp.response import ServerResponse

__all__ = ["ClientWatch", "unread"]


class ClientWatch:
    """Tells the messages of the exchange that is going on when the client ends or resets.

    `rest` and `end` are called by the connection's thread, `reading`, `was_read` and `arrived` by
    whoever reads the body, `watch` by any thread, `_peer_gone` by the watcher's or, in `was_read`,
    by the reader's, `_tell` by a helper thread.
    `_lock` guards all fields below it. The watcher's lock is taken inside it, never the other way
    round, and no listener is called with either.
    """

    def __init__(self, socket: Socket, parser: RequestParser) -> None:
        self.socket = socket
        self.parser = parser
        self._lock = threading.Lock()
        self._exchange: tuple[IncomingMessage, ServerResponse] | None = None  # while watched
        self._watching: _watcher.Watch | None = None
        self._whole = False  # the request has been read to its end
        self._owed = False  # the client has ended, but the rest of its request is still to be read
        self._reading = False  # octets may be on their way from the kernel to the parser
        self._unsure = False  # the client has ended meanwhile
        self._over = False  # no exchange follows

    def rest(self) -> None:
        """The exchange is over, and another may follow."""
        # Looked at without the lock. Whoever begins to watch just now has come too late for this
        # exchange: it is the next one that is watched then, which does no harm.
        if self._exchange is not None:
            self._stop()

    def end(self) -> None:
        """The last exchange is over: nobody watches it any more, and nobody will."""
        self._over = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._exchange = None
            self._owed = False
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()

    def watch(self, latest: Callable[[], tuple[IncomingMessage, ServerResponse] | None]) -> None:
        """Somebody listens for the client's disappearance.

        Args:
            latest: Gives the messages of the exchange that is under way. Asked when nobody can be
                faster who has been told of the next one.
        """
        with self._lock:
            handle, exchange = self.socket._handle, latest()
            if handle is None or exchange is None or self._over:
                return
            self._exchange = exchange
            self._whole = exchange[0].complete  # if not yet, `arrived` follows
            if self._watching is None:
                self._watching = _watcher.watch(handle, self._peer_gone)

    def reading(self) -> None:
        """Octets are being read from now on: what is missing from the kernel need not be lost."""
        with self._lock:
            self._reading = True

    def was_read(self) -> None:
        """The parser has what was read, and what is at hand can be counted again."""
        with self._lock:
            self._reading = False
            unsure, self._unsure = self._unsure, False
        if unsure:
            self._peer_gone()

    def arrived(self) -> None:
        """The request has arrived in whole: what was found out behind it may be told."""
        with self._lock:
            self._whole = True
            exchange = self._exchange if self._owed else None
            self._owed = False
        if exchange is not None:
            _threads.run(self._tell, *exchange, name="nhttp-gone")

    def _peer_gone(self) -> None:
        with self._lock:
            exchange = self._exchange
            if exchange is None:
                return
            if self._reading:
                self._unsure = True  # whoever reads will see, or say when it can be seen
                return
            # What stands in front of the end may be the rest of the request.
            self._owed = not self._whole and not self._is_cut_short()
            if self._owed:
                return
        _threads.run(self._tell, *exchange, name="nhttp-gone")

    def _is_cut_short(self) -> bool:
        """Whether less has arrived than the body needs; False when that cannot be told."""
        remaining, handle = self.parser.body_remaining, self.socket._handle
        if remaining is None or handle is None:
            return False
        return self.parser.buffered + unread(handle) < remaining

    @staticmethod
    def _tell(request: IncomingMessage, response: ServerResponse) -> None:
        # A client may go as soon as it has the whole answer, sooner than `end` returns: that is no
        # abort. If `end` fails, the connection's thread tells so.
        if not response._write_ended:
            error = request.socket._ask(_error_of)
            if error:  # a reset: no answer can arrive any more, so whoever waits for one may go on
                request.socket.destroy(socket_error(OSError(error, os.strerror(error)), "read"))
            request._tell_aborted()
            if request.socket.destroyed:  # on this side: there is a reason, or none
                response._broken(request.socket.errored)
            else:
                response._tell("close")


def _error_of(handle: socket_module.socket) -> int:
    """Give the errno of what has broken the connection; 0 when it is not broken."""
    return handle.getsockopt(socket_module.SOL_SOCKET, socket_module.SO_ERROR)


def unread(handle: socket_module.socket) -> int:
    """How many octets the kernel holds for us."""
    count = array.array("i", [0])
    fcntl.ioctl(handle.fileno(), termios.FIONREAD, count)
    return count[0]
