"""Exchange: one request on one connection, from the client's side.

Reads the heads and the body of the answer, and gives the socket back when both messages are over:
to the agent if it can be used again, destroyed otherwise. The `Body` of its response. It does not
know its request, so that a request that nobody holds any more can be noticed.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING

from nhttp._parser import (
    NEED_DATA,
    EndOfMessage,
    Invalid,
    ResponseHead,
)
from nhttp._timers import now
from nhttp.errors import ConnectionReset, SocketTimeout, socket_error
from nhttp.incoming import parse_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nhttp._agent.channel import Channel
    from nhttp._agent.options import RequestOptions
    from nhttp._agent.sharing import Sharing
    from nhttp._parser.events import BodyEvent
    from nhttp.streams import BytesLike

__all__ = ["Exchange"]

_MARGIN = 1.0  # seconds that a server's promise to keep the connection is not trusted
_BLOCK = 64 * 1024
# A server that has answered within the first of these is waited for awake for the second, when it
# is asked again: for a thread that sleeps it takes as long to be woken, which is more than all else
# that a small request costs. Where the answer takes longer there is no gain, and no attempt.
_PROMPT_SECONDS = 0.0002
_AWAKE_SECONDS = 0.00005
_REPLAYED = 64 * 1024  # what is kept of a request, to be sent again on a fresh connection


class Exchange:
    """One request and its answer on one socket.

    One thread at a time reads. `sent` and `close` may be called by any thread.

    Args:
        agent: Who gave the socket, and takes it back.
        channel: The connection, with its parser.
        options: What the request was made from.
        reused: Whether the socket was used before.
        repeatable: Whether the request may be sent again, should such a socket turn out to be dead.

    Attributes:
        agent, channel, options, reused: As given.
        socket: The channel's.
        replay: What was sent so far, to be sent again; None: it cannot be, or is too long. Belongs
            to the thread that sends.
        send_failure: Why the request could not be sent, or no more of it. Also the sender's.
        answered: Whether an octet of the answer has come.
        over: Whether the socket was given back, or away, or destroyed.
    """

    __slots__ = (
        "_answer_read",
        "_dry",
        "_ending",
        "_keep_alive",
        "_request_sent",
        "agent",
        "answered",
        "channel",
        "options",
        "over",
        "replay",
        "reused",
        "send_failure",
        "socket",
    )

    def __init__(
        self,
        agent: Sharing,
        channel: Channel,
        options: RequestOptions,
        *,
        reused: bool,
        repeatable: bool,
    ) -> None:
        self.agent = agent
        self.channel = channel
        self.options = options
        self.socket = channel.socket
        self.reused = reused
        self.replay: bytes | None = b"" if reused and repeatable else None
        self.send_failure: OSError | None = None
        self.answered = False
        self._dry = True  # the parser has nothing to go on with; the reader's own
        # Each becomes what it becomes once, and stays it. Who is done with one message stores that,
        # and then looks at the other; so one of the two threads, at the least, sees both.
        self._keep_alive = True  # as far as both messages have said
        self._request_sent = self._answer_read = False
        self._ending = threading.Lock()  # taken for good, by whoever ends the exchange
        self.over = False

    # Reading.

    def read_head(self, until: float | None) -> ResponseHead:
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
        parser = self.channel.parser
        event = NEED_DATA if self._dry else parser.next_event()
        while event is NEED_DATA:
            if until is not None:
                self._await_data(until)
            data = self._receive()
            if data:
                event = parser.receive(data)
            else:
                parser.feed_eof()
                event = parser.next_event()
                if self.socket._truncated and isinstance(event, EndOfMessage):
                    raise _cut_short()
        self._dry = False
        return event

    def _receive(self) -> bytes:
        in_doubt = self.reused and not self.answered
        if in_doubt:
            self.channel.in_doubt = True
        socket = self.socket
        sent = socket._active
        socket._receiving = True  # a hold
        try:
            if socket._destroyed:
                raise socket._destroyed_error("read")
            if in_doubt and self.channel.prompt:
                socket._await_awake(_AWAKE_SECONDS)
            data = socket._receive(_BLOCK)
        except Exception as error:
            raise self._loss(error, "read") from None
        finally:
            socket._receiving = False
            if socket._destroyed:
                socket._left()
        if data:
            if not self.answered:
                self.answered = True
                self.channel.prompt = socket._active - sent < _PROMPT_SECONDS
            if in_doubt:
                self.channel.in_doubt = False
        return data

    def _await_data(self, until: float) -> None:
        socket = self.socket
        try:
            socket._hold()
            try:
                arrived = socket._await_readable(until - now())
            finally:
                socket._release()
        except Exception as error:
            raise self._loss(error, "read") from None
        if not arrived:
            raise SocketTimeout("no answer came in time", "ETIMEDOUT", syscall="read")

    def _loss(self, error: Exception, syscall: str) -> Exception:
        """Give what to raise for what a call on the socket raised.

        That is a network error also where somebody destroyed the socket, for whatever reason.
        """
        if isinstance(error, OSError) or not self.socket._is_loss(error):
            return error
        return ConnectionReset(
            f"the connection was given up: {error}", "ECONNRESET", syscall=syscall
        )

    def _failure_of(self, event: object, when: str) -> Exception:
        if isinstance(event, Invalid) and event.code != "HPE_INVALID_EOF_STATE":
            return parse_error(event)
        return ConnectionReset(f"the connection ended {when}", "ECONNRESET", syscall="read")

    def settle(self, head: ResponseHead) -> bytes | None:
        """Take from a final head what it says of the connection.

        Returns:
            The whole body, if it came with the head, or if there is none. Not where that would be
            the end of the connection: a listener may want to look at it.
        """
        if not head.keep_alive:
            self._keep_alive = False
        hint = head.lookup.get("keep-alive")
        seconds = None if hint is None else _timeout_of(hint)
        self.channel.promised = math.inf if seconds is None else max(0.0, seconds - _MARGIN)
        if head.has_body and not (self._keep_alive and self.agent.keep_alive):
            return None
        data = self.channel.parser.take_body()
        if data is not None:
            self.received()
        return data

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
        parser = self.channel.parser
        if parser.body_remaining != 0:
            return None
        end = parser.next_event()
        if not isinstance(end, EndOfMessage):
            return None
        self.received()
        return end

    def watch(self) -> None:
        """Nothing to watch: whoever reads notices, and who does not read is told when he does."""

    # Sending.

    def transmit(self, out: Sequence[BytesLike]) -> None:
        """Block until the kernel has all of it; one thread at a time.

        It does not let the socket go, since that may emit ``'close'``, and the caller holds a lock:
        `Descriptor._left` is to be called when that is given back, whatever is raised here.

        A connection that fails is no error here, for an answer may have come before: it is kept as
        `send_failure`, and nothing more is sent.
        """
        if self.replay is not None:
            self._remember(out)
        if self.send_failure is not None:
            return
        socket = self.socket
        socket._sending = True  # a hold
        try:
            if socket._destroyed:
                raise socket._destroyed_error("write")
            socket._transmit(out)
        except Exception as error:
            loss = self._loss(error, "write")
            if not isinstance(loss, OSError):
                raise
            self.send_failure = socket_error(loss, "write")
        finally:
            socket._sending = False

    def _remember(self, out: Sequence[BytesLike]) -> None:
        """Keep what is being sent on a used connection, in case it turns out to be dead."""
        if self.replay is not None:
            replay = b"".join([self.replay, *out])
            self.replay = replay if len(replay) <= _REPLAYED else None

    # The end.

    def sent(self, *, keep_alive: bool) -> None:
        """The whole request is with the kernel."""
        if not keep_alive:
            self._keep_alive = False
        self._request_sent = True
        if self._answer_read and self.give_up():
            self._leave()

    def received(self) -> None:
        """The whole answer has been read."""
        self._answer_read = True
        # On a connection that ends here, whatever is still to be sent is of no use any more.
        if (self._request_sent or not self._keep_alive) and self.give_up():
            self._leave()

    def _leave(self) -> None:
        """Both messages are over: give the socket back."""
        socket, channel = self.socket, self.channel
        socket._on_idle = None
        if socket._timeout:
            socket.set_timeout(0)
        reusable = self._keep_alive and channel.pooled and not channel.parser.buffered
        if reusable and not socket._destroyed:
            promised = channel.promised
            channel.expires = now() + promised if promised != math.inf else promised
            self.agent._give_back(channel, self.options)
        else:
            socket._goodbye()
            self.agent._drop(channel)

    def detach(self) -> bytes:
        """Give the socket to an 'upgrade' or 'connect' listener, with what has been read of it."""
        self.give_up()
        self.socket._on_idle = None
        self.agent._forget(self.channel)
        return self.channel.parser.take_rest()

    def give_up(self) -> bool:
        """Nothing more is sent or read; False if that was so before. The socket is left alone."""
        if not self._ending.acquire(blocking=False):
            return False
        self.over = True
        return True

    def close(self, error: BaseException | None = None) -> None:
        """Give the exchange up, and destroy the connection."""
        if self.give_up():
            self.agent._drop(self.channel, error)


def _cut_short() -> ConnectionReset:
    """Give the error for a body up to the end of a TLS stream that somebody else may have ended."""
    return ConnectionReset(
        "the answer may be cut short: the connection ended without TLS's close_notify",
        "ERR_SSL_UNEXPECTED_EOF_WHILE_READING",
        syscall="read",
    )


@functools.lru_cache(maxsize=32)
def _timeout_of(hint: str) -> float | None:
    """Give the seconds that a ``Keep-Alive`` header promises."""
    for part in hint.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit():
            return float(value)
    return None
