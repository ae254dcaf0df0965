"""Waiter: one request that wants a socket of an agent; Making: how it gets a new one.

Both are waited for on the condition of the waiter, which is on the agent's lock.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from nhttp.errors import InvalidArgument
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.agent import Agent
    from nhttp._agent.channel import Channel
    from nhttp._agent.options import RequestOptions
    from nhttp._agent.pool import Assign, Dial
    from nhttp.client import ClientRequest

__all__ = ["Making", "Waiter"]


class Waiter:
    """One request that wants a socket of an agent.

    `outcome`, `failure` and `dialling` are guarded by the agent's lock, and `condition` is on that
    lock. `cancel` may be called by any thread.
    """

    def __init__(
        self, agent: Agent, request: ClientRequest | None, options: RequestOptions
    ) -> None:
        self.agent = agent
        self.request = request
        self.options = options
        self.name = agent.get_name(options)
        self.condition = threading.Condition(agent._lock)
        self.outcome: Assign[Channel, Waiter] | Dial[Waiter] | None = None
        self.failure: BaseException | None = None
        self.dialling: Socket | None = None  # destroyed by `cancel`

    def cancel(self, error: BaseException) -> None:
        """Stop waiting, or dialling; the waiting thread raises `error`."""
        with self.agent._lock:
            if self.failure is None:
                self.failure = error
            self.condition.notify_all()
            dialling = self.dialling
        if dialling is not None:
            dialling.destroy(error)


class Making:
    """One call of a `create_connection`: takes its socket, whichever way it comes.

    It is the callback as well, and may be kept by a socket for as long as that lives: so it lets go
    of the waiter when nobody waits any more. `_lock` is the agent's and guards the other fields.
    """

    def __init__(self, waiter: Waiter) -> None:
        self._lock = waiter.agent._lock
        self._waiter: Waiter | None = waiter
        self._answers: list[tuple[Exception | None, Socket | None]] = []
        self._used: weakref.ref[Socket] | None = None

    def make(self, create: Callable[..., Socket | None]) -> Socket:
        """Call it, and wait for the socket that it returns or calls back with.

        Raises:
            InvalidArgument: What came is no socket.
            Exception: What it raised or called back with, or the waiter's failure.
        """
        waiter = self._waiter
        assert waiter is not None
        made: object = None
        try:
            made = create(waiter.options, self)
            if made is None:
                made = self._called_back(waiter)
            if not isinstance(made, Socket):
                raise InvalidArgument(
                    f"create_connection gives a nhttp.net.Socket, not {made!r}",
                    "ERR_INVALID_ARG_TYPE",
                )
            return made
        finally:
            self._end(made)

    def _called_back(self, waiter: Waiter) -> object:
        with self._lock:
            while not self._answers:
                if waiter.failure is not None:
                    raise waiter.failure
                waiter.condition.wait()
            error, socket = self._answers[0]
        if error is not None:
            raise error
        return socket

    def _end(self, made: object) -> None:
        with self._lock:
            self._waiter = None
            self._used = weakref.ref(made) if isinstance(made, Socket) else None
            given = [socket for _, socket in self._answers if socket is not None]
            self._answers.clear()
        for socket in given:
            if socket is not made:
                socket.destroy()

    def __call__(self, error: Exception | None, socket: Socket | None = None) -> None:
        """Take what `create_connection` calls back with; any thread."""
        with self._lock:
            waiter, used = self._waiter, self._used
            if waiter is not None:
                self._answers.append((error, socket))
                waiter.condition.notify_all()
        if waiter is None and socket is not None and (used is None or used() is not socket):
            socket.destroy()  # too late: nobody waits for it any more
