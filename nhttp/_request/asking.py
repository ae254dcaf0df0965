"""Blocking style: the calls that wait for an answer, and read it, on the thread that makes them."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

from nhttp._request.connecting import NOT_ENDED
from nhttp._request.reading import ReadingRequest
from nhttp._request.sending import BLOCKING, UNDECIDED
from nhttp._timers import now
from nhttp.errors import SocketTimeout, StateError, TunnelRefused
from nhttp.options import check_seconds

if TYPE_CHECKING:
    from nhttp._parser import ResponseHead
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket

__all__ = ["AskingRequest", "Tunnel"]


class Tunnel(NamedTuple):
    """What `ClientRequest.get_tunnel` gives: a connection that is no longer HTTP's.

    Attributes:
        response: What the server has answered: 101, or 2xx to CONNECT. It has no body.
        socket: The connection, from now on the caller's.
        head: What has been read of it already.
    """

    response: IncomingMessage
    socket: Socket
    head: bytes


class AskingRequest(ReadingRequest):
    """The fourth layer of `ClientRequest`. Any thread may call any method."""

    def get_response(self, timeout: float | None = None) -> IncomingMessage:
        """Block until the answer's head is there, and give it; its body is read by whoever asks.

        Args:
            timeout: Seconds to wait for it at the most. Default: as long as it takes. A connection
                that this thread has to make first is bounded by `set_timeout` alone.

        Returns:
            The same response each time.

        Raises:
            InvalidArgument: `timeout` is not a number.
            TimeoutError: No answer in time; it can be asked for again.
            OSError: No answer came: refused, reset, timed out.
            ParseError: What came is no answer.
            StateError: The answer was a tunnel, which a listener got; or a response that nobody
                holds any more; or a listener asks on the thread that would have to read it.

        Example:
            >>> req = nhttp.request("http://127.0.0.1:8000/")  # doctest: +SKIP
            >>> req.end().get_response(timeout=5).status_code  # doctest: +SKIP
            200
        """
        until = None if timeout is None else _moment_of(timeout)
        if not self._head_sent:
            self._send_head()
        if not self._claim_reading(until, stop_at_continue=False):
            return self._known_answer()
        head = self._read_as_caller(until, stop_at_continue=False)
        assert head is not None
        return self._take_head(head)

    def _send_head(self) -> None:
        """Have the head sent, by this thread unless another one has begun to."""
        # A 'socket' listener may ask for the answer while its own thread has only just begun.
        if self._style is UNDECIDED or (self._direct and not self._head_sent):
            self.flush_headers()

    def _read_as_caller(
        self, until: float | None, *, stop_at_continue: bool
    ) -> ResponseHead | None:
        """Read on a thread that has claimed it, up to the final head or ``100 Continue``."""
        try:
            while (head := self._next_head(until)).interim:
                self._interim(head)
                if self._continued and stop_at_continue:
                    self._stop_reading()
                    return None
        except BaseException as error:
            expired = isinstance(error, SocketTimeout) and until is not None
            if expired and not self._write_ended and not stop_at_continue:
                error.add_note(NOT_ENDED)
            if isinstance(error, Exception) and not (expired and not self._destroyed):
                self._fail_reading(error)
            self._stop_reading()
            raise
        return head

    def _stop_reading(self) -> None:
        """Let another thread read, and one of the request's own if somebody listens by now."""
        with self._lock:
            self._reader = 0
            self._notify()
        self._look_for_consumers()

    def _take_head(self, head: ResponseHead) -> IncomingMessage:
        """Make the response that the calling thread is given."""
        if head.tunnel:
            self._switched(head, drive=False)
            raise self._was_a_tunnel() if self._tunnel else self._destroyed_error("read the answer")
        # Weakly: who drops the request and its response is done with both.
        response = self._accept(head, hold=False)
        if "response" in self._listeners:
            self._latch("response", response)
        return response

    def _was_a_tunnel(self) -> StateError:
        return StateError(
            "the answer made a tunnel: a listener is given it, or who calls get_tunnel",
            "ERR_STREAM_DESTROYED",
        )

    def _fail_reading(self, error: Exception) -> None:
        self._error_seen = True
        self.destroy(error)

    def _claim_reading(self, until: float | None, *, stop_at_continue: bool) -> bool:
        """Become the thread that reads; False when there is nothing to be read any more."""
        with self._lock:
            while True:
                if self._answer is not None or (stop_at_continue and self._continued):
                    return False
                if self._failure is not None or self._destroyed:
                    self._error_seen = True
                    raise self._destroyed_error("read the answer")
                ready = self._style is BLOCKING and self._exchange is not None
                if (ready or self._unclaimed is not None) and not self._reader:
                    if stop_at_continue and self._unclaimed is not None:
                        return False
                    self._reader = threading.get_ident()
                    return True
                if self._own_thread == threading.get_ident():
                    raise StateError(
                        "the answer cannot be waited for on the thread that reads it",
                        "ERR_INVALID_STATE",
                    )
                remaining = None if until is None else until - now()
                if remaining is not None and remaining <= 0:
                    raise SocketTimeout("no answer came in time", "ETIMEDOUT", syscall="read")
                self._wait(remaining)

    def _known_answer(self) -> IncomingMessage:
        if self._tunnel:
            raise self._was_a_tunnel()
        response = None if self._answer is None else self._answer()
        if response is None:
            raise StateError("the response was dropped already", "ERR_STREAM_DESTROYED")
        return response

    def get_tunnel(self, timeout: float | None = None) -> Tunnel:
        """Block until the server has made a tunnel of the connection, and give that.

        That is how it answers a CONNECT, or a request with ``Upgrade``, that it grants. Threads,
        errors and timeouts are those of `get_response`.

        Args:
            timeout: Seconds to wait for it at the most, as for `get_response`.

        Returns:
            The response, the socket, and what was read of it already: what the listeners of
            ``'connect'`` and ``'upgrade'`` are given. The same tunnel each time.

        Raises:
            TunnelRefused: The server has answered otherwise. `get_response` gives its answer.
            TimeoutError: No answer in time; it can be asked for again.
            OSError: No answer came: refused, reset, timed out.
            ParseError: What came is no answer.
            StateError: Nobody holds the tunnel, or the response, any more; or a listener asks on
                the thread that would have to read it.

        Example:
            >>> req = nhttp.request(proxy, method="CONNECT", path="a:80")  # doctest: +SKIP
            >>> response, socket, head = req.get_tunnel(timeout=5)
            >>> socket.write("through the tunnel")
        """
        until = None if timeout is None else _moment_of(timeout)
        with self._lock:
            self._tunnel_askers += 1
        try:
            self._send_head()
            if not self._claim_reading(until, stop_at_continue=False):
                return self._known_tunnel()
            head = self._read_as_caller(until, stop_at_continue=False)
        finally:
            with self._lock:
                self._tunnel_askers -= 1
        assert head is not None
        if not head.tunnel:
            self._put_aside(head)
            raise self._refusal(head.status, head.reason)
        response = self._switched(head, drive=False)
        if response is None:
            raise self._destroyed_error("read the answer")
        # Weakly, as in `_take_head`.
        self._answer = weakref.ref(response)
        self._latch_weakly(self._switch_event())
        return Tunnel(response, response.socket, self._tunnel_rest)

    def _known_tunnel(self) -> Tunnel:
        response = None if self._answer is None else self._answer()
        if self._tunnel and self._too_late:
            raise self._destroyed_error("read the answer")
        if response is None:
            what = "tunnel" if self._tunnel else "response"
            raise StateError(f"the {what} was dropped already", "ERR_STREAM_DESTROYED")
        if not self._tunnel:
            raise self._refusal(response.status_code, response.status_message)
        return Tunnel(response, response.socket, self._tunnel_rest)

    def _refusal(self, status: int, reason: str) -> TunnelRefused:
        asked = "CONNECT" if self.method == "CONNECT" else "upgrade"
        said = f"{status} {reason}".rstrip()
        return TunnelRefused(
            f"no tunnel: the server answered {said}, which refuses the {asked}", status
        )

    def wait_continue(self, timeout: float | None = None) -> bool:
        """Send the head, and block until the server wants the body.

        Args:
            timeout: Seconds to wait for that at the most. Default: as long as it takes. As for
                `get_response`, connecting is bounded by `set_timeout` alone.

        Returns:
            True: ``100 Continue`` came. False: a final answer came instead; see `get_response`.

        Raises:
            TimeoutError: Neither came in time. Sending the body then is allowed (RFC 9110, 10.1.1).
            OSError: The connection failed.
            ParseError: What came is no answer.
            StateError: As for `get_response`.
        """
        until = None if timeout is None else _moment_of(timeout)
        self._send_head()
        if not self._claim_reading(until, stop_at_continue=True):
            return self._continued
        head = self._read_as_caller(until, stop_at_continue=True)
        if head is None:
            return True
        if head.tunnel:
            self._switched(head, drive=False)
        else:
            self._put_aside(head)
        return False

    def _put_aside(self, head: ResponseHead) -> None:
        """Leave a final head, which this thread has read, to whoever asks for the response."""
        with self._lock:
            self._unclaimed = head
        self._stop_reading()


def _moment_of(timeout: object) -> float:
    """Give the moment at which a wait that begins now is over; less than 0 seconds are none."""
    if isinstance(timeout, (int, float)):
        timeout = max(timeout, 0)
    return now() + check_seconds("timeout", timeout)
