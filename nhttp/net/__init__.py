"""TCP and Unix sockets with Node's events: as much of Node's net as the HTTP manual leans on.

`Socket` is a stream, `Server` accepts them, `connect` and `create_connection` make one that
connects.
"""

from __future__ import annotations

from nhttp.net._address import Address
from nhttp.net._create import connect, create_connection, create_server
from nhttp.net._server import Server
from nhttp.net._socket import Socket

__all__ = ["Address", "Server", "Socket", "connect", "create_connection", "create_server"]
