"""https.Agent: an Agent whose sockets are TLS, and which resumes the sessions of its servers."""

from __future__ import annotations

import functools
import math
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Unpack, cast

import attrs

from nhttp import tls
from nhttp._agent import agent as http
from nhttp._agent import options as http_options
from nhttp.client import ClientRequest
from nhttp.https._options import RequestOptions, server_name, tls_options_of
from nhttp.https._recent import Recent
from nhttp.options import check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nhttp._agent.options import RequestOptions as HttpRequestOptions
    from nhttp._agent.options import RequestSource, SocketCallback
    from nhttp.https._options import RequestKeywords
    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket
    from nhttp.tls import ClientKeywords, ClientOptions, TLSSession, TLSSocket

__all__ = ["Agent", "make_request"]

# A certificate and its key go together; a ready context has everything that contexts are made from.
_IDENTITY = frozenset({"cert", "key", "pfx", "passphrase"})
_READY = frozenset({"secure_context", "ssl_context"})
_MATERIAL = frozenset(field.name for field in attrs.fields(tls.ContextOptions))

_MERGED = 64  # combinations of an agent's and requests' TLS options that are remembered


class _Security(NamedTuple):
    """TLS options in force, and what tells connections with them from others."""

    options: ClientOptions
    digest: str


class Agent(http.Agent):
    """Keeps TLS connections for the requests of a client and shares them out (``https.Agent``).

    Everything that `nhttp.Agent` is, and besides: TLS options for all requests that do not say
    otherwise, and a session for each origin, so that its next connection costs less.

    Args:
        keep_alive: As of `nhttp.Agent`, like all that is not listed here.
        keep_alive_initial_delay: See there.
        max_sockets: See there.
        max_free_sockets: See there.
        max_total_sockets: See there.
        scheduling: See there.
        timeout: See there.
        max_cached_sessions: Of how many origins the session is kept; 0: of none. Default: 100.
        **options: The TLS options of `RequestOptions`.

    Raises:
        InvalidArgument: An option is not known, or cannot be.

    Example:
        >>> with Agent(keep_alive=True, ca=Path("ca.pem")) as agent:  # doctest: +SKIP
        ...     body = agent.get("https://localhost:8443/").get_response().read()

    Source: https.Agent of Node 6.
    """

    protocol: ClassVar[str] = "https:"
    default_port: ClassVar[int] = 443

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
        max_cached_sessions: int = 100,
        **options: Unpack[ClientKeywords],
    ) -> None:
        super().__init__(
            keep_alive=keep_alive,
            keep_alive_initial_delay=keep_alive_initial_delay,
            max_sockets=max_sockets,
            max_free_sockets=max_free_sockets,
            max_total_sockets=max_total_sockets,
            scheduling=scheduling,
            timeout=timeout,
        )
        limit = check_count("max_cached_sessions", max_cached_sessions)
        self._given: dict[str, Any] = dict(options)
        self._security = _secured(self._given)
        self._merged: Recent[tuple[object, ...], _Security] = Recent(_MERGED)
        self._sessions: Recent[str, TLSSession] = Recent(limit)  # by name

    @property
    def max_cached_sessions(self) -> int:
        """Of how many origins the session is kept."""
        return self._sessions.limit

    @max_cached_sessions.setter
    def max_cached_sessions(self, value: int) -> None:
        self._sessions.limit = check_count("max_cached_sessions", value)

    # What of it is otherwise than in HTTP.

    def get_name(  # pyright: ignore[reportIncompatibleMethodOverride] # more keywords
        self,
        options: HttpRequestOptions | Mapping[str, Any] | None = None,
        /,
        **keywords: Unpack[RequestKeywords],
    ) -> str:
        """Give the name of the sockets that can serve a request.

        Args:
            options: A `RequestOptions`, or a mapping with the names of its attributes. Of these,
                what counts for `nhttp.Agent`, and every TLS option but `session` and
                `handshake_timeout`.
            **keywords: The same, on top of `options`.

        Returns:
            The name that `nhttp.Agent` gives, the server's name if the certificate is to have
            another than the host, and a digest of the other TLS options, keys among them.

        Raises:
            InvalidArgument: An option is not known or cannot be.
        """
        if keywords or not isinstance(options, http_options.RequestOptions):
            options = RequestOptions.gather(options, keywords)
        security = self._security_of(options)
        server = _server_of(options, security)
        shown = "" if server == options.target_host else server
        return f"{super().get_name(options)}:{shown}:{security.digest}"

    def create_connection(
        self, options: HttpRequestOptions, callback: SocketCallback | None = None
    ) -> Socket | None:
        """Make the socket for a request; see `nhttp.Agent.create_connection`.

        Args:
            options: Where to connect to, and how. If they have a `socket`, TLS goes over that.
            callback: Takes an error or None, and the socket.
        """
        inner = options.socket if isinstance(options, RequestOptions) else None
        if inner is None:
            return super().create_connection(options, callback)
        return self._make_socket(options).connect_over(inner)

    def _make_socket(self, options: HttpRequestOptions) -> TLSSocket:
        name, sessions = self.get_name(options), self._sessions
        security = self._security_of(options)
        socket = tls.TLSSocket(
            attrs.evolve(
                security.options,
                servername=_server_of(options, security),
                session=security.options.session or sessions.get(name),
            )
        )
        socket.on("session", functools.partial(sessions.put, name))
        socket.once("close", _Eviction(sessions, name, socket))
        return socket

    def _security_of(self, options: HttpRequestOptions) -> _Security:
        """Give the TLS options of a request: its own, and the agent's for those that it has not."""
        given = tls_options_of(options)
        if not given:
            return self._security
        key = tuple((name, _hashable(value)) for name, value in given.items())
        try:
            known = self._merged.get(key)
        except TypeError:  # no option can be of such a kind, which is refused now
            return _secured(_laid_over(self._given, given))
        if known is None:
            known = _secured(_laid_over(self._given, given))
            self._merged.put(key, known)
        return known

    # Requests.

    def request(  # pyright: ignore[reportIncompatibleMethodOverride] # more keywords
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a request that uses this agent; see `https.request`."""
        return make_request(self, RequestOptions.gather(source, options), callback)

    def get(  # pyright: ignore[reportIncompatibleMethodOverride] # more keywords
        self,
        source: RequestSource | None = None,
        callback: Callable[[IncomingMessage], object] | None = None,
        /,
        **options: Unpack[RequestKeywords],
    ) -> ClientRequest:
        """Make a GET request that uses this agent, and end it; see `https.get`."""
        request = self.request(source, callback, **options)
        request.end()
        return request


def make_request(
    agent: http.Agent,
    options: RequestOptions,
    callback: Callable[[IncomingMessage], object] | None,
) -> ClientRequest:
    """Make a request that uses an agent, which may be one for HTTP: then the URL must be so, too.

    Raises:
        InvalidArgument: Something of it cannot be sent, or a TLS option cannot be.
    """
    options.agent = agent
    if isinstance(agent, Agent):
        agent._security_of(options)  # refused here, rather than when the connection is made
    return ClientRequest(options, callback)


class _Eviction:
    """Forgets the session of a connection that has failed: it may be the reason (Node)."""

    def __init__(self, sessions: Recent[str, TLSSession], name: str, socket: TLSSocket) -> None:
        self._sessions = sessions
        self._name = name
        self._socket = weakref.ref(socket)  # no circle: it has this as its listener

    def __call__(self) -> None:
        socket = self._socket()
        if socket is not None and socket.errored is not None:
            self._sessions.drop(self._name)


def _server_of(options: HttpRequestOptions, security: _Security) -> str:
    said = security.options.servername
    return server_name(options) if said is None else said


def _laid_over(agent: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Give the agent's TLS options with those of a request in their place."""
    replaced: set[str] = set()
    if not _READY.isdisjoint(request):
        replaced |= _MATERIAL
    if not _IDENTITY.isdisjoint(request):
        replaced |= _IDENTITY
    return {**{name: agent[name] for name in agent.keys() - replaced}, **request}


def _secured(given: dict[str, Any]) -> _Security:
    options = tls.ClientOptions(**given)
    return _Security(options, options.digest())


def _hashable(value: object) -> object:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value
