"""Connection: the life of one connection of a server, from its first octet to its last.

`Connection.serve` is the loop that every connection runs on its own thread::

    read a head -> IncomingMessage, ServerResponse -> emit -> pump the body if it flows
    -> wait until the response is finished -> discard what is left of the body -> next, or close

so pipelined requests are answered in order, one after the other. Everything about one connection
happens on that thread, with three exceptions: a response may be finished by any thread; the timer
thread notices when a bound is exceeded and wakes the reader (`_expired`); the watcher thread
notices that a client has gone while nobody reads (`_peer_gone`).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import logging
import math
import termios
import threading
from enum import Enum
from typing import TYPE_CHECKING, Literal

from nhttp import _threads, _watcher
from nhttp._parser import NEED_DATA, EndOfMessage, Invalid, Limits, RequestHead, RequestParser
from nhttp._timers import now
from nhttp.errors import ConnectionReset, ParseError, SocketTimeout
from nhttp.incoming import IncomingMessage
from nhttp.response import ServerResponse
from nhttp.status import STATUS_CODES

if TYPE_CHECKING:
    import socket as socket_module

    from nhttp._parser.events import BodyEvent
    from nhttp.events import EventEmitter
    from nhttp.net import Socket
    from nhttp.server import Server

__all__ = ["Connection"]

_log = logging.getLogger("nhttp.server")

# A body that nobody read is discarded up to these bounds, so that the connection can be used again.
DISCARD_BYTES = 256 * 1024
DISCARD_SECONDS = 1.0
# What is still coming when a connection is given up is read and dropped for a while: closing on
# unread octets makes the kernel send a reset, which may overtake the answer (RFC 9112, 9.6).
LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0


class Phase(Enum):
    """What a connection is doing: what an expired deadline then means."""

    IDLE = "waiting for the first octet of a request"
    HEAD = "reading a head"
    EXCHANGE = "from a request's head to the end of its response"
    TUNNEL = "handed to a 'connect' or 'upgrade' listener"
    OVER = "closing"


class Connection:
    """One connection of a server: the `Body` of its requests and the `Exchange` of its responses.

    Everything runs on the connection's thread, except `close_if_idle` and `keep_alive_seconds` (any
    thread), `watch`, `start_body` and `response_done` (any thread), `_expired` (timer thread),
    `_peer_gone` (watcher thread) and `_tell_gone`, `_tell_timeout` (a helper thread).
    """

    def __init__(self, server: Server, socket: Socket) -> None:
        self.server = server
        self.socket = socket
        self.limits = Limits()
        self.parser = RequestParser(self.limits)
        self.phase = Phase.IDLE
        self.late: SocketTimeout | None = None  # set by the timer thread before it wakes the reader
        self.broken: ParseError | None = None  # what came is not HTTP, or ended too early
        self.request: IncomingMessage | None = None
        self.response: ServerResponse | None = None
        self._kept = False  # at least one exchange is over
        self._request_limit = math.inf  # when the request must have arrived
        self._lock = threading.Lock()  # guards `_watching` and `_fin_seen`
        self._watching: _watcher.Watch | None = None
        self._fin_seen = False

    # The loop.

    def serve(self) -> None:
        """Serve requests until there are no more, or the connection cannot go on."""
        server, socket = self.server, self.socket
        socket._driven = True  # reading is ours until an upgrade
        socket._owner = threading.get_ident()
        socket._on_idle = self._expired
        socket._on_destroyed = self._socket_destroyed
        socket.set_timeout(server.timeout)
        try:
            server.emit("connection", socket)
            while True:
                head = self._read_head()
                if head is None or not self._exchange(head):
                    break
            if self.phase is not Phase.TUNNEL:
                self._close()
        except OSError as error:
            # The client has gone. Those who listen are told below; nobody did anything wrong.
            _log.debug("connection lost: %s", error)
            socket.destroy(error)
        except BaseException:
            socket.destroy()
            raise
        finally:
            socket._owner = 0
            if self.phase is not Phase.TUNNEL:
                socket.destroy()
            self._end_exchange()

    def _read_head(self) -> RequestHead | None:
        """Read the next head; None when there is none, or what came is none."""
        server, parser = self.server, self.parser
        self.limits.max_head_size = server.max_header_size
        self.limits.max_headers_count = server.max_headers_count
        if parser.idle and not parser.buffered:
            if not self._await_request():
                return None
        else:
            self._request_begins()
        event = self._next_event(server.headers_timeout)
        if isinstance(event, RequestHead):
            return event
        if isinstance(event, Invalid):
            self._refuse(event)
        return None

    def _await_request(self) -> bool:
        """Wait, idle, for the first octets of a request; False when none will be served."""
        server, socket = self.server, self.socket
        if self._kept and server.keep_alive_timeout:
            socket._set_limit(now() + server.keep_alive_timeout)
        self.phase = Phase.IDLE
        if self._kept and not server.listening:
            return False
        data = socket._receive(65536)
        if not data:
            return False
        self._request_begins()
        self.parser.feed(data)
        return True

    def _request_begins(self) -> None:
        self.phase = Phase.HEAD
        socket, seconds = self.socket, self.server.request_timeout
        socket._timeout = self.server.timeout
        self._request_limit = now() + seconds if seconds else math.inf
        if socket._limit != math.inf:
            socket._set_limit(math.inf)

    def _next_event(self, seconds: float = 0) -> RequestHead | BodyEvent:
        """Give the parser's next event, reading from the socket until there is one.

        Args:
            seconds: How long that may take; 0: as long as the whole request may.
        """
        parser, socket = self.parser, self.socket
        event = parser.next_event()
        if event is not NEED_DATA:
            return event
        limit = min(now() + seconds, self._request_limit) if seconds else self._request_limit
        if limit != socket._limit:
            socket._set_limit(limit)
        while event is NEED_DATA:
            data = socket._receive(65536)
            if self.late is not None:
                raise self.late
            if data:
                parser.feed(data)
            else:
                parser.feed_eof()
            event = parser.next_event()
        return event

    # One exchange.

    def _exchange(self, head: RequestHead) -> bool:
        """Serve one request; False when the connection is not to be used again."""
        self.phase = Phase.EXCHANGE
        request = IncomingMessage(head, self.socket, self)
        request._driven = True  # by this thread, once the handler has returned
        if head.method == "CONNECT":
            return self._tunnel("connect", request)
        if head.upgrade:
            if not self._ignores_upgrade(head):
                return self._tunnel("upgrade", request)
            self.parser.resume()
        if not head.has_body:
            end = self.parser.next_event()
            assert isinstance(end, EndOfMessage)
            request._completed(end)
        response = ServerResponse(request, self)
        response.should_keep_alive = head.keep_alive
        self.request, self.response = request, response
        try:
            self._dispatch(head, request, response)
            self._see_through(request, response)
        except Exception as error:
            self._raised(error, request, response)
        return self._after_exchange(request, response)

    def _dispatch(
        self, head: RequestHead, request: IncomingMessage, response: ServerResponse
    ) -> None:
        """Emit the event that the request calls for."""
        server = self.server
        expectation = head.lookup.get("expect")
        if expectation is None or not head.minor_version:  # RFC 9110, 10.1.1
            server.emit("request", request, response)
        elif expectation.lower() == "100-continue":
            if not server.emit("checkContinue", request, response):
                response.write_continue()
                server.emit("request", request, response)
        elif not server.emit("checkExpectation", request, response):
            response.status_code = 417
            response.end()

    def _see_through(self, request: IncomingMessage, response: ServerResponse) -> None:
        """Let the body flow if somebody wants it, until the response is finished."""
        if response._done():
            return
        request._drive_claimed()
        with response._lock:
            while not response._done() and not self._dead():
                response._wait()

    def _dead(self) -> bool:
        return self.socket._destroyed or self.broken is not None or self.late is not None

    def _raised(self, error: Exception, request: IncomingMessage, response: ServerResponse) -> None:
        """A listener raised, or what it was doing with the connection failed."""
        if self._dead() and isinstance(error, (OSError, ParseError)):
            return  # the connection's failure, not the listener's
        self.server.handle_error(error, request, response)
        if not response._write_ended:
            self.socket.destroy()

    def _after_exchange(self, request: IncomingMessage, response: ServerResponse) -> bool:
        failure = self.late or self.broken
        if failure is not None and not self.socket._destroyed:
            if response._head_sent:
                if response._done():
                    self._linger()
            else:
                self._fail(failure)
            return False
        if self.socket._destroyed:
            return False
        self._unwatch()
        keep = response.should_keep_alive
        if keep and not request.complete:
            keep = self._discard(request)
        self.request = self.response = None
        self._kept = True
        return keep

    def _discard(self, request: IncomingMessage) -> bool:
        """Read and drop what is left of a body; False when that is too much, or takes too long."""
        self._request_limit = now() + DISCARD_SECONDS
        budget = DISCARD_BYTES
        try:
            while budget > 0:
                data = self.read_body()
                if isinstance(data, EndOfMessage):
                    request._completed(data)
                    return True
                budget -= len(data)
        except (OSError, ParseError):
            pass
        return False

    def _end_exchange(self) -> None:
        """The connection is over: an exchange that was not finished is told so."""
        self._unwatch()
        request, response = self.request, self.response
        self.request = self.response = None
        self.socket._on_destroyed = None
        if request is None or response is None:
            return
        error = self.socket.errored or ConnectionReset(
            "the client closed the connection", "ECONNRESET", syscall="read"
        )
        if not response._write_finished or not request.complete:
            request._abort(error)
        response._broken(error)

    # What messages ask of the connection: `incoming.Body` and `response.Exchange`.

    def read_body(self) -> bytes | EndOfMessage:
        """Read the next piece of the request's body."""
        event = self._next_event()
        if isinstance(event, (bytes, EndOfMessage)):
            if isinstance(event, EndOfMessage):
                self._arrived()
            return event
        assert isinstance(event, Invalid)
        self.broken = _parse_error(event)
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
        if not isinstance(end, EndOfMessage):
            return None
        self._arrived()
        return end

    def _arrived(self) -> None:
        """The request is complete: its bound is met, and the peer may be watched."""
        if self.socket._limit != math.inf:
            self.socket._set_limit(math.inf)
        with self._lock:
            told = self._fin_seen
        if told:
            _threads.run(self._tell_gone, name="nhttp-gone")

    def start_body(self) -> None:
        """Never asked for: the connection's thread drives its requests."""

    def response_done(self) -> None:
        """The response is sent, or given up: the connection's thread goes on."""
        request = self.request
        if request is not None:
            request._release()

    def keep_alive_seconds(self) -> float | None:
        """How long the connection is kept after this response; None: it is not."""
        server = self.server
        return server.keep_alive_timeout if server.listening else None

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
        that: those whose offer of HTTP/2 is sent by clients unasked, and those that carry a body,
            which
        a listener could not be given either, and which is lost if the connection is closed.
        """
        if self.server.listener_count("upgrade"):
            return False
        return head.has_body or head.lookup["upgrade"].lower() == "h2c"

    def _tunnel(self, event: Literal["connect", "upgrade"], request: IncomingMessage) -> bool:
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
        rest = self.parser.take_rest()
        request.complete = True
        self.phase = Phase.TUNNEL
        socket._on_destroyed = None
        written = socket.bytes_written
        try:
            server.emit(event, request, socket, rest)
        except Exception:
            _log.exception("the %r listener raised for %r", event, request)
            if socket.bytes_written == written:
                self._answer_bare(500)
            socket.destroy()
            return False
        socket._drive_claimed()
        return False

    # What cannot be served.

    def _refuse(self, event: Invalid) -> None:
        self.broken = _parse_error(event)
        self._fail(self.broken)

    def _fail(self, error: ParseError | SocketTimeout) -> None:
        """Deal with what is not HTTP, or came too late, when no answer has begun."""
        server, socket = self.server, self.socket
        self.phase = Phase.OVER
        if isinstance(error, SocketTimeout) and server.emit("timeout", socket):
            return
        if server.emit("clientError", error, socket):
            self._await_listener()
            return
        self._answer_bare(error.status if isinstance(error, ParseError) else 408)
        self._linger()

    def _answer_bare(self, status: int) -> None:
        line = f"HTTP/1.1 {status} {STATUS_CODES[status]}\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError):
            self.socket.end(line, "latin1")

    def _await_listener(self) -> None:
        """A 'clientError' listener has the socket: drop what comes until it has closed it."""
        socket = self.socket
        while not socket._done_writing():
            if not socket._receive(65536):
                with socket._lock:
                    while not socket._done_writing():
                        socket._wait()
        self._linger()

    # Closing.

    def close_if_idle(self) -> None:
        """Close the connection if no request is under way; any thread.

        Only reading is shut down: a request that is arriving just now is still served.
        """
        if self.phase is Phase.IDLE:
            self.socket._stop_reading()

    def _close(self) -> None:
        """Close in a way that lets the last response arrive."""
        self.phase = Phase.OVER
        if self.parser.buffered or self.request is not None or self.broken is not None:
            self._linger()

    def _linger(self) -> None:
        """Say that nothing more comes, and drop for a while what the client is still sending."""
        socket = self.socket
        self.phase = Phase.OVER
        if socket._destroyed:
            return
        socket._set_limit(now() + LINGER_SECONDS)
        with contextlib.suppress(OSError):
            socket.end()
            budget = LINGER_BYTES
            while budget > 0 and (data := socket._receive(65536)):
                budget -= len(data)

    # Deadlines.

    def _expired(self, socket: Socket) -> bool:
        """A deadline passed; on the timer thread, where nothing may block."""
        phase, due = self.phase, socket._limit <= now()
        if phase is Phase.IDLE and due:
            socket._stop_reading()
        elif phase is Phase.OVER:
            socket.destroy()
        elif due:
            self.late = SocketTimeout(
                "the request did not arrive in time", "ERR_HTTP_REQUEST_TIMEOUT"
            )
            socket._stop_reading()
        elif any(each.listener_count("timeout") for each in self._concerned()):
            _threads.run(self._tell_timeout, name="nhttp-timeout")
        else:
            socket.destroy(SocketTimeout("nothing happened on the connection", "ETIMEDOUT"))
        return True

    def _concerned(self) -> list[EventEmitter]:
        concerned = (self.request, self.response, self.server, self.socket)
        return [each for each in concerned if each is not None]

    def _tell_timeout(self) -> None:
        for each in self._concerned():
            if each is self.socket:
                each.emit("timeout")
            else:
                each.emit("timeout", self.socket)

    # A client that disappears while nobody reads.

    def watch(self) -> None:
        """Somebody listens for the client's disappearance: watch it until the exchange ends."""
        with self._lock:
            handle = self.socket._handle
            if self._watching is not None or handle is None or self.request is None:
                return
            self._watching = _watcher.watch(handle, self._peer_gone)

    def _unwatch(self) -> None:
        with self._lock:
            watching, self._watching = self._watching, None
            self._fin_seen = False
        if watching is not None:
            watching.cancel()

    def _peer_gone(self) -> None:
        """The client has ended its side, or reset; on the watcher thread."""
        request = self.request
        if request is None:
            return
        if not request.complete:
            # The rest of the request may be in front of the end; then it is told when it was read.
            with self._lock:
                self._fin_seen = True
            if not self._is_cut_short():
                return
        _threads.run(self._tell_gone, name="nhttp-gone")

    def _is_cut_short(self) -> bool:
        """Whether less has arrived than the body needs; False when that cannot be told."""
        remaining, handle = self.parser.body_remaining, self.socket._handle
        if remaining is None or handle is None:
            return False
        return self.parser.buffered + _unread(handle) < remaining

    def _tell_gone(self) -> None:
        request, response = self.request, self.response
        if request is not None:
            request._tell_aborted()
        if response is not None and not response._write_finished:
            response._latch("close")


def _parse_error(event: Invalid) -> ParseError:
    return ParseError(
        event.message,
        event.code,
        status=event.status,
        bytes_parsed=event.bytes_parsed,
        raw_packet=event.raw,
    )


def _unread(handle: socket_module.socket) -> int:
    """How many octets the kernel holds for us."""
    count = array.array("i", [0])
    fcntl.ioctl(handle.fileno(), termios.FIONREAD, count)
    return count[0]
