"""Agent: keeps connections and shares them out; what the manual says of it.

How requests come by their sockets is in `sharing`, which this stands on.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

from nhttp._agent.options import RequestKeywords, RequestOptions, RequestSource
from nhttp._agent.pool import Pool
from nhttp._agent.sharing import Sharing
from nhttp._agent.waiter import Making
from nhttp.errors import ConnectionAborted, InvalidArgument
from nhttp.net import Socket
from nhttp.options import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nhttp._agent.channel import Channel
    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage

__all__ = ["Agent"]


class Agent(Sharing):
    """Keeps connections for the requests of a client and shares them out (``http.Agent``).

    Any thread may call any method. Requests to one origin that find no free socket wait, first in,
    first out. As a context manager it is destroyed at the end.

    Args:
        keep_alive: Whether sockets are kept when no request waits for them. Default: False.
        keep_alive_initial_delay: Seconds of idleness before the kernel probes a kept connection.
            Default: 1.0.
        max_sockets: Sockets for one origin at the same time, 1 or more. Default: any number.
        max_free_sockets: Idle sockets kept for one origin. Default: 256.
        max_total_sockets: Sockets for all origins, 1 or more. Default: any number.
        scheduling: ``"lifo"`` uses the socket first that was used last, ``"fifo"`` the one that has
            been idle longest. Default: ``"lifo"``.
        timeout: The `timeout` of requests that have none of their own, and how long a socket is
            kept idle, in seconds. Default: None, no limit.

    Raises:
        InvalidArgument: A limit or a duration is too small or not a number, or `scheduling` is
            neither.

    Attributes:
        protocol: The `protocol` of requests that it serves: ``"http:"``.
        default_port: Where requests go that name no port: 80.

    Events:
        free: (socket, options) a request is done with a socket that can be used again; on that
            request's thread.

    Example:
        >>> with Agent(keep_alive=True, max_sockets=4) as agent:  # doctest: +SKIP
        ...     body = agent.get("http://127.0.0.1:8000/").get_response().read()

    Source: http.Agent in the manual.
    """

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["free"], listener: Callable[[Socket, RequestOptions], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on
        off = remove_listener = on

    protocol: ClassVar[str] = "http:"
    default_port: ClassVar[int] = 80

    def __init__(
        self,
        *,
        keep_alive: bool = False,
        keep_alive_initial_delay: float = 1.0,
        max_sockets: float = math.inf,
        max_free_sockets: float = 256,
        max_total_sockets: float = math.inf,
        scheduling: Literal["lifo", "fifo"] = "lifo",
        timeout: float | None = None,
    ) -> None:
        if scheduling not in ("lifo", "fifo"):
            raise InvalidArgument(
                f"scheduling is 'lifo' or 'fifo', not {scheduling!r}", "ERR_INVALID_ARG_VALUE"
            )
        super().__init__(
            Pool(
                max_sockets=_limit("max_sockets", max_sockets),
                max_free_sockets=_limit("max_free_sockets", max_free_sockets, 0),
                max_total_sockets=_limit("max_total_sockets", max_total_sockets),
                scheduling=scheduling,
            )
        )
        if timeout is not None:
            check_seconds("timeout", timeout)
        check_seconds("keep_alive_initial_delay", keep_alive_initial_delay)
        self.keep_alive = keep_alive
        self.keep_alive_initial_delay = keep_alive_initial_delay
        self.timeout = timeout

    # What the manual shows.

    @property
    def max_sockets(self) -> float:
        """How many sockets an origin may have at the same time."""
        return self._pool.max_sockets

    @max_sockets.setter
    def max_sockets(self, value: float) -> None:
        self._pool.max_sockets = _limit("max_sockets", value)
        self._admit()

    @property
    def max_free_sockets(self) -> float:
        """How many idle sockets are kept for an origin."""
        return self._pool.max_free_sockets

    @max_free_sockets.setter
    def max_free_sockets(self, value: float) -> None:
        self._pool.max_free_sockets = _limit("max_free_sockets", value, 0)

    @property
    def max_total_sockets(self) -> float:
        """How many sockets there may be for all origins."""
        return self._pool.max_total_sockets

    @max_total_sockets.setter
    def max_total_sockets(self, value: float) -> None:
        self._pool.max_total_sockets = _limit("max_total_sockets", value)
        self._admit()

    @property
    def sockets(self) -> dict[str, list[Socket]]:
        """The sockets in use, connecting ones included, by their origin: a copy of this moment."""
        with self._lock:
            found = _sockets_of(self._pool.sockets)
            for waiter in self._waiters:
                if waiter.dialling is not None:
                    found.setdefault(waiter.name, []).append(waiter.dialling)
        return found

    @property
    def free_sockets(self) -> dict[str, list[Socket]]:
        """The idle sockets, by the name of their origin: a copy of this moment."""
        with self._lock:
            return _sockets_of(self._pool.free_sockets)

    @property
    def requests(self) -> dict[str, list[ClientRequest]]:
        """The requests that wait for a socket, by the name of their origin: a copy."""
        with self._lock:
            waiting = self._pool.requests
        return {
            name: [each.request for each in waiters if each.request is not None]
            for name, waiters in waiting.items()
        }

    def get_name(
        self,
        options: RequestOptions | Mapping[str, Any] | None = None,
        /,
        **keywords: Unpack[RequestKeywords],
    ) -> str:
        """Give the name of the sockets that can serve a request.

        Args:
            options: A `RequestOptions`, or a mapping with the names of its attributes. Of these,
                host, port, local address, family and Unix path count.
            **keywords: The same, on top of `options`.

        Returns:
            ``host:port:local_address``, with the family or Unix path behind it if one was given.

        Raises:
            InvalidArgument: An option is not known or cannot be.

        Example:
            >>> Agent().get_name(host="h", port=8000)
            'h:8000:'

        Source: agent.getName in the manual.
        """
        if keywords or not isinstance(options, RequestOptions):
            options = RequestOptions.gather(options, keywords)
        host = options.hostname or options.host or "localhost"
        port = options.port or self._port_of(options)
        name = f"{host}:{port}:{options.local_address or ''}"
        if options.family:
            name += f":{options.family}"
        if options.socket_path:
            name += f":{options.socket_path}"
        return name

    def _port_of(self, options: RequestOptions) -> int:
        port = options.port
        return int(port) if port not in (None, "") else options.default_port or self.default_port

    # What a subclass may override.

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, Socket | None], object] | None = None,
    ) -> Socket | None:
        """Make the socket for a request; called on the request's thread, with no lock held.

        Meant to be overridden. The socket may be given in one of two ways: as the result, connected
        or connecting, or by calling `callback`, now or later and from any thread.

        Args:
            options: Where to connect to.
            callback: Takes an error or None, and the socket.

        Returns:
            The socket; None: `callback` gets it. What is raised instead fails the request.

        Source: agent.createConnection in the manual.
        """
        socket = self._make_socket(options)
        # Or the last small piece of a body would wait for the server's delayed acknowledgement.
        socket.set_no_delay()
        connect: Callable[..., Socket] = socket.connect
        if isinstance(callback, Making):  # asked by a request, whose thread has to wait anyway
            callback.dials(socket)
            connect = socket._connect_here
        if options.socket_path:
            return connect(path=options.socket_path)
        return connect(
            self._port_of(options),
            options.target_host,
            family=options.family,
            local_address=options.local_address,
        )

    def _make_socket(self, options: RequestOptions) -> Socket:
        """Make what `create_connection` connects."""
        del options
        return Socket()

    def keep_socket_alive(self, socket: Socket) -> bool:
        """Prepare a socket for being kept, when no request wants it; called with no lock held.

        Meant to be overridden. By default the socket is unref'd and probed by the kernel. Called by
        the thread that reads the last of the response, or sends the last of the request.

        Args:
            socket: Connected, and free.

        Returns:
            Whether to keep it. False, or anything false, has the socket destroyed instead.

        Source: agent.keepSocketAlive in the manual.
        """
        socket.unref()
        socket.set_keep_alive(True, self.keep_alive_initial_delay)
        return True

    def reuse_socket(self, socket: Socket, request: ClientRequest) -> None:
        """Prepare a kept socket for a request; called with no lock held.

        Meant to be overridden. By default there is nothing to do: where Node refs the socket, here
        whoever works on a request keeps the process alive. Called by the thread that sends the
        request.

        Args:
            socket: What `keep_socket_alive` prepared.
            request: Who gets it. What is raised here fails it.

        Source: agent.reuseSocket in the manual.
        """

    # Requests (the manual of v0.11.12).

    def request(
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a request that uses this agent; see `nhttp.request`."""
        gathered = RequestOptions.gather(source, options)
        gathered.agent = self
        return _request_class()(gathered, callback)

    def get(
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a GET request that uses this agent, and end it; see `nhttp.get`."""
        request = self.request(source, callback, **options)
        request.end()
        return request

    # Destroying.

    def destroy(self) -> None:
        """Destroy every socket, in use or idle; requests that wait for one fail.

        The agent can be used again afterwards.
        """
        with self._lock:
            channels, _ = self._pool.destroy()
            waiters = list(self._waiters)  # those that are dialling as well
            for channel in channels:
                channel.pooled = False
        for waiter in waiters:
            waiter.cancel(ConnectionAborted("the agent was destroyed", "ECONNABORTED"))
        for channel in channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.destroy()

    def __repr__(self) -> str:
        with self._lock:
            return f"<{type(self).__name__} {self._pool!r}>"


@functools.cache
def _request_class() -> type[ClientRequest]:
    from nhttp.client import ClientRequest  # it stands on this module

    return ClientRequest


def _limit(name: str, value: object, least: int = 1) -> float:
    if isinstance(value, (int, float)) and value >= least:  # NaN is not, either
        return value
    raise InvalidArgument(f"{name} is {least} or more, not {value!r}", "ERR_INVALID_ARG_VALUE")


def _sockets_of(channels: dict[str, list[Channel]]) -> dict[str, list[Socket]]:
    return {name: [each.socket for each in some] for name, some in channels.items()}
