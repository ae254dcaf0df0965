"""Headers that arrive, and what may be sent."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from wire import answered

from nhttp.errors import InvalidArgument
from nhttp.headers import (
    Field,
    Headers,
    check_name,
    check_text,
    check_value,
    checked,
    distinct,
    flatten,
    pairs_of,
    tokens_of,
)

if TYPE_CHECKING:
    from nhttp import ServerResponse

FIRST_COUNTS = """
    age authorization content-length content-type etag expires from host if-modified-since
    if-unmodified-since last-modified location max-forwards proxy-authorization referer retry-after
    user-agent
""".split()  # noqa: SIM905 - one word after the other, as the manual has them


class TestHeaders:
    def test_keys_are_lower_case_and_values_are_not_modified(self) -> None:
        headers = Headers([("ConTent-Length", "123"), ("X-Mixed", "VaLuE ")])
        assert dict(headers) == {"content-length": "123", "x-mixed": "VaLuE "}
        assert list(headers) == ["content-length", "x-mixed"]
        assert len(headers) == 2

    def test_look_ups_are_in_any_case(self) -> None:
        headers = Headers([("Accept", "*/*")])
        assert headers["accept"] == headers["ACCEPT"] == headers["Accept"] == "*/*"
        assert "aCCept" in headers
        assert headers.get("ACCEPT") == "*/*"

    def test_what_is_missing(self) -> None:
        headers = Headers([("a", "")])
        assert headers["a"] == ""
        assert headers.get("b") is None
        assert headers.get("b", "none") == "none"
        assert "b" not in headers
        number: object = 5
        assert number not in headers
        with pytest.raises(KeyError, match="content-type"):
            headers["Content-Type"]

    @pytest.mark.parametrize("name", FIRST_COUNTS)
    def test_of_some_the_first_counts(self, name: str) -> None:
        headers = Headers([(name.title(), "first"), (name, "second"), (name, "third")])
        assert headers[name] == "first"

    def test_set_cookie_is_always_a_list(self) -> None:
        assert Headers([("Set-Cookie", "a=1")])["set-cookie"] == ["a=1"]
        both = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2")])
        assert both["Set-Cookie"] == ["a=1", "b=2"]
        lookup = {"set-cookie": "a=1"}
        for _ in range(2):  # as with a head that comes twice
            assert Headers._from_unique(lookup)["set-cookie"] == ["a=1"]

    def test_cookies_are_joined_with_semicolons(self) -> None:
        assert Headers([("Cookie", "a=1"), ("cookie", "b=2")])["cookie"] == "a=1; b=2"

    def test_all_others_are_joined_with_commas(self) -> None:
        assert Headers([("Accept", "a"), ("accept", "b"), ("ACCEPT", "c")])["accept"] == "a, b, c"

    def test_is_a_read_only_mapping(self) -> None:
        headers = Headers([("A", "1")])
        assert isinstance(headers, Mapping)
        assert headers == {"a": "1"}
        assert not hasattr(headers, "__setitem__")
        assert repr(headers) == "Headers({'a': '1'})"

    def test_from_fields_that_are_known_to_be_different(self) -> None:
        lookup = {"a": "1", "b": "2"}
        assert Headers._from_unique(lookup) == lookup


def test_distinct_joins_and_drops_nothing() -> None:
    fields = [("Host", "a"), ("host", "b"), ("Cookie", "c")]
    assert distinct(fields) == {"host": ["a", "b"], "cookie": ["c"]}


def test_flatten() -> None:
    assert flatten([("A", "1"), ("a", "2")]) == ["A", "1", "a", "2"]


class TestChecks:
    @pytest.mark.parametrize("name", ["a", "X-Y_z.1", "!#$%&'*+-.^_`|~"])
    def test_tokens_are_names(self, name: str) -> None:
        assert check_name(name) == name

    @pytest.mark.parametrize(
        "name", ["", " ", "a b", "a:", "a\r\nb", "a\n", "ä", "a\0", "(a)", 5, None, b"a"]
    )
    def test_nothing_else_is(self, name: object) -> None:
        with pytest.raises(InvalidArgument) as caught:
            check_name(name)
        assert caught.value.code == "ERR_INVALID_HTTP_TOKEN"
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize("value", ["", "a b\tc", "caf\xe9", "\xff", "~"])
    def test_values(self, value: str) -> None:
        assert check_value("n", value) == value

    @pytest.mark.parametrize(
        "value", ["a\r\nb: c", "\n", "\r", "\0", "\x7f", "\x1f", "€", "\ud800"]
    )
    def test_characters_that_may_not_be_in_a_value(self, value: str) -> None:
        for each in (value, ["fine", value]):
            with pytest.raises(InvalidArgument, match="header 'n'") as caught:
                check_value("n", each)
            assert caught.value.code == "ERR_INVALID_CHAR"

    def test_numbers_and_sequences(self) -> None:
        assert check_value("n", 5) == "5"
        assert check_value("n", ["a", 5]) == ["a", "5"]
        assert check_value("n", ("a",)) == ["a"]
        assert check_value("n", []) == []

    @pytest.mark.parametrize(
        "value", [None, 1.5, b"a", bytearray(), memoryview(b"a"), [b"a"], [None], {"a"}, object()]
    )
    def test_other_kinds(self, value: object) -> None:
        with pytest.raises(InvalidArgument) as caught:
            check_value("n", value)
        assert caught.value.code == "ERR_HTTP_INVALID_HEADER_VALUE"

    def test_text_is_text(self) -> None:
        assert check_text("fine", "it") == "fine"
        with pytest.raises(InvalidArgument, match="it is a str, not 5"):
            check_text(5, "it")


def test_an_enum_of_str_is_sent_as_the_text_that_it_is() -> None:
    class Known(str, enum.Enum):  # noqa: UP042 - whose `__str__` is another text
        NAME = "X-Name"
        VALUE = "value"
        REASON = "Reason"

    def write(response: ServerResponse) -> None:
        response.status_message = Known.REASON
        response.set_header(Known.NAME, Known.VALUE).append_header("X-name", [Known.VALUE, 5])
        response.end()

    answer = answered(write)
    assert answer.reason == "Reason"
    assert [pair for pair in answer.fields if pair[0].startswith("X")] == [
        ("X-Name", "value"),
        ("X-name", "value"),
        ("X-name", "5"),
    ]


class Alike(str):
    """Equal to "abc", whatever it is."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("abc")


