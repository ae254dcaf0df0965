# What benchmarks/ uses of waitress.

import socket
from collections.abc import Sequence
from wsgiref.types import WSGIApplication

def serve(
    app: WSGIApplication, *, sockets: Sequence[socket.socket], _quiet: bool = ...
) -> None: ...
