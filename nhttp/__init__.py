"""Node's http module for threaded Python: server, client and Agent, typed to the last listener.

The names here are those of Node's ``http`` by one rule: camelCase becomes snake_case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nhttp import errors, net
from nhttp._agent.agent import Agent
from nhttp._agent.options import RequestOptions
from nhttp._create_client import create_client  # pyright: ignore[reportDeprecated]
from nhttp._parser import METHODS
from nhttp.client import ClientRequest, Information, get, global_agent, request
from nhttp.incoming import IncomingMessage
from nhttp.options import MAX_HEADER_SIZE
from nhttp.response import ServerResponse
from nhttp.server import RequestListener, Server
from nhttp.status import STATUS_CODES

if TYPE_CHECKING:
    from typing import Unpack

    from nhttp.options import ServerKeywords

__all__ = [
    "METHODS",
    "STATUS_CODES",
    "Agent",
    "ClientRequest",
    "IncomingMessage",
    "Information",
    "RequestListener",
    "RequestOptions",
    "Server",
    "ServerResponse",
    "create_client",
    "create_server",
    "errors",
    "get",
    "global_agent",
    "max_header_size",
    "net",
    "request",
]

max_header_size: Final = MAX_HEADER_SIZE
"""How many octets the head of a message may have by default (``http.maxHeaderSize``)."""


def create_server(
    request_listener: RequestListener | None = None, **options: Unpack[ServerKeywords]
) -> Server:
    """Make an HTTP server.

    Args:
        request_listener: A listener for ``'request'``.
        **options: See `Server`.

    Raises:
        InvalidArgument: An option is negative, or of the wrong kind.

    Example:
        >>> server = create_server(lambda request, response: response.end("hi"), timeout=30.0)

    Source: http.createServer in the manual.
    """
    return Server(request_listener, **options)
