"""What tests of sockets and servers share."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from support import SECONDS, port_of

if TYPE_CHECKING:
    from nhttp.net import Server

FAMILIES = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]


def reset(far: socket.socket) -> None:
    """Close a plain socket with a reset."""
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=SECONDS)
