"""RequestOptions: what a request is made from, whichever way it was said.

A URL, keywords, a mapping with the option names, another `RequestOptions`, or several of these on
top of each other become one checked object. Nothing here touches the network.
"""

from __future__ import annotations

import base64
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, TypeVar, cast
from urllib.parse import unquote, urlsplit

import attrs

from nhttp._parser import METHODS
from nhttp.errors import InvalidArgument
from nhttp.headers import Field
from nhttp.options import check_seconds

if TYPE_CHECKING:
    import os

    from nhttp._agent.agent import Agent
    from nhttp.headers import HeaderInput
    from nhttp.net import Socket

__all__ = [
    "CreateConnection",
    "RequestKeywords",
    "RequestOptions",
    "RequestSource",
    "SocketCallback",
    "call_create",
]

_CreateReturning: TypeAlias = "Callable[[RequestOptions], Socket | None]"
_CreateCallingBack: TypeAlias = "Callable[[RequestOptions, SocketCallback], Socket | None]"

SocketCallback: TypeAlias = "Callable[[Exception | None, Socket | None], object]"
"""What a socket may be given to instead of being returned: ``callback(error, socket)``."""

CreateConnection: TypeAlias = "_CreateReturning | _CreateCallingBack"
"""What makes the socket of one request when no agent does; it need not take the callback."""

RequestSource: TypeAlias = "str | RequestOptions | Mapping[str, Any]"
"""What `request` and `get` take as their first argument."""


class RequestKeywords(TypedDict, total=False):
    """The options of a request as keywords; `RequestOptions` says what they mean."""

    protocol: str
    host: str
    hostname: str
    family: Literal[0, 4, 6]
    port: int | str | None
    local_address: str | None
    socket_path: str | os.PathLike[str] | None
    method: str
    path: str
    headers: HeaderInput
    auth: str | None
    agent: Agent | Literal[False] | None
    create_connection: CreateConnection | None
    timeout: float | None
    default_port: int | None
    set_host: bool
    keep_alive: bool
    keep_alive_initial_delay: float


# RFC 9112, 3.2: a target has no spaces and no control characters; and it is sent as ASCII.
_NOT_IN_PATH = re.compile(r"[^\x21-\x7e]")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")  # its path is looked at later, its host is encoded
_BODIES = {"body", "content", "data", "files", "json"}  # what other clients call it
_NOT_IN_HOST = re.compile(r"[\x00-\x20\x7f/?#@\\]")


