"""Leave HTTP behind: an echo after ``Upgrade: echo``, as in the manual's example for that event."""

from __future__ import annotations

import nhttp
from nhttp import net


def on_upgrade(request: nhttp.IncomingMessage, socket: net.Socket, head: bytes) -> None:
    if request.headers["upgrade"].lower() != "echo":
        socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    socket.write(head)  # what the client had sent behind its request
    socket.pipe(socket)


def create_server() -> nhttp.Server:
    return nhttp.create_server().on("upgrade", on_upgrade)


if __name__ == "__main__":
    with create_server().listen(8000, "127.0.0.1") as server:
        server.serve_forever()
