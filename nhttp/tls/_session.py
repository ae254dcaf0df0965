"""TLSSession: what a client may resume instead of a full handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from nhttp.tls._errors import CertificateError

__all__ = ["TLSSession"]


class TLSSession:
    """A session of a client, given by `TLSSocket.get_session`, to be resumed by ``session=``.

    It is of use for connections to the same server with equal options. For any other it is not
    used, and the handshake is a full one: a server that is resumed with shows no certificate, so
    one name's session must not vouch for another name.

    Attributes:
        servername: The name of the server that it was made with.
        is_resumable: Whether it can be resumed. With TLS 1.3 it can be as soon as the server has
            sent a ticket, which comes with the first octets behind the handshake.
    """

    __slots__ = ("_context", "_refusal", "_session", "is_resumable", "servername")

    def __init__(
        self,
        session: ssl.SSLSession,
        context: ssl.SSLContext,
        servername: str,
        refusal: CertificateError | None,
        *,
        is_resumable: bool,
    ) -> None:
        self._session = session
        self._context = context
        self._refusal = refusal  # why the certificate was not trusted, which nobody minded
        self.servername = servername
        self.is_resumable = is_resumable

    def __repr__(self) -> str:
        return f"<TLSSession with {self.servername}>"
