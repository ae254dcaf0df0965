"""Options: what `connect`, `create_server` and `create_secure_context` take, by Node's names.

Checked when they are made. What they hold of keys shows in no `repr` and no exception.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict
from weakref import WeakKeyDictionary

from attrs import define, field, fields

from nhttp.errors import InvalidArgument
from nhttp.options import check_seconds
from nhttp.tls._material import Pems, read_pems, read_pfx
from nhttp.tls._session import TLSSession

if TYPE_CHECKING:
    import os

    from attrs import Attribute

    from nhttp.tls._context import SecureContext

__all__ = [
    "ClientKeywords",
    "ClientOptions",
    "ContextKeywords",
    "ContextOptions",
    "ServerKeywords",
    "ServerOptions",
    "SniCallback",
    "Version",
]

Version: TypeAlias = Literal["TLSv1.2", "TLSv1.3"]

VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

SniCallback: TypeAlias = "Callable[[str], SecureContext | ssl.SSLContext | None]"
"""What a server asks for the context of a name; None: the usual one."""

HANDSHAKE_SECONDS: Final = 120.0


class ContextKeywords(TypedDict, total=False):
    """The keywords of `create_secure_context`; `ContextOptions` says what they mean."""

    key: Pems
    cert: Pems
    ca: Pems
    pfx: bytes | os.PathLike[str] | None
    passphrase: str | bytes | None
    ciphers: str | None
    min_version: Version | None
    max_version: Version | None
    alpn_protocols: Sequence[str] | None
    secure_context: SecureContext | None
    ssl_context: ssl.SSLContext | None


class ClientKeywords(ContextKeywords, total=False):
    """The keywords of `connect`; `ClientOptions` says what they mean."""

    servername: str | None
    reject_unauthorized: bool | None
    session: TLSSession | None
    handshake_timeout: float | None


class ServerKeywords(ContextKeywords, total=False):
    """The keywords of `create_server`; `ServerOptions` says what they mean."""

    request_cert: bool
    reject_unauthorized: bool | None
    sni_callback: SniCallback | None
    handshake_timeout: float | None


def _key(given: Pems) -> tuple[bytes, ...]:
    return read_pems("key", given)


def _cert(given: Pems) -> tuple[bytes, ...]:
    return read_pems("cert", given)


def _ca(given: Pems) -> tuple[bytes, ...]:
    return read_pems("ca", given)


def _default_true(given: bool | None) -> bool:
    return True if given is None else given


def _default_seconds(given: float | None) -> float:
    return HANDSHAKE_SECONDS if given is None else given


def _passphrase(given: str | bytes | None) -> bytes | None:
    _check_kind("passphrase", given, (str, bytes, type(None)), "str or bytes", shown=False)
    return given.encode() if isinstance(given, str) else given


def _protocols(given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    if isinstance(given, (str, bytes)):
        raise _wrong_type("alpn_protocols", "a sequence of names", given)
    _check_kind("alpn_protocols", given, (Sequence,), "a sequence of names")
    for each in given:
        _check_kind("alpn_protocols", each, (str,), "a sequence of str")
        if not each.isascii() or not 1 <= len(each) <= 255:
            raise InvalidArgument(
                f"alpn_protocols has {each!r}: a name is 1 to 255 ASCII characters",
                "ERR_INVALID_ARG_VALUE",
            )
    return tuple(given)


def _check_kind(
    name: str, given: object, kinds: tuple[type, ...], wanted: str, *, shown: bool = True
) -> None:
    if not isinstance(given, kinds):
        raise _wrong_type(name, wanted, given, shown=shown)


def _wrong_type(name: str, wanted: str, given: object, *, shown: bool = True) -> InvalidArgument:
    what = repr(given) if shown else type(given).__name__
    return InvalidArgument(f"{name} is {wanted}, not {what}", "ERR_INVALID_ARG_TYPE")


def _of(*kinds: type | None, wanted: str) -> Callable[[Any, Attribute[Any], Any], None]:
    """Check that a value is of one of these kinds, None for none at all."""
    types = tuple(type(None) if kind is None else kind for kind in kinds)

    def check(_options: Any, attribute: Attribute[Any], value: Any) -> None:
        _check_kind(attribute.name, value, types, wanted)

    return check


def _secure_context(options: Any, attribute: Attribute[Any], value: Any) -> None:
    from nhttp.tls._context import SecureContext  # it stands on this module

    _of(SecureContext, None, wanted="what create_secure_context gave")(options, attribute, value)


def _version(_options: Any, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and value not in VERSIONS:
        raise InvalidArgument(
            f"{attribute.name} is 'TLSv1.2' or 'TLSv1.3', not {value!r}", "ERR_INVALID_ARG_VALUE"
        )


def _seconds(_options: Any, attribute: Attribute[Any], value: Any) -> None:
    check_seconds(attribute.name, value)


def _callable(_options: Any, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise _wrong_type(attribute.name, "callable", value)


@define(frozen=True, kw_only=True, eq=False)
class ContextOptions:
    """What a context is made from, on either side.

    Attributes:
        key: The private keys of `cert`: PEM as str or bytes, or a path; several for several.
        cert: The certificates to show, each followed by those between it and its authority.
        ca: The authorities to trust. Default: those of the system. Replaces them.
        pfx: Key and certificates in one PKCS #12 bundle, or its path, in the place of `key` and
            `cert`. Needs the extra ``nhttp[tls]``.
        passphrase: Opens `key` or `pfx`.
        ciphers: The ciphers for TLS 1.2, in OpenSSL's notation. Default: Python's choice.
        min_version: ``"TLSv1.2"`` (default) or ``"TLSv1.3"``.
        max_version: The same; default: the latest.
        alpn_protocols: The protocols to agree on one of, the preferred one first.
        secure_context: One that `create_secure_context` made, instead of all of the above.
        ssl_context: An `ssl.SSLContext`, instead of all of the above, used as it is.

    Raises:
        InvalidArgument: One of them cannot be.

    Source: tls.createSecureContext in Node.
    """

    key: tuple[bytes, ...] = field(default=None, converter=_key, repr=False)
    cert: tuple[bytes, ...] = field(default=None, converter=_cert, repr=False)
    ca: tuple[bytes, ...] = field(default=None, converter=_ca, repr=False)
    pfx: bytes | None = field(default=None, converter=read_pfx, repr=False)
    passphrase: bytes | None = field(default=None, converter=_passphrase, repr=False)
    ciphers: str | None = field(default=None, validator=_of(str, None, wanted="a str"))
    min_version: Version | None = field(default=None, validator=_version)
    max_version: Version | None = field(default=None, validator=_version)
    alpn_protocols: tuple[str, ...] = field(default=None, converter=_protocols)
    secure_context: SecureContext | None = field(default=None, validator=_secure_context)
    ssl_context: ssl.SSLContext | None = field(
        default=None, validator=_of(ssl.SSLContext, None, wanted="an ssl.SSLContext")
    )

    def __attrs_post_init__(self) -> None:
        for name in ("secure_context", "ssl_context"):
            if getattr(self, name) is None:
                continue
            also = [each for each in _MATERIAL if getattr(self, each)]
            if name == "ssl_context" and self.secure_context is not None:
                also.append("secure_context")
            if also:
                raise InvalidArgument(
                    f"{name} cannot be given together with {', '.join(also)}",
                    "ERR_INVALID_ARG_VALUE",
                )
        if self.pfx is not None and (self.key or self.cert):
            raise InvalidArgument("give pfx, or key and cert, not both", "ERR_INVALID_ARG_VALUE")
        if self.cert and len(self.key) not in (0, len(self.cert)):
            raise InvalidArgument(
                f"there are {len(self.cert)} of cert and {len(self.key)} of key: one key belongs "
                "to each",
                "ERR_INVALID_ARG_VALUE",
            )
        if self.key and not self.cert:
            raise InvalidArgument("key needs cert, which it belongs to", "ERR_INVALID_ARG_VALUE")

    @property
    def has_certificate(self) -> bool:
        """Whether there is something to show to the peer, or may be."""
        given = self.cert or self.pfx or self.secure_context or self.ssl_context
        return bool(given)

    def digest(self) -> str:
        """Give a name for all that decides which contexts are alike; it tells nothing of keys.

        Of a `secure_context` or `ssl_context`, which one it is counts.
        """
        contexts = _serial(self.secure_context), _serial(self.ssl_context)
        total = hashlib.sha256(repr(contexts).encode())
        for name in _MATERIAL:
            total.update(repr((name, getattr(self, name))).encode())
        return total.hexdigest()


_serials: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # guarded by `_serials_lock`
_serials_lock = threading.Lock()
_next_serial = count(1)


def _serial(context: object) -> int:
    """Give a number that no other context ever has, as one of its `id` could; 0 for None."""
    if context is None:
        return 0
    with _serials_lock:
        if context not in _serials:
            _serials[context] = next(_next_serial)
        return _serials[context]


_MATERIAL: Final = tuple(
    each.name
    for each in fields(ContextOptions)
    if each.name not in ("secure_context", "ssl_context")
)


@define(frozen=True, kw_only=True, eq=False)
class ClientOptions(ContextOptions):
    """What a client's socket begins with: `ContextOptions`, and these.

    Attributes:
        servername: The name that the server's certificate must have, and that it is told. Default:
            the host that is connected to.
        reject_unauthorized: Whether a certificate that cannot be verified ends the handshake.
            Default: True. If not, `TLSSocket.authorized` says what became of it.
        session: What `TLSSocket.get_session` of an earlier connection gave, to be resumed.
        handshake_timeout: Seconds for the handshake; 0: any. Default: 120.0.

    Source: tls.connect in Node.
    """

    servername: str | None = field(default=None, validator=_of(str, None, wanted="a str"))
    reject_unauthorized: bool = field(
        default=True, converter=_default_true, validator=_of(bool, wanted="True or False")
    )
    session: TLSSession | None = field(
        default=None, validator=_of(TLSSession, None, wanted="a TLSSession")
    )
    handshake_timeout: float = field(default=None, converter=_default_seconds, validator=_seconds)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.ssl_context is not None and not self.reject_unauthorized:
            raise InvalidArgument(
                "reject_unauthorized cannot be given together with ssl_context, whose verify_mode "
                "decides",
                "ERR_INVALID_ARG_VALUE",
            )

    def digest(self) -> str:
        """Give a name for all that decides which connections to a server are alike."""
        verified = "verified" if self.reject_unauthorized else "unverified"
        return f"{super().digest()}:{verified}"


@define(frozen=True, kw_only=True, eq=False)
class ServerOptions(ContextOptions):
    """What a server begins with: `ContextOptions`, and these.

    Attributes:
        request_cert: Whether clients are asked for a certificate. Default: False.
        reject_unauthorized: Whether one that shows none is refused. Default: True. One that shows
            one that cannot be verified always is.
        sni_callback: Called with the name that a client asks for; gives the context for it, or None
            for the usual one. On the connection's thread.
        handshake_timeout: Seconds for a handshake; 0: any. Default: 120.0.

    Source: tls.createServer in Node.
    """

    request_cert: bool = field(default=False, validator=_of(bool, wanted="True or False"))
    reject_unauthorized: bool = field(
        default=True, converter=_default_true, validator=_of(bool, wanted="True or False")
    )
    sni_callback: SniCallback | None = field(default=None, validator=_callable)
    handshake_timeout: float = field(default=None, converter=_default_seconds, validator=_seconds)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.ssl_context is not None and self.request_cert:
            raise InvalidArgument(
                "request_cert cannot be given together with ssl_context, whose verify_mode decides",
                "ERR_INVALID_ARG_VALUE",
            )
        if not self.has_certificate and self.sni_callback is None:
            raise InvalidArgument(
                "a TLS server needs a certificate: give cert and key, pfx, or a context",
                "ERR_INVALID_ARG_VALUE",
            )
