"""Take uploads of any size up to a limit, straight to disk.

curl -T FILE http://127.0.0.1:8000/NAME

What is too large is refused before it is sent, if its client asks first (``Expect: 100-continue``,
as curl does), or when the limit is reached. An upload that breaks off leaves nothing behind.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nhttp


class Uploads:
    """A handler that stores the body of ``PUT /name`` in a directory.

    Args:
        directory: Where to.
        limit: Octets that a file may have.
    """

    def __init__(self, directory: Path, limit: int = 1024**3) -> None:
        self.directory = directory
        self.limit = limit

    def __call__(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        """Listen for ``'request'``."""
        if not self.is_welcome(request, response):
            return
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=".upload-") as temporary:
            path = Path(temporary) / "upload"
            if self.store(request, path):
                path.replace(self.directory / request.url[1:])
                response.status_code = 201
            else:
                response.status_code = 413
        response.end()

    def before(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        """Listen for ``'checkContinue'``: the client waits to hear whether it may send."""
        if self.is_welcome(request, response):
            response.write_continue()
            self(request, response)

    def is_welcome(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> bool:
        """Judge a request by its head, and answer those that are refused."""
        if request.method != "PUT":
            response.set_header("Allow", "PUT")
            response.status_code = 405
        elif not re.fullmatch(r"/\w[\w.-]*", request.url, re.ASCII):
            response.status_code = 400
        elif int(request.headers.get("content-length", 0)) > self.limit:
            response.status_code = 413
        else:
            return True
        response.end()
        return False

    def store(self, request: nhttp.IncomingMessage, path: Path) -> bool:
        """Write the body to a file; False when it is too large."""
        size = 0
        with path.open("wb") as file:
            for chunk in request:  # raises if the client breaks off
                size += len(chunk)
                if size > self.limit:
                    return False
                file.write(chunk)
        return True


def create_server(uploads: Uploads) -> nhttp.Server:
    return nhttp.create_server(uploads).on("checkContinue", uploads.before)


if __name__ == "__main__":
    with create_server(Uploads(Path.cwd())).listen(8000, "127.0.0.1") as server:
        server.serve_forever()
