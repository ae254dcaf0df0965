"""Connection: the life of one connection of a server, from its first octet to its last.

`Connection._serve` is the loop that every connection runs on its thread::

    read a head -> IncomingMessage, ServerResponse -> emit -> pump the body if it flows
    -> wait until the response is finished -> discard what is left of the body -> next, or close

so pipelined requests are answered in order, one after the other. Before each request the
connection may get another thread (`_resting`). Everything else about it happens on the one that it
has, with three exceptions: a body may be read, and a response finished, by any thread; the timer
thread notices when a bound is exceeded and wakes the reader (`_receiving`); the watcher thread
notices that a client has gone while nobody reads (`_gone`).
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final, Literal

from nhttp import _turns
from nhttp._closing import answer_bare, await_listener, linger
from nhttp._gone import unread
from nhttp._parser import EndOfMessage, RequestHead
from nhttp._receiving import FOREVER, Phase, ReceivingConnection
from nhttp._timers import now
from nhttp.errors import ConnectionReset, ParseError, SocketError, SocketTimeout, StateError
from nhttp.headers import tokens_of
from nhttp.incoming import IncomingMessage
from nhttp.net._quick import load_quick_send
from nhttp.response import ServerResponse

if TYPE_CHECKING:
    from nhttp.net import Socket
    from nhttp.server import Server

__all__ = ["Connection"]

_log = logging.getLogger("nhttp.server")

# A body that nobody read is discarded up to these bounds, so that the connection can be used again.
DISCARD_BYTES = 256 * 1024
DISCARD_SECONDS = 1.0

_EXCHANGE: Final = Phase.EXCHANGE  # see `_receiving`


class Connection(ReceivingConnection):
    """One connection of a server: the `Body` of its requests and the `Exchange` of its responses.

    Everything runs on the connection's thread, except `keep_alive_hint` (any thread). The fields
    belong to that thread, too.
    """

    def __init__(self, server: Server, socket: Socket) -> None:
        super().__init__(server, socket)
        # The manual: later changes are for connections that begin after them.
        self._keep_alive = server.keep_alive_timeout
        said = 0 < self._keep_alive < FOREVER and int(self._keep_alive)
        self._keep_alive_hint = f"Keep-Alive: timeout={said}\r\n" if said else ""
        self._kept = False  # at least one exchange is over
        # Octets of its body were left unread, and more of them may come.
        self._unread: IncomingMessage | None = None

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
            if self._request_limit == FOREVER:
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

    # What responses ask of the connection: `response.Exchange`, with `watch`.

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
        socket._set_limit(FOREVER)
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
        socket._set_limit(FOREVER)
        heard = isinstance(error, SocketTimeout) and server.emit("timeout", socket)
        if heard or server.emit("clientError", error, socket):
            await_listener(socket)
        else:
            answer_bare(socket, error.status if isinstance(error, ParseError) else 408)
            linger(socket)

    # Closing.

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


def _is_client_error(error: BaseException | None) -> bool:
    """Whether ``'clientError'`` is told: of everything but silence, which is no system call's."""
    if isinstance(error, SocketTimeout):
        return bool(error.syscall)
    return isinstance(error, Exception)
