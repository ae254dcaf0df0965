"""TLSSocket: a `net.Socket` whose octets are encrypted on their way; a client's, or a server's.

How it reads and writes is in `_stream`.
"""

from __future__ import annotations

import ssl
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict, TypeVar, overload

from nhttp._timers import Deadline, now
from nhttp.errors import ConnectionReset, InvalidArgument
from nhttp.net import Socket
from nhttp.tls._certificate import describe_chain, shown_chain
from nhttp.tls._context import client_context, secure_context_of
from nhttp.tls._engine import Engine
from nhttp.tls._errors import CertificateError, TLSError, certificate_error
from nhttp.tls._names import asking
from nhttp.tls._options import ClientOptions
from nhttp.tls._session import TLSSession
from nhttp.tls._stream import SecureStream
from nhttp.tls._verdict import verdict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Unpack

    from nhttp.net._dial import Line, Route
    from nhttp.streams import Callback, Readable
    from nhttp.tls._certificate import PeerCertificate
    from nhttp.tls._options import ClientKeywords

__all__ = ["Cipher", "TLSSocket"]

_T = TypeVar("_T")

_DEFAULTS = ClientOptions()


class Cipher(TypedDict):
    """What `TLSSocket.get_cipher` gives."""

    name: str
    version: str
    bits: int


