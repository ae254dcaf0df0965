"""Sharing: how requests come by the sockets of an agent, and how they give them back.

Theory of operation. A request takes an idle socket if there is one (`_take_idle`); otherwise it is
a `Waiter`. The pool is asked under the agent's lock and says what is to be done (`_ask`); that is
the request's place in the order of all others. What was decided is carried out by the thread that
drives the request (`_settle`), which waits first if nothing was: it is woken through the waiter's
own condition, so that a slot wakes exactly the request it is for. Dialling, closing and every call
of user code happen with no lock held.

An idle socket is looked at, without waiting, before it is used again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import weakref
from abc import ABC, abstractmethod
from threading import get_ident
from typing import TYPE_CHECKING

from nhttp import _threads
from nhttp._agent.channel import Channel
from nhttp._agent.idle import WATCH_AFTER, Sweeper
from nhttp._agent.pool import Action, Assign, Close, Dial, Offer, Pool
from nhttp._agent.waiter import Making, Waiter
from nhttp._timers import now
from nhttp.events import EventEmitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.options import RequestOptions
    from nhttp.client import ClientRequest
    from nhttp.net import Socket

__all__ = ["Sharing"]

_log = logging.getLogger("nhttp.client")

_agents: weakref.WeakSet[Sharing] = weakref.WeakSet()


class Sharing(EventEmitter, ABC):
    """What an `Agent` is made of, behind its public face. Any thread may call any method.

    `_lock` (the emitter's) guards `_pool` and `_waiters`.
    """

    keep_alive: bool
    timeout: float | None

    def __init__(self, pool: Pool[Channel, Waiter]) -> None:
        super().__init__()
        self._pool = pool
        self._waiters: set[Waiter] = set()  # those that have no socket yet
        self._sweeper = Sweeper(self)
        _agents.add(self)

    def _after_fork(self) -> None:
        """Start anew in a child, where none of the threads runs that use or want a socket here."""
        self._lock = threading.Lock()  # the present one may be held by such a thread, for ever
        self._pool.abandon()
        for channel in self._idle_channels():
            channel.expires = -math.inf  # the parent goes on using it
        self._waiters.clear()
        self._sweeper = Sweeper(self)

    # What the agent gives.

    @abstractmethod
    def get_name(self, options: RequestOptions, /) -> str:
        """Give the name of the sockets that can serve a request."""

    @abstractmethod
    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, Socket | None], object] | None = None,
    ) -> Socket | None:
        """Make the socket for a request."""

    @abstractmethod
    def keep_socket_alive(self, socket: Socket) -> bool:
        """Prepare a socket for being kept."""

    @abstractmethod
    def reuse_socket(self, socket: Socket, request: ClientRequest) -> None:
        """Prepare a kept socket for a request."""

    # How a request gets its socket.

    def _take_idle(self, name: str) -> Channel | None:
        """Give an idle socket, if there is one, which `_prepare` is still to look at."""
        with self._lock:
            return self._pool.take(name)

    def _prepare(self, channel: Channel, request: ClientRequest | None) -> bool:
        """Make an idle socket ready for its next request; False when it is dead."""
        if not channel.usable():
            return False
        if channel.kept:
            channel.kept = False
            if request is not None:
                try:
                    self.reuse_socket(channel.socket, request)
                except BaseException:  # whatever it is: nobody else will give the slot back
                    self._drop(channel)
                    raise
        return True

    def _ask(self, waiter: Waiter) -> None:
        """Give a request its place: a socket, a slot for one, or the end of the queue."""
        with self._lock:
            self._waiters.add(waiter)
            leftovers = self._apply(self._pool.request(waiter.name, waiter))
        if leftovers:
            self._dispose(leftovers)

    def _settle(self, waiter: Waiter) -> tuple[Channel, bool]:
        """Wait for what the pool decides, and carry it out; on the thread that drives the request.

        Returns:
            The socket, connected, and whether it was used before.
        """
        try:
            while True:
                outcome = self._await_outcome(waiter)
                if isinstance(outcome, Dial):
                    return self._dial_for(waiter), False
                channel = outcome.socket
                if self._prepare(channel, waiter.request):
                    return channel, True
                self._replace(channel, waiter)
        except BaseException:
            self._abandon(waiter)
            raise

    def _await_outcome(self, waiter: Waiter) -> Assign[Channel, Waiter] | Dial[Waiter]:
        with self._lock:
            while waiter.outcome is None and waiter.failure is None:
                waiter.wait()
            if waiter.failure is not None:
                raise waiter.failure
            outcome, waiter.outcome = waiter.outcome, None
            if isinstance(outcome, Assign):
                self._waiters.discard(waiter)
        assert outcome is not None
        return outcome

    def _replace(self, channel: Channel, waiter: Waiter, *, fresh: bool = False) -> None:
        """The socket that a request has is dead: it gets another one, before others do."""
        channel.pooled = False
        with self._lock:
            self._waiters.add(waiter)
            leftovers = self._apply(self._pool.replace(waiter.name, channel, waiter, fresh=fresh))
        self._dispose(leftovers)
        channel.close()

    def _abandon(self, waiter: Waiter) -> None:
        """A request wants no socket any more: what it had been given is for others."""
        with self._lock:
            self._waiters.discard(waiter)
            self._pool.cancel(waiter.name, waiter)
            outcome, waiter.outcome = waiter.outcome, None
            leftovers: list[Action[Channel, Waiter]] = []
            if isinstance(outcome, Dial):
                leftovers = self._apply(self._pool.dial_failed(waiter.name))
        self._dispose(leftovers)
        if isinstance(outcome, Assign):
            channel = outcome.socket
            if channel.usable():
                self._hand_on(channel)
            else:
                self._drop(channel)

    def _dial_for(self, waiter: Waiter) -> Channel:
        """Make a connection on this thread, for the slot that is reserved for it."""
        try:
            socket = Making(waiter).make(self.create_connection)
            socket._open_handle()  # waits for the connection, and raises if there is none
            # Nothing happens there by itself: who works on it keeps the process alive.
            socket.unref()
            channel = Channel(waiter.name, socket)
        except BaseException:
            with self._lock:
                unfinished, waiter.dialling = waiter.dialling, None
                leftovers = self._apply(self._pool.dial_failed(waiter.name))
            self._dispose(leftovers)
            if unfinished is not None:
                unfinished.destroy()
            raise
        with self._lock:
            waiter.dialling = None
            self._waiters.discard(waiter)
            self._pool.dialled(waiter.name, channel)
            failure = waiter.failure
        if failure is not None:
            self._drop(channel)
            raise failure
        weak: weakref.ref[Sharing] = weakref.ref(self)
        socket.once("close", _forgetting(weak, channel, unless_in_doubt=True))
        socket.once("agentRemove", _forgetting(weak, channel))
        return channel

    # Responses that only their thread could read, while it waits here for another socket.

    def _discard_unread(self, waiter: Waiter) -> None:
        """Give up what this thread has sent, and not asked about, before it waits."""
        with self._lock:
            asked = [each.request for each in self._waiters if each is not waiter]
            busy = [each.request for some in self._pool.sockets.values() for each in some]
        here = get_ident()
        for request in (*asked, *(each() for each in busy if each is not None)):
            if request is not None and request._issuer == here:
                request._discard()

    # How a socket comes back.

    def _give_back(self, channel: Channel, options: RequestOptions) -> None:
        """A request is done with a socket that can be used again. Any thread."""
        if "free" in self._listeners:
            try:
                self.emit("free", channel.socket, options)
            except Exception:
                # The request itself is done; that it went well must not be doubted for this.
                _log.exception("a 'free' listener of %r raised; the socket is closed", self)
                channel.pooled = False
        if channel.pooled:
            self._hand_on(channel)
        else:
            self._drop(channel)

    def _hand_on(self, channel: Channel) -> None:
        """Give a socket to whoever waits for it, or keep it, or close it."""
        pool, name = self._pool, channel.name
        keep = self._may_keep(channel) if pool.spare(name) else None
        while True:
            with self._lock:
                actions = pool.release(name, channel, keep=keep)
                if not actions:
                    moment = channel.idle_since + WATCH_AFTER
                    if moment < self._sweeper.due:
                        self._sweeper.expect(moment)
                    return
                leftovers = self._apply(actions)
            if not isinstance(actions[0], Offer):
                self._dispose(leftovers)
                return
            keep = self._may_keep(channel)  # who waited for it does so no longer

    def _may_keep(self, channel: Channel) -> bool:
        """Nobody wants the socket now: whether it is to be kept. It is made ready for that."""
        socket = channel.socket
        if not self.keep_alive or socket._destroyed:
            return False
        try:
            kept = bool(self.keep_socket_alive(socket))
        except Exception:
            _log.exception("keep_socket_alive of %r raised; the socket is closed", self)
            return False
        if kept:
            channel.kept = True
            channel.idle_since = moment = now()
            if self.timeout:
                channel.expires = min(channel.expires, moment + self.timeout)
        return kept

    def _drop(self, channel: Channel, error: BaseException | None = None) -> None:
        """Take a socket out of the pool, and destroy it."""
        # First the slot: whoever is woken by the end of the connection finds it free.
        self._forget(channel)
        channel.socket.destroy(error)

    def _forget(self, channel: Channel) -> None:
        """Take a socket out of the pool, for good."""
        channel.pooled = False
        with self._lock:
            leftovers = self._apply(self._pool.remove(channel.name, channel))
            channel.end_watch()
        self._dispose(leftovers)

    def _admit(self) -> None:
        """A limit was changed: see who need wait no longer."""
        with self._lock:
            leftovers = self._apply(self._pool.admit())
        self._dispose(leftovers)

    def _apply(self, actions: list[Action[Channel, Waiter]]) -> list[Action[Channel, Waiter]]:
        """Tell the requests that got something; give what is to be done without the lock."""
        leftovers: list[Action[Channel, Waiter]] = []
        for action in actions:
            if isinstance(action, (Assign, Dial)):
                action.waiter.outcome = action
                action.waiter.notify()
            else:
                leftovers.append(action)
        return leftovers

    def _dispose(self, leftovers: list[Action[Channel, Waiter]]) -> None:
        for action in leftovers:
            if isinstance(action, Close):
                action.socket.close()

    # Idle sockets.

    def _idle_channels(self) -> list[Channel]:
        with self._lock:
            return [each for channels in self._pool.free_sockets.values() for each in channels]

    def _is_idle(self, channel: Channel) -> bool:
        """Whether nobody uses it; `_lock` is held."""
        return channel in self._pool.free_sockets.get(channel.name, ())

    def _drop_if_idle(self, channel: Channel) -> None:
        with self._lock:
            if not self._is_idle(channel):
                return
            channel.pooled = False
            leftovers = self._apply(self._pool.remove(channel.name, channel))
        self._dispose([*leftovers, Close(channel)])

    def __del__(self) -> None:
        # Dropped: no request has a socket of this agent, or it would be held. Idle ones are closed;
        # not here, because a finalizer runs wherever it happens to.
        pool: Pool[Channel, Waiter] | None = getattr(self, "_pool", None)
        free = {} if pool is None else pool.free_sockets
        idle = [channel for channels in free.values() for channel in channels]
        if idle:
            with contextlib.suppress(Exception):  # the interpreter is ending: they end with it
                _threads.run(_close_all, idle, name="nhttp-agent")


def _close_all(channels: list[Channel]) -> None:
    for channel in channels:
        channel.close()


def _start_anew() -> None:
    for agent in list(_agents):
        agent._after_fork()


os.register_at_fork(after_in_child=_start_anew)


def _forgetting(
    agent: weakref.ref[Sharing], channel: Channel, *, unless_in_doubt: bool = False
) -> Callable[[], None]:
    """Take a socket out of the pool when it closes, or when somebody wants it out."""
    weak = weakref.ref(channel)

    def forget() -> None:
        owner, gone = agent(), weak()
        if owner is not None and gone is not None and not (unless_in_doubt and gone.in_doubt):
            owner._forget(gone)

    return forget
