"""The ladder of RFC 9112, section 6.3."""

from __future__ import annotations

import pytest

from nhttp._parser.framing import body_framing, first_values
from nhttp._parser.lines import MessageError

LENGTH, CODING = "Content-Length", "Transfer-Encoding"


def framing(*fields: tuple[str, str], minor_version: int = 1) -> tuple[int | None, bool]:
    lookup = first_values(list(fields))
    return body_framing(list(fields), lookup, len(lookup) != len(fields), minor_version)


def test_neither() -> None:
    assert framing(("A", "b"), ("a", "c")) == (None, False)


@pytest.mark.parametrize(
    ("value", "length"),
    [("0", 0), ("000", 0), ("5", 5), ("0" * 100 + "5", 5), (str(2**63 - 1), 2**63 - 1)],
)
def test_length(value: str, length: int) -> None:
    assert framing((LENGTH, value)) == (length, False)


@pytest.mark.parametrize(
    "value", ["", "+5", "-5", "5,5", "0x5", "5_0", "\xb2", " 5", str(2**63), "9" * 5000]
)
def test_bad_length(value: str) -> None:
    with pytest.raises(MessageError) as caught:
        framing((LENGTH, value))
    assert caught.value.code == "HPE_INVALID_CONTENT_LENGTH"


def test_two_lengths() -> None:
    with pytest.raises(MessageError) as caught:
        framing((LENGTH, "5"), ("content-length", "5"))
    assert caught.value.code == "HPE_UNEXPECTED_CONTENT_LENGTH"
    assert framing((LENGTH, "5"), ("A", "1"), ("a", "1")) == (5, False)


def test_chunked() -> None:
    assert framing((CODING, "CHUNKED")) == (None, True)
    assert framing((CODING, "chunked"), ("A", "1"), ("a", "1")) == (None, True)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([""], 400),
        (["chunked,"], 400),
        (["", "chunked"], 400),
        (["chunked;a=b"], 400),
        (["\x85chunked"], 400),
        (["chun ked"], 400),
        (["gzip"], 400),
        (["identity"], 400),
        (["identity, chunked"], 400),
        (["chunked, chunked"], 400),
        (["chunked", "chunked"], 400),
        (["chunked, gzip"], 400),
        (["gzip, chunked"], 501),
        (["gzip", "Chunked"], 501),
    ],
)
def test_other_codings(values: list[str], status: int) -> None:
    with pytest.raises(MessageError) as caught:
        framing(*((CODING, value) for value in values))
    assert caught.value.code == "HPE_INVALID_TRANSFER_ENCODING"
    assert caught.value.status == status


def test_no_coding_in_http_1_0() -> None:
    with pytest.raises(MessageError, match="TRANSFER_ENCODING"):
        framing((CODING, "chunked"), minor_version=0)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(LENGTH, "5"), (CODING, "chunked")], "HPE_INVALID_TRANSFER_ENCODING"),
        ([(CODING, "chunked"), (LENGTH, "5")], "HPE_UNEXPECTED_CONTENT_LENGTH"),
        ([(CODING, "x"), (LENGTH, "x")], "HPE_INVALID_CONTENT_LENGTH"),
    ],
)
def test_both(fields: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(MessageError) as caught:
        framing(*fields)
    assert caught.value.code == code
