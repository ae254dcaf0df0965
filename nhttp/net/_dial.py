"""Dial: the arguments of `connect`, sorted, and one address after the other.

Knows sockets and names; nothing of streams and threads.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from typing import TYPE_CHECKING, Any, Protocol, cast

from nhttp.errors import InvalidArgument, socket_error
from nhttp.net._address import Address, describe, family_name

if TYPE_CHECKING:
    from nhttp.streams import Callback

__all__ = ["Dial", "Line", "Route", "check_path", "check_port", "look_up", "unix_address"]

# How long the address of a Unix socket may be, the NUL behind a path included.
_UNIX_ADDRESS = 108 if sys.platform == "linux" else 104

_FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


class Line(Protocol):
    """Who wants the connection, and may give it up while it is being made; any thread asks."""

    def _take_handle(self, handle: socket.socket) -> bool:
        """Have `destroy` find this socket from now on; False: nobody wants it any more.

        Asked twice: before there is anything to be woken, and when there is.
        """
        ...

    def _drop_handle(self) -> bool:
        """Forget it again: it could not connect. False: whoever destroyed it closes it."""
        ...


class Route(Protocol):
    """A way to a connection."""

    @property
    def listener(self) -> Callback | None:
        """A listener for ``'connect'``."""
        ...

    @property
    def host(self) -> str:
        """Name or address of who is at the other end, as far as it has one."""
        ...

    def run(self, line: Line) -> None:
        """Connect, blocking; returns with a connection, or when nobody wants it any more."""
        ...


class Dial:
    """What `connect` was asked for.

    Attributes:
        listener: A listener for ``'connect'``.
        path: The path of a Unix socket, or None.
        host: Name or address.
        port: The port.
    """

    def __init__(
        self,
        port: int | str | None,
        host: str | Callback | None,
        listener: Callback | None,
        *,
        path: str | os.PathLike[str] | None,
        family: int,
        local_address: str | None,
        local_port: int,
    ) -> None:
        if callable(host):
            host, listener = None, host
        if isinstance(port, str) and not port.isdigit():
            port, path = None, port
        if family not in _FAMILIES:
            raise InvalidArgument(f"family is 4, 6 or 0, not {family!r}", "ERR_INVALID_ARG_VALUE")
        self.listener = listener
        self.path = None if path is None else check_path(path)
        self.host = _text("host", host) or "localhost"
        self.port = 0 if path is not None else check_port(port)
        self._family = _FAMILIES[family]
        self._addresses: list[tuple[Any, ...]] = []  # once they are known
        self._local: tuple[str, int] | None = None
        if local_address or local_port:
            self._local = (_text("local_address", local_address), check_port(local_port))

    def run(self, line: Line) -> None:
        """Connect, blocking; returns with a connection, or when nobody wants it any more.

        Raises:
            SocketError: No address could be connected to; why the first one could not.
        """
        if self.path is not None:
            self._try(line, socket.AF_UNIX, self.path, self.path)
            return
        first: OSError | None = None
        for family, _, _, _, address in self._resolve():
            where = describe(Address(str(address[0]), int(address[1]), family_name(family)))
            try:
                self._try(line, family, address, where)
            except OSError as error:
                first = first or error
            else:
                return
        if first is not None:
            try:
                raise first
            finally:
                del first  # or its traceback, which leads here, would lead to itself

    def knows_address(self) -> bool:
        """Whether no name has to be looked up: it is an address already, or a Unix path."""
        if self.path is not None:
            return True
        try:
            self._addresses = look_up(self.host, self.port, self._family, socket.AI_NUMERICHOST)
        except OSError:
            return False
        return True

    def _resolve(self) -> list[tuple[Any, ...]]:
        if self._addresses:
            return self._addresses
        try:
            return look_up(self.host, self.port, self._family)
        except OSError as error:
            raise socket_error(error, "connect", f"{self.host}:{self.port}") from error

    def _try(self, line: Line, family: int, address: Any, where: str) -> None:
        """Connect to one address; returns as well when the connection is not wanted any more."""
        try:
            handle = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # out of descriptors, say
            raise socket_error(error, "connect", where) from error
        if not line._take_handle(handle):
            handle.close()
            return
        step = ("connect", where)
        try:
            handle.setblocking(False)
            if family == socket.AF_UNIX:
                # Where the queue is full this says so, as in Node. Waiting there would be a wait
                # that `destroy` cannot end: Linux wakes it for the listener's sake only.
                handle.connect(unix_address(address))
            else:
                if self._local is not None:
                    step = ("bind", "{}:{}".format(*self._local))
                    handle.bind(self._local)
                    step = ("connect", where)
                _connect(line, handle, address)
            handle.setblocking(True)
        except OSError as error:
            if line._drop_handle():
                handle.close()
            raise socket_error(error, *step) from error


def _connect(line: Line, handle: socket.socket, address: Any) -> None:
    """Connect, or return when nobody wants that any more.

    It begins first and waits afterwards: what `destroy` shuts down before anything has begun is not
    shut down at all, and a call that did both would wait on.
    """
    number = handle.connect_ex(address)
    if number == errno.EINPROGRESS:
        if not line._take_handle(handle):
            return
        poller = select.poll()
        poller.register(handle, select.POLLOUT)
        poller.poll()
        number = handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def look_up(host: str, port: int, family: int = 0, flags: int = 0) -> list[tuple[Any, ...]]:
    """Give the addresses of a host as `socket.getaddrinfo` does, blocking.

    Raises:
        OSError: There are none, or the resolver cannot be asked.
    """
    try:
        return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags))
    except UnicodeError as error:  # a name that IDNA cannot encode is no name
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error


def _text(name: str, given: object) -> str:
    """Give an argument that is text, ``""`` for none, or refuse it."""
    if given is not None and not isinstance(given, str):
        raise InvalidArgument(f"{name} is a str, not {given!r}", "ERR_INVALID_ARG_TYPE")
    return given or ""


def check_path(path: object) -> str:
    """Give the path of a Unix socket, or refuse it."""
    if isinstance(path, os.PathLike):
        path = os.fspath(cast("os.PathLike[str]", path))
    if not isinstance(path, str):
        raise InvalidArgument(
            f"a path is a str, or a pathlib.Path, not {path!r}", "ERR_INVALID_ARG_TYPE"
        )
    # Linux has names that begin with NUL, for sockets without a file.
    if not path or ("\0" in path and path[0] != "\0"):
        raise InvalidArgument(
            f"a path cannot be empty, or have NUL in it: {path!r}", "ERR_INVALID_ARG_VALUE"
        )
    return path


def unix_address(path: str) -> str:
    """Give a path that can be bound or connected to.

    Raises:
        OSError: It is too long for that: EINVAL, as in Node. Python has no number for it.
    """
    size = len(os.fsencode(path))
    limit = _UNIX_ADDRESS - (not path.startswith("\0"))
    if size > limit:
        raise OSError(
            errno.EINVAL, f"the path of a Unix socket has at most {limit} octets, not {size}"
        )
    return path


def check_port(port: object) -> int:
    """Give the number of a port, or refuse it (``ERR_SOCKET_BAD_PORT``)."""
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise InvalidArgument(f"a port is 0 to 65535, not {port!r}", "ERR_SOCKET_BAD_PORT")
    return port
