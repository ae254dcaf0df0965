"""The clients that people install."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def urllib3_get(port: int, threads: int) -> Callable[[], object]:
    """One PoolManager for all threads."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=threads, block=True)
    url = f"http://127.0.0.1:{port}/"
    return lambda: pool.request("GET", url).data


def requests_get(port: int, _threads: int) -> Callable[[], object]:
    """A Session for each thread, as they are not made to be shared."""
    import requests

    local = threading.local()
    url = f"http://127.0.0.1:{port}/"

    def get() -> object:
        try:
            session = local.session
        except AttributeError:
            session = local.session = requests.Session()
            session.trust_env = False
        return session.get(url).content

    return get


def httpx_get(port: int, _threads: int) -> Callable[[], object]:
    """One Client for all threads."""
    import httpx

    client = httpx.Client(trust_env=False)
    url = f"http://127.0.0.1:{port}/"
    return lambda: client.get(url).content
