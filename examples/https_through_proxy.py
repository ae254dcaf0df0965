"""An Agent that reaches its servers through a proxy: CONNECT, then TLS in the tunnel.

python https_through_proxy.py http://127.0.0.1:8000 https://example.com/

With an https: proxy, TLS to the server goes inside TLS to the proxy. examples/tunnel.py is a proxy.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import nhttp
from nhttp import https, net

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike


PATIENCE = 30.0  # seconds of a proxy's silence, for requests that have no timeout of their own


class ProxyAgent(https.Agent):
    """Keeps connections like every Agent; makes them by way of a proxy."""

    def __init__(
        self, proxy: str, *, ca: bytes | PathLike[str] | None = None, keep_alive: bool = False
    ) -> None:
        super().__init__(keep_alive=keep_alive, ca=ca)
        self.proxy = proxy
        self.proxy_tls: dict[str, Any] = {"ca": ca} if proxy.startswith("https:") else {}

    def create_connection(
        self,
        options: nhttp.RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,  # noqa: ARG002
    ) -> net.Socket | None:
        """Ask the proxy for a tunnel, and put TLS into it."""
        port = 443 if options.port is None else options.port
        target = f"{options.target_host}:{port}"
        module = https if self.proxy_tls else nhttp
        asked = module.request(
            self.proxy, method="CONNECT", path=target, headers={"Host": target}, agent=False,
            timeout=options.timeout or PATIENCE, **self.proxy_tls,
        )  # fmt: skip
        try:
            tunnel = asked.end().get_tunnel()
        except OSError:  # a refusal among others: the request through the tunnel fails with it
            asked.abort()
            raise
        return super().create_connection(
            https.RequestOptions.gather(options, {"socket": tunnel.socket})
        )


if __name__ == "__main__":
    with (
        ProxyAgent(sys.argv[1], keep_alive=True) as agent,
        agent.get(sys.argv[2]) as response,
    ):
        print(response.status_code, response.read(100))
