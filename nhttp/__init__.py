"""Node's http module for threaded Python: server, client and Agent, typed to the last listener.

The names here are those of Node's ``http`` by one rule: camelCase becomes snake_case.
"""

from __future__ import annotations

from nhttp import errors, net
from nhttp._parser import METHODS
from nhttp.incoming import IncomingMessage
from nhttp.response import ServerResponse
from nhttp.server import RequestListener, Server
from nhttp.status import STATUS_CODES

__all__ = [
    "METHODS",
    "STATUS_CODES",
    "IncomingMessage",
    "RequestListener",
    "Server",
    "ServerResponse",
    "create_server",
    "max_header_size",
]

max_header_size = 8192
"""How many octets the head of a message may have by default (``http.maxHeaderSize``)."""


def create_server(request_listener: RequestListener | None = None) -> Server:
    """Make an HTTP server.

    Args:
        request_listener: A listener for ``'request'``.

    Source: http.createServer in the manual.
    """
    return Server(request_listener)