@attrs.define(kw_only=True, slots=False)  # a dictionary is copied at once, for every request
class RequestOptions:
    """How to make one request.

    Attributes:
        protocol: ``"http:"``, with its colon as in Node.
        host: Name or address of the server. Default: ``"localhost"``. An IPv6 address may have a
            zone, ``"fe80::1%eth0"``, which in a URL is ``[fe80::1%25eth0]`` and is not sent.
        hostname: The same; preferred over `host` when both are given.
        family: 4 or 6: use only such addresses. 0 (default): both.
        port: Default: `default_port`.
        local_address: The local address to connect from.
        socket_path: The path of a Unix socket, instead of host and port.
        method: One of `nhttp.METHODS`, in any case of letters. Default: ``"GET"``.
        path: Path and query. Default: ``"/"``.
        headers: A mapping or pairs; lists for repeated headers.
        auth: ``"user:password"`` for basic authentication.
        agent: The `Agent` to use. None: the global one; False: a new one for this request alone.
        create_connection: Makes the socket when `agent` is False.
        timeout: Seconds without progress until ``'timeout'``. None: no limit of its own.
        default_port: The port that need not be said in ``Host``. Default: the agent's.
        set_host: Whether ``Host`` is sent when it is not in `headers`. Default: True.
        keep_alive: With ``agent=False``: whether the request's own agent, its `agent`, keeps the
            socket for other requests (v0.11.12). Default: False.
        keep_alive_initial_delay: With that, seconds of idleness before the kernel probes it.
            Default: 1.0.

    Source: http.request in the manual.
    """

    protocol: str | None = None
    host: str | None = None
    hostname: str | None = None
    family: Literal[0, 4, 6] = 0
    port: int | str | None = None
    local_address: str | None = None
    socket_path: str | os.PathLike[str] | None = None
    method: str = "GET"
    path: str = "/"
    headers: HeaderInput | None = None
    auth: str | None = None
    agent: Agent | Literal[False] | None = None
    create_connection: CreateConnection | None = None
    timeout: float | None = None
    default_port: int | None = None
    set_host: bool = True
    keep_alive: bool = False
    keep_alive_initial_delay: float = 1.0

    @property
    def target_host(self) -> str:
        """The host to connect to."""
        return self.hostname or self.host or "localhost"

    @property
    def target_port(self) -> int:
        """The port to connect to."""
        return int(self.port if self.port not in (None, "") else self.default_port or 80)

    @classmethod
    def gather(cls, source: RequestSource | None, keywords: Mapping[str, Any]) -> Self:
        """Give one object for everything that was said; keywords win.

        Args:
            source: A URL, options, or a mapping with the names of options.
            keywords: Options on top of it.

        Raises:
            InvalidArgument: The URL is none, or an option is not known or cannot be.
        """
        options: Self
        if isinstance(source, str):
            options = _copy(_of_url(cls, source))
            if not keywords or not keywords.keys() - _NEED_NO_CHECK:
                options.__dict__.update(keywords)
                return options
        elif isinstance(source, cls):
            options = _copy(source)
        else:
            options = cls()
            options._take(_values_of(source))
        options._take(keywords)
        options.check()
        return options

    def _take(self, values: Mapping[str, Any]) -> None:
        unknown = values.keys() - attrs.fields_dict(type(self)).keys()
        if unknown:
            hint = "; the body is given to `write` and `end`" if unknown & _BODIES else ""
            raise InvalidArgument(
                f"unknown request option: {', '.join(sorted(map(str, unknown)))}{hint}",
                "ERR_INVALID_ARG_VALUE",
            )
        for name, value in values.items():
            setattr(self, name, value)

    def check(self) -> None:
        """Refuse what cannot be sent; put the method in upper case, and fill in what is empty.

        Raises:
            InvalidArgument: An option is of the wrong kind or cannot be sent; the message shows it.
        """
        self.path = _text("path", self.path) or "/"
        _text("auth", self.auth)
        method = str(self.method or "GET").upper()
        if method not in METHODS:
            raise InvalidArgument(
                f"{self.method!r} is not a known method", "ERR_INVALID_HTTP_TOKEN"
            )
        self.method = method
        bad = _NOT_IN_PATH.search(self.path)
        if bad is not None:
            raise InvalidArgument(
                f"request path {self.path!r} has the character {bad.group()!r}, which must be "
                "percent-encoded",
                "ERR_UNESCAPED_CHARACTERS",
            )
        if _NOT_IN_HOST.search(_text("host", self.target_host)):
            raise InvalidArgument(f"{self.target_host!r} is not a host", "ERR_INVALID_ARG_VALUE")
        port = self.port
        if port not in (None, "") and not _is_port(str(port)):
            raise InvalidArgument(f"a port is 0 to 65535, not {port!r}", "ERR_SOCKET_BAD_PORT")
        if self.family not in (0, 4, 6):
            raise InvalidArgument(
                f"family is 4, 6 or 0, not {self.family!r}", "ERR_INVALID_ARG_VALUE"
            )
        if self.timeout is not None:
            check_seconds("timeout", self.timeout)

    def host_field(self, default_port: int) -> Field:
        """Give the field ``Host``: the port is said when it is not the default one.

        Raises:
            InvalidArgument: The host's name is one that IDNA cannot encode.
        """
        return _host_field(self.hostname or self.host or "localhost", self.port, default_port)

    def authorization(self) -> str | None:
        """Give the value of ``Authorization`` for `auth`, or None."""
        if not self.auth:
            return None
        return "Basic " + base64.b64encode(self.auth.encode()).decode("ascii")


_Options = TypeVar("_Options", bound=RequestOptions)

# What `check` does not look at.
_NEED_NO_CHECK = frozenset({"agent", "create_connection", "headers"})


