"""Waiter: one request that wants a socket of an agent; Making: how it gets a new one.

Who waits for either waits in `Waiter.wait`, with the agent's lock held.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from nhttp.errors import InvalidArgument
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.channel import Channel
    from nhttp._agent.options import RequestOptions
    from nhttp._agent.pool import Assign, Dial
    from nhttp._agent.sharing import Sharing
    from nhttp.client import ClientRequest

__all__ = ["Making", "Waiter"]


class Waiter:
    """One request that wants a socket of an agent.

    The agent's lock guards `outcome`, `failure` and `dialling`. `cancel` may be called by any
    thread.

    Attributes:
        agent: Whose socket it wants.
        request: Who wants it.
        options: Where the socket is to lead to.
        name: The name of the sockets that would do.
        outcome: What the pool has decided, until it is carried out.
        failure: Why nothing is wanted any more.
        dialling: The connection that is being made, for `cancel` to destroy.
    """

    def __init__(
        self, agent: Sharing, request: ClientRequest | None, options: RequestOptions, name: str
    ) -> None:
        self.agent = agent
        self.request = request
        self.options = options
        self.name = name
        self.outcome: Assign[Channel, Waiter] | Dial[Waiter] | None = None
        self.failure: BaseException | None = None
        self.dialling: Socket | None = None
        self._changed: threading.Condition | None = None  # made by the first wait

    def wait(self) -> None:
        """Wait for `notify`; the agent's lock is held."""
        if self._changed is None:
            self._changed = threading.Condition(self.agent._lock)
        self._changed.wait()

    def notify(self) -> None:
        """Have the waiting thread look again; the agent's lock is held."""
        if self._changed is not None:
            self._changed.notify_all()

    def cancel(self, error: BaseException) -> None:
        """Stop waiting, or dialling; the waiting thread raises `error`."""
        with self.agent._lock:
            if self.failure is None:
                self.failure = error
            self.notify()
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
            self.dials(made)
            return made
        finally:
            self._end(made)

    def dials(self, socket: Socket) -> None:
        """Have whoever cancels the waiter find the socket that is going to be connected.

        Raises:
            BaseException: The waiter was cancelled already.
        """
        with self._lock:
            waiter = self._waiter
            if waiter is None:
                return
            waiter.dialling = socket
            if waiter.failure is not None:
                raise waiter.failure

    def _called_back(self, waiter: Waiter) -> object:
        with self._lock:
            while not self._answers:
                if waiter.failure is not None:
                    raise waiter.failure
                waiter.wait()
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
                waiter.notify()
        if waiter is None and socket is not None and (used is None or used() is not socket):
            socket.destroy()  # too late: nobody waits for it any more
