"""Secure: what is otherwise with an https: URL. Loaded for such only, as `ssl` takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nhttp import https, tls
from nhttp._get.failures import Exit, Failure
from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

    import nhttp
    from nhttp.errors import SocketError

__all__ = ["exit_of", "secure_request"]

_HINT = "; -k goes on without trust"


def secure_request(
    url: str, *, ca: Path | None, insecure: bool, **options: Any
) -> nhttp.ClientRequest:
    """Make the request; nothing is sent yet.

    Args:
        url: An https: URL.
        ca: The file with the authorities to trust; None: the system's.
        insecure: Whether to trust whatever server answers.
        **options: What `nhttp.request` takes.

    Raises:
        Failure: The file cannot be used.
        InvalidArgument: The request cannot be made.
    """
    try:
        context = tls.create_secure_context(ca=ca)
    except InvalidArgument as error:
        raise Failure(Exit.AUTHORITIES, f"--cacert {ca}: {error}") from error
    return https.request(url, secure_context=context, reject_unauthorized=not insecure, **options)


def exit_of(error: SocketError) -> tuple[Exit, str] | None:
    """Give the exit status of a failure of TLS, and what to say besides; None: it is none."""
    if isinstance(error, tls.CertificateError):
        return Exit.UNTRUSTED, _HINT
    if error.syscall == "handshake" and not isinstance(error, TimeoutError):
        return Exit.HANDSHAKE, ""
    return (Exit.RECEIVE, "") if isinstance(error, tls.TLSError) else None