def _text(name: str, value: object) -> str:
    """Give an option that is text, ``""`` for None, or refuse it."""
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"{name} is a str, not {value!r}", "ERR_INVALID_ARG_TYPE")
    return str.__str__(value or "")  # of a subclass, an Enum of str say, the text that it is


def _is_port(text: str) -> bool:
    # Python makes no number of thousands of digits.
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= 65535


def _copy(options: _Options) -> _Options:
    """Give a copy, which can be changed without changing `options`."""
    copied = object.__new__(type(options))
    copied.__dict__.update(options.__dict__)
    return copied


def _values_of(source: object) -> Mapping[str, Any]:
    if source is None:
        return {}
    if isinstance(source, RequestOptions):
        return source.__dict__
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source)
    raise InvalidArgument(
        f"a request is made from a URL or options, not {source!r}", "ERR_INVALID_ARG_TYPE"
    )


def _checked_url(cls: type[RequestOptions], url: str) -> RequestOptions:
    """Give the options that a URL stands for; they are not to be changed."""
    options = cls(**_from_url(url))
    options.check()
    return options


_of_url: Any = functools.lru_cache(maxsize=512)(_checked_url)


@functools.lru_cache(maxsize=512)
def _host_field(host: str, port: int | str | None, default_port: int) -> Field:
    host = str.__str__(host)  # as in `_text`; here it is kept, for all that are equal to it
    if ":" in host:
        address = host.partition("%")[0]  # a zone says nothing to anybody else (RFC 6874, 4)
        host = "[" + address.strip("[]") + "]"
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")  # as it is looked up
        except UnicodeError:
            raise InvalidArgument(f"{host!r} is not a host", "ERR_INVALID_ARG_VALUE") from None
    number = default_port if port is None or port == "" else int(port)
    return Field.of("Host", host if number == default_port else f"{host}:{number}")


def _from_url(url: str) -> dict[str, Any]:
    """Give the options that a URL stands for; percent-encoding of the path is left as it is."""
    bad = _NOT_IN_URL.search(url)
    if bad is not None:
        # Checked first: urlsplit takes tabs and line ends out without a word.
        raise InvalidArgument(
            f"URL {url!r} has the character {bad.group()!r}, which must be percent-encoded",
            "ERR_INVALID_URL",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        auth = unquote(f"{parts.username}:{parts.password or ''}", errors="strict")
    except ValueError as error:
        raise InvalidArgument(f"invalid URL {url!r}: {error}", "ERR_INVALID_URL") from None
    # Others take a backslash for the end of the host: nobody knows who is meant.
    if not parts.scheme or not parts.hostname or "\\" in parts.netloc:
        wanted = "a scheme and a host are wanted, as in 'http://host/path'"
        if url.upper() in METHODS:
            wanted = f"the URL comes first, as in request(url, method={url!r})"
        raise InvalidArgument(f"invalid URL {url!r}: {wanted}", "ERR_INVALID_URL")
    query = "?" in url.partition("#")[0]  # there may be one, and nothing in it
    values: dict[str, Any] = {
        "protocol": f"{parts.scheme}:",
        "hostname": _address_of(parts.hostname) if ":" in parts.hostname else parts.hostname,
        "path": (parts.path or "/") + (f"?{parts.query}" if query else ""),
    }
    if port is not None:
        values["port"] = port
    if parts.username or parts.password:
        values["auth"] = auth
    return values


def _address_of(written: str) -> str:
    """Give the IPv6 address, with its zone, for what a URL has in brackets (RFC 6874)."""
    address, percent, zone = written.partition("%")
    # A zone may stand there bare as well; then 25 alone is one.
    return address + percent + (zone[2:] if zone.startswith("25") and zone != "25" else zone)


def call_create(
    create: CreateConnection, options: RequestOptions, callback: SocketCallback | None
) -> Socket | None:
    """Call a `create_connection` option, with the callback if it takes one."""
    function: Callable[..., Socket | None] = create
    try:
        inspect.signature(function).bind(options, callback)
    except (TypeError, ValueError):  # it takes no callback, or cannot be asked
        return function(options)
    return function(options, callback)
