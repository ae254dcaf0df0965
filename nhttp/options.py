"""Options: what `create_server` takes as keywords, with the manual's defaults, checked.

Durations are seconds; 0 turns a timeout off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from attrs import field, frozen

from nhttp._parser import Limits
from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ["MAX_HEADER_SIZE", "ServerKeywords", "ServerOptions", "check_count", "check_seconds"]

MAX_HEADER_SIZE: Final = Limits().max_head_size
"""How many octets the head of a message may have by default (``http.maxHeaderSize``)."""


def check_seconds(name: str, value: object) -> float:
    """Give a duration, or refuse it; `math.inf` is one.

    Raises:
        InvalidArgument: It is no number (``ERR_INVALID_ARG_TYPE``), or negative or NaN
            (``ERR_INVALID_ARG_VALUE``).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgument(
            f"{name} is a number of seconds, not {value!r}", "ERR_INVALID_ARG_TYPE"
        )
    if not value >= 0:  # NaN is not, either
        raise InvalidArgument(f"{name} is 0 or more, not {value!r}", "ERR_INVALID_ARG_VALUE")
    return value


def check_count(name: str, value: object) -> int:
    """Give a number of things, or refuse it.

    Raises:
        InvalidArgument: It is no integer (``ERR_INVALID_ARG_TYPE``), or negative
            (``ERR_INVALID_ARG_VALUE``).
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} is an integer, not {value!r}", "ERR_INVALID_ARG_TYPE")
    if value < 0:
        raise InvalidArgument(f"{name} is 0 or more, not {value!r}", "ERR_INVALID_ARG_VALUE")
    return value


def _seconds(_options: object, attribute: Attribute[Any], value: object) -> None:
    check_seconds(attribute.name, value)


def _count(_options: object, attribute: Attribute[Any], value: object) -> None:
    check_count(attribute.name, value)


def _flag(_options: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgument(
            f"{attribute.name} is True or False, not {value!r}", "ERR_INVALID_ARG_TYPE"
        )


class ServerKeywords(TypedDict, total=False):
    """The keywords of `create_server` and `Server`: those of `ServerOptions`, for type checkers."""

    max_header_size: int
    max_headers_count: int
    timeout: float
    headers_timeout: float
    request_timeout: float
    keep_alive_timeout: float
    pin_threads: bool
    share_thread: bool


@frozen(kw_only=True)
class ServerOptions:
    """What a server begins with; `Server` has an attribute for each, and says what it means.

    Attributes:
        max_header_size: Octets of a head. Default: `nhttp.max_header_size`.
        max_headers_count: Field lines of a head; 0: any number. Default: 1000.
        timeout: Seconds of silence. Default: 120.0.
        headers_timeout: Seconds for a head. Default: 40.0.
        request_timeout: Seconds for a whole request. Default: 300.0.
        keep_alive_timeout: Seconds between two requests. Default: 5.0.
        pin_threads: Whether all connections' threads stay on one core. Default: False.
        share_thread: Whether connections between two requests share a thread. Default: True.
    """

    max_header_size: int = field(default=MAX_HEADER_SIZE, validator=_count)
    max_headers_count: int = field(default=1000, validator=_count)
    timeout: float = field(default=120.0, validator=_seconds)
    headers_timeout: float = field(default=40.0, validator=_seconds)
    request_timeout: float = field(default=300.0, validator=_seconds)
    keep_alive_timeout: float = field(default=5.0, validator=_seconds)
    pin_threads: bool = field(default=False, validator=_flag)
    share_thread: bool = field(default=True, validator=_flag)
