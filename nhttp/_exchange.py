"""Exchange: one request on one connection, from the client's side.

Reads the heads and the body of the answer, and gives the socket back when both messages are over:
to the agent if it can be used again, destroyed otherwise. The `Body` of its response. It does not
know its request, so that a request that nobody holds any more can be noticed.
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING

from nhttp._parser import (
    NEED_DATA,
    EndOfMessage,
    Invalid,
    ResponseHead,
)
from nhttp._timers import now
from nhttp.errors import ConnectionReset, ParseError, SocketTimeout, StateError
from nhttp.net._descriptor import Hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nhttp._agent.agent import Agent
    from nhttp._agent.channel import Channel
    from nhttp._agent.options import RequestOptions
    from nhttp._parser.events import BodyEvent
    from nhttp.streams import BytesLike

__all__ = ["Exchange"]

_MARGIN = 1.0  # seconds that a server's promise to keep the connection is not trusted


class Exchange:
    """One request and its answer on one socket.

    One thread at a time reads. `sent` and `close` may be called by any thread.
    """

    def __init__(
        self, agent: Agent, channel: Channel, options: RequestOptions, *, reused: bool
    ) -> None:
        self.agent = agent
        self.channel = channel
        self.options = options
        self.socket = channel.socket
        self.parser = channel.parser
        self.reused = reused
        self.answered = False  # an octet of the answer has come
        self._keep_alive = True  # as far as the answer says
        self._expires = float("inf")
        self._lock = threading.Lock()  # guards the two below
        self._open_sides = 2  # the request to be sent, the answer to be read
        self._over = False
        self.socket._hold()

    # Reading.

    def expect(self, method: str, *, upgrade: bool) -> None:
        """Tell the parser what the answer is an answer to."""
        self.parser.expect(method, upgrade)

    def read_head(self, until: float | None = None) -> ResponseHead:
        """Block until there is a head, interim or final.

        Raises:
            SocketTimeout: The moment `until` came first; nothing is lost, it can be called again.
            ParseError: What came is no answer.
            ConnectionReset: The connection ended first.
        """
        event = self._next_event(until)
        if isinstance(event, ResponseHead):
            return event
        raise self._failure_of(event, "before an answer came")

    def _next_event(self, until: float | None = None) -> ResponseHead | BodyEvent:
        parser = self.parser
        event = parser.next_event()
        while event is NEED_DATA:
            if until is not None:
                self._await_data(until)
            data = self._receive()
            if data:
                self.answered = True
                parser.feed(data)
            else:
                parser.feed_eof()
            event = parser.next_event()
        return event

    def _receive(self) -> bytes:
        try:
            with Hold(self.socket):  # of its own: `close` may end the exchange's meanwhile
                return self.socket._receive(65536)
        except StateError as error:
            raise _given_up(error, "read") from None

    def _await_data(self, until: float) -> None:
        poller = select.poll()
        try:
            with Hold(self.socket):
                poller.register(self.socket._open_handle(), select.POLLIN)
                arrived = poller.poll(max(0.0, until - now()) * 1000)
        except StateError as error:
            raise _given_up(error, "read") from None
        if not arrived:
            raise SocketTimeout("no answer came in time", "ETIMEDOUT", syscall="read")

    def _failure_of(self, event: object, when: str) -> Exception:
        if isinstance(event, Invalid) and event.code != "HPE_INVALID_EOF_STATE":
            return ParseError(
                event.message,
                event.code,
                status=event.status,
                bytes_parsed=event.bytes_parsed,
                raw_packet=event.raw,
            )
        return ConnectionReset(f"the connection ended {when}", "ECONNRESET", syscall="read")

    def settle(self, head: ResponseHead) -> None:
        """Take from a final head what it says of the connection."""
        self._keep_alive = head.keep_alive
        hint = head.lookup.get("keep-alive")
        if hint is not None:
            seconds = _timeout_of(hint)
            if seconds is not None:
                self._expires = now() + max(0.0, seconds - _MARGIN)

    # What the response asks: `incoming.Body`.

    def read_body(self) -> bytes | EndOfMessage:
        """Read the next piece of the answer's body."""
        event = self._next_event()
        if isinstance(event, bytes):
            return event
        if isinstance(event, EndOfMessage):
            self.received()
            return event
        raise self._failure_of(event, "in the middle of the answer")

    def body_is_over(self) -> EndOfMessage | None:
        """Tell whether the octets just read were the last ones."""
        if self.parser.body_remaining != 0:
            return None
        end = self.parser.next_event()
        if not isinstance(end, EndOfMessage):
            return None
        self.received()
        return end

    def watch(self) -> None:
        """Nothing to watch: whoever reads notices, and who does not read is told when he does."""

    # Sending.

    def transmit(self, out: Sequence[BytesLike]) -> None:
        """Block until the kernel has all of it; one thread at a time.

        Raises:
            OSError: The connection failed. An answer may be there to be read all the same.
        """
        socket = self.socket
        try:
            with Hold(socket):
                socket._transmit(socket._open_handle(), out)
        except StateError as error:
            raise _given_up(error, "write") from None

    # The end.

    def sent(self, *, keep_alive: bool) -> None:
        """The whole request is with the kernel."""
        with self._lock:
            self._keep_alive = self._keep_alive and keep_alive
        self._side_over()

    def received(self) -> None:
        """The whole answer has been read."""
        with self._lock:
            if not self._keep_alive:
                self._open_sides = 1  # whatever was still to be sent is of no use any more
        self._side_over()

    def _side_over(self) -> None:
        with self._lock:
            self._open_sides -= 1
            if self._open_sides > 0 or self._over:
                return
            self._over = True
            keep = self._keep_alive
        socket = self.socket
        socket._on_idle = None
        if socket._timeout:
            socket.set_timeout(0)
        if keep and not self.parser.buffered and not socket.destroyed and self.channel.pooled:
            self.channel.expires = self._expires
            socket._release()
            self.agent._release(self.channel, self.options)
        else:
            self._drop(None)

    def _drop(self, error: BaseException | None) -> None:
        # First the slot: whoever is woken by the end of the connection finds it free.
        self.agent._forget(self.channel)
        self.socket.destroy(error)
        self.socket._release()

    def detach(self) -> bytes:
        """Give the socket to an 'upgrade' or 'connect' listener, with what has been read of it."""
        with self._lock:
            self._over = True
        self.socket._on_idle = None
        self.agent._forget(self.channel)
        return self.parser.take_rest()

    def close(self, error: BaseException | None = None) -> None:
        """Give the exchange up: nothing more is sent or read."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._drop(error)

    @property
    def over(self) -> bool:
        """Whether the socket was given back, or away, or destroyed."""
        return self._over


def _given_up(error: StateError, syscall: str) -> ConnectionReset:
    """Give the network error that somebody made who destroyed the socket."""
    return ConnectionReset(f"the connection was given up: {error}", "ECONNRESET", syscall=syscall)


def _timeout_of(hint: str) -> float | None:
    """Give the seconds that a ``Keep-Alive`` header promises."""
    for part in hint.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit():
            return float(value)
    return None
