"""ListenRequest: the many forms of `listen`, sorted, and the socket that each asks for."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from nhttp.errors import InvalidArgument
from nhttp.net._dial import check_path, check_port, look_up, unix_address

if TYPE_CHECKING:
    from nhttp.net._address import Address
    from nhttp.streams import Callback

__all__ = ["Handle", "ListenRequest", "StrPath"]

BACKLOG = 511  # not 512, says the manual


class HasFileno(Protocol):
    """Anything with a file descriptor."""

    def fileno(self) -> int:
        """Give the descriptor."""
        ...


Handle: TypeAlias = "HasFileno | Mapping[str, int]"
StrPath: TypeAlias = "str | os.PathLike[str]"


class ListenRequest:
    """The arguments of `listen`, sorted, and how to get the socket that they ask for."""

    def __init__(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.port = 0
        self.host: str | None = None
        self.path: str | None = None
        self.fd: Any = None
        self.handle: Any = None
        self.backlog = BACKLOG
        self.callback: Callback | None = None
        self.reuse_port = False
        self.ipv6_only = False
        self._take_positional(list(args))
        for name, value in options.items():
            if name.startswith("_") or name not in self.__dict__:
                raise TypeError(f"listen() got an unexpected keyword argument {name!r}")
            if value is not None:
                setattr(self, name, value)
        self._check()

    def _check(self) -> None:
        self.port = check_port(self.port)
        self.host = self.host or None  # for no host, as for none
        fd = self.fd
        if fd is not None and (not isinstance(fd, int) or isinstance(fd, bool) or fd < 0):
            raise InvalidArgument(f"fd is a file descriptor, not {fd!r}", "ERR_INVALID_ARG_VALUE")
        if self.path is not None:
            self.path = check_path(self.path)

    def _take_positional(self, args: list[Any]) -> None:
        while args and args[-1] is None:
            args.pop()
        if args and callable(args[-1]) and not hasattr(args[-1], "fileno"):
            self.callback = args.pop()
        if not args:
            return
        first, *rest = args
        if _is_path(first):
            self.path = check_path(first)
            if _is_host(self.path):
                raise InvalidArgument(
                    f"the port comes first, as in listen(8000, {first!r}); "
                    f"a Unix socket of this name is path={first!r}",
                    "ERR_INVALID_ARG_VALUE",
                )
        elif isinstance(first, (int, str)) or first is None:
            self.port = check_port(0 if first is None else first)
            if rest and (isinstance(rest[0], str) or rest[0] is None):
                self.host = rest.pop(0)
        elif isinstance(first, Mapping):
            options = cast("Mapping[str, Any]", first)
            if "fd" not in options:
                raise InvalidArgument(
                    f"a handle is {{'fd': n}} or has a fileno(), not {first!r}",
                    "ERR_INVALID_ARG_VALUE",
                )
            self.fd = options["fd"]
        else:
            self.handle = first
        if rest and isinstance(rest[0], int):
            self.backlog = rest.pop(0)
        if any(each is not None for each in rest):
            raise InvalidArgument(f"listen() cannot tell what {rest!r} is", "ERR_INVALID_ARG_VALUE")

    def describe(self) -> str:
        """Give what was asked for, for a message."""
        if self.path is not None:
            return self.path
        if self.fd is not None or self.handle is not None:
            return "on a handle"
        host = self.host or "::"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def wants(self, address: Address | str) -> bool:
        """Whether this asks for an address that is in use already, by `address`."""
        if self.fd is not None or self.handle is not None:
            return False
        if isinstance(address, str) or self.path is not None:
            return self.path == address
        return self.port == address.port

    def open(self) -> tuple[socket.socket, str | None]:
        """Give the listening socket, and the path of the file to remove at the end."""
        if self.handle is not None or self.fd is not None:
            return self._take_over(), None
        if self.path is not None:
            address = unix_address(self.path)
            handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            has_file = not self.path.startswith("\0")
            return self._bind(handle, address), self.path if has_file else None
        if self.host is None:
            return self._bind_everywhere(), None
        family, _, _, _, address = look_up(self.host, self.port, flags=socket.AI_PASSIVE)[0]
        return self._bind(self._tcp(family), address), None

    def _take_over(self) -> socket.socket:
        if self.fd is not None:
            handle = socket.socket(fileno=self.fd)
        elif isinstance(self.handle, socket.socket):
            handle = self.handle
        else:
            handle = socket.socket(fileno=os.dup(self._descriptor()))
        try:
            handle.listen(self.backlog)
        except OSError:
            if self.fd is not None:
                handle.detach()  # the descriptor stays the caller's
            elif handle is not self.handle:
                handle.close()
            raise
        return handle

    def _descriptor(self) -> int:
        if not hasattr(self.handle, "fileno"):
            raise InvalidArgument(
                f"listen() takes a port, a path or a handle, not {self.handle!r}",
                "ERR_INVALID_ARG_TYPE",
            )
        descriptor = int(self.handle.fileno())
        if descriptor < 0:
            raise InvalidArgument(f"{self.handle!r} is not open", "ERR_INVALID_ARG_VALUE")
        return descriptor

    def _tcp(self, family: int) -> socket.socket:
        handle = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.reuse_port:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit it: an answer's last small piece is not held back, and no
        # connection costs a call for that.
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.ipv6_only))
        return handle

    def _bind_everywhere(self) -> socket.socket:
        """Listen on all addresses: IPv6 and with it IPv4, or IPv4 alone where there is no IPv6."""
        if socket.has_ipv6:
            try:
                return self._bind(self._tcp(socket.AF_INET6), ("::", self.port))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL):
                    raise
        return self._bind(self._tcp(socket.AF_INET), ("0.0.0.0", self.port))  # noqa: S104 - asked for

    def _bind(self, handle: socket.socket, address: Any) -> socket.socket:
        try:
            handle.bind(address)
            handle.listen(self.backlog)
        except BaseException:
            handle.close()
            raise
        return handle


def _is_path(first: object) -> bool:
    return isinstance(first, os.PathLike) or (isinstance(first, str) and not first.isdigit())


def _is_host(text: str) -> bool:
    """Whether this is a host for sure, which others than Node want before the port."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, text)
            return True
    return text == "localhost"
