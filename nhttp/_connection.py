"""Connection: the life of one connection of a server, from its first octet to its last.

`Connection._serve` is the loop that every connection runs on its thread::

    read a head -> IncomingMessage, ServerResponse -> emit -> pump the body if it flows
    -> wait until the response is finished -> discard what is left of the body -> next, or close

so pipelined requests are answered in order, one after the other. Before each request the
connection may get another thread (`_resting`). Everything else about it happens on the one that it
has, with three exceptions: a body may be read, and a response finished, by any thread; the timer
thread notices when a bound is exceeded and wakes the reader (`_expired`); the watcher thread
notices that a client has gone while nobody reads (`_gone`).
"""

from __future__ import annotations

import contextlib
import logging
import math
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from nhttp import _threads, _turns
from nhttp._closing import LINGER_SECONDS, answer_bare, await_listener, linger
from nhttp._gone import ClientWatch, unread
from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, Limits, RequestHead, RequestParser
from nhttp._resting import RestingConnection
from nhttp._silence import tell_silence
from nhttp._timers import now
from nhttp.errors import ConnectionReset, ParseError, SocketError, SocketTimeout, StateError
from nhttp.headers import tokens_of
from nhttp.incoming import IncomingMessage, parse_error
from nhttp.net._quick import load_quick_send
from nhttp.response import ServerResponse

if TYPE_CHECKING:
    import socket as socket_module

    from nhttp._parser.events import BodyEvent
    from nhttp.net import Socket
    from nhttp.server import Server

__all__ = ["Connection"]

_log = logging.getLogger("nhttp.server")

# A body that nobody read is discarded up to these bounds, so that the connection can be used again.
DISCARD_BYTES = 256 * 1024
DISCARD_SECONDS = 1.0


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
_EXCHANGE: Final = Phase.EXCHANGE

_FOREVER: Final = math.inf


