"""Agent: the shell around the pool. It waits, dials, checks and closes; `pool` decides.

Theory of operation. Every request that wants a socket is a `Waiter`. The pool is asked under the
agent's lock and says what is to be done; who waits is woken through the waiter's own condition, so
that a slot wakes exactly the request it is for. Dialling, closing and every call of user code
happen on the thread of the request that they are for, with no lock held.

An idle socket is looked at before it is used again. One that its server closes while it is idle
leaves the pool by itself: sockets that have been idle for a moment are given to the watcher thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from typing_extensions import Unpack

from nhttp import _threads
from nhttp._agent.channel import WATCH_AFTER, Channel
from nhttp._agent.linger import linger
from nhttp._agent.options import RequestKeywords, RequestOptions, RequestSource
from nhttp._agent.pool import Action, Assign, Close, Dial, Offer, Pool
from nhttp._agent.waiter import Making, Waiter
from nhttp._timers import Deadline, now
from nhttp.errors import ConnectionAborted, InvalidArgument
from nhttp.events import EventEmitter
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage

__all__ = ["Agent", "Waiter"]

_log = logging.getLogger("nhttp.client")


class Agent(EventEmitter):
    """Keeps connections for the requests of a client and shares them out (``http.Agent``).

    Any thread may call any method. Requests to one origin that find no free socket wait, first in,
    first out. As a context manager it is destroyed at the end.

    Args:
        keep_alive: Whether sockets are kept when no request waits for them. Default: False.
        keep_alive_initial_delay: Seconds of idleness before the kernel probes a kept connection.
            Default: 1.0.
        max_sockets: Sockets for one origin at the same time. Default: any number.
        max_free_sockets: Idle sockets kept for one origin. Default: 256.
        max_total_sockets: Sockets for all origins. Default: any number.
        scheduling: ``"lifo"`` uses the socket first that was used last, ``"fifo"`` the one that has
            been idle longest. Default: ``"lifo"``.
        timeout: Seconds without progress for the sockets made here, idle ones included. None
            (default): no limit.

    Events:
        free: (socket, options) a request is done with a socket that can be used again; on that
            request's thread.

    Example:
        >>> with Agent(keep_alive=True, max_sockets=4) as agent:  # doctest: +SKIP
        ...     body = agent.get("http://127.0.0.1:8000/").get_response().read()

    Source: http.Agent in the manual.
    """

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["free"], listener: Callable[[Socket, RequestOptions], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on
        off = remove_listener = on

    protocol: ClassVar[str] = "http:"
    default_port: ClassVar[int] = 80

    def __init__(
        self,
        *,
        keep_alive: bool = False,
        keep_alive_initial_delay: float = 1.0,
        max_sockets: float = math.inf,
        max_free_sockets: float = 256,
        max_total_sockets: float = math.inf,
        scheduling: Literal["lifo", "fifo"] = "lifo",
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        for name, limit in (
            ("max_sockets", max_sockets),
            ("max_free_sockets", max_free_sockets),
            ("max_total_sockets", max_total_sockets),
        ):
            if not limit >= 0:
                raise InvalidArgument(
                    f"{name} is 0 or more, not {limit!r}", "ERR_INVALID_ARG_VALUE"
                )
        if scheduling not in ("lifo", "fifo"):
            raise InvalidArgument(
                f"scheduling is 'lifo' or 'fifo', not {scheduling!r}", "ERR_INVALID_ARG_VALUE"
            )
        self.keep_alive = keep_alive
        self.keep_alive_initial_delay = keep_alive_initial_delay
        self.timeout = timeout
        # Guarded by `_lock`.
        self._pool: Pool[Channel, Waiter] = Pool(
            max_sockets=max_sockets,
            max_free_sockets=max_free_sockets,
            max_total_sockets=max_total_sockets,
            scheduling=scheduling,
        )
        self._waiters: set[Waiter] = set()  # every request that is in `_obtain`
        # Requests that were sent in blocking style and whose response nobody reads yet, by their
        # id, with the thread that sent them. Single steps on a dict need no lock: one that was
        # dropped is taken out by a finalizer, which may run while this thread has the lock.
        self._unread: dict[int, tuple[int, weakref.ref[ClientRequest]]] = {}
        # Looks after idle sockets while there are any.
        self._sweeper = Deadline(_calling(weakref.WeakMethod(self._sweep_due)))

    # What the manual shows.

    @property
    def max_sockets(self) -> float:
        """How many sockets an origin may have at the same time."""
        return self._pool.max_sockets

    @max_sockets.setter
    def max_sockets(self, value: float) -> None:
        self._pool.max_sockets = value

    @property
    def max_free_sockets(self) -> float:
        """How many idle sockets are kept for an origin."""
        return self._pool.max_free_sockets

    @max_free_sockets.setter
    def max_free_sockets(self, value: float) -> None:
        self._pool.max_free_sockets = value

    @property
    def max_total_sockets(self) -> float:
        """How many sockets there may be for all origins."""
        return self._pool.max_total_sockets

    @max_total_sockets.setter
    def max_total_sockets(self, value: float) -> None:
        self._pool.max_total_sockets = value

    @property
    def sockets(self) -> dict[str, list[Socket]]:
        """The sockets in use, connecting ones included, by their origin: a copy of this moment."""
        with self._lock:
            found = _sockets_of(self._pool.sockets)
            for waiter in self._waiters:
                if waiter.dialling is not None:
                    found.setdefault(waiter.name, []).append(waiter.dialling)
        return found

    @property
    def free_sockets(self) -> dict[str, list[Socket]]:
        """The idle sockets, by the name of their origin: a copy of this moment."""
        with self._lock:
            return _sockets_of(self._pool.free_sockets)

    @property
    def requests(self) -> dict[str, list[ClientRequest]]:
        """The requests that wait for a socket, by the name of their origin: a copy."""
        with self._lock:
            waiting = self._pool.requests
        return {
            name: [each.request for each in waiters if each.request is not None]
            for name, waiters in waiting.items()
        }

    def get_name(self, options: RequestOptions) -> str:
        """Give the name of the sockets that can serve a request.

        Args:
            options: Of these, host, port, local address, family and Unix path count.

        Returns:
            ``host:port:local_address``, with the family or Unix path behind it if one was given.
        """
        name = f"{options.target_host}:{self._port_of(options)}:{options.local_address or ''}"
        if options.family:
            name += f":{options.family}"
        if options.socket_path:
            name += f":{options.socket_path}"
        return name

    def _port_of(self, options: RequestOptions) -> int:
        if options.port not in (None, ""):
            return int(options.port or 0)
        return options.default_port or self.default_port

    # What a subclass may override.

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, Socket | None], object] | None = None,
    ) -> Socket | None:
        """Make the socket for a request; called on the request's thread, with no lock held.

        Meant to be overridden. The socket may be given in one of two ways: as the result, connected
        or connecting, or by calling `callback`, now or later and from any thread.

        Args:
            options: Where to connect to.
            callback: Takes an error or None, and the socket.

        Source: agent.createConnection in the manual.
        """
        del callback
        socket = Socket()
        if options.socket_path:
            return socket.connect(path=options.socket_path)
        return socket.connect(
            self._port_of(options),
            options.target_host,
            family=options.family,
            local_address=options.local_address,
        )

    def keep_socket_alive(self, socket: Socket) -> bool:
        """Prepare a socket for being kept, when no request wants it; called with no lock held.

        Meant to be overridden. By default the socket is unref'd and probed by the kernel.

        Returns:
            False, or anything false, has the socket destroyed instead.

        Source: agent.keepSocketAlive in the manual.
        """
        socket.unref()
        socket.set_keep_alive(True, self.keep_alive_initial_delay)
        return True

    def reuse_socket(self, socket: Socket, request: ClientRequest) -> None:
        """Prepare a kept socket for a request; called with no lock held.

        Meant to be overridden. By default the socket is ref'd again.

        Source: agent.reuseSocket in the manual.
        """
        del request
        socket.ref()

    # Requests (the manual of v0.11.12).

    def request(
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a request that uses this agent; see `nhttp.request`."""
        from nhttp.client import ClientRequest  # it stands on this module

        gathered = RequestOptions.gather(source, {**options, "agent": self})
        return ClientRequest(gathered, callback)

    def get(
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a GET request that uses this agent, and end it; see `nhttp.get`."""
        request = self.request(source, callback, **options)
        request.end()
        return request

    # Destroying.

    def destroy(self) -> None:
        """Destroy every socket, in use or idle; requests that wait for one fail.

        The agent can be used again afterwards.
        """
        with self._lock:
            channels, _ = self._pool.destroy()
            waiters = list(self._waiters)  # those that are dialling as well
            for channel in channels:
                channel.pooled = False
        for waiter in waiters:
            waiter.cancel(ConnectionAborted("the agent was destroyed", "ECONNABORTED"))
        for channel in channels:
            _close(channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.destroy()

    def __del__(self) -> None:
        # Dropped: no request has a socket of this agent, or it would be held. Idle ones are closed;
        # not here, because a finalizer runs wherever it happens to.
        pool: Pool[Channel, Waiter] | None = getattr(self, "_pool", None)
        free = {} if pool is None else pool.free_sockets
        idle = [channel for channels in free.values() for channel in channels]
        if idle:
            with contextlib.suppress(Exception):  # the interpreter is ending: they end with it
                _threads.run(_close_all, idle, name="nhttp-agent")

    # How a request gets its socket: on the request's own thread.

    def _obtain(self, waiter: Waiter) -> tuple[Channel, bool]:
        """Block until `waiter` has a connected socket.

        Returns:
            The socket, and whether it was used before.
        """
        with self._lock:
            self._waiters.add(waiter)
            leftovers = self._apply(self._pool.request(waiter.name, waiter))
            must_wait = waiter.outcome is None
        try:
            self._dispose(leftovers)
            if must_wait:
                self._discard_unread()
            return self._settle(waiter)
        except BaseException:
            self._abandon(waiter)
            raise
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _settle(self, waiter: Waiter) -> tuple[Channel, bool]:
        """Wait for what the pool decides, and carry it out."""
        while True:
            outcome = self._await_outcome(waiter)
            if isinstance(outcome, Dial):
                return self._dial_for(waiter), False
            channel = outcome.socket
            if channel.usable():
                self._reuse(channel, waiter)
                return channel, True
            with self._lock:
                leftovers = self._apply(self._pool.replace(waiter.name, channel, waiter))
            self._dispose(leftovers)
            channel.socket.destroy()

    def _await_outcome(self, waiter: Waiter) -> Assign[Channel, Waiter] | Dial[Waiter]:
        with self._lock:
            while waiter.outcome is None and waiter.failure is None:
                waiter.condition.wait()
            if waiter.failure is not None:
                raise waiter.failure
            outcome, waiter.outcome = waiter.outcome, None
        assert outcome is not None
        return outcome

    def _abandon(self, waiter: Waiter) -> None:
        """A request wants no socket any more: what it had been given is for others."""
        with self._lock:
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
                self._forget(channel)
                channel.socket.destroy()

    def _reuse(self, channel: Channel, waiter: Waiter) -> None:
        """Prepare a socket for its next request, if it was made ready for being kept."""
        if not channel.kept:
            return  # handed on at once by the request before
        channel.kept = False
        try:
            if waiter.request is not None:
                self.reuse_socket(channel.socket, waiter.request)
            else:
                channel.socket.ref()
        except BaseException:
            self._forget(channel)
            channel.socket.destroy()
            raise

    def _dial_for(self, waiter: Waiter) -> Channel:
        """Make a connection on this thread, for the slot that is reserved for it."""
        try:
            channel = Channel(waiter.name, self._dial(waiter))
        except BaseException:
            with self._lock:
                socket, waiter.dialling = waiter.dialling, None
                leftovers = self._apply(self._pool.dial_failed(waiter.name))
            self._dispose(leftovers)
            if socket is not None:
                socket.destroy()
            raise
        with self._lock:
            waiter.dialling = None
            self._pool.dialled(waiter.name, channel)
            failure = waiter.failure
        if failure is not None:
            self._forget(channel)
            channel.socket.destroy()
            raise failure
        forget = _forgetting(weakref.ref(self), channel)
        channel.socket.once("close", forget)
        channel.socket.once("agentRemove", forget)
        return channel

    def _dial(self, waiter: Waiter) -> Socket:
        socket = Making(waiter).make(self.create_connection)
        with self._lock:
            waiter.dialling = socket
            failure = waiter.failure
        if failure is not None:
            raise failure
        socket._open_handle()  # waits for the connection, and raises if there is none
        return socket

    # Responses that only their thread could read, while it waits here for another socket.

    def _issued(self, request: ClientRequest) -> None:
        """This thread has sent a request, and will have to come back for the response."""
        key, unread = id(request), self._unread

        def dropped(_: weakref.ref[ClientRequest]) -> None:
            unread.pop(key, None)

        unread[key] = (threading.get_ident(), weakref.ref(request, dropped))

    def _claimed(self, request: ClientRequest) -> None:
        """Somebody reads the response, or will."""
        self._unread.pop(id(request), None)

    def _discard_unread(self) -> None:
        here = threading.get_ident()
        for ident, weak in list(self._unread.values()):
            request = weak() if ident == here else None
            if request is not None:
                self._claimed(request)
                request._discard()

    # How a socket comes back.

    def _release(self, channel: Channel, options: RequestOptions) -> None:
        """A request is done with a socket that can be used again. Any thread."""
        if self.listener_count("free"):
            try:
                self.emit("free", channel.socket, options)
            except Exception:
                # The request itself is done; that it went well must not be doubted for this.
                _log.exception("a 'free' listener of %r raised; the socket is closed", self)
                channel.pooled = False
        if channel.pooled:
            self._hand_on(channel)
        else:
            self._forget(channel)
            channel.socket.destroy()

    def _hand_on(self, channel: Channel) -> None:
        """Give a socket to whoever waits for it, or keep it, or close it."""
        with self._lock:
            leftovers = self._apply(self._pool.release(channel.name, channel))
        for action in leftovers:
            if isinstance(action, Offer):
                self._keep(channel)
            else:
                self._dispose([action])

    def _keep(self, channel: Channel) -> None:
        """Nobody wants the socket now: keep it, if this agent does that."""
        if not self._may_keep(channel.socket):
            self._forget(channel)
            channel.socket.destroy()
            return
        channel.kept = True
        channel.idle_since = now()
        if self.timeout:
            channel.expires = min(channel.expires, channel.idle_since + self.timeout)
        with self._lock:
            leftovers = self._apply(self._pool.keep(channel.name, channel))
            self._sweep_by(channel.idle_since + WATCH_AFTER)
        self._dispose(leftovers)

    def _may_keep(self, socket: Socket) -> bool:
        if not self.keep_alive or socket.destroyed:
            return False
        try:
            linger()
            return bool(self.keep_socket_alive(socket))
        except Exception:
            _log.exception("keep_socket_alive of %r raised; the socket is closed", self)
            return False

    def _forget(self, channel: Channel) -> None:
        """Take a socket out of the pool, for good."""
        channel.pooled = False
        with self._lock:
            leftovers = self._apply(self._pool.remove(channel.name, channel))
            channel.end_watch()
        self._dispose(leftovers)

    def _apply(self, actions: list[Action[Channel, Waiter]]) -> list[Action[Channel, Waiter]]:
        """Wake the requests that got something; give what is to be done without the lock."""
        leftovers: list[Action[Channel, Waiter]] = []
        for action in actions:
            if isinstance(action, (Assign, Dial)):
                action.waiter.outcome = action
                action.waiter.condition.notify_all()
            else:
                leftovers.append(action)
        return leftovers

    def _dispose(self, leftovers: list[Action[Channel, Waiter]]) -> None:
        for action in leftovers:
            if isinstance(action, Close):
                _close(action.socket)

    # Idle sockets.

    def _sweep_due(self) -> None:
        """On the timer thread: hand over."""
        _threads.run(self._sweep, name="nhttp-agent")

    def _sweep_by(self, moment: float) -> None:
        """Have the idle sockets looked at by that moment; the lock is held."""
        if moment < self._sweeper.when:
            with contextlib.suppress(RuntimeError):  # no thread: they are checked when used again
                self._sweeper.set(moment)

    def _sweep(self) -> None:
        """Close what has expired, watch what has become idle, and say when to come again."""
        moment = now()
        again = math.inf
        with self._lock:
            idle = [each for channels in self._pool.free_sockets.values() for each in channels]
        for channel in idle:
            due = channel.idle_since + WATCH_AFTER
            if channel.expires <= moment:
                self._drop_if_idle(channel)
            elif due <= moment:
                self._watch(channel)
                again = min(again, channel.expires)
            else:
                again = min(again, channel.expires, due)
        with self._lock:
            self._sweep_by(again)

    def _watch(self, channel: Channel) -> None:
        agent = weakref.ref(self)

        def gone() -> None:
            alive = agent()
            if alive is not None:
                _threads.run(alive._drop_if_idle, channel, name="nhttp-agent")

        try:
            with self._lock:
                # Whoever takes it out of the pool does so under this lock, and then cancels.
                if self._is_idle(channel):
                    channel.begin_watch(gone)
        except (OSError, ValueError, RuntimeError):  # closed just now, or no thread to be had
            self._drop_if_idle(channel)

    def _is_idle(self, channel: Channel) -> bool:
        return channel in self._pool.free_sockets.get(channel.name, ())

    def _drop_if_idle(self, channel: Channel) -> None:
        with self._lock:
            if not self._is_idle(channel):
                return
            channel.pooled = False
            leftovers = self._apply(self._pool.remove(channel.name, channel))
        self._dispose([*leftovers, Close(channel)])

    def __repr__(self) -> str:
        with self._lock:
            return f"<{type(self).__name__} {self._pool!r}>"


def _close(channel: Channel) -> None:
    channel.end_watch()
    channel.socket.destroy()


def _close_all(channels: list[Channel]) -> None:
    for channel in channels:
        _close(channel)


def _calling(method: weakref.WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    """Call a method for as long as its object lives; a timer must not keep an agent."""

    def call() -> None:
        bound = method()
        if bound is not None:
            bound()

    return call


def _forgetting(agent: weakref.ref[Agent], channel: Channel) -> Callable[[], None]:
    """Take a socket out of the pool when it closes, or when somebody wants it out."""
    weak = weakref.ref(channel)

    def forget() -> None:
        owner, gone = agent(), weak()
        if owner is not None and gone is not None:
            owner._forget(gone)

    return forget


def _sockets_of(channels: dict[str, list[Channel]]) -> dict[str, list[Socket]]:
    return {name: [each.socket for each in some] for name, some in channels.items()}
