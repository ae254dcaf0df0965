"""Addresses as Node gives them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from nhttp.net import Address
from nhttp.net._address import address_of, describe, family_name


@pytest.mark.parametrize(
    ("family", "name"),
    [(socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6"), (socket.AF_UNIX, "Unix")],
)
def test_family_name(family: int, name: str) -> None:
    assert family_name(family) == name


@pytest.mark.parametrize(
    ("family", "name", "address", "text"),
    [
        (socket.AF_INET, ("127.0.0.1", 80), Address("127.0.0.1", 80, "IPv4"), "127.0.0.1:80"),
        (socket.AF_INET6, ("::1", 80, 0, 0), Address("::1", 80, "IPv6"), "[::1]:80"),
        (socket.AF_UNIX, "/run/x.sock", "/run/x.sock", "/run/x.sock"),
        (socket.AF_UNIX, b"\0abstract", "\0abstract", "\0abstract"),
        (socket.AF_UNIX, b"/\xff", "/\udcff", "/\udcff"),
    ],
)
def test_address_of_and_describe(family: int, name: Any, address: Any, text: str) -> None:
    assert address_of(family, name) == address
    assert describe(address) == text


def test_an_address_is_a_named_tuple() -> None:
    address, port, family = Address("::1", 80, "IPv6")
    assert (address, port, family) == ("::1", 80, "IPv6")
