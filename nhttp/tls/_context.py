"""SecureContext: options made into what `ssl` works with, once for all that are equal.

A session can be resumed only with the very `ssl.SSLContext` that it was made with, and loading the
system's authorities takes longer than a handshake. So contexts are kept and found again.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from nhttp.errors import InvalidArgument
from nhttp.tls._material import as_file, unpack_pfx
from nhttp.tls._options import VERSIONS, ContextOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Unpack

    from nhttp.tls._options import ClientOptions, ContextKeywords, ServerOptions

__all__ = [
    "SecureContext",
    "client_context",
    "create_secure_context",
    "secure_context_of",
    "server_context",
]

MAX_KEPT = 64  # contexts that are found again; those that are in use live on beyond


class SecureContext:
    """What `create_secure_context` gives: certificates, keys and settings, ready to be used.

    Good for clients and servers, and for any number of them at the same time.

    Attributes:
        options: What it was made from.
    """

    def __init__(self, options: ContextOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._made: dict[str, ssl.SSLContext] = {}  # by what it is for; guarded by `_lock`

    def _get(self, purpose: str, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        if self.options.ssl_context is not None:
            return self.options.ssl_context
        # Making one reads files, and blocks nobody but who wants the same.
        with self._lock:
            if purpose not in self._made:
                self._made[purpose] = make()
            return self._made[purpose]

    def _for_client(self, *, verify: bool) -> ssl.SSLContext:
        def make() -> ssl.SSLContext:
            context = self._begin(ssl.PROTOCOL_TLS_CLIENT)
            if verify:
                self._trust(context, ssl.Purpose.SERVER_AUTH)
            else:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            return context

        return self._get(f"client {verify}", make)

    def _for_server(self, mode: ssl.VerifyMode) -> ssl.SSLContext:
        def make() -> ssl.SSLContext:
            context = self._begin(ssl.PROTOCOL_TLS_SERVER)
            context.verify_mode = mode
            if mode is not ssl.CERT_NONE:
                self._trust(context, ssl.Purpose.CLIENT_AUTH)
            return context

        return self._get(f"server {mode}", make)

    def _for_verdict(self) -> ssl.SSLContext:
        """Give a client's context that speaks TLS 1.2; see `_verdict`."""

        def make() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            self._trust(context, ssl.Purpose.SERVER_AUTH)
            return context

        return self._get("verdict", make)

    def _begin(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        options = self.options
        context = ssl.SSLContext(protocol)
        # Renegotiation, which TLS 1.3 has done away with, would have writers wait for readers.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.minimum_version = VERSIONS[options.min_version or "TLSv1.2"]
        if options.max_version is not None:
            context.maximum_version = VERSIONS[options.max_version]
        if context.maximum_version > 0 and context.maximum_version < context.minimum_version:
            raise InvalidArgument(
                f"min_version {options.min_version} is above max_version {options.max_version}",
                "ERR_INVALID_ARG_VALUE",
            )
        if options.ciphers is not None:
            with _refused(f"ciphers {options.ciphers!r} cannot be: there are none of these"):
                context.set_ciphers(options.ciphers)
        if options.alpn_protocols:
            context.set_alpn_protocols(options.alpn_protocols)
        self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        """Load the certificates to show, and their keys."""
        options = self.options
        if options.pfx is not None:
            _load_pair(context, *unpack_pfx(options.pfx, options.passphrase), None)
        # Without a key of its own it is expected in the same PEM.
        keys = options.key or (b"",) * len(options.cert)
        for cert, key in zip(options.cert, keys, strict=True):
            _load_pair(context, cert, key, options.passphrase)

    def _trust(self, context: ssl.SSLContext, purpose: ssl.Purpose) -> None:
        if not self.options.ca:
            context.load_default_certs(purpose)
            return
        for each in self.options.ca:
            with _refused("ca cannot be read: there is no certificate in it"):
                context.load_verify_locations(cadata=each.decode("ascii", "replace"))


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes, passphrase: bytes | None) -> None:
    asked = False

    def password() -> bytes:
        nonlocal asked
        asked = True
        return passphrase or b""  # without an answer OpenSSL would ask at the terminal

    try:
        with as_file(cert + b"\n" + key) as path:
            context.load_cert_chain(path, password=password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason == "KEY_VALUES_MISMATCH":
            message = "key does not belong to cert"
        elif not key and b"PRIVATE KEY-----" not in cert:
            message = "cert has no key in it: give key"
        elif asked and passphrase is None:
            message = "key is encrypted: give passphrase"
        elif asked:
            message = "passphrase does not open key"
        else:
            message = f"cert and key cannot be used{f' ({reason})' if reason else ''}: is one cut?"
        # Without its cause: nothing of the key may show.
        raise InvalidArgument(message, "ERR_INVALID_ARG_VALUE") from None


@contextlib.contextmanager
def _refused(message: str) -> Generator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(message, "ERR_INVALID_ARG_VALUE") from error


_kept: OrderedDict[str, SecureContext] = OrderedDict()  # by digest, used last at the end
_kept_lock = threading.Lock()


def secure_context_of(options: ContextOptions) -> SecureContext:
    """Give the one context for options that are equal."""
    if options.secure_context is not None:
        return options.secure_context
    name = ContextOptions.digest(options)
    with _kept_lock:
        found = _kept.get(name)
        if found is None:
            found = _kept[name] = SecureContext(options)
        _kept.move_to_end(name)
        if len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return found


def client_context(options: ClientOptions) -> ssl.SSLContext:
    """Give the `ssl.SSLContext` for a client.

    Raises:
        InvalidArgument: The options cannot be made into one.
    """
    return secure_context_of(options)._for_client(verify=options.reject_unauthorized)


def server_context(options: ServerOptions) -> ssl.SSLContext:
    """Give the `ssl.SSLContext` for a server.

    Raises:
        InvalidArgument: The options cannot be made into one.
    """
    mode = ssl.CERT_NONE
    if options.request_cert:
        mode = ssl.CERT_REQUIRED if options.reject_unauthorized else ssl.CERT_OPTIONAL
    return secure_context_of(options)._for_server(mode)


def create_secure_context(**options: Unpack[ContextKeywords]) -> SecureContext:
    """Make a context from certificates and settings, to be used by many connections.

    Options that are equal give the same context.

    Args:
        **options: See `ContextOptions`.

    Raises:
        InvalidArgument: An option cannot be; the message names it.

    Example:
        >>> from pathlib import Path
        >>> context = create_secure_context(  # doctest: +SKIP
        ...     cert=Path("cert.pem"), key=Path("key.pem")
        ... )

    Source: tls.createSecureContext in Node.
    """
    checked = ContextOptions(**options)
    made = secure_context_of(checked)
    if checked.has_certificate:
        made._for_server(ssl.CERT_NONE)  # what cannot be is refused here
    else:
        made._for_client(verify=True)
    return made
