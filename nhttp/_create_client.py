"""create_client: the oldest way to make requests, which both manuals deprecate and still offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import deprecated

from nhttp._agent.options import RequestOptions
from nhttp.client import ClientRequest

if TYPE_CHECKING:
    from nhttp.headers import HeaderInput

__all__ = ["Client", "create_client"]


class Client:
    """Makes requests to one server: what `create_client` returns.

    Attributes:
        host: The server's name or address.
        port: Its port.
    """

    def __init__(self, port: int, host: str) -> None:
        self.port = port
        self.host = host

    def request(
        self, method: str = "GET", path: str = "/", headers: HeaderInput | None = None
    ) -> ClientRequest:
        """Make a request; it must be ended.

        Args:
            method: The request method.
            path: Path and query.
            headers: A mapping or pairs.

        Raises:
            InvalidArgument: Something of it cannot be sent; nothing was.
        """
        options = {
            "host": self.host,
            "port": self.port,
            "method": method,
            "path": path,
            "headers": headers,
        }
        return ClientRequest(RequestOptions.gather(None, options))


@deprecated("create_client is deprecated: use nhttp.request instead")
def create_client(port: int = 80, host: str = "localhost") -> Client:
    """Make a client for one server. Deprecated: use `nhttp.request`.

    Args:
        port: The server's port.
        host: Its name or address.

    Source: http.createClient in the manual.
    """
    return Client(port, host)
