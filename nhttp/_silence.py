"""What happens when nothing happens: ``'timeout'``, and what becomes of the silent socket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nhttp.errors import SocketTimeout

if TYPE_CHECKING:
    from nhttp.events import EventEmitter
    from nhttp.net import Socket

__all__ = ["tell_silence"]

_log = logging.getLogger("nhttp.server")


def tell_silence(socket: Socket, *concerned: EventEmitter | None) -> None:
    """Emit ``'timeout'`` on a silent socket and on what uses it; on a helper thread.

    The manual (*response.setTimeout*): if neither the request nor the response nor the server has a
    listener, the socket is destroyed; if one has, it is responsible. A listener of the socket's own
    is told, and changes nothing.
    """
    try:
        socket.emit("timeout")
        # Every one of them is told, whoever else listens.
        heard = [each.emit("timeout", socket) for each in concerned if each is not None]
    except Exception:
        _log.exception("a 'timeout' listener raised; %r is closed", socket)
        heard = []
    if not any(heard):
        socket.destroy(SocketTimeout("nothing happened on the connection", "ETIMEDOUT"))
