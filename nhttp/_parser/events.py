"""What a parser returns. Plain data: nothing here knows how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

__all__ = [
    "CLOSED",
    "END_OF_MESSAGE",
    "NEED_DATA",
    "PAUSED",
    "BodyEvent",
    "Closed",
    "EndOfMessage",
    "Event",
    "Fields",
    "Invalid",
    "NeedData",
    "Paused",
    "RequestHead",
    "ResponseHead",
]

Fields: TypeAlias = list[tuple[str, str]]
"""Field lines in order, names as received, values without the whitespace around them (latin-1)."""


@dataclass(slots=True)
class RequestHead:
    """A request line and its fields, valid and with unambiguous framing.

    Not to be changed: two equal heads on one connection may be one object.

    Attributes:
        method: One of `METHODS`.
        target: The request target as received: a path, an absolute URL, ``*``, or ``host:port``.
        minor_version: 0 or 1, for HTTP/1.0 or HTTP/1.1.
        fields: All field lines.
        lookup: The value of the first field of each name, by the name in lower case.
        repeats: Whether some name occurs more than once, so that `lookup` is not the whole truth.
        content_length: The value of Content-Length, if there is one.
        chunked: Whether the body is chunked.
        keep_alive: Whether the connection may outlive this message, as far as the message says.
        upgrade: Whether the client offers to change the protocol (RFC 9110, 7.8).
        has_body: Whether body bytes follow. Never for CONNECT: there they are the tunnel's.
    """

    method: str
    target: str
    minor_version: int
    fields: Fields
    lookup: dict[str, str]
    repeats: bool
    content_length: int | None
    chunked: bool
    keep_alive: bool
    upgrade: bool
    has_body: bool


@dataclass(slots=True)
class ResponseHead:
    """A status line and its fields, valid and with unambiguous framing.

    Not to be changed: two equal heads on one connection may be one object.

    Attributes:
        status: The status code.
        reason: The reason phrase, possibly empty.
        minor_version: 0 or 1, for HTTP/1.0 or HTTP/1.1.
        fields: All field lines.
        lookup: The value of the first field of each name, by the name in lower case.
        repeats: Whether some name occurs more than once, so that `lookup` is not the whole truth.
        content_length: The value of Content-Length, if there is one, also where there is no body.
            None where a tunnel begins: there it means nothing.
        chunked: Whether the fields say that the body is chunked, also where there is no body.
            False where a tunnel begins.
        keep_alive: Whether the connection may outlive this message, as far as the message says.
            False where only the connection's end ends the body.
        upgrade: Whether the server names a protocol to change to.
        has_body: Whether body bytes may follow.
        until_close: Whether the body runs to the end of the connection.
        interim: Whether this is a 1xx other than 101, which another head follows.
        tunnel: Whether the connection is no longer HTTP's from here on: 101, or 2xx to CONNECT.
    """

    status: int
    reason: str
    minor_version: int
    fields: Fields
    lookup: dict[str, str]
    repeats: bool
    content_length: int | None
    chunked: bool
    keep_alive: bool
    upgrade: bool
    has_body: bool
    until_close: bool
    interim: bool
    tunnel: bool


@dataclass(slots=True)
class EndOfMessage:
    """The message is complete.

    Attributes:
        trailers: The fields behind a chunked body.
    """

    trailers: Fields


@dataclass(slots=True)
class Invalid:
    """The peer sent what cannot or must not be understood; nothing more will be parsed.

    Attributes:
        code: Node's code, such as ``"HPE_INVALID_HEADER_TOKEN"``.
        message: What was wrong and where.
        status: The status code that a server should answer with.
        bytes_parsed: The bytes of the message in front of the offending one.
        raw: The beginning of the head or of the part of the body that was refused, as far as it
            had arrived, 1024 bytes at most. For people to look at: the one thing that depends on
            how the bytes were split, and so no part of a comparison.
    """

    code: str
    message: str
    status: int
    bytes_parsed: int
    raw: bytes = field(compare=False)


class NeedData(Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "NEED_DATA"


class Paused(Enum):
    """The type of `PAUSED`."""

    PAUSED = "PAUSED"


class Closed(Enum):
    """The type of `CLOSED`."""

    CLOSED = "CLOSED"


NEED_DATA: Final = NeedData.NEED_DATA
"""Nothing more can be said before more bytes, or the end, are fed."""

PAUSED: Final = Paused.PAUSED
"""What follows is not the parser's to interpret before its owner decides what it is."""

CLOSED: Final = Closed.CLOSED
"""No message follows: the connection ended between two, or the last one said that it would."""

END_OF_MESSAGE: Final = EndOfMessage([])
"""The one instance for every message without trailers. Not to be changed."""

BodyEvent: TypeAlias = bytes | EndOfMessage | Invalid | NeedData | Paused | Closed
"""Whatever `next_event()` may return besides a head."""

Event: TypeAlias = RequestHead | ResponseHead | BodyEvent
