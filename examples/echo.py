"""Send back what comes, as it comes: neither side waits for the whole, and nothing is kept.

curl -T LARGE_FILE http://127.0.0.1:8000/ >COPY
"""

from __future__ import annotations

import nhttp


def echo(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    content_type = request.headers.get("content-type", "application/octet-stream")
    response.set_header("Content-Type", content_type)
    request.pipe(response)


if __name__ == "__main__":
    with nhttp.create_server(echo).listen(8000, "127.0.0.1") as server:
        server.serve_forever()
