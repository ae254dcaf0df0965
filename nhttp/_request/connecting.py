"""How a request gets its connection, what it asks of it, and when it asks for another one."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self, TypeVarTuple

from nhttp import _threads
from nhttp._agent.waiter import Waiter
from nhttp._exchange import Exchange
from nhttp._request.sending import BLOCKING, SendingRequest
from nhttp._timers import Deadline, now
from nhttp.errors import SocketTimeout
from nhttp.options import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.channel import Channel
    from nhttp.net import Socket
    from nhttp.streams import Callback

__all__ = ["NOT_ENDED", "ConnectingRequest"]

_Args = TypeVarTuple("_Args")

_log = logging.getLogger("nhttp.client")

# RFC 9110, 9.2.2: doing it twice is doing it once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
# A note on timeouts: most who forget it wait for an answer to a request that has not been made.
NOT_ENDED = "the request was not ended: a server may wait for the rest of it, which `end` sends"


class ConnectingRequest(SendingRequest):
    """The second layer of `ClientRequest`. Any thread may call any method."""

    # Guarded by `_lock`:
    _waiter: Waiter | None = None  # while it waits for a connection
    _deadline: Deadline | None = None  # bounds that wait

    # Stored before `_exchange` and `socket` are looked at, while `_attach` stores those before it
    # looks at these: so one of the two tells the socket.
    _seconds = 0.0  # of silence until 'timeout'
    _no_delay: bool | None = None
    _keep_alive: tuple[bool, float] | None = None

    # What the layer above gives.

    @abstractmethod
    def _run(self, name: str, channel: Channel | None, waiter: Waiter | None) -> None:
        """The request's own thread, in callback style."""

    @abstractmethod
    def _look_for_consumers(self) -> None:
        """Start reading if somebody listens for the answer by now."""

    # Getting a socket.

    def _begin(self) -> None:
        """Get a socket, in the style that this thread has just decided on.

        In both styles the request takes its place among the others of its agent here and now, so
        that requests are served in the order in which they were made.
        """
        agent = self.agent
        try:
            name = agent.get_name(self.options)
        except Exception as error:  # an overridden one may raise anything
            self.destroy(error)
            return
        channel = agent._take_idle(name)
        waiter = None
        if channel is None:
            waiter = self._new_waiter(name)
            agent._ask(waiter)
        if self._style is BLOCKING:
            self._connect(name, channel, waiter)
            if self._listeners:
                self._look_for_consumers()
        else:
            self._start_own(name, channel, waiter)

    def _new_waiter(self, name: str) -> Waiter:
        """Make what waits for a socket; `destroy` ends the wait, and so does the timeout."""
        this: Any = self
        waiter = Waiter(self.agent, this, self.options, name)
        with self._lock:
            failure = self._failure
            if failure is None:
                self._waiter = waiter
        if failure is not None:
            waiter.cancel(failure)
        elif self._seconds:
            self._arm()
        return waiter

    def _start_own(self, name: str, channel: Channel | None, waiter: Waiter | None) -> None:
        """Go on in callback style."""
        try:
            self._start(self._run, name, channel, waiter)
        except BaseException as error:  # no thread can be started
            if channel is not None:
                self.agent._drop(channel)
            if waiter is not None:
                self.agent._abandon(waiter)
            self.destroy(error)
            raise

    def _connect(self, name: str, channel: Channel | None, waiter: Waiter | None) -> None:
        """Get a socket on this thread; a failure is latched.

        Args:
            name: The agent's name for the sockets that would do.
            channel: An idle socket, if there was one.
            waiter: The place in the queue otherwise.
        """
        agent = self.agent
        this: Any = self
        try:
            if channel is not None and not agent._prepare(channel, this):
                waiter = self._new_waiter(name)
                agent._replace(channel, waiter)
            if waiter is None:
                assert channel is not None
                self._attach(channel, reused=True)
                return
            if self._style is BLOCKING and waiter.outcome is None:
                agent._discard_unread(waiter)
            channel, reused = agent._settle(waiter)
            self._attach(channel, reused=reused)
        except BaseException as error:
            if channel is not None and self._exchange is None:
                agent._drop(channel)
            if isinstance(error, Exception):
                self.destroy(error)
                return
            self.destroy()  # Ctrl-C: whoever else waits for the connection is not left alone
            raise

    def _arm(self) -> None:
        """Bound the wait for a connection, if there is one."""
        with self._lock:
            if self._waiter is None:
                return
            if self._deadline is None:
                if not self._seconds:
                    return
                self._deadline = Deadline(_weakly(self._timed_out))
            deadline = self._deadline
        deadline.set(now() + self._seconds if self._seconds else math.inf)

    def _attach(self, channel: Channel, *, reused: bool) -> None:
        """Make the connection this request's, unless it was destroyed meanwhile."""
        socket = channel.socket
        this: Any = self
        channel.request = weakref.ref(this)
        channel.parser.expect(self.method, self._wants_upgrade())
        exchange = Exchange(
            self.agent,
            channel,
            self.options,
            reused=reused,
            repeatable=self.method in _IDEMPOTENT,
        )
        unheard = True
        deadline = None
        with self._lock:
            if self._waiter is not None:
                self._waiter = None
                deadline, self._deadline = self._deadline, None
            failure = self._failure
            if failure is None:
                self._exchange = exchange
                self.socket = socket
                if self._style is BLOCKING:
                    self._direct = True
                unheard = self._latch_unheard("socket", socket)
                if self._changed is not None:
                    self._notify()
        if deadline is not None:
            deadline.cancel()
        if failure is not None:
            exchange.close(failure)
            return
        if self._seconds or self._no_delay is not None or self._keep_alive is not None:
            self._configure(socket)
        if not unheard:
            self._latch("socket", socket)

    def _configure(self, socket: Socket) -> None:
        """Pass on to the socket what was asked of the request before it had one."""
        if self._seconds:
            socket._on_idle = _weakly(self._socket_idle)
            socket.set_timeout(self._seconds)
        if self._no_delay is not None:
            socket.set_no_delay(self._no_delay)
        if self._keep_alive is not None:
            socket.set_keep_alive(*self._keep_alive)

    def _start(self, work: Callable[[*_Args], None], *args: *_Args) -> None:
        """Do it on the request's own thread; the process stays alive meanwhile, as in Node."""
        _threads.ref()
        try:
            _threads.run(self._run_referenced, work, args, name="nhttp-request")
        except BaseException:
            _threads.unref()
            raise

    def _run_referenced(self, work: Callable[..., None], args: tuple[object, ...]) -> None:
        this = threading.get_ident()
        with self._lock:
            self._own_thread = this
        try:
            work(*args)
        finally:
            with self._lock:
                if self._own_thread == this:  # not when a second one, to read on, has begun
                    self._own_thread = 0  # this one goes on to work for others
            _threads.unref()

    # Another try.

    def _may_repeat(self, exchange: Exchange, error: Exception) -> bool:
        """Whether a used connection failed before it answered, and asking twice does no harm."""
        return (
            bool(exchange.replay)
            and not exchange.answered
            and not self._destroyed
            and self._end_sent
            and isinstance(error, OSError)
            # Not where this side gave it up, as `Agent.destroy` does.
            and not (exchange.socket.destroyed and exchange.socket._failure is None)
        )

    def _repeat(self, exchange: Exchange) -> bool:
        """Send the request again, on a connection that was not used before.

        It keeps its place: nobody who came later gets its slot.

        Returns:
            False when the last of it, which was still being sent, made it too long to be kept.
        """
        exchange.socket.destroy()  # it is dead: a thread that is blocked in sending comes back
        with self._write_lock:
            replay, exchange.replay = exchange.replay, None
            if not replay:
                return False
        _log.debug("%r: the kept connection was dead; trying a fresh one", self)
        exchange.give_up()
        waiter = self._new_waiter(exchange.channel.name)
        self.agent._replace(exchange.channel, waiter, fresh=True)
        channel, reused = self.agent._settle(waiter)
        self._attach(channel, reused=reused)
        fresh = self._exchange
        assert fresh is not None
        with self._lock:  # 'socket' was told; whoever listens late is to get the one that is used
            self._latches["socket"] = (fresh.socket,)
        try:
            with self._write_lock:
                fresh.transmit([replay])
        finally:
            fresh.socket._left()
        self._all_sent(fresh)
        return True

    # What the connection is, and what is asked of it.

    @property
    def reused_socket(self) -> bool:
        """Whether the socket was used before."""
        return self._exchange is not None and self._exchange.reused

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Emit ``'timeout'`` after so many seconds without progress.

        Counts from now on while the request waits for a socket and connects, and then whenever the
        connection is silent. Without a listener a timeout fails the request with `TimeoutError`.

        Args:
            seconds: 0 turns it off.
            callback: A listener for the next ``'timeout'``, called on a helper thread.

        Raises:
            InvalidArgument: `seconds` is negative or not a number.

        Source: request.setTimeout in the manual.
        """
        check_seconds("timeout", seconds)
        if callback is not None:
            self._add_listener("timeout", callback, once=True)
        self._seconds = seconds
        exchange = self._exchange
        if exchange is None or exchange.over:
            self._arm()
        else:
            socket = exchange.socket
            socket._on_idle = _weakly(self._socket_idle) if seconds else None
            socket.set_timeout(seconds)
        return self

    def _socket_idle(self, socket: Socket) -> bool:
        if socket.listener_count("timeout"):
            _threads.run(socket.emit, "timeout", name="nhttp-timeout")
        self._timed_out()
        return True

    def _timed_out(self) -> None:
        """Nothing happened for too long; on the timer thread, where nothing may block."""
        if self.listener_count("timeout"):
            _threads.run(self.emit, "timeout", name="nhttp-timeout")
        else:
            error = SocketTimeout(
                f"no progress for {self._seconds:g} seconds", "ETIMEDOUT", syscall="read"
            )
            if not self._write_ended:
                error.add_note(NOT_ENDED)
            _threads.run(self.destroy, error, name="nhttp-timeout")

    def set_no_delay(self, no_delay: bool = True) -> Self:
        """Have small writes sent at once, or gathered; passed on when there is a socket.

        The connections that an Agent makes send them at once as long as nobody says otherwise.

        Args:
            no_delay: On or off. Default: on.

        Source: request.setNoDelay in the manual.
        """
        self._no_delay = no_delay
        if self.socket is not None:
            self.socket.set_no_delay(no_delay)
        return self

    def set_socket_keep_alive(self, enable: bool = False, initial_delay: float = 0) -> Self:
        """Have the kernel probe the connection; passed on when there is a socket.

        Args:
            enable: On or off. Default: off.
            initial_delay: Seconds of idleness before the first probe. Default: 0, which leaves the
                system's setting.

        Source: request.setSocketKeepAlive in the manual.
        """
        self._keep_alive = (enable, initial_delay)
        if self.socket is not None:
            self.socket.set_keep_alive(enable, initial_delay)
        return self


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Call a method for as long as its object lives: a timer must not keep a request."""
    weak = weakref.WeakMethod(method)

    def call(*arguments: Any) -> Any:
        bound = weak()
        return None if bound is None else bound(*arguments)

    return call
