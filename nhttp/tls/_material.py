"""Key material: PEM and PKCS #12, from memory or from files, as `ssl` can load it.

`ssl` loads certificates and keys from files only. What is in memory goes through an anonymous one,
where there are such, or a private temporary one that is removed at once. No message of an exception
shows any of it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeAlias

from nhttp.errors import InvalidArgument

__all__ = ["Pem", "Pems", "as_file", "read_pems", "read_pfx", "unpack_pfx"]

Pem: TypeAlias = "str | bytes | os.PathLike[str]"
"""PEM, as text or octets, or the path of a file with some."""

Pems: TypeAlias = "Pem | Sequence[Pem] | None"
"""One, several, or none."""


def read_pems(name: str, given: Pems) -> tuple[bytes, ...]:
    """Give what an option holds, files read.

    Raises:
        InvalidArgument: It is neither PEM nor a path, or the file cannot be read.
    """
    if given is None:
        return ()
    if isinstance(given, (str, bytes, os.PathLike)):
        return (_read_pem(name, given),)
    if not _is(given, Sequence):
        raise _no_pem(name)
    return tuple(_read_pem(name, each) for each in given)


def _read_pem(name: str, given: Pem) -> bytes:
    where = ""
    if isinstance(given, str):
        data = given.encode()
    elif isinstance(given, bytes):
        data = given
    elif _is(given, os.PathLike):
        data = _read_file(name, Path(given))
        where = f" in {os.fspath(given)}"
    else:
        raise _no_pem(name)
    if b"-----BEGIN " not in data:
        hint = "" if where else " (a file is given as a pathlib.Path)"
        raise InvalidArgument(
            f"{name}{where} is not PEM: there is no '-----BEGIN'{hint}", "ERR_INVALID_ARG_VALUE"
        )
    return data


def _is(given: object, kind: type) -> bool:
    """Whether it is what the type checker takes for granted."""
    return isinstance(given, kind)


def read_pfx(given: bytes | os.PathLike[str] | None) -> bytes | None:
    """Give the octets of a PKCS #12 bundle, or None.

    Raises:
        InvalidArgument: It is neither bytes nor a path, or the file cannot be read.
    """
    if given is None or isinstance(given, bytes):
        return given
    if _is(given, os.PathLike):
        return _read_file("pfx", Path(given))
    raise InvalidArgument(
        f"pfx is bytes or a path, not {type(given).__name__}", "ERR_INVALID_ARG_TYPE"
    )


def _read_file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"{name}: cannot read {path}: {error.strerror}", "ERR_INVALID_ARG_VALUE"
        ) from error


def _no_pem(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name} is PEM as str or bytes, a path, or a sequence of these", "ERR_INVALID_ARG_TYPE"
    )


def unpack_pfx(pfx: bytes, passphrase: bytes | None) -> tuple[bytes, bytes]:
    """Give the chain of certificates and the key in a PKCS #12 bundle, as PEM.

    Raises:
        InvalidArgument: It cannot be read, or there is no key and certificate in it, or the package
            that reads such bundles is not installed.
    """
    try:
        # Of the extra `tls`: nothing else needs it.
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
        from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
    except ImportError as error:
        raise InvalidArgument(
            "pfx needs the package cryptography: pip install 'nhttp[tls]'", "ERR_INVALID_ARG_VALUE"
        ) from error
    try:
        key, certificate, others = load_key_and_certificates(pfx, passphrase)
    except ValueError:
        raise InvalidArgument(
            "pfx cannot be read: it is not PKCS #12, or passphrase does not open it",
            "ERR_INVALID_ARG_VALUE",
        ) from None
    if key is None or certificate is None:
        raise InvalidArgument("pfx has no key with a certificate", "ERR_INVALID_ARG_VALUE")
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *others))
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextlib.contextmanager
def as_file(data: bytes) -> Generator[str]:
    """Give the path of a file that only this process can read, and that is gone afterwards."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nhttp", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.NamedTemporaryFile(prefix="nhttp-") as file:  # mode 0600
        file.write(data)
        file.flush()
        yield file.name
