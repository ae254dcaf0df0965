"""Channel: a client's connection, with what is known of it from one request to the next.

The agent's pool holds these. One exchange at a time has a channel; what it leaves behind for the
next one is the parser, and for the agent how long the server promised to wait.
"""

from __future__ import annotations

import math
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import TYPE_CHECKING

from nhttp import _watcher
from nhttp._parser import Limits, ResponseParser
from nhttp._timers import now
from nhttp.errors import StateError
from nhttp.net._descriptor import Hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.net import Socket

__all__ = ["WATCH_AFTER", "Channel"]

# Seconds that a socket is idle before it is watched: busy agents use theirs again long before.
WATCH_AFTER = 0.25

_PEEK = MSG_PEEK | MSG_DONTWAIT


class Channel:
    """One connection of an agent.

    Belongs to one thread at a time: to the exchange that uses it, then to the agent, which changes
    `watch` under its lock.

    Attributes:
        name: The name under which the pool has it.
        socket: The connection.
        parser: Reads its responses, one after the other.
        pooled: Whether it may go back to the pool.
        kept: Whether `keep_socket_alive` prepared it, and `reuse_socket` is to undo that.
        expires: When the server may close it, on the clock of `now`; inf: it has not said.
        idle_since: When it became idle.
        watch: Notices that the server closes it while it is idle.
    """

    def __init__(self, name: str, socket: Socket) -> None:
        self.name = name
        self.socket = socket
        self.parser = ResponseParser(Limits())
        self.pooled = True
        self.kept = False
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

    def usable(self) -> bool:
        """Tell whether the idle socket is still open, and silent, and not about to be closed."""
        if not self.end_watch() or self.expires <= now():
            return False
        try:
            with Hold(self.socket):
                # Octets that nobody asked for, or the end: neither leaves the connection usable.
                self.socket._open_handle().recv(1, _PEEK)
        except BlockingIOError:
            return True
        except (OSError, StateError):
            return False
        return False
