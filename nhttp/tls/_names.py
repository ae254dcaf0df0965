"""The names that clients ask a server for (SNI, RFC 6066, 3), and the contexts for them."""

from __future__ import annotations

import logging
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nhttp.tls._context import SecureContext

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp.tls._options import SniCallback

__all__ = ["Names", "answer", "asking"]

_log = logging.getLogger("nhttp.tls")

# A callback belongs to a context, and that to many connections; but it is called on the thread that
# shakes hands, within the call that does it.
_here = threading.local()


@contextmanager
def asking(asked: Callable[[str], ssl.SSLContext | None]) -> Generator[None]:
    """Have `asked` called on this thread with the name that the client asks for, if it does."""
    _here.asked = asked
    try:
        yield
    finally:
        del _here.asked


def answer(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
    """Set a connection's context by the name that was asked for: an `ssl` callback."""
    asked: Callable[[str], ssl.SSLContext | None] | None = getattr(_here, "asked", None)
    if asked is None or name is None:
        return None
    try:
        found = asked(name)
        if found is not None:
            connection.context = found
    except Exception:  # `ssl` would only print it
        _log.exception("no context for the name %r", name)
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
    return None


class Names:
    """The contexts of a server, by name.

    Any thread may call any method; `_lock` guards the table.
    """

    def __init__(self, callback: SniCallback | None) -> None:
        self._callback = callback
        self._lock = threading.Lock()
        self._table: dict[str, ssl.SSLContext] = {}

    def add(self, name: str, context: ssl.SSLContext) -> None:
        """Set the context for a name; ``*.example.org`` is for all with one label more."""
        with self._lock:
            self._table[_normal(name)] = context

    def find(self, name: str) -> ssl.SSLContext | None:
        """Give the context for a name; None: the usual one. The callback is called unlocked."""
        if self._callback is not None:
            found = self._callback(name)
            if found is not None:
                return as_server_context(found)
        normal = _normal(name)
        with self._lock:
            exact = self._table.get(normal)
            return exact or self._table.get(f"*.{normal.partition('.')[2]}")


def as_server_context(context: object) -> ssl.SSLContext:
    """Give the `ssl.SSLContext` of what stands for one.

    Raises:
        TypeError: Nothing of the kind.
    """
    if isinstance(context, SecureContext):
        return context._for_server(ssl.CERT_NONE)
    if isinstance(context, ssl.SSLContext):
        return context
    raise TypeError(
        f"an SNI callback gives a SecureContext, an SSLContext or None, not {context!r}"
    )


def _normal(name: str) -> str:
    return name.lower().removesuffix(".")
