"""ReceivingConnection: how a server's connection gets its requests, and within which bounds.

A head is read by the connection's thread, a body by whoever wants it. Both wait for octets in the
same place, `_next_event`, and both are woken there: by the client, by its end, and by the timer
thread when a bound is exceeded (`_expired`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Final

from nhttp import _threads
from nhttp._closing import LINGER_SECONDS
from nhttp._gone import ClientWatch, unread
from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, Limits, RequestHead, RequestParser
from nhttp._resting import RestingConnection
from nhttp._silence import tell_silence
from nhttp._timers import now
from nhttp.errors import ConnectionReset, ParseError, SocketTimeout
from nhttp.incoming import parse_error

if TYPE_CHECKING:
    import socket as socket_module

    from nhttp._parser.events import BodyEvent
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket
    from nhttp.response import ServerResponse
    from nhttp.server import Server

__all__ = ["FOREVER", "Phase", "ReceivingConnection"]


class Phase(Enum):
    """What a connection is doing: what an expired deadline then means."""

    IDLE = "waiting for the first octet of a request"
    HEAD = "reading a head"
    EXCHANGE = "from a request's head to the end of its response"
    DISCARD = "dropping the body that nobody read, behind the response"
    TUNNEL = "handed to a 'connect' or 'upgrade' listener"
    OVER = "closing"


# Looking a member up in its Enum costs as much as a look-up in two dictionaries.
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD

FOREVER: Final = math.inf


class ReceivingConnection(RestingConnection):
    """The part of a `Connection` that reads: the `Body` of its requests.

    Everything runs on the connection's thread, except `close_if_idle` and `watch` (any thread),
    `read_body` and `body_is_over` (one thread at a time: the request's reader), `_socket_destroyed`
    (whoever destroys it), `_expired` (the timer thread), what these call, and `_tell_silence` (a
    helper thread). A field without a remark belongs to the connection's thread.
    """

    def __init__(self, server: Server, socket: Socket) -> None:
        super().__init__(server, socket)
        self.limits = Limits()
        self.parser = RequestParser(self.limits)  # the request's reader has it during an exchange
        self.phase = Phase.IDLE  # read by any thread
        self.late: SocketTimeout | None = None  # set by the timer thread before it wakes the reader
        # What came is not HTTP, or ended too early; set by whoever read it.
        self.broken: ParseError | None = None
        self.request: IncomingMessage | None = None  # read by any thread
        self.response: ServerResponse | None = None  # read by any thread
        # The manual: later changes are for connections that begin after them.
        self._timeout = server.timeout
        self._idle_seconds = 0.0  # silence that is allowed between requests; 0: as within them
        self._ended = False  # the client has ended its side between two requests
        self._stopped = False  # nothing more can be read; set by `close_if_idle`, in any thread
        self._request_limit = FOREVER  # when the request must have arrived; its reader looks
        self._bounded = False  # the socket was told of a limit
        self._client = ClientWatch(socket, self.parser)
        self._begun = False  # it has arrived; if somebody listens for that, it is told at once

    @abstractmethod
    def _fail(self, error: ParseError | SocketTimeout) -> None:
        """Deal with what is not HTTP, or came too late, when no answer has begun."""

    # Between two requests.

    def _arrive(self) -> None:
        self._begun = True
        socket = self.socket
        socket._driven = True  # reading is ours until an upgrade
        socket._on_idle = self._expired
        socket._on_destroyed = self._socket_destroyed
        socket.set_timeout(self._timeout)
        self._become_idle()

    def _become_idle(self) -> None:
        """Nothing of a next request is here."""
        if self._idle_seconds:
            self.socket._allow_silence(self._idle_seconds)
        self.phase = _IDLE
        if self.server._listening is None:
            # `close` has looked before the phase was right. What is there is still served.
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close the connection if no request is under way; any thread, and never blocks.

        Only reading is shut down: a request that is arriving just now is still served. Where part
        of it is here the rest must be able to follow, so its thread, which is about to read it, is
        left alone. What that has just taken is served if it is a whole request.
        """
        self.socket._stop_reading(self._stops)

    def _stops(self, handle: socket_module.socket) -> bool:
        """Whether nothing of a request has come, so that none is to come any more."""
        idle = not unread(handle) and self.phase is Phase.IDLE
        self._stopped = self._stopped or idle
        return idle

    # Heads.

    def _read_head(self) -> RequestHead | None:
        """Read the next head; None when there is none, or what came is none."""
        try:
            event = self._await_head()
        except Exception as error:
            if not self.socket._is_loss(error):
                raise
            # The client has gone, or the connection was destroyed here.
            if self.late is not None:
                self._fail(self.late)
            return None
        if isinstance(event, RequestHead):
            return event
        if isinstance(event, Invalid):
            self.broken = parse_error(event)
            self._fail(self.broken)
        return None

    def _await_head(self) -> RequestHead | BodyEvent | None:
        """Wait for the first octets of a request, if there are none, and then for its head."""
        server, socket, parser, limits = self.server, self.socket, self.parser, self.limits
        data = b""
        if self.phase is _IDLE:
            data = socket._receive(65536)
            if not data:
                self._ended = True
                return None
            if self._idle_seconds:
                # A deadline that is set for earlier is put off when it has come.
                socket._timeout = self._timeout
                if 0 < self._timeout < self._idle_seconds:
                    socket._arm()
        self.phase = _HEAD
        limits.max_head_size = server.max_header_size
        limits.max_headers_count = server.max_headers_count
        event = parser.receive(data) if data else parser.next_event()
        if self._stopped and not self._came_whole(event):
            return None
        if event is not NEED_DATA:
            return event
        if parser.is_idle():  # no more than the blank line that may come in front of a request
            self._step_aside()
            self._become_idle()
            return self._await_head()
        self._bound_request()
        return self._next_event(server.headers_timeout)

    def _bound_request(self) -> None:
        """Not all of a request is here: the rest must arrive in time."""
        seconds = self.server.request_timeout
        self._request_limit = now() + seconds if seconds else FOREVER

    def _bound(self, limit: float) -> None:
        self._bounded = True
        self.socket._set_limit(limit)

    def _unbound(self) -> None:
        """The request has arrived, or its end is not waited for any more."""
        self._bounded = False
        self._request_limit = FOREVER
        self.socket._set_limit(FOREVER)

    def _came_whole(self, event: RequestHead | BodyEvent) -> bool:
        """Whether all that belongs to a request came with the octets that its head came with."""
        if isinstance(event, RequestHead):
            tunnel = event.upgrade or event.method == "CONNECT"
            return not tunnel and (not event.has_body or self.parser.body_at_hand)
        return event is not NEED_DATA

    def _next_event(self, seconds: float = 0) -> RequestHead | BodyEvent:
        """Give the parser's next event, reading from the socket until there is one.

        Args:
            seconds: How long that may take; 0: as long as the whole request may.
        """
        parser, socket = self.parser, self.socket
        event = parser.next_event()
        if event is not NEED_DATA:
            return event
        if not self._comes_soon():
            self._step_aside()
        limit = min(now() + seconds, self._request_limit) if seconds else self._request_limit
        if limit != socket._limit:
            self._bound(limit)
        while event is NEED_DATA:
            try:
                data = socket._receive(65536)
            finally:
                # Why the reader was woken, whatever the socket says that is being closed for it.
                late = self.late
                if late is not None:
                    raise late
            if data:
                parser.feed(data)
            else:
                parser.feed_eof()
            event = parser.next_event()
        return event

    # Bodies: `incoming.Body`.

    def read_body(self) -> bytes | EndOfMessage:
        """Read the next piece of the request's body."""
        self._client.reading()
        try:
            event = self._next_event()
        finally:
            self._client.was_read()
        if isinstance(event, (bytes, EndOfMessage)):
            if isinstance(event, EndOfMessage):
                self._arrived(event)
            return event
        assert isinstance(event, Invalid)
        self.broken = parse_error(event)
        if event.code == "HPE_INVALID_EOF_STATE":
            raise ConnectionReset(
                "the client ended the connection in the middle of the body",
                "ECONNRESET",
                syscall="read",
            ) from self.broken
        raise self.broken

    def body_is_over(self) -> EndOfMessage | None:
        """Tell whether the octets just read were the last ones."""
        if self.parser.body_remaining != 0:
            return None
        end = self.parser.next_event()
        assert isinstance(end, EndOfMessage)
        self._arrived(end)
        return end

    def _arrived(self, end: EndOfMessage) -> None:
        """The request is complete: its bound is met."""
        if self.request is not None:
            self.request._completed(end)  # first: what follows may tell that the client has gone
        if self._bounded:
            self._unbound()
        self._client.arrived()

    def watch(self) -> None:
        """Somebody listens for the client's disappearance: watch it until the exchange ends."""
        if not self._stopped:  # otherwise this side's own end would be taken for the client's
            self._client.watch(self._latest)

    def _latest(self) -> tuple[IncomingMessage, ServerResponse] | None:
        """Give the messages of the exchange that is under way; any thread."""
        response = self.response
        return None if response is None else (response.request, response)

    # Deadlines, and other ends.

    def _socket_destroyed(self) -> None:
        """Somebody destroyed the socket: wake this connection's thread, wherever it waits."""
        request, response = self.request, self.response
        if request is not None:
            request._wake()
        if response is not None:
            response._wake()

    def _expired(self, socket: Socket) -> bool:
        """A deadline passed; on the timer thread, where nothing may block."""
        phase, due = self.phase, socket._limit <= now()
        if phase is Phase.OVER:
            socket.destroy()
        elif phase is Phase.IDLE and self._idle_seconds:
            self.close_if_idle()
        elif not due:
            _threads.run(self._tell_silence, name="nhttp-timeout")
        elif phase is Phase.DISCARD and self.late is not None:
            socket.destroy()
        else:
            self.late = SocketTimeout(
                "the request did not arrive in time", "ERR_HTTP_REQUEST_TIMEOUT"
            )
            if phase is Phase.DISCARD:
                # The answer is out, and must arrive: a reader that is woken now could not linger.
                socket._set_limit(now() + LINGER_SECONDS)
            else:
                self._wake_for_late()
        return True

    def _wake_for_late(self) -> None:
        self.socket._set_limit(FOREVER)
        self.socket._stop_reading()
        # The connection's thread may be waiting for another one, which need not be reading.
        request = self.request
        if request is not None:
            request._give_up()
        self._socket_destroyed()

    def _tell_silence(self) -> None:
        tell_silence(self.socket, self.request, self.response, self.server)
