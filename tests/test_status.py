"""http.STATUS_CODES and http.METHODS."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

import nhttp


def test_status_codes__all_standard_codes_and_their_short_descriptions() -> None:
    assert nhttp.STATUS_CODES[404] == "Not Found"
    for status in HTTPStatus:
        assert status in nhttp.STATUS_CODES


def test_status_codes_can_all_be_sent_and_not_be_changed() -> None:
    for code, phrase in nhttp.STATUS_CODES.items():
        assert 100 <= code <= 999
        assert phrase.isascii()
        assert phrase.isprintable()
    codes: Any = nhttp.STATUS_CODES
    with pytest.raises(TypeError):
        codes[404] = "Gone fishing"


def test_methods__a_list_of_those_that_the_parser_supports() -> None:
    assert {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"} <= set(
        nhttp.METHODS
    )
    assert list(nhttp.METHODS) == sorted(nhttp.METHODS)
