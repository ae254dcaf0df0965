"""The regular expressions: that they are linear, and that both ways through a head agree."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhttp._parser import grammar
from nhttp._parser.buffer import Buffer
from nhttp._parser.limits import Limits
from nhttp._parser.lines import (
    MAX_LENGTH,
    IncompleteError,
    MessageError,
    check_chunk_line,
    check_request_line,
    check_status_line,
)
from nhttp._parser.section import Section

PATTERNS: dict[str, re.Pattern[Any]] = {
    name: value for name, value in vars(grammar).items() if isinstance(value, re.Pattern)
}


def open_ended_repeats(parsed: Any) -> list[str]:
    """Return the kinds of all repeats without an upper bound in a parsed pattern."""
    found: list[str] = []
    for operation, argument in parsed:
        name = str(operation)
        if name.endswith("REPEAT"):
            _low, high, inner = argument
            if str(high) == "MAXREPEAT":
                found.append(name)
            found += open_ended_repeats(inner)
        elif name == "SUBPATTERN":
            found += open_ended_repeats(argument[-1])
        elif name == "BRANCH":
            for branch in argument[1]:
                found += open_ended_repeats(branch)
        else:
            assert name in {"LITERAL", "NOT_LITERAL", "IN", "AT", "ASSERT", "ASSERT_NOT", "ANY"}, (
                name
            )
    return found


@pytest.mark.parametrize("name", PATTERNS)
def test_no_repeat_ever_gives_back(name: str) -> None:
    """A match from one place takes linear time where every open-ended repeat is possessive.

    Nothing is ever matched again by a repeat that was left, so what is tried at one place is
    bounded by the number of alternatives in the pattern.
    """
    pattern = PATTERNS[name]
    parsed = importlib.import_module("re._parser").parse(
        pattern.pattern, pattern.flags & re.MULTILINE
    )
    assert set(open_ended_repeats(parsed)) <= {"POSSESSIVE_REPEAT"}


def test_the_test_for_repeats_sees_one() -> None:
    parsed = importlib.import_module("re._parser").parse(r"(?:a|(b*)c)++")
    assert open_ended_repeats(parsed) == ["POSSESSIVE_REPEAT", "MAX_REPEAT"]


@pytest.mark.parametrize("name", ["_PLAIN_FIELD", "_FIELD"])
def test_field_lines_are_looked_for_where_lines_begin(name: str) -> None:
    """So that all of a head's lines together take linear time too."""
    assert PATTERNS[name].pattern.startswith("^(")
    assert PATTERNS[name].flags & re.MULTILINE


START_LINES = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200",
        "OPTIONS * HTTP/1.0",
        "CONNECT a:1 HTTP/1.1",
    ]
)
SCRAPS = st.sampled_from(
    [*"AZaz09!:;,/#*@\\\"'`\0\t\n\v\f\r \x1f\x7f\x80\x85\xa0\xff", "\r\n", ": ", "HTTP/1.1", "X: y"]
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> str:
    """Good heads and nearly good ones, each with one empty line, at its end."""
    lines = [draw(START_LINES), *["X-Name: a value"] * draw(st.integers(0, 4))]
    text = "\r\n".join(lines)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(SCRAPS) + text[at + draw(st.integers(0, 1)) :]
    text += "\r\n\r\n"
    return text[: text.index("\r\n\r\n") + 4]


@settings(deadline=None)
@given(heads(), st.booleans())
def test_both_ways_through_a_head_accept_the_same(text: str, is_request: bool) -> None:
    if is_request:
        start = grammar.REQUEST_LINE.match(text)
        fits = (
            start is not None
            and start[1] in grammar.METHOD_SET
            and grammar.target_fits(start[1], start[2])
        )
        section = Section("head", check_request_line)
    else:
        start = grammar.STATUS_LINE.match(text)
        fits = start is not None
        section = Section("head", check_status_line)
    quickly = fits and start is not None and grammar.split_fields(text, start.end()) is not None
    buffer = Buffer()
    buffer.append(text.encode("latin-1"))
    try:
        section.check(buffer, len(buffer), Limits())
    except MessageError:
        slowly = False
    else:
        slowly = True
    assert quickly == slowly


EXTENSIONS = st.lists(
    st.sampled_from([*'\0\t\r\n !"\\;=0aFg\x7f\xe9', "\r\n", ";a=b", '"x"']), max_size=9
)


@settings(deadline=None)
@given(st.sampled_from(["", "5", "5;a", "ffffffffffffffff", "0" * 20 + "5", '5;a="b']), EXTENSIONS)
def test_both_ways_through_a_chunk_line_accept_the_same(size: str, scraps: list[str]) -> None:
    data = (size + "".join(scraps)).encode("latin-1")
    line = grammar.CHUNK_LINE.match(data)
    quickly = line.end() if line is not None and int(line[1], 16) <= MAX_LENGTH else None
    try:
        slowly = check_chunk_line(data, 0, len(data))
    except (MessageError, IncompleteError):
        assert quickly is None
    else:
        assert quickly == slowly
