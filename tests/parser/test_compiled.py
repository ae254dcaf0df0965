"""The compiled parser and the source that it was made from say the same.

Where nhttp was installed without NHTTP_COMPILE=1 there is nothing to compare.
"""

from __future__ import annotations

import importlib
import random
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from parser_cases import COMPILED, Vector, load

import nhttp._parser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytestmark = pytest.mark.skipif(not COMPILED, reason="the parser is not compiled here")

LIMITS = {"max_head_size": 120, "max_headers_count": 4, "max_chunk_line": 24}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The parser's modules without the compiled ones beside them, as a package of another name."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(
        Path(nhttp._parser.__file__).parent,
        folder / "parser_source",
        ignore=lambda _, names: {name for name in names if not name.endswith(".py")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield importlib.import_module("parser_source")
    for name in [each for each in sys.modules if each.partition(".")[0] == "parser_source"]:
        del sys.modules[name]


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(0, 8))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def told(parser: Any, pieces: list[bytes]) -> list[str]:
    """Feed the pieces, and give all events as text: the classes of the two are not the same."""
    events: list[str] = []

    def take() -> None:
        while True:
            event = parser.next_event()
            events.append(repr(event))
            if type(event).__name__ == "Paused" and "resume" in dir(parser):
                try:
                    parser.resume()
                except RuntimeError as error:  # a tunnel
                    events.append(repr(error))
                else:
                    continue
            if type(event).__name__ in {"NeedData", "Paused", "Closed", "Invalid"}:
                return

    for piece in pieces:
        parser.feed(piece)
        take()
    parser.feed_eof()
    take()
    return [*events, repr(parser.buffered), repr(parser.take_rest())]


def each_way(vector: Vector) -> list[list[bytes]]:
    data, rng = vector.bytes, random.Random(vector.id)
    return [[data], [data[i : i + 1] for i in range(len(data))], cut(data, rng), cut(data, rng)]


@pytest.mark.parametrize("limits", [{}, LIMITS])
def test_requests_are_parsed_alike(source: ModuleType, limits: dict[str, int]) -> None:
    for vector in load("requests"):
        for pieces in each_way(vector):
            expected = told(source.RequestParser(source.Limits(**limits)), pieces)
            ours = told(nhttp._parser.RequestParser(nhttp._parser.Limits(**limits)), pieces)
            assert ours == expected, vector.id


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT"])
def test_responses_are_parsed_alike(source: ModuleType, method: str) -> None:
    for vector in load("responses"):
        for pieces in each_way(vector):
            parsers = source.ResponseParser(), nhttp._parser.ResponseParser()
            for parser in parsers:
                parser.expect(method, upgrade=True)
            assert told(parsers[1], pieces) == told(parsers[0], pieces), vector.id


def test_what_is_compared_are_two(source: ModuleType) -> None:
    assert source.RequestParser.__module__ == "parser_source.request"
    assert source.request.__file__.endswith(".py")
    assert not nhttp._parser.request.__file__.endswith(".py")