class TLSSocket(SecureStream):
    """A `net.Socket` that speaks TLS (Node's ``tls.TLSSocket``), on either side.

    All that a `net.Socket` does it does as well, from several threads. The handshake is made by the
    thread that connects, or a server's connection's own; whoever wants to read or write before
    waits for it. ``'connect'``, ``'ready'`` and ``'secureConnect'`` come together, behind it.

    `end` says goodbye with a close_notify, and reading goes on until the peer's. A stream that ends
    without one was cut short, by whoever: at its end, reading raises a `ConnectionResetError`
    (``ERR_SSL_UNEXPECTED_EOF_WHILE_READING``), and ``'end'`` is not emitted. `destroy` says no
    goodbye.

    Args:
        options: What to begin with, checked; or, instead:
        allow_half_open: As for `net.Socket`. Default: False.
        **keywords: The attributes of `ClientOptions`.

    Raises:
        InvalidArgument: An option cannot be; the message names it.

    Events, beside those of `net.Socket`:
        secureConnect: () a client's handshake is done. At most once; latched.
        session: (session) a session that can be resumed is there: a `TLSSession`. On the thread
            that reads, or made the handshake; so it must not read. At most once, on a client;
            latched.

    Example:
        >>> s = TLSSocket(ca=authority)  # doctest: +SKIP
        >>> s.connect(8443, "localhost", lambda: s.end("hello"))  # doctest: +SKIP

    Source: tls.TLSSocket of Node.
    """

    _latched: ClassVar[frozenset[str]] = Socket._latched | {"secureConnect", "session"}

    if TYPE_CHECKING:

        @overload
        def on(self, event: Literal["data"], listener: Callable[[bytes], object], /) -> Self: ...
        @overload
        def on(self, event: Literal["data"], listener: Callable[[str], object], /) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["readable", "end", "close", "pause", "resume", "drain", "finish"],
            listener: Callable[[], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["pipe", "unpipe"], listener: Callable[[Readable], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["connect", "ready", "timeout", "agentRemove", "free"],
            listener: Callable[[], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["secureConnect"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["session"], listener: Callable[[TLSSession], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    def __init__(
        self,
        options: ClientOptions | None = None,
        *,
        allow_half_open: bool = False,
        **keywords: Unpack[ClientKeywords],
    ) -> None:
        super().__init__(allow_half_open=allow_half_open)
        if options is None:
            options = ClientOptions(**keywords) if keywords else _DEFAULTS
        self._tls_options = options
        self._context: ssl.SSLContext | None = None  # of a client that connects
        # Fixed by the thread that shakes hands, before anybody else may look.
        self._is_server = False
        self._servername: str | None = None
        # Why the certificate is not trusted, where nobody minds; False: not found out yet.
        self._refusal: CertificateError | Literal[False] | None = False

    # A client.

    def connect_over(self, socket: Socket, listener: Callback | None = None) -> Self:
        """Speak TLS over another socket, instead of connecting: in a tunnel, or in TLS.

        The other socket belongs to this one from then on, and is destroyed with it. It need not be
        connected yet.

        Args:
            socket: Which nobody else reads or writes.
            listener: A listener for ``'secureConnect'``.

        Raises:
            InvalidArgument: An option cannot be, or `socket` is none.
            StateError: This socket is connected, or was (``EISCONN``).

        Source: the option `socket` of tls.connect in Node.
        """
        _check_inner(socket, self)
        if listener is not None:
            self.once("secureConnect", listener)
        self._begin_connect(_Over(socket, self))
        return self

    def _begin_connect(self, dial: Route, *, here: bool = False) -> None:
        self._context = client_context(self._tls_options)
        super()._begin_connect(_Secured(dial, self), here=here)

    def _shake_as_client(self, host: str) -> None:
        """Shake hands with a server that was connected to as `host`."""
        options, context = self._tls_options, self._context
        assert context is not None
        # RFC 6066, 3: the name that is sent, and that certificates have, is without a final dot.
        name = (options.servername or host).removesuffix(".")
        session = options.session
        if session is not None and (session._context, session.servername) != (context, name):
            session = None
        self._shaking = get_ident()
        try:
            engine = Engine(
                context, servername=name, session=None if session is None else session._session
            )
        except (ValueError, TypeError) as error:  # of which one is about NUL
            raise TLSError(f"{name!r} cannot be the name of a server: {error}", "EPROTO") from None
        self._servername = name
        self._shake_within(engine, options.handshake_timeout)
        if options.reject_unauthorized and context.verify_mode is not ssl.CERT_NONE:
            self._refusal = None
        elif session is not None and engine.object.session_reused:
            self._refusal = session._refusal

    def _shake_within(self, engine: Engine, seconds: float) -> None:
        deadline = Deadline(self._too_slow)
        if seconds:
            deadline.set(now() + seconds)
        self._shake(engine, deadline, seconds)

    def _tell_connected(self) -> None:
        super()._tell_connected()
        self._latch("secureConnect")
        self._tell_session()

    # A server's.

    @classmethod
    def _accepted(cls, handle: socket.socket, *, allow_half_open: bool) -> Self:
        """Take a connection over that a server has accepted; to be used after `_secure`."""
        made = cls(allow_half_open=allow_half_open)
        handle.setblocking(True)
        made._handle = handle
        made._connecting = made._is_server = True
        made._keep_alive_while_open()
        return made

    def _await_handshake(self) -> None:
        """This thread will shake hands: whoever else wants something waits, and it does not."""
        self._shaking = get_ident()

    def _shake_as_server(
        self,
        context: ssl.SSLContext,
        find: Callable[[str], ssl.SSLContext | None],
        seconds: float,
    ) -> None:
        """Shake hands with a client, on this thread.

        Args:
            context: The usual one.
            find: Gives the context for a name that the client asks for, or None.
            seconds: How long it may take; 0: any time.

        Raises:
            OSError: It failed.
        """

        def asked(name: str) -> ssl.SSLContext | None:
            self._servername = name
            return find(name)

        engine = Engine(context, server_side=True)
        with asking(asked):
            self._shake_within(engine, seconds)
        self._refusal = None
        self._connected()

    # What was agreed on.

    @property
    def authorized(self) -> bool:
        """Whether the peer has shown a certificate that is trusted.

        On a client it always has, unless `reject_unauthorized` is False. On a server, only with
        `request_cert`.
        """
        engine = self._engine
        if engine is None or self._connecting:
            return False
        if self._is_server:
            with engine.lock:
                return engine.object.getpeercert(binary_form=True) is not None
        return self.authorization_error is None

    @property
    def authorization_error(self) -> CertificateError | None:
        """Why the server's certificate is not trusted, where that was not to end the handshake."""
        engine = self._engine
        if engine is None or self._connecting:
            return None
        if self._refusal is False:
            # Whoever comes first finds out; others may as well, and find the same.
            self._refusal = self._judge(engine)
        return self._refusal or None

    def _judge(self, engine: Engine) -> CertificateError | None:
        """Verify the server's certificate, now that the handshake did not."""
        with engine.lock:
            chain = shown_chain(engine.object)
        context = secure_context_of(self._tls_options)._for_verdict()
        if context.verify_mode is ssl.CERT_NONE:
            return certificate_error(1, "ssl_context verifies nothing")
        return verdict(context, chain, self._servername or "")

    def verify_peer(self) -> bool:
        """Whether the peer's certificate is trusted (v0.11.12): the same as `authorized`."""
        return self.authorized

    @property
    def servername(self) -> str | None:
        """The name that the server was asked for; on a server None if the client did not ask."""
        return self._servername

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that both agreed on (ALPN), or None."""
        return self._ask_engine(ssl.SSLObject.selected_alpn_protocol)

    def get_protocol(self) -> str | None:
        """Give the version: ``"TLSv1.3"``, ``"TLSv1.2"``; None before the handshake is done."""
        return self._ask_engine(ssl.SSLObject.version)

    def get_cipher(self) -> Cipher | None:
        """Give the cipher: its OpenSSL `name`, the `version` that defined it, and its key's `bits`.

        None before the handshake is done.
        """
        found = self._ask_engine(ssl.SSLObject.cipher)
        return None if found is None else Cipher(name=found[0], version=found[1], bits=found[2])

    def get_peer_certificate(self, detailed: bool = False) -> PeerCertificate | None:
        """Give the certificate that the peer has shown; None: none, or not yet.

        Args:
            detailed: Whether `issuer_certificate` leads to those that were shown with it.

        Source: tls.TLSSocket.getPeerCertificate in Node.
        """
        chain = self._ask_engine(shown_chain)
        return describe_chain(chain if detailed else chain[:1]) if chain else None

    def _ask_engine(self, question: Callable[[ssl.SSLObject], _T]) -> _T | None:
        engine = self._engine
        if engine is None or self._connecting:
            return None
        with engine.lock:
            return question(engine.object)

    # Sessions.

    def is_session_reused(self) -> bool:
        """Whether the handshake resumed an earlier session."""
        return bool(self._ask_engine(_session_reused))

    def get_session(self) -> TLSSession | None:
        """Give the session as it is now, to be resumed by another connection; None on a server.

        With TLS 1.3 it can be resumed once the server has sent a ticket, behind the handshake: ask
        when something was read, or listen for ``'session'``.
        """
        engine = self._engine
        context = self._context
        if engine is None or context is None or self._connecting:
            return None
        with engine.lock:
            found = engine.object.session
            is_new = engine.object.version() == "TLSv1.3"
        if found is None:
            return None
        return TLSSession(
            found,
            context,
            self._servername or "",
            self.authorization_error,
            is_resumable=found.has_ticket or (bool(found.id) and not is_new),
        )

    def _listener_added(self, event: str) -> None:
        super()._listener_added(event)
        if event == "session" and not self._is_latched("session"):
            with self._lock:
                self._wants_session = True
            self._tell_session()

    def _tell_session(self) -> None:
        """Emit ``'session'`` if somebody waits for it and there is one."""
        if not self._wants_session:
            return
        session = self.get_session()
        if session is None or not session.is_resumable:
            return
        with self._lock:
            wanted, self._wants_session = self._wants_session, False
        if wanted:
            self._latch("session", session)


def _check_inner(inner: object, outer: TLSSocket) -> None:
    if not isinstance(inner, Socket) or inner is outer:
        raise InvalidArgument(f"{inner!r} is no other net.Socket", "ERR_INVALID_ARG_TYPE")
    if inner.readable_encoding is not None:
        raise InvalidArgument(f"{inner!r} gives text, not octets", "ERR_INVALID_ARG_VALUE")


def _session_reused(connection: ssl.SSLObject) -> bool:
    return bool(connection.session_reused)


class _Secured:
    """A way to a connection, and the handshake behind it."""

    def __init__(self, dial: Route, owner: TLSSocket) -> None:
        self.listener = dial.listener
        self.host = dial.host
        self._dial = dial
        self._owner = owner

    def run(self, line: Line) -> None:
        self._dial.run(line)
        owner = self._owner
        if not owner._destroyed:
            owner._shake_as_client(self.host)


class _Over:
    """The way over another socket, for `TLSSocket.connect_over`."""

    listener = None
    host = "localhost"

    def __init__(self, inner: Socket, owner: TLSSocket) -> None:
        self._inner = inner
        self._owner = owner

    def run(self, line: Line) -> None:
        inner, owner = self._inner, self._owner
        try:
            inner._hold()
            with owner._lock:
                owner._inner = inner  # held, and to be closed, by the owner from now on
                if owner._destroyed:
                    return
            handle = inner._open_handle()
        except Exception as error:
            if isinstance(error, OSError) or not inner._is_loss(error):
                raise
            raise ConnectionReset(
                f"the socket below was given up: {error}", "ECONNRESET", syscall="connect"
            ) from None
        inner.allow_half_open = True
        inner.unref()  # the owner keeps the process alive, or does not
        line._take_handle(handle)
