"""Every exception that nhttp raises, each with Node's code.

One base class, `Error`, and few subclasses. Each is also the built-in that a Python user would
catch: a refused header is a `TypeError` (as the manual says) and a `ValueError` (as Python says), a
reset connection a `ConnectionResetError`. What tells two errors of one class apart is `code`, spelt
as in Node: ``"ECONNRESET"``, ``"HPE_INVALID_METHOD"``, ``"ERR_STREAM_WRITE_AFTER_END"``.

This module knows nobody.
"""

# ruff: noqa: N818 - they are named for what happened; "Error" would add nothing to `ConnectionReset`

from __future__ import annotations

import errno
import socket

__all__ = [
    "BrokenPipe",
    "ConnectionAborted",
    "ConnectionRefused",
    "ConnectionReset",
    "Error",
    "InvalidArgument",
    "LookupFailed",
    "MaxListenersExceededWarning",
    "ParseError",
    "SocketError",
    "SocketTimeout",
    "StateError",
    "TunnelRefused",
    "socket_error",
]


class Error(Exception):
    """The base of every exception that nhttp raises on its own account.

    Attributes:
        code: Node's code for what happened, such as ``"ECONNRESET"``.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # The inherited one calls the class with `args` alone, which lack the code.
        return _blank, (type(self),), self._state()

    def _state(self) -> dict[str, object]:
        """Give every attribute that pickling and copying restore."""
        return {**self.__dict__, "args": self.args}


def _blank(kind: type[Error]) -> Error:
    return kind.__new__(kind)


class InvalidArgument(Error, TypeError, ValueError):
    """An argument was refused before anything was sent.

    Raised for header names, header values, reason phrases, methods, URLs and paths with characters
    that may not be there, and for options of the wrong kind.

    Codes: ``ERR_INVALID_ARG_TYPE``, ``ERR_INVALID_ARG_VALUE``, ``ERR_INVALID_CHAR``,
    ``ERR_INVALID_HTTP_TOKEN``, ``ERR_INVALID_PROTOCOL``, ``ERR_INVALID_URL``,
    ``ERR_UNESCAPED_CHARACTERS``, ``ERR_HTTP_INVALID_HEADER_VALUE``,
    ``ERR_HTTP_INVALID_STATUS_CODE``, ``ERR_SOCKET_BAD_PORT``, ``ERR_UNKNOWN_ENCODING``.
    """


class StateError(Error, RuntimeError):
    """A call came too late or too early: the object is not in the state for it.

    Codes: ``ERR_HTTP_HEADERS_SENT``, ``ERR_HTTP_BODY_NOT_ALLOWED``, ``ERR_INVALID_STATE``,
    ``ERR_STREAM_WRITE_AFTER_END``, ``ERR_STREAM_DESTROYED``, ``ERR_STREAM_PREMATURE_CLOSE``,
    ``ERR_STREAM_UNSHIFT_AFTER_END_EVENT``, ``ERR_SERVER_NOT_RUNNING``, ``EISCONN``, ``ENOTCONN``.
    """


class ParseError(Error, ValueError):
    """What the peer sent is not HTTP, or could be read in two ways.

    Attributes:
        status: The status code that fits as an answer: 400, 408, 413, 431, 501 or 505.
        bytes_parsed: Octets of the message that had been taken before the error, 0 when the error
            is of the whole head.
        raw_packet: The octets in which the error was found (at most the first 1024 of them).
    """

    def __init__(
        self,
        message: str,
        code: str,
        *,
        status: int = 400,
        bytes_parsed: int = 0,
        raw_packet: bytes = b"",
    ) -> None:
        super().__init__(message, code)
        self.status = status
        self.bytes_parsed = bytes_parsed
        self.raw_packet = raw_packet


class SocketError(Error, OSError):
    """A system call on a socket failed; `code` is the name of its errno.

    Attributes:
        errno: The number behind `code`, or ``None``; of a failed look-up, the resolver's number.
        syscall: What failed, in Node's words: ``"connect"``, ``"bind"``, ``"read"``, ``"write"``,
            ``"listen"``, ``"accept"``, or TLS's ``"handshake"``; ``""`` where nothing was tried.
    """

    def __init__(self, message: str, code: str, *, syscall: str = "") -> None:
        Error.__init__(self, message, code)
        self.errno = getattr(errno, code, None)
        self.strerror = message
        self.syscall = syscall

    def __str__(self) -> str:
        return str(self.args[0])

    def _state(self) -> dict[str, object]:
        # `OSError` keeps these two outside `__dict__`.
        return {**super()._state(), "errno": self.errno, "strerror": self.strerror}


class ConnectionReset(SocketError, ConnectionResetError):
    """The peer tore the connection down, or ended it within a message (``ECONNRESET``)."""


class ConnectionRefused(SocketError, ConnectionRefusedError):
    """Nobody listens there (``ECONNREFUSED``)."""


class ConnectionAborted(SocketError, ConnectionAbortedError):
    """The connection was given up on this side (``ECONNABORTED``)."""


class BrokenPipe(SocketError, BrokenPipeError):
    """Something was written to a connection whose other side is gone (``EPIPE``)."""


class SocketTimeout(SocketError, TimeoutError):
    """A deadline passed.

    Codes: ``ETIMEDOUT``, ``ERR_HTTP_REQUEST_TIMEOUT``, ``ERR_TLS_HANDSHAKE_TIMEOUT``.
    """


class LookupFailed(SocketError, socket.gaierror):
    """A host name has no address (``ENOTFOUND``), or the look-up failed for now (``EAI_AGAIN``)."""


class TunnelRefused(SocketError):
    """The server has answered, but by no tunnel: ``ERR_HTTP_TUNNEL_REFUSED``.

    Attributes:
        status_code: Of its answer, which `ClientRequest.get_response` gives.
    """

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message, "ERR_HTTP_TUNNEL_REFUSED")
        self.status_code = status_code


class MaxListenersExceededWarning(RuntimeWarning):
    """An emitter has more listeners for one event than its limit: often a leak."""


_BY_ERRNO: dict[int, type[SocketError]] = {
    errno.ECONNRESET: ConnectionReset,
    errno.ECONNREFUSED: ConnectionRefused,
    errno.ECONNABORTED: ConnectionAborted,
    errno.EPIPE: BrokenPipe,
    errno.ESHUTDOWN: BrokenPipe,
    errno.ETIMEDOUT: SocketTimeout,
}

# Python itself raises some without a number: a socket's own timeout is `TimeoutError("timed out")`.
_BY_BUILTIN: dict[type[OSError], int] = {
    ConnectionResetError: errno.ECONNRESET,
    ConnectionRefusedError: errno.ECONNREFUSED,
    ConnectionAbortedError: errno.ECONNABORTED,
    BrokenPipeError: errno.EPIPE,
    TimeoutError: errno.ETIMEDOUT,
}


def socket_error(error: OSError, syscall: str, where: str = "") -> SocketError:
    """Give the `SocketError` for what the operating system said.

    Args:
        error: What the system call raised. Not an `ssl.SSLError`: its numbers are not errnos.
        syscall: What was tried: ``"connect"``, ``"read"``, ``"write"``, ``"listen"``, ``"bind"``.
        where: The address it was tried on, for the message.

    Returns:
        The fitting subclass, with Node's wording and then the system's: ``connect ECONNREFUSED
        127.0.0.1:80: Connection refused``. A `SocketError` is returned as it is.
    """
    if isinstance(error, SocketError):
        return error
    suffix = f" {where}" if where else ""
    if isinstance(error, socket.gaierror):
        code = "EAI_AGAIN" if error.errno == socket.EAI_AGAIN else "ENOTFOUND"
        failed = LookupFailed(f"{syscall} {code}{suffix}", code, syscall=syscall)
        failed.errno = error.errno
        return failed
    number = error.errno
    if number is None:
        number = next((n for kind, n in _BY_BUILTIN.items() if isinstance(error, kind)), errno.EIO)
    code = errno.errorcode.get(number, "EIO")
    words = error.strerror or (str(error) if code == "EIO" else "")
    detail = f": {words}" if words else ""
    kind = _BY_ERRNO.get(number, SocketError)
    return kind(f"{syscall} {code}{suffix}{detail}", code, syscall=syscall)
