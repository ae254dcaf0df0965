"""request and get over TLS, and the agent of those that name none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from nhttp import client as http
from nhttp.https._agent import Agent, make_request
from nhttp.https._options import RequestKeywords, RequestOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp._agent.options import RequestSource
    from nhttp.client import ClientRequest
    from nhttp.incoming import IncomingMessage

__all__ = ["get", "global_agent", "request"]

global_agent = Agent()
"""The `Agent` of requests that name none (``https.globalAgent``)."""


class _OneTimeAgent(http._OneTimeAgent, Agent):
    """The agent of one request: ``agent=False``."""


def request(
    source: RequestSource | None = None,
    callback: Callable[[IncomingMessage], object] | None = None,
    /,
    **options: Unpack[RequestKeywords],
) -> ClientRequest:
    """Make a request over TLS; write its body to what is returned, and `end` it.

    Args:
        source: An ``https:`` URL, a `RequestOptions`, or a mapping with the names of its
            attributes.
        callback: A listener for ``'response'``.
        **options: On top of `source`; see `RequestOptions`.

    Raises:
        InvalidArgument: Something of it cannot be sent, or a TLS option cannot be; nothing was
            sent.

    Example:
        >>> req = https.request("https://localhost:8443/up", method="POST")  # doctest: +SKIP
        >>> req.end("data")
        >>> print(req.get_response().status_code)

    Source: https.request of Node 6.
    """
    gathered = RequestOptions.gather(source, options)
    agent = gathered.agent
    if agent is None:
        shared = gathered.create_connection is None and gathered.socket is None
        agent = global_agent if shared else False
    if agent is False:
        agent = _OneTimeAgent(gathered)
    return make_request(agent, gathered, callback)


def get(
    source: RequestSource | None = None,
    callback: Callable[[IncomingMessage], object] | None = None,
    /,
    **options: Unpack[RequestKeywords],
) -> ClientRequest:
    """Make a request without a body, GET by default, and end it; see `request`.

    Example:
        >>> with https.get("https://localhost:8443/") as response:  # doctest: +SKIP
        ...     print(response.read())

    Source: https.get of Node 6.
    """
    made = request(source, callback, **options)
    made.end()
    return made
