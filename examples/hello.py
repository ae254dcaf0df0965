"""The smallest server: run it, and visit http://127.0.0.1:8000/."""

from __future__ import annotations

import nhttp


def hello(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end(f"You asked for {request.url}\n")


if __name__ == "__main__":
    with nhttp.create_server(hello).listen(8000, "127.0.0.1") as server:
        server.serve_forever()
