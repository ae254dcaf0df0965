"""RestingConnection: which thread a server's connection has, and when it has none.

While it waits for a request, the first or a later one, it may rest, with others (`_turns`), and the
request's thread is then the one that takes its turn. A turn that is about to block is left to that
thread, so that nobody else waits for its end. A connection that cannot rest has a thread of its own
from the beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import Context
from threading import get_ident
from typing import TYPE_CHECKING

from nhttp import _turns
from nhttp.net._quick import load_quick_send
from nhttp.net._socket import await_readable

if TYPE_CHECKING:
    from nhttp.net import Socket
    from nhttp.server import Server

__all__ = ["RestingConnection"]

# What follows the octets that have come mostly follows at once: so long, others may wait for it.
PATIENCE_SECONDS = 0.001
# A connection one of whose turns has blocked keeps its thread for so many requests.
STAY_REQUESTS = 32


class RestingConnection(ABC):
    """The part of a `Connection` that knows whose thread it is on.

    `begin` and `turn` are what threads run, one at a time, and `rest_at_once` is before both. The
    other methods are called by the thread that serves the connection; `_step_aside` and
    `_comes_soon` also by one that reads a request's body. The fields belong to the connection's
    thread.
    """

    def __init__(self, server: Server, socket: Socket) -> None:
        self.server = server
        self.socket = socket
        self._context = Context()
        self._shares = server.share_thread and not server.pin_threads and _turns.AVAILABLE
        self._rests = False  # it has rested, or will now
        self._is_new = False  # it rests in any case, until its first request was answered
        self._stays = 0  # requests for which it does not rest, since a turn has blocked

    @abstractmethod
    def _serve(self) -> bool:
        """Serve requests until the connection waits for the next one and `_can_rest`.

        Returns:
            False: the connection is over instead.
        """

    @abstractmethod
    def _arrive(self) -> None:
        """Begin, as far as no listener is told; on the thread that accepts, or the connection's."""

    def rest_at_once(self) -> bool:
        """Have the first request served where others are; on the thread that accepts.

        Returns:
            False: it needs a thread, which calls `begin`. So it does where somebody is to be told
            that it has come, before anything comes of it, and may block.
        """
        if not self._shares or self.server.listener_count(self.server._arrival):
            return False
        self._rests = self._is_new = True
        self._arrive()
        return _turns.rest(self)

    def begin(self) -> bool:
        """Serve what comes until the connection rests, or is over.

        Returns:
            True: it rests, and may be another thread's already. False: it is over.
        """
        socket, thread = self.socket, get_ident()
        socket._owner = thread
        # What a handler leaves in its context is there for the connection's next request, and not
        # for another connection's, whichever thread serves them.
        while self._context.run(self._serve):
            # This thread may serve another connection next, whose handler writes to this socket.
            socket._owner = 0
            # Who takes turns has nobody to race for the interpreter's lock: `send` is faster then.
            socket._quick_send = None
            if _turns.rest(self):
                return True
            socket._owner = thread
            socket._quick_send = load_quick_send()
        return False

    def turn(self) -> bool:
        """Serve what has come for a connection that rested; returns what `begin` does."""
        rests = False
        try:
            rests = self.begin()
        finally:
            if not rests:
                self.server._let_go(self.socket)
        return rests

    def fileno(self) -> int:
        """The descriptor; the same one until the connection is over, since its thread holds it."""
        return self.socket.fileno()

    def _can_rest(self) -> bool:
        """Whether to wait for the next request where others do.

        One that is alone is better off with a thread of its own, as long as it is: after its first
        request, where it has rested in any case, it keeps the one that it has.
        """
        if self._stays:
            self._stays -= 1
            return False
        if self._is_new:
            self._is_new = False
            if len(self.server._open) == 1:
                _turns.step_aside(self)
                self._rests = _turns.is_served(self)  # there is no thread for the others
        if not self._rests:
            self._rests = self._shares and len(self.server._open) > 1
        return self._rests and not self.socket._has_more()

    def _step_aside(self) -> None:
        """What comes next may block: let nobody else wait for its end."""
        if self._rests and _turns.is_served(self):
            _turns.step_aside(self)
            # Where there is no thread for the others this one must not wait for the next request.
            if not _turns.is_served(self):
                self._stays = STAY_REQUESTS

    def _comes_soon(self) -> bool:
        """Whether something to read is here, or comes so soon that others can wait for it."""
        handle = self.socket._handle
        if handle is None or not self._rests or not _turns.is_served(self):
            return True  # nobody waits
        return self.socket._has_more() or await_readable(handle, PATIENCE_SECONDS)