class TestWhatWasCheckedBefore:
    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
        known: dict[Any, Any] = {}
        monkeypatch.setattr("nhttp.headers._KNOWN", known)
        monkeypatch.setattr("nhttp.headers._KNOWN_AT_MOST", 2)
        monkeypatch.setattr("nhttp.headers._KNOWN_UP_TO", 3)
        return known

    def test_is_not_checked_again(self, known: dict[Any, Any]) -> None:
        assert checked("N", "abc") is checked("N", "abc")
        assert list(known) == [("N", "abc")]

    def test_is_bounded(self, known: dict[Any, Any]) -> None:
        for value in ("a", "b", "long", "c"):
            assert checked("N", value) == ("n", Field("N", value, f"N: {value}\r\n"))
            assert len(known) <= 2
            if value == "b":
                assert list(known) == [("N", "a"), ("N", "b")]
        assert list(known) == [("N", "c")]

    def test_is_not_what_claims_to_be_equal(self) -> None:
        checked("abc", "abc")
        assert checked("abc", Alike("value"))[1].lines == "abc: value\r\n"
        assert checked(Alike("Name"), "abc")[1].lines == "Name: abc\r\n"


def test_pairs_of() -> None:
    assert list(pairs_of({"a": 1})) == [("a", 1)]
    assert list(pairs_of(Headers([("ab", "1")]))) == [("ab", "1")]
    assert list(pairs_of([("a", 1), ("a", 2)])) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("headers", ["a: b", b"OK", ["a", "b"], [("a", "b", "c")], 5, None])
def test_pairs_of_what_is_none(headers: Any) -> None:
    with pytest.raises(InvalidArgument, match="pairs of name and value"):
        pairs_of(headers)


def test_tokens_of() -> None:
    assert tokens_of("Keep-Alive,  UPGRADE\t,,") == ["keep-alive", "upgrade"]
    assert tokens_of(["enclosed", "Close"]) == ["enclosed", "close"]
    assert tokens_of("") == []
