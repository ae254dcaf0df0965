"""How the answer is read: on the request's own thread, or on the thread that asks for it.

One thread at a time is the reader. It claims that under the lock, reads heads up to the final one,
and makes the response; a final head that nobody wants yet is put aside, unread, for whoever comes.
What the threads that ask call is in `asking`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import attrs

from nhttp import _threads
from nhttp._request.connecting import ConnectingRequest
from nhttp._request.sending import BLOCKING, CONSUMERS, SEND_FIRST, UNDECIDED
from nhttp.errors import ConnectionReset, ParseError, SocketTimeout
from nhttp.headers import Headers, flatten
from nhttp.incoming import IncomingMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.channel import Channel
    from nhttp._agent.waiter import Waiter
    from nhttp._parser import ResponseHead

__all__ = ["Information", "ReadingRequest"]

_log = logging.getLogger("nhttp.client")


@attrs.frozen
class Information:
    """An interim response other than ``100 Continue``: what ``'information'`` listeners are given.

    Attributes:
        status_code: 102 to 199.
        status_message: The reason phrase.
        http_version: ``"1.1"``.
        headers: Its fields.
        raw_headers: Its fields as they came: name, value, name, value …
    """

    status_code: int
    status_message: str
    http_version: str
    headers: Headers
    raw_headers: list[str]


class _ListenerError(Exception):
    """A listener raised, and that was dealt with."""


class ReadingRequest(ConnectingRequest):
    """The third layer of `ClientRequest`. Any thread may call any method."""

    # Guarded by `_lock`:
    _reader = 0  # ident of the thread that reads the answer; 0: none, -1: it is being started
    # The response, once there is one: held, then weakly when it is over or the caller's.
    _answer: Callable[[], IncomingMessage | None] | None = None
    _unclaimed: ResponseHead | None = None  # a final head that nobody has asked for yet
    _abandoned = False  # if nobody wants the answer when it comes, nobody ever will
    _too_late = False  # it was destroyed, and that was told, before there was an answer
    _continued = False  # ``100 Continue`` came
    _tunnel_askers = 0  # how many threads are in `get_tunnel`
    # These become True and stay it:
    _tunnel = False  # the answer made a tunnel of the connection; set before `_answer` is
    _tunnel_rest = b""  # and this came behind it; set before that
    _error_seen = False  # somebody knows of the failure: it is not to be logged

    # What the layer above gives.

    @abstractmethod
    def _drop_answer(self) -> None:
        """Nobody can read the answer any more: free the socket."""

    @abstractmethod
    def _answer_over(self, error: BaseException | None) -> None:
        """The response has ended, or broken off; its own listeners were told."""

    # Reading, on whichever thread has claimed it.

    def _run(self, name: str, channel: Channel | None, waiter: Waiter | None) -> None:
        """The request's own thread, in callback style."""
        self._connect(name, channel, waiter)
        if self._exchange is None:
            return
        self._reader = threading.get_ident()
        with self._lock:
            large = not self._corked and self.writable_length > SEND_FIRST
            self._direct = large
        if large:
            try:
                _threads.run(self._send_queue, name="nhttp-upload")
            except RuntimeError as error:  # no thread can be started
                self.destroy(error)
        else:
            self._guarded(self._send_first)
        self._run_reader()

    def _run_reader(self) -> None:
        """Read the answer on a thread of the request's own, and emit it."""
        self._reader = threading.get_ident()
        self._guarded(self._read_and_deliver)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something on the request's own thread, where nobody else sees what is raised."""
        try:
            work()
        except Exception as error:
            self._listener_failed(error)

    def _listener_failed(self, error: Exception) -> None:
        _log.error("a listener of %r raised; the exchange is destroyed", self, exc_info=error)
        self._error_seen = True
        self.destroy(error)

    def _read_and_deliver(self) -> None:
        try:
            while (head := self._next_head(None)).interim:
                self._guarded_interim(head)
        except _ListenerError:
            return
        except Exception as error:
            self.destroy(error)
            return
        if head.tunnel:
            self._switched(head, drive=True)
            return
        if not self._hears_response(head):
            return
        response = self._accept(head, hold=True)
        if self._too_late:
            return
        response._driven = True  # by this thread, once the listener has returned
        self._latch("response", response)
        if response._keep_driving():
            response._drive_claimed()

    def _hears_response(self, head: ResponseHead) -> bool:
        """Whether somebody listens; if not, the head is put aside for whoever comes later."""
        abandoned = False
        with self._lock:
            if self._listeners.get("response"):
                return True
            self._reader = 0
            if self._abandoned:
                abandoned = True
            else:
                self._unclaimed = head
            self._notify()
        if abandoned:
            self._drop_answer()
        else:
            self._look_for_consumers()
        return False

    def _guarded_interim(self, head: ResponseHead) -> None:
        try:
            self._interim(head)
        except Exception as error:
            self._listener_failed(error)
            raise _ListenerError from error

    def _next_head(self, until: float | None) -> ResponseHead:
        """Read a head, and make sure that somebody can take it; this thread is the reader.

        Raises:
            SocketTimeout: Not in time; nothing is lost.
            Exception: What ended the request.
        """
        if self._unclaimed is not None:  # the reader's alone, while there is one
            unclaimed, self._unclaimed = self._unclaimed, None
            return unclaimed
        while True:
            exchange = self._exchange
            assert exchange is not None
            try:
                head = exchange.read_head(until)
            except SocketTimeout:
                raise
            except Exception as error:
                if self._may_repeat(exchange, error) and self._repeat(exchange):
                    continue
                if isinstance(error, ParseError):
                    raise
                raise exchange.send_failure or error from None
            if head.tunnel and not self._wants_tunnel():
                raise ConnectionReset(
                    f"the server answered {head.status}, and nobody listens for "
                    f"{self._switch_event()!r} or is in get_tunnel",
                    "ECONNRESET",
                )
            return head

    def _wants_tunnel(self) -> bool:
        return self._tunnel_askers > 0 or self.listener_count(self._switch_event()) > 0

    def _switch_event(self) -> Literal["connect", "upgrade"]:
        return "connect" if self.method == "CONNECT" else "upgrade"

    def _interim(self, head: ResponseHead) -> None:
        if head.status == 100:
            with self._lock:
                self._continued = True
                self._notify()
            self._latch("continue")
            return
        self.emit(
            "information",
            Information(
                head.status,
                head.reason,
                f"1.{head.minor_version}",
                Headers(head.fields),
                flatten(head.fields),
            ),
        )

    def _accept(self, head: ResponseHead, *, hold: bool) -> IncomingMessage:
        """Make the response; the thread that reads calls this.

        Args:
            head: The final one.
            hold: Whether the request holds the response, so that late listeners can be given it.
        """
        exchange = self._exchange
        assert exchange is not None
        body = exchange.settle(head)
        response = IncomingMessage(head, exchange.socket, exchange)
        this: Any = self
        response.request = this
        response._on_over = self._answer_over
        if body is not None:
            response._arrived(body)
        self._answered(response, hold=hold)
        return response

    def _answered(self, response: IncomingMessage, *, hold: bool) -> None:
        with self._lock:
            self._answer = _giving(response) if hold else weakref.ref(response)
            self._reader = 0
            failure = self._failure
            if failure is not None:
                self._too_late = True
            if self._changed is not None:
                self._notify()
        if failure is not None and not response.complete:
            response._abort(failure)  # destroyed while the head was read

    def _release_answer(self) -> None:
        """The response is over: whoever wants it holds it, as it holds its request."""
        answer = None if self._answer is None else self._answer()
        if answer is not None:
            self._answer = weakref.ref(answer)
            self._latch_weakly("response")

    def _switched(self, head: ResponseHead, *, drive: bool) -> IncomingMessage | None:
        """The connection is a tunnel, or speaks another protocol from here on.

        Args:
            head: What the server says of it.
            drive: Whether this is the request's own thread, and what comes flows on it. If not, the
                socket has a thread for that.

        Returns:
            The response, unless the request was destroyed meanwhile.
        """
        exchange = self._exchange
        assert exchange is not None
        socket = exchange.socket
        try:
            socket._hold()
        except Exception as error:  # somebody has destroyed it just now
            self.destroy(exchange._loss(error, "read"))
            return None
        rest = exchange.detach()
        response = IncomingMessage(head, socket, exchange)
        this: Any = self
        response.request = this
        response.complete = True
        self._tunnel_rest = rest
        self._tunnel = True
        socket.ref()  # from now on it is the listener's, or who asked for it
        self._answered(response, hold=True)
        socket._driven = True
        try:
            if self._too_late:  # the exchange had left the socket alone
                socket.destroy()
            else:
                self._latch(self._switch_event(), response, socket, rest)
                self._latch("close")
                if drive:
                    socket._drive_claimed()
                else:
                    socket._leave_driving()
        except BaseException as raised:
            socket.destroy(raised if isinstance(raised, Exception) else None)
            raise
        finally:
            socket._release()
        if socket.destroyed:  # the tunnel is over as well
            self._answer = weakref.ref(response)
            self._unlatch(self._switch_event())
        return None if self._too_late else response

    def _timed_out(self) -> None:
        response = None if self._answer is None else self._answer()
        if response is None or not response.listener_count("timeout"):
            super()._timed_out()
            return
        _threads.run(response.emit, "timeout", response.socket, name="nhttp-timeout")
        if self.listener_count("timeout"):
            super()._timed_out()

    # A listener that comes late.

    def _listener_added(self, event: str) -> None:
        if event in CONSUMERS:
            self._consumer_added(event)
        elif event == "error" and self._is_latched("error"):
            self._error_seen = True

    def _consumer_added(self, event: str) -> None:
        """Somebody listens for the answer: read it on a thread of the request's own."""
        if self._style is UNDECIDED:
            if event == "continue" and self.has_header("expect"):
                self.flush_headers()
            return
        response = None
        with self._lock:
            readable = self._style is BLOCKING and self._direct
            if self._unclaimed is not None:
                readable = event == "response"  # for nobody else is that head of any use
            start = readable and not self._reader and self._answer is None and not self._destroyed
            if start:
                self._reader = -1
            elif event == "response" and self._answer is not None and not self._tunnel:
                response = self._answer()
        if start:
            self._start_reader()
        elif response is not None and self._style is BLOCKING:
            self._latch("response", response)

    def _start_reader(self) -> None:
        """Have the request's own thread read, which this one has claimed for it."""
        try:
            self._start(self._run_reader)
        except BaseException:  # no thread can be started: another one may read
            with self._lock:
                self._reader = 0
                self._notify()
            raise

    def _look_for_consumers(self) -> None:
        """Do what `_consumer_added` could not do yet."""
        for event in CONSUMERS:
            if self.listener_count(event):
                self._consumer_added(event)


def _giving(response: IncomingMessage) -> Callable[[], IncomingMessage]:
    return lambda: response
