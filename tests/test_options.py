"""The options of servers, checked when they are given."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import fields
from attrs.exceptions import FrozenInstanceError

import nhttp
from nhttp.errors import InvalidArgument
from nhttp.options import ServerKeywords, ServerOptions

NAMES = [each.name for each in fields(ServerOptions)]
FLAGS = [each.name for each in fields(ServerOptions) if isinstance(each.default, bool)]
NUMBERS = [name for name in NAMES if name not in FLAGS]


def test_the_defaults_are_the_manuals() -> None:
    server = nhttp.create_server()
    assert server.timeout == 120.0
    assert server.headers_timeout == 40.0
    assert server.keep_alive_timeout == 5.0
    assert server.request_timeout == 300.0
    assert server.max_headers_count == 1000
    assert server.max_header_size == nhttp.max_header_size == 8192
    assert server.max_connections is None


def test_the_keywords_are_the_options() -> None:
    assert list(ServerKeywords.__annotations__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_option_becomes_an_attribute(name: str) -> None:
    value = True if name in FLAGS else 7
    given: Any = {name: value}
    assert getattr(nhttp.create_server(**given), name) == value
    assert getattr(nhttp.Server(None, **given), name) == value


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_what_is_not_true_or_false_is_refused(name: str, value: object) -> None:
    given: Any = {name: value}
    with pytest.raises(InvalidArgument, match=name) as caught:
        nhttp.create_server(**given)
    assert caught.value.code == "ERR_INVALID_ARG_TYPE"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, "5", None, True])
def test_what_is_no_number_of_that_kind_is_refused(name: str, value: object) -> None:
    given: Any = {name: value}
    with pytest.raises(InvalidArgument, match=name) as caught:
        nhttp.create_server(**given)
    kind = isinstance(value, bool) or not isinstance(value, (int, float))
    kind = kind or (isinstance(value, float) and name.startswith("max_"))
    assert caught.value.code == ("ERR_INVALID_ARG_TYPE" if kind else "ERR_INVALID_ARG_VALUE")


def test_durations_may_be_whole_or_infinite() -> None:
    assert ServerOptions(timeout=math.inf, keep_alive_timeout=0).timeout == math.inf


def test_an_unknown_option_is_refused() -> None:
    given: Any = {"keepAliveTimeout": 5}
    with pytest.raises(TypeError, match="keepAliveTimeout"):
        nhttp.create_server(**given)


def test_options_are_frozen() -> None:
    options: Any = ServerOptions()
    with pytest.raises(FrozenInstanceError):
        options.timeout = 5


@pytest.mark.parametrize("seconds", [-1, math.nan, "5"])
def test_set_timeout_is_checked(seconds: Any) -> None:
    server = nhttp.create_server()
    with pytest.raises(InvalidArgument, match="timeout"):
        server.set_timeout(seconds)
    assert server.timeout == 120.0
