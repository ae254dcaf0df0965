"""A tunnelling proxy: CONNECT, from the manual's example for that event.

curl --proxytunnel -x http://127.0.0.1:8000 http://example.com/

It connects to wherever it is told to: let nobody reach it whom you would not let do that.
"""

from __future__ import annotations

import nhttp
from nhttp import net


def on_request(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.set_header("Content-Type", "text/plain")
    response.end("okay")


def on_connect(request: nhttp.IncomingMessage, client: net.Socket, head: bytes) -> None:
    host, _, port = request.url.rpartition(":")

    def connected() -> None:
        client.write("HTTP/1.1 200 Connection Established\r\nProxy-agent: nhttp\r\n\r\n")
        origin.write(head)
        origin.pipe(client)
        client.pipe(origin)

    def failed(_error: Exception) -> None:
        if not client.bytes_written:
            client.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n")

    # Half-open, as the client's socket is: either side may end first, and still be answered.
    origin = net.connect(int(port), host.strip("[]"), allow_half_open=True)
    # Not an argument of `connect`: on its own thread it might run before `origin` has its value.
    origin.on("connect", connected)
    origin.on("error", failed)
    origin.on("close", client.destroy)
    client.on("close", origin.destroy)


def create_server() -> nhttp.Server:
    return nhttp.create_server(on_request).on("connect", on_connect)


if __name__ == "__main__":
    with create_server().listen(8000, "127.0.0.1") as server:
        server.serve_forever()
