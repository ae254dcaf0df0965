"""Channel: a client's connection, with what is known of it from one request to the next.

The agent's pool holds these. One exchange at a time has a channel; what it leaves behind for the
next one is the parser, and for the agent how long the server promised to wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nhttp import _watcher
from nhttp._parser import Limits, ResponseParser
from nhttp._timers import now

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from nhttp.client import ClientRequest
    from nhttp.net import Socket

__all__ = ["Channel"]

_LIMITS = Limits()


class Channel:
    """One connection of an agent.

    Belongs to one thread at a time: to the exchange that uses it, then to the agent, which changes
    `watch` under its lock.

    Attributes:
        name: The name under which the pool has it.
        socket: The connection.
        parser: Reads its responses, one after the other.
        request: The request that had it last.
        pooled: Whether it may go back to the pool.
        kept: Whether `keep_socket_alive` prepared it, and `reuse_socket` is to undo that.
        prompt: Whether the last answer came at once: see `Exchange`.
        in_doubt: Whether its exchange finds out just now that it is dead, and sees to its slot.
        promised: Seconds that the server lets it be idle, less a margin; inf: it has not said.
        expires: When the server may close it, on the clock of `now`; inf: it has not said.
        idle_since: When it became idle.
        watch: Notices that the server closes it while it is idle.
    """

    def __init__(self, name: str, socket: Socket) -> None:
        self.name = name
        self.socket = socket
        self.parser = ResponseParser(_LIMITS)
        self.request: weakref.ref[ClientRequest] | None = None
        self.pooled = True
        self.kept = False
        self.prompt = False
        self.in_doubt = False
        self.promised = math.inf
        self.expires = math.inf
        self.idle_since = 0.0
        self.watch: _watcher.Watch | None = None

    def begin_watch(self, gone: Callable[[], None]) -> None:
        """Have `gone` called, on the watcher thread, when anything happens on the idle socket."""
        handle = self.socket._handle
        if self.watch is None and handle is not None:
            self.watch = _watcher.watch_readable(handle, gone)

    def end_watch(self) -> bool:
        """Stop watching; False when something has happened."""
        watch, self.watch = self.watch, None
        return watch is None or watch.cancel()

    def close(self) -> None:
        """Destroy the connection, which the pool knows no longer."""
        self.end_watch()
        if not self.socket._inherited:
            self.socket._goodbye()
        self.socket.destroy()

    def usable(self) -> bool:
        """Tell whether the idle socket is still open, and silent, and not about to be closed."""
        if self.watch is not None and not self.end_watch():
            return False
        if self.expires != math.inf and self.expires <= now():
            return False
        try:
            # Octets that nobody asked for, or the end: neither leaves the connection usable.
            return self.socket._is_quiet()
        except Exception as error:
            if not self.socket._is_loss(error):
                raise
            return False
