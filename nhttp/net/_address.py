"""Addresses as Node gives them, from what the operating system gives."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

__all__ = ["Address", "address_of", "describe", "family_name"]


class Address(NamedTuple):
    """Where a TCP socket is bound: what `address()` of sockets and servers gives.

    Attributes:
        address: The IP address, without brackets.
        port: The port.
        family: ``"IPv4"`` or ``"IPv6"``.
    """

    address: str
    port: int
    family: str


def family_name(family: int) -> str:
    """Give Node's name of an address family: ``"IPv4"``, ``"IPv6"`` or ``"Unix"``."""
    if family == socket.AF_INET:
        return "IPv4"
    return "IPv6" if family == socket.AF_INET6 else "Unix"


def address_of(family: int, name: Any) -> Address | str:
    """Give an `Address`, or the path of a Unix socket, for what `getsockname` gave."""
    if family in (socket.AF_INET, socket.AF_INET6):
        return Address(name[0], name[1], family_name(family))
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


def describe(address: Address | str) -> str:
    """Give an address as messages show it: ``127.0.0.1:80``, ``[::1]:80``, ``/run/x.sock``."""
    if isinstance(address, str):
        return address
    host = f"[{address.address}]" if address.family == "IPv6" else address.address
    return f"{host}:{address.port}"
