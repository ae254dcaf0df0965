"""Failures: what may go wrong, and with which of curl's exit codes the command says so."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from nhttp.errors import (
    Error,
    InvalidArgument,
    LookupFailed,
    ParseError,
    SocketError,
    SocketTimeout,
    socket_error,
)

if TYPE_CHECKING:
    import nhttp

__all__ = ["Exit", "Failure", "of_exchange", "of_request"]


class Exit(IntEnum):
    """The exit status, by curl's numbers; 130 is the shell's."""

    UNSUPPORTED_PROTOCOL = 1
    USAGE = 2
    MALFORMED_URL = 3
    NOT_RESOLVED = 6
    NOT_CONNECTED = 7
    PARTIAL = 18
    HTTP_STATUS = 22
    WRITE = 23
    READ = 26
    TIMEOUT = 28
    RANGE = 33
    HANDSHAKE = 35
    EMPTY_REPLY = 52
    SEND = 55
    RECEIVE = 56
    UNTRUSTED = 60
    AUTHORITIES = 77
    INTERRUPTED = 130


class Failure(Exception):  # noqa: N818 - as in `nhttp.errors`
    """The command ends here.

    Attributes:
        exit: The exit status.
    """

    def __init__(self, exit_status: Exit, message: str) -> None:
        super().__init__(message)
        self.exit = exit_status


def of_request(error: InvalidArgument) -> Failure:
    """Give the failure of a request that cannot be made."""
    if error.code == "ERR_INVALID_PROTOCOL":
        return Failure(Exit.UNSUPPORTED_PROTOCOL, str(error))
    return Failure(Exit.MALFORMED_URL, str(error))


def of_exchange(error: Error | OSError, request: nhttp.ClientRequest, *, body: bool) -> Failure:
    """Give the failure of a request that was made.

    Args:
        error: What was raised.
        request: By which request.
        body: Whether the answer's head had come.
    """
    if isinstance(error, OSError):
        # A system call that failed to send is passed on as it is.
        known = socket_error(error, "write")
        if request.protocol == "https:":
            from nhttp._get.secure import exit_of  # see there; by now it is loaded

            of_tls = exit_of(known)
            if of_tls is not None:
                return Failure(of_tls[0], f"{known}{of_tls[1]}")
        return Failure(_exit_of(known, request, body=body), str(known))
    return Failure(Exit.RECEIVE if isinstance(error, ParseError) else Exit.USAGE, str(error))


def _exit_of(error: SocketError, request: nhttp.ClientRequest, *, body: bool) -> Exit:
    if isinstance(error, LookupFailed):
        return Exit.NOT_RESOLVED
    if isinstance(error, SocketTimeout):
        return Exit.TIMEOUT
    if error.syscall == "connect":
        return Exit.NOT_CONNECTED
    if error.syscall == "write":
        return Exit.SEND
    if str(error).startswith(f"{error.syscall} {error.code}"):
        return Exit.RECEIVE  # the system said so; otherwise the connection ended in good order
    if body:
        return Exit.PARTIAL
    received = 0 if request.socket is None else request.socket.bytes_read
    return Exit.RECEIVE if received else Exit.EMPTY_REPLY
