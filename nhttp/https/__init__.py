"""HTTPS: what `nhttp` is for HTTP, over TLS (Node's ``https``).

The names are those of `nhttp`, and mean the same: a `Server` of this module is an `nhttp.Server`,
an `Agent` an `nhttp.Agent`, a request an `nhttp.ClientRequest`. What is added is in the options.
``import nhttp`` loads nothing of this, nor `ssl`.
"""

from __future__ import annotations

from nhttp.https._agent import Agent
from nhttp.https._client import get, global_agent, request
from nhttp.https._options import RequestOptions
from nhttp.https._server import Server, create_server

__all__ = [
    "Agent",
    "RequestOptions",
    "Server",
    "create_server",
    "get",
    "global_agent",
    "request",
]
