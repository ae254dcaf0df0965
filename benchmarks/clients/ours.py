"""nhttp's client, in blocking style."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nhttp

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = bytes(64 * 1024)


def nhttp_get(port: int, threads: int) -> Callable[[], object]:
    """One Agent for all threads."""
    agent = nhttp.Agent(keep_alive=True, max_sockets=threads, max_free_sockets=threads)
    url = f"http://127.0.0.1:{port}/"
    return lambda: nhttp.get(url, agent=agent).get_response().read()


def nhttp_download(port: int, size: int) -> None:
    """Iterate over blocks."""
    response = nhttp.get(f"http://127.0.0.1:{port}/length/{size}").get_response()
    received = sum(map(len, response))
    assert received == size, received


def nhttp_upload(port: int, size: int) -> None:
    """Write blocks."""
    request = nhttp.request(
        f"http://127.0.0.1:{port}/", method="PUT", headers={"Content-Length": str(size)}
    )
    for _ in range(size // len(BLOCK)):
        request.write(BLOCK)
    request.end()
    assert request.get_response().read() == b"%d" % size
