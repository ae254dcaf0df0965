"""Serving: what makes a server of any kind one over TLS, such as `tls.Server`."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

from nhttp.net import Server as PlainServer
from nhttp.tls._context import SecureContext, create_secure_context, server_context
from nhttp.tls._names import Names, answer, as_server_context
from nhttp.tls._options import ServerOptions
from nhttp.tls._socket import TLSSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Self, Unpack

    from nhttp.net import Socket
    from nhttp.streams import Callback
    from nhttp.tls._options import ContextKeywords

__all__ = ["SecureServing"]

_log = logging.getLogger("nhttp.tls")


class SecureServing(PlainServer):
    """A server whose connections shake hands first, each on its own thread.

    A subclass calls `_init_tls` when its other parent's ``__init__`` is done, and gives
    `_serve_secure`. What is served is a `TLSSocket` whose handshake is done.
    """

    def _init_tls(self, options: ServerOptions) -> None:
        """Begin with these options.

        Raises:
            InvalidArgument: They cannot be made into a context.
        """
        self._tls_options = options
        self._context = server_context(options)  # replaced in one step by `set_secure_context`
        self._names = Names(options.sni_callback)
        # Those whose handshake is not done, with no request under way; guarded by `_lock`.
        self._handshaking: set[TLSSocket] = set()
        self._ask_for_names(self._context)

    def _ask_for_names(self, context: ssl.SSLContext) -> None:
        """Have clients' names looked up, unless whoever made the context does so."""
        if context.sni_callback is None:
            context.sni_callback = answer

    def add_context(
        self,
        hostname: str,
        context: SecureContext | ssl.SSLContext | Mapping[str, Any],
    ) -> None:
        """Show another certificate to clients that ask for a name; any thread, any time.

        Args:
            hostname: The name, or ``"*.example.org"`` for all with one label more.
            context: What `create_secure_context` gave, an `ssl.SSLContext`, or the keywords of
                `create_secure_context`, with the server's `alpn_protocols` if it has none.

        Raises:
            InvalidArgument: An option cannot be.

        Source: tls.Server.addContext in Node.
        """
        if not isinstance(context, (SecureContext, ssl.SSLContext)):
            keywords: Any = {"alpn_protocols": self._tls_options.alpn_protocols, **context}
            context = create_secure_context(**keywords)
        self._names.add(hostname, as_server_context(context))

    def set_secure_context(self, **options: Unpack[ContextKeywords]) -> None:
        """Change what new connections begin with, such as a certificate that was renewed.

        Args:
            **options: See `ContextOptions`. What is not given is not kept, either.

        Raises:
            InvalidArgument: An option cannot be; everything stays as it was.

        Source: tls.Server.setSecureContext in Node.
        """
        mine = self._tls_options
        changed = ServerOptions(
            request_cert=mine.request_cert,
            reject_unauthorized=mine.reject_unauthorized,
            sni_callback=mine.sni_callback,
            handshake_timeout=mine.handshake_timeout,
            **options,
        )
        context = server_context(changed)
        self._ask_for_names(context)
        self._tls_options, self._context = changed, context

    # The life of a connection.

    def _wrap(self, handle: socket.socket) -> Socket:
        return TLSSocket._accepted(handle, allow_half_open=self.allow_half_open)

    def _start(self, connection: Socket) -> bool:
        # Not before its handshake, for which it has a thread, is there anything to rest for.
        return PlainServer._start(self, connection)

    def _serve(self, connection: Socket) -> bool:
        assert isinstance(connection, TLSSocket)
        return self._shake(connection) and self._serve_secure(connection)

    def _serve_secure(self, connection: TLSSocket) -> bool:
        """Serve a connection whose handshake is done, as `_serve` does."""
        raise NotImplementedError

    def _shake(self, connection: TLSSocket) -> bool:
        """Shake hands; False when the connection is not to be served."""
        with self._lock:
            self._handshaking.add(connection)
            too_late = self._listening is None
        try:
            if too_late:
                connection.destroy()
                return False
            connection._await_handshake()
            self.emit("connection", connection)
            connection._shake_as_server(
                self._context, self._names.find, self._tls_options.handshake_timeout
            )
            return not connection.destroyed
        except OSError as error:
            if not connection.destroyed:  # by `close`, or a listener: then it is nobody's failure
                self._handshake_failed(error, connection)
                connection._part()
            return False
        finally:
            with self._lock:
                self._handshaking.discard(connection)

    def _handshake_failed(self, error: Exception, connection: TLSSocket) -> None:
        """Tell that a handshake failed; the connection is then closed. Meant to be overridden."""
        _log.debug("no handshake with %r: %s", connection, error)
        self.emit("tlsClientError", error, connection)

    def close(self, callback: Callback | None = None) -> Self:
        """Stop accepting, as `net.Server.close`; connections that still shake hands are destroyed.

        Args:
            callback: A listener for ``'close'``.
        """
        super().close(callback)
        with self._lock:
            unfinished = list(self._handshaking)
        for each in unfinished:
            each.destroy()
        return self
