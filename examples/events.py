"""Server-sent events: one thread tells all clients the time, and notices who has left.

curl -N http://127.0.0.1:8000/

A handler may return long before its response is finished. Any thread can go on with it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import nhttp


class Broadcast:
    """A handler that subscribes whoever asks to what `send` is given.

    Any thread may call any method; `_lock` guards `_subscribers`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: set[nhttp.ServerResponse] = set()

    def __call__(self, _request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        """Listen for ``'request'``."""
        response.set_header("Content-Type", "text/event-stream")
        response.set_header("Cache-Control", "no-store")
        response.flush_headers()
        with self._lock:
            self._subscribers.add(response)
        # Called as soon as the client is gone, also when nothing is being written.
        response.on("close", lambda: self._drop(response))

    def __len__(self) -> int:
        return len(self._subscribers)

    def send(self, text: str) -> None:
        """Send an event to every subscriber."""
        with self._lock:
            subscribers = list(self._subscribers)
        for response in subscribers:
            # A client may leave between two lines; 'close' takes care of it.
            with suppress(OSError, nhttp.errors.StateError):
                response.write(f"data: {text}\n\n")

    def _drop(self, response: nhttp.ServerResponse) -> None:
        with self._lock:
            self._subscribers.discard(response)
        response.destroy()


def tell_the_time(broadcast: Broadcast) -> None:
    while True:
        broadcast.send(time.ctime())
        time.sleep(1)


if __name__ == "__main__":
    clock = Broadcast()
    threading.Thread(target=tell_the_time, args=(clock,), daemon=True).start()
    with nhttp.create_server(clock).listen(8000, "127.0.0.1") as server:
        server.grace = 0  # subscriptions have no end to wait for
        server.serve_forever()
