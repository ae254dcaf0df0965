"""How a request gets its connection, what it asks of it, and when it asks for another one."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from nhttp import _threads
from nhttp._agent.agent import Waiter
from nhttp._exchange import Exchange
from nhttp._request.sending import SendingRequest, Style
from nhttp._timers import Deadline, now
from nhttp.errors import SocketTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.channel import Channel
    from nhttp.net import Socket
    from nhttp.streams import Callback

__all__ = ["CONSUMERS", "ConnectingRequest"]

_log = logging.getLogger("nhttp.client")

# RFC 9110, 9.2.2: doing it twice is doing it once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
# Who listens for one of these is driven by callbacks.
CONSUMERS = ("response", "connect", "upgrade", "continue")


class ConnectingRequest(SendingRequest):
    """The second layer of `ClientRequest`. Any thread may call any method."""

    reused_socket = False

    # Guarded by `_lock`:
    _waiter: Waiter | None = None
    _deadline: Deadline | None = None  # bounds the wait for a connection

    _seconds = 0.0  # of silence until 'timeout'
    _no_delay: bool | None = None
    _keep_alive: tuple[bool, float] | None = None

    # What the layer above gives.

    def _run(self) -> None:
        """The request's own thread, in callback style."""
        raise NotImplementedError

    def _look_for_consumers(self) -> None:
        """Start reading if somebody listens for the answer by now."""
        raise NotImplementedError

    # Getting a socket.

    def _begin(self) -> None:
        """Decide the style, once, and get a socket in that style."""
        with self._lock:
            if self._style is not Style.UNDECIDED or self._destroyed:
                return
            callbacks = any(self.listener_count(event) for event in CONSUMERS)
            self._style = Style.CALLBACKS if callbacks else Style.BLOCKING
        if callbacks:
            if not self.listener_count("response"):
                self.agent._issued(self._itself())
            self._start(self._run)
        else:
            self._connect()
            if self._exchange is not None:
                with self._lock:
                    self._direct = True
                    self._notify()
                self._look_for_consumers()

    def _connect(self) -> None:
        """Get a socket from the agent on this thread; a failure is latched."""
        try:
            waiter = Waiter(self.agent, self._itself(), self.options)
            with self._lock:
                self._waiter = waiter
                failure = self._failure
            if failure is not None:
                waiter.cancel(failure)
            self._arm()
            channel, reused = self.agent._obtain(waiter)
            self._attach(channel, reused=reused)
        except Exception as error:
            self.destroy(error)
        except BaseException:  # Ctrl-C: whoever else waits for the connection is not left alone
            self.destroy()
            raise

    def _arm(self) -> None:
        """Bound the wait for a connection."""
        with self._lock:
            waits = self._style is not Style.UNDECIDED and self.socket is None
            if not waits or self._destroyed:
                return
            if self._deadline is None:
                if not self._seconds:
                    return
                self._deadline = Deadline(_weakly(self._timed_out))
            deadline = self._deadline
        deadline.set(now() + self._seconds if self._seconds else float("inf"))

    def _attach(self, channel: Channel, *, reused: bool) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        socket = channel.socket
        exchange = Exchange(self.agent, channel, self.options, reused=reused)
        exchange.expect(self.method, upgrade=self._wants_upgrade())
        with self._lock:
            failure = self._failure
            if failure is None:
                self._exchange = exchange
                self.socket = socket
                self.reused_socket = reused
                self._waiter = None
        if failure is not None:
            exchange.close(failure)
            return
        if self._style is Style.BLOCKING:
            self.agent._issued(self._itself())
        self._configure(socket)
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

    def _start(self, work: Callable[[], None]) -> None:
        """Do it on the request's own thread; the process stays alive meanwhile, as in Node."""
        _threads.ref()
        try:
            _threads.run(self._run_referenced, work, name="nhttp-request")
        except BaseException:
            _threads.unref()
            raise

    def _run_referenced(self, work: Callable[[], None]) -> None:
        self._own_thread = threading.get_ident()
        try:
            work()
        finally:
            self._own_thread = 0  # the thread goes on to work for others
            _threads.unref()

    # Another try.

    def _may_repeat(self, exchange: Exchange, error: Exception) -> bool:
        """Whether a used connection failed before it answered, and asking twice does no harm."""
        return (
            exchange.reused
            and not exchange.answered
            and not self._destroyed
            and self._end_sent
            and self._replay is not None
            and self.method in _IDEMPOTENT
            and isinstance(error, OSError)
            # Not where this side gave it up, as `Agent.destroy` does.
            and not (exchange.socket.destroyed and exchange.socket._failure is None)
        )

    def _repeat(self, exchange: Exchange) -> None:
        """Send the request again, on a connection that was not used before."""
        _log.debug("%r: the kept connection was dead; trying a fresh one", self)
        with self._write_lock:
            replay = self._replay or []
        exchange.close()
        channel, reused = self._ask_again()
        while reused:
            # What one kept connection met, the others have met as well.
            self.agent._forget(channel)
            channel.socket.destroy()
            channel, reused = self._ask_again()
        self._send_failure = None
        self._attach(channel, reused=False)
        with self._write_lock:
            if self._exchange is not None:
                self._transmit(self._exchange, replay)
                self._all_sent(self._exchange)

    def _ask_again(self) -> tuple[Channel, bool]:
        waiter = Waiter(self.agent, self._itself(), self.options)
        with self._lock:
            self._waiter = waiter
            failure = self._failure
        if failure is not None:
            waiter.cancel(failure)
        return self.agent._obtain(waiter)

    # Options of the connection.

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Emit ``'timeout'`` after so many seconds without progress.

        Counts from now on while the request waits for a socket and connects, and then whenever the
        connection is silent. Without a listener a timeout fails the request with `TimeoutError`.

        Args:
            seconds: 0 turns it off.
            callback: A listener for the next ``'timeout'``.
        """
        if callback is not None:
            self._add_listener("timeout", callback, once=True)
        self._seconds = seconds
        socket = self.socket
        exchange = self._exchange
        if socket is None:
            self._arm()
        elif exchange is not None and not exchange.over:
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
            _threads.run(self.destroy, error, name="nhttp-timeout")

    def set_no_delay(self, no_delay: bool = True) -> Self:
        """Have small writes sent at once; passed on when there is a socket."""
        self._no_delay = no_delay
        if self.socket is not None:
            self.socket.set_no_delay(no_delay)
        return self

    def set_socket_keep_alive(self, enable: bool = False, initial_delay: float = 0) -> Self:
        """Have the kernel probe the connection; passed on when there is a socket.

        Args:
            enable: On or off. Default: off.
            initial_delay: Seconds of idleness before the first probe.
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
