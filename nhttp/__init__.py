"""Node's http module for threaded Python: server, client and Agent, typed to the last listener.

The names here are those of Node's ``http`` by one rule: camelCase becomes snake_case.

A name is imported from where it is defined when it is first asked for (PEP 562): a program that
only serves does not load the client, and ``import nhttp`` costs next to nothing. Type checkers read
the imports below; at run time `__getattr__` does the same by `_ORIGINS`. A test compares the two.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nhttp import errors, events, https, net, streams, tls
    from nhttp._agent.agent import Agent
    from nhttp._agent.options import RequestOptions
    from nhttp._create_client import create_client  # pyright: ignore[reportDeprecated]
    from nhttp._parser import METHODS
    from nhttp._request.asking import Tunnel
    from nhttp._request.reading import Information
    from nhttp.client import ClientRequest, get, global_agent, request
    from nhttp.incoming import IncomingMessage
    from nhttp.options import MAX_HEADER_SIZE as max_header_size  # noqa: N811 - Node's spelling
    from nhttp.response import ServerResponse
    from nhttp.server import RequestListener, Server, create_server
    from nhttp.status import STATUS_CODES

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
    "Tunnel",
    "create_client",
    "create_server",
    "errors",
    "events",
    "get",
    "global_agent",
    "https",
    "max_header_size",
    "net",
    "request",
    "streams",
    "tls",
]

# Where each name is, below `nhttp`.
_ORIGINS = {
    "METHODS": "_parser.METHODS",
    "STATUS_CODES": "status.STATUS_CODES",
    "Agent": "_agent.agent.Agent",
    "ClientRequest": "client.ClientRequest",
    "IncomingMessage": "incoming.IncomingMessage",
    "Information": "_request.reading.Information",
    "RequestListener": "server.RequestListener",
    "RequestOptions": "_agent.options.RequestOptions",
    "Server": "server.Server",
    "ServerResponse": "response.ServerResponse",
    "Tunnel": "_request.asking.Tunnel",
    "create_client": "_create_client.create_client",
    "create_server": "server.create_server",
    "errors": "errors",
    "events": "events",
    "get": "client.get",
    "global_agent": "client.global_agent",
    "https": "https",
    "max_header_size": "options.MAX_HEADER_SIZE",
    "net": "net",
    "request": "client.request",
    "streams": "streams",
    "tls": "tls",
}

if not TYPE_CHECKING:  # for a type checker it would make every misspelt name an `object`

    def __getattr__(name: str) -> object:
        """Import a public name; from then on it is here."""
        if name not in _ORIGINS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, attribute = f"nhttp.{_ORIGINS[name]}".rpartition(".")
        if module == "nhttp":
            return import_module(f"nhttp.{attribute}")
        value = globals()[name] = getattr(import_module(module), attribute)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