class Connection(RestingConnection):
    """One connection of a server: the `Body` of its requests and the `Exchange` of its responses.

    Everything runs on the connection's thread, except `close_if_idle`, `keep_alive_hint`
    and `watch` (any thread), `read_body` and `body_is_over` (one thread at a time: the
    request's reader), `_socket_destroyed` (whoever destroys it), `_expired` (the timer thread),
    what these call, and `_tell_silence` (a helper thread). A field without a remark belongs to the
    connection's thread.
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
        self._keep_alive = server.keep_alive_timeout
        said = 0 < self._keep_alive < _FOREVER and int(self._keep_alive)
        self._keep_alive_hint = f"Keep-Alive: timeout={said}\r\n" if said else ""
        self._kept = False  # at least one exchange is over
        self._idle_seconds = 0.0  # silence that is allowed between requests; 0: as within them
        # Octets of its body were left unread, and more of them may come.
        self._unread: IncomingMessage | None = None
        self._ended = False  # the client has ended its side between two requests
        self._stopped = False  # nothing more can be read; set by `close_if_idle`, in any thread
        self._request_limit = _FOREVER  # when the request must have arrived; its reader looks
        self._bounded = False  # the socket was told of a limit
        self._client = ClientWatch(socket, self.parser)
        self._begun = False  # it has arrived; if somebody listens for that, it is told at once

    # The loop.

    def _serve(self) -> bool:
        waits = False
        try:
            if not self._begun:
                self._arrive()
                self.server.emit(self.server._arrival, self.socket)
            while True:
                head = self._read_head()
                if head is None or not self._exchange(head):
                    break
                if self.parser.is_idle():
                    self._become_idle()
                    waits = self._can_rest()
                    if waits:
                        return True
            self._close()
        except Exception:
            # Not an exchange's listener: of 'connection', 'clientError', 'timeout', or a tunnel's.
            _log.exception("a listener raised; %r is closed", self.socket)
            self.socket.destroy()
        except BaseException:
            self.socket.destroy()
            raise
        finally:
            if not waits:
                self._end()
        return False

    def _arrive(self) -> None:
        self._begun = True
        socket = self.socket
        socket._driven = True  # reading is ours until an upgrade
        socket._on_idle = self._expired
        socket._on_destroyed = self._socket_destroyed
        socket.set_timeout(self._timeout)
        self._become_idle()

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

    def _become_idle(self) -> None:
        """Nothing of a next request is here."""
        if self._idle_seconds:
            self.socket._allow_silence(self._idle_seconds)
        self.phase = _IDLE
        if self.server._listening is None:
            # `close` has looked before the phase was right. What is there is still served.
            self.close_if_idle()

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
        self._request_limit = now() + seconds if seconds else _FOREVER

    def _bound(self, limit: float) -> None:
        self._bounded = True
        self.socket._set_limit(limit)

    def _unbound(self) -> None:
        """The request has arrived, or its end is not waited for any more."""
        self._bounded = False
        self._request_limit = _FOREVER
        self.socket._set_limit(_FOREVER)

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

    # One exchange.

    def _exchange(self, head: RequestHead) -> bool:
        """Serve one request; False when the connection is not to be used again."""
        server, socket = self.server, self.socket
        request = IncomingMessage(head, socket, self)
        request._driven = True  # by this thread, once the handler has returned
        if head.method == "CONNECT":
            return self._tunnel("connect", request)
        if head.upgrade:
            if not self._ignores_upgrade(head):
                return self._tunnel("upgrade", request)
            self.parser.resume()
        expects = head.minor_version and "expect" in head.lookup  # RFC 9110, 10.1.1
        body = None if expects and head.has_body else self.parser.take_body()
        if body is None:
            if self._request_limit == _FOREVER:
                self._bound_request()
            self._bound(self._request_limit)  # the head's bound is met
        else:  # all of it came with the head, as most do, and there may be nothing
            request._arrived(body)
            if self._bounded:
                self._unbound()
        response = ServerResponse(request, self)
        response.should_keep_alive = head.keep_alive
        self.request, self.response = request, response
        self.phase = _EXCHANGE
        try:
            if expects:
                self._dispatch_expecting(request, response)
            else:
                server.emit("request", request, response)
            if request._flowing or not response._write_finished:
                self._see_through(request, response)
        except Exception as error:
            self._raised(error, request, response)
        return self._after_exchange(request, response)

    def _dispatch_expecting(self, request: IncomingMessage, response: ServerResponse) -> None:
        """Emit the event that a request with an ``Expect`` field calls for."""
        server = self.server
        if set(tokens_of(request.headers["expect"])) == {"100-continue"}:
            if not server.emit("checkContinue", request, response):
                response.write_continue()
                server.emit("request", request, response)
        elif not server.emit("checkExpectation", request, response):
            response.status_code = 417
            response.end()

    def _see_through(self, request: IncomingMessage, response: ServerResponse) -> None:
        """Let the body flow if somebody wants it, until the response is finished."""
        if request._wanted() or not self.socket._write_finished:
            request._drive_claimed()
        self._await_end(response)

    def _await_end(self, response: ServerResponse) -> None:
        if not response._done():
            self._step_aside()
        with response._lock:
            while not (response._done() or self._dead() or self.socket._write_finished):
                response._wait()

    def _dead(self) -> bool:
        return self.socket._destroyed or self.broken is not None or self.late is not None

    def _raised(self, error: Exception, request: IncomingMessage, response: ServerResponse) -> None:
        """A listener raised, or what it was doing with the connection failed."""
        if self._is_loss(error):
            return
        try:
            self.server.handle_error(error, request, response)
        except Exception as failed:
            if not self._is_loss(failed):
                _log.exception("handle_error raised for %r; the connection is closed", request)
            self.socket.destroy()
        if response._write_ended:
            self._await_end(response)  # another thread may still be sending it
        else:
            self.socket.destroy()

    def _is_loss(self, error: Exception) -> bool:
        """Whether this is how a handler hears that its connection is lost: nobody's mistake."""
        if not self._dead():
            return False
        destroyed = isinstance(error, StateError) and error.code == "ERR_STREAM_DESTROYED"
        said = destroyed or error is self.socket._failure  # what `destroy` was given
        return said or isinstance(error, (SocketError, ParseError))

    def _after_exchange(self, request: IncomingMessage, response: ServerResponse) -> bool:
        if self.socket._destroyed:
            return False
        failure = self.late or self.broken
        if failure is not None:
            # An answer that has begun and will not be finished can only be broken off.
            if not response._head_sent:
                self._fail(failure)
            elif response._done():
                self._linger()
            else:
                self.socket.destroy(failure)
            return False
        if not response._write_finished:  # a listener ended the socket: no answer can follow that
            self._linger()
            return False
        self._client.rest()
        keep = response.should_keep_alive
        if not request.complete:
            keep = keep and self._discard(request)
            self._unread = None if keep else request
        elif request._rest:
            request._drop_untouched()
        self.request = self.response = None
        socket = self.socket
        if not self._kept:  # a connection that goes on is worth what it takes to load this
            self._kept = True
            self._idle_seconds = self._keep_alive
            socket._quick_send = load_quick_send()
        if socket._timeout != self._timeout:  # a listener set it for this exchange
            socket._allow_silence(self._timeout)
        if self._bounded:
            self._unbound()
        return keep

    def _discard(self, request: IncomingMessage) -> bool:
        """Read and drop what is left of a body; False when that is too much, or takes too long."""
        self.phase = Phase.DISCARD
        self._request_limit = now() + DISCARD_SECONDS
        self._bound(self._request_limit)
        request._seize()
        budget = DISCARD_BYTES
        with contextlib.suppress(ParseError), self.socket._ignoring_loss():
            while budget > 0:
                data = self.read_body()
                if isinstance(data, EndOfMessage):
                    request._completed(data)
                    return True
                budget -= len(data)
        return False

    # What messages ask of the connection: `incoming.Body` and `response.Exchange`.

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

    def keep_alive_hint(self) -> str | None:
        """The line that says how long the connection is kept; None: it is not kept at all."""
        if self._stopped or self.server._listening is None:
            return None
        request, response = self.request, self.response
        if request is not None and response is not None and not request.complete:
            # A client that is not told would send its next request behind what is left of this one.
            left = self.parser.body_remaining
            if left is not None and left > DISCARD_BYTES and response._write_ended:
                return None
        return self._keep_alive_hint

    def _socket_destroyed(self) -> None:
        """Somebody destroyed the socket: wake this connection's thread, wherever it waits."""
        request, response = self.request, self.response
        if request is not None:
            request._wake()
        if response is not None:
            response._wake()

    # Upgrades and tunnels.

    def _ignores_upgrade(self, head: RequestHead) -> bool:
        """Whether to serve the request as if it did not ask for another protocol.

        Without a listener the manual has the connection closed. Two kinds of request do not deserve
        that: those whose offer of HTTP/2 is sent by clients unasked, and those with a body, which
        would be lost.
        """
        if self.server.listener_count("upgrade"):
            return False
        return head.has_body or head.lookup["upgrade"].lower() == "h2c"

    def _tunnel(
        self, event: Literal["connect", "upgrade"], request: IncomingMessage
    ) -> Literal[False]:
        """Hand the connection to a listener, and serve it as its own thread from then on."""
        server, socket = self.server, self.socket
        if not server.listener_count(event):
            socket.destroy()
            return False
        if request._head.has_body:
            # The body comes before the new protocol begins, and a listener is given neither.
            self.broken = ParseError(
                "a request that asks for an upgrade must not have a body", "HPE_STRICT"
            )
            self._fail(self.broken)
            return False
        self._step_aside()  # for as long as the tunnel is there
        rest = self.parser.take_rest()
        request.complete = True
        self.phase = Phase.TUNNEL
        # The socket may outlive this object: it keeps no reference to it.
        socket._on_destroyed = None
        socket._on_idle = server._tunnel_expired
        socket._set_limit(_FOREVER)
        written = socket.bytes_written
        try:
            heard = server.emit(event, request, socket, rest)
        except Exception as error:
            if not self._is_loss(error):
                _log.exception("the %r listener raised for %r; it is closed", event, request)
            if socket.bytes_written == written:
                answer_bare(socket, 500)
                self._linger()
            socket.destroy()
            return False
        if heard:
            socket._drive_claimed()
        else:  # the listener went away meanwhile: it was there for another connection
            socket.destroy()
        return False

    # What cannot be served.

    def _fail(self, error: ParseError | SocketTimeout) -> None:
        """Deal with what is not HTTP, or came too late, when no answer has begun."""
        server, socket = self.server, self.socket
        self._step_aside()
        self.phase = Phase.OVER
        socket._set_limit(_FOREVER)
        heard = isinstance(error, SocketTimeout) and server.emit("timeout", socket)
        if heard or server.emit("clientError", error, socket):
            await_listener(socket)
        else:
            answer_bare(socket, error.status if isinstance(error, ParseError) else 408)
            linger(socket)

    # Closing.

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

    def _close(self) -> None:
        """Close, in a way that lets the last response arrive."""
        handle = self.socket._handle
        if self.phase in (Phase.TUNNEL, Phase.OVER) or self.socket._destroyed or handle is None:
            return
        if self._unread or self.parser.buffered or (not self._ended and unread(handle)):
            self._linger()
        else:
            self.socket._goodbye()

    def _linger(self) -> None:
        self._step_aside()
        self.phase = Phase.OVER
        linger(self.socket, self._unread)

    def _end(self) -> None:
        """The loop is left: close, and tell whoever has not been told."""
        socket = self.socket
        if self._rests:
            _turns.leave(self)
        socket._owner = 0
        self._client.end()
        request, response = self.request, self.response
        self.request = self.response = None
        if self.phase is not Phase.TUNNEL:
            error = socket.errored
            why = error or self.late or self.broken
            if request is None:
                socket._retire()
            else:
                socket.destroy()
            socket._on_destroyed = socket._on_idle = None
            try:
                if request is not None and response is not None:
                    self._tell_lost(request, response, why)
                if self.phase is not Phase.OVER and _is_client_error(error):
                    self.server.emit("clientError", error, socket)
            except Exception:
                _log.exception("a listener for the end of %r raised", request)
        # Their tracebacks lead back here, as may what a handler has left in the context.
        self.late = self.broken = None
        del self._context

    def _tell_lost(
        self,
        request: IncomingMessage,
        response: ServerResponse,
        error: BaseException | None,
    ) -> None:
        """An exchange was not seen through: its messages are told so."""
        error = error or ConnectionReset(
            "the connection was closed before the response was finished",
            "ECONNRESET",
            syscall="read",
        )
        try:
            if not response._write_finished or not request.complete:
                request._abort(error)
        finally:
            response._broken(error)

    # Deadlines.

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
        self.socket._set_limit(_FOREVER)
        self.socket._stop_reading()
        # The connection's thread may be waiting for another one, which need not be reading.
        request = self.request
        if request is not None:
            request._give_up()
        self._socket_destroyed()

    def _tell_silence(self) -> None:
        tell_silence(self.socket, self.request, self.response, self.server)


def _is_client_error(error: BaseException | None) -> bool:
    """Whether ``'clientError'`` is told: of everything but silence, which is no system call's."""
    if isinstance(error, SocketTimeout):
        return bool(error.syscall)
    return isinstance(error, Exception)
