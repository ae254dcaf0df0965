"""One line for each request, in the Common Log Format with the time that it took at the end.

Goes to the logger ``nhttp.access``, level INFO. Knows requests and responses.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nhttp.incoming import IncomingMessage
    from nhttp.response import ServerResponse
    from nhttp.server import RequestListener

__all__ = ["format_line", "logged"]

_log = logging.getLogger("nhttp.access")


def logged(handler: RequestListener) -> RequestListener:
    """Give a handler that does the same and logs each request.

    Args:
        handler: One that has ended its response when it returns.
    """

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        started = time.perf_counter()
        client = request.socket.remote_address  # unknown once the connection is gone
        try:
            handler(request, response)
        finally:
            seconds = time.perf_counter() - started
            _log.info("%s", format_line(client, request, response, seconds))

    return listener


def format_line(
    client: str | None, request: IncomingMessage, response: ServerResponse, seconds: float
) -> str:
    """Give a request's line.

    Such as ``127.0.0.1 - - [21/Nov/2025:22:11:03 +0000] "GET / HTTP/1.1" 200 5120 0.8ms``. The
    number of octets is that of the body; where the client left before it had all, it reads
    ``aborted``.
    """
    moment = datetime.now().astimezone()
    size = response.get_header("content-length")
    if not response.writable_finished:
        size = "aborted"
    elif request.method == "HEAD" or size is None:
        size = "-"
    # The target is the client's: it must neither end the string nor reach a terminal as a command.
    target = request.url.encode("unicode_escape").decode("ascii").replace('"', r"\"")
    return (
        f"{client or '-'} - - [{moment:%d/%b/%Y:%H:%M:%S %z}] "
        f'"{request.method} {target} HTTP/{request.http_version}" '
        f"{response.status_code} {size} {seconds * 1000:.1f}ms"
    )
