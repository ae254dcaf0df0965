"""`http.client`: it pools nothing, so each thread keeps a connection."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def stdlib_get(port: int, _threads: int) -> Callable[[], object]:
    """A connection for each thread."""
    local = threading.local()

    def get() -> object:
        try:
            connection = local.connection
        except AttributeError:
            connection = local.connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/")
        return connection.getresponse().read()

    return get
