"""request, get and ClientRequest: one request, driven by callbacks or by blocking calls.

Theory of operation. Everything that is written goes into the message's queue first; `_begin`
decides, when the first octet would go out, how the queue is emptied:

* *callback style*, when somebody listens for the answer by then: a thread of the request's own gets
  a socket, sends what is queued, reads the answer and emits it. Writes from then on are sent by
  whoever writes.
* *blocking style* otherwise: the thread that writes gets the socket and sends; `get_response` reads
  on the thread that calls it, and so does the response's body. A listener that comes later moves
  the reading to a thread of its own.

In both styles the request takes its place in the queue of its agent there and then, on the thread
that calls. A network error is latched: ``'error'`` listeners get it whenever they come,
`get_response` raises it. The answer is read even where sending failed, because a server may answer
early and close.

All of that is in `_request`, in four layers; here are the events, the end, and the ways to begin.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

from nhttp import _threads
from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestKeywords, RequestOptions, RequestSource, call_create
from nhttp._request.asking import AskingRequest, Tunnel
from nhttp._request.reading import Information
from nhttp._request.sending import CALLBACKS, UNDECIDED
from nhttp.errors import ConnectionReset, InvalidArgument
from nhttp.headers import Field, gather
from nhttp.outgoing import says_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket
    from nhttp.streams import Readable

__all__ = ["ClientRequest", "Information", "Tunnel", "get", "global_agent", "request"]

_log = logging.getLogger("nhttp.client")

global_agent = Agent()
"""The `Agent` of requests that name none (``http.globalAgent``)."""


class ClientRequest(AskingRequest):
    """A request in progress: what `request` and `get` return (``http.ClientRequest``).

    A writable stream for the request's body, and the place where its answer arrives: by listeners,
    or by `get_response`. As a context manager it gives the response and ends with it::

        with nhttp.get("http://127.0.0.1:8000/") as response:
            print(response.status_code, response.read())

    Any thread may call any method.

    Args:
        options: What it is made from.
        callback: A listener for ``'response'``, called on the request's own thread.

    Raises:
        InvalidArgument: Something of it cannot be sent; nothing was.

    Events, each at most once but for the last five; in callback style on the request's own thread:
        response: (response) the final answer's head is there; nothing of its body is emitted before
            this listener returns.
        connect: (response, socket, head) a CONNECT was answered with 2xx. Without a listener, or
            anybody in `get_tunnel`, the connection is closed.
        upgrade: (response, socket, head) 101 Switching Protocols. As for connect.
        continue: () the server wants the body.
        socket: (socket) the request has its socket.
        finish: () the whole request was handed to the operating system.
        abort: () `abort` was called.
        error: (exception) no answer came, and why.
        close: () nothing more will happen.
        information: (information) an interim answer, see `Information`.
        timeout: () nothing happened for as long as `set_timeout` said; on a helper thread.
        drain: () what was queued by a `write` that returned False was sent.
        pipe, unpipe: (source)

    Attributes:
        options: What it was made from.
        method: As it is sent, in upper case.
        path: The request target.
        aborted: When `abort` was called, in seconds since 1970 as of `time.time`; None before.
        socket: The connection; None before there is one.
        agent: The agent that gives the socket.

    Source: http.ClientRequest in the manual.
    """

    _latched: ClassVar[frozenset[str]] = frozenset(
        {
            "abort",
            "close",
            "connect",
            "continue",
            "error",
            "finish",
            "response",
            "socket",
            "upgrade",
        }
    )

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["drain", "finish", "close"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["pipe", "unpipe"], listener: Callable[[Readable], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["abort", "continue", "timeout"],
            listener: Callable[[], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["connect", "upgrade"],
            listener: Callable[[IncomingMessage, Socket, bytes], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["response"],
            listener: Callable[[IncomingMessage], object],
            /,
        ) -> Self: ...
        @overload
        def on(self, event: Literal["socket"], listener: Callable[[Socket], object], /) -> Self: ...
        @overload
        def on(
            self, event: Literal["information"], listener: Callable[[Information], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...  # noqa: D102

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    aborted: float | None = None

    def __init__(
        self,
        options: RequestOptions,
        callback: Callable[[IncomingMessage], object] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        agent = options.agent
        if agent is None:
            agent = global_agent if options.create_connection is None else False
        self.agent = _OneTimeAgent(options) if agent is False else _checked_agent(agent)
        self.method = options.method
        self.path = options.path
        protocol = options.protocol
        if protocol and protocol != self.protocol:
            raise InvalidArgument(
                f"protocol {protocol!r} is not supported: {self.protocol!r} is expected "
                "('https:' is for nhttp.https.request, 'http:' for nhttp.request)",
                "ERR_INVALID_PROTOCOL",
            )
        # A connection is kept only where that can be of use (Node 6).
        self.should_keep_alive = self.agent.keep_alive or self.agent.max_sockets != math.inf
        self._set_headers(options)
        seconds = self.agent.timeout if options.timeout is None else options.timeout
        self._seconds = seconds or 0.0
        # Its own from the beginning: see `Stream.__init__`.
        self.socket = self._exchange = self._answer = None
        self._direct = self._end_sent = self._head_ready = self._head_sent = False
        self._pending = None
        self._write_ended = self._write_finished = False
        self._corked = self._issuer = self._reader = 0
        self._style = UNDECIDED
        if callback is not None:
            self.once("response", callback)

    def _set_headers(self, options: RequestOptions) -> None:
        headers = gather(options.headers) if options.headers else {}
        if options.set_host and "host" not in headers:
            default = options.default_port or self.agent.default_port
            # RFC 9110, 7.2: as the first field.
            headers = {"host": options.host_field(default), **headers}
        if options.auth and "authorization" not in headers:
            headers["authorization"] = Field.of("Authorization", options.authorization())
        self._headers = headers
        if options.headers and says_length(headers):
            self._check_head()

    def __enter__(self) -> IncomingMessage:  # type: ignore[override]
        """Give the response: that is what a ``with`` block around a request is for."""
        return self.get_response()

    def __exit__(self, *exc_info: object) -> None:
        """Free the socket: a response that has not arrived to its end is given up."""
        response = None if self._answer is None else self._answer()
        if response is not None and response.complete and self._end_sent:
            self._tell("close")
        else:
            self._error_seen = True
            self.destroy()

    @property
    def host(self) -> str:
        """The host that is asked."""
        return self.options.target_host

    @property
    def protocol(self) -> str:
        """What its agent speaks: ``"http:"``, or ``"https:"``."""
        return self.agent.protocol

    # The end.

    def abort(self) -> None:
        """Give the request up: what is left of the answer is dropped, the socket destroyed.

        Emits ``'abort'`` the first time. May be called by any thread.

        Source: request.abort in the manual.
        """
        with self._lock:
            if self.aborted is not None:
                return
            self.aborted = time.time()
        self._latch("abort")
        self.destroy()

    def _destroy(self, error: BaseException | None) -> None:
        failure = error or ConnectionReset("the request was given up", "ECONNRESET")
        if error is None:
            self._error_seen = True  # by whoever has destroyed it
        with self._lock:
            if self._failure is None:
                self._failure = failure
            waiter, self._waiter = self._waiter, None
            deadline, self._deadline = self._deadline, None
            exchange = self._exchange
            answered = self._answer is not None
            answer = None if self._answer is None else self._answer()
            self._pending = self._pending_callbacks = None
            self._notify()
        if deadline is not None:
            deadline.cancel()
        if waiter is not None:
            waiter.cancel(failure)
        if exchange is not None:
            exchange.close(failure)
        if answered:  # from then on it is the answer's to tell, if somebody still has it
            self._error_seen = True
            if answer is not None and not answer.complete:
                answer._abort(failure)
        elif self._tell("error", failure):
            self._error_seen = True
        self._tell("close")

    def _answer_over(self, error: BaseException | None) -> None:
        """The response has ended, or broken off; its own listeners were told."""
        if "response" in self._latches:
            self._release_answer()
        exchange = self._exchange
        if error is not None and exchange is not None:
            self._error_seen = True
            exchange.close(error)
        with self._lock:
            if error is None and self._may_finish():
                self._close_due = True  # 'finish' comes first
                # `_all_sent` looks at that when it has stored what this looks at.
                if self._may_finish():
                    return
            unheard = self._latch_unheard("close")
        if not unheard:
            self._tell("close")

    def _discard(self) -> None:
        """Nobody can read the answer any more: free the socket."""
        with self._lock:
            if self._answer is not None or self._destroyed:
                return
            if self._reader or (self._style is CALLBACKS and self._unclaimed is None):
                self._abandoned = True  # a thread of its own reads: it will see to it
                return
        self._drop_answer()

    def _drop_answer(self) -> None:
        self._error_seen = True
        self.destroy(
            ConnectionReset(
                "the response was discarded: nobody read it, and its thread waits for a socket",
                "ECONNRESET",
            )
        )

    def __del__(self) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.over:
            # Not here: a finalizer runs wherever it happens to, also under the agent's lock.
            with contextlib.suppress(Exception):  # the interpreter is ending: it ends with it
                _threads.run(exchange.close, name="nhttp-discard")
        if self._failure is not None and not self._error_seen:
            # Not itself: whoever keeps the record would have it live on.
            _log.warning("%s failed, and nobody looked: %s", repr(self), self._failure)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.host}{self.path}>"


def _checked_agent(agent: object) -> Agent:
    if isinstance(agent, Agent):
        return agent
    raise InvalidArgument(
        f"agent is an Agent, False or None, not {agent!r}", "ERR_INVALID_ARG_TYPE"
    )


class _OneTimeAgent(Agent):
    """The agent of one request: ``agent=False``, or a `create_connection` and no agent."""

    def __init__(self, options: RequestOptions) -> None:
        super().__init__(
            keep_alive=options.keep_alive,
            keep_alive_initial_delay=options.keep_alive_initial_delay,
        )
        self._create = options.create_connection

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, Socket | None], object] | None = None,
    ) -> Socket | None:
        if self._create is not None:
            return call_create(self._create, options, callback)
        return super().create_connection(options, callback)


def request(
    source: RequestSource | None = None,
    callback: Callable[[IncomingMessage], object] | None = None,
    /,
    **options: Unpack[RequestKeywords],
) -> ClientRequest:
    """Make a request; write its body to what is returned, and `end` it.

    Args:
        source: A URL, a `RequestOptions`, or a mapping with the names of its attributes.
        callback: A listener for ``'response'``, called on the request's own thread.
        **options: On top of `source`; see `RequestOptions`.

    Raises:
        InvalidArgument: Something of it cannot be sent; nothing was.

    Example:
        >>> req = nhttp.request("http://127.0.0.1:8000/up", method="POST")  # doctest: +SKIP
        >>> req.write("some ")
        >>> req.end("data")
        >>> print(req.get_response().status_code)

    Source: http.request in the manual.
    """
    return ClientRequest(RequestOptions.gather(source, dict(options)), callback)


def get(
    source: RequestSource | None = None,
    callback: Callable[[IncomingMessage], object] | None = None,
    /,
    **options: Unpack[RequestKeywords],
) -> ClientRequest:
    """Make a request without a body, GET by default, and end it; see `request`.

    Example:
        >>> with nhttp.get("http://127.0.0.1:8000/") as response:  # doctest: +SKIP
        ...     print(response.read())

    Source: http.get in the manual.
    """
    made = request(source, callback, **options)
    made.end()
    return made
