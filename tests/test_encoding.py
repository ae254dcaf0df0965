"""Text to octets and back."""

from __future__ import annotations

import array
import base64
import ctypes
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhttp._encoding import Decoder, encode, normalize
from nhttp.errors import InvalidArgument

ENCODED = [
    ("aß€😀", "utf8", "aß€😀".encode()),
    ("aß€😀", "utf16le", "aß€😀".encode("utf-16-le")),
    ("aß", "latin1", b"a\xdf"),
    ("aß", "ascii", b"a\xdf"),
    ("00fF10", "hex", b"\x00\xff\x10"),
    ("+/+/", "base64", b"\xfb\xff\xbf"),
    ("-_-_", "base64url", b"\xfb\xff\xbf"),
]
ALIASES = {
    "utf8": ["utf8", "utf-8", "UTF-8", "Utf8"],
    "latin1": ["latin1", "latin-1", "binary", "BINARY"],
    "ascii": ["ascii"],
    "utf16le": ["ucs2", "ucs-2", "utf16le", "utf-16le", "utf-16-le"],
    "hex": ["hex", "HEX"],
    "base64": ["base64"],
    "base64url": ["base64url"],
}


class TestNormalize:
    @pytest.mark.parametrize(
        ("name", "alias"), [(name, alias) for name, each in ALIASES.items() for alias in each]
    )
    def test_aliases(self, name: str, alias: str) -> None:
        assert normalize(alias) == name

    @pytest.mark.parametrize("unknown", ["", "utf", "utf32", "rot13", None, 8])
    def test_unknown(self, unknown: Any) -> None:
        with pytest.raises(InvalidArgument, match="unknown encoding") as caught:
            normalize(unknown)
        assert caught.value.code == "ERR_UNKNOWN_ENCODING"


class TestEncode:
    @pytest.mark.parametrize(("text", "encoding", "octets"), ENCODED)
    def test_every_encoding(self, text: str, encoding: str, octets: bytes) -> None:
        assert encode(text, encoding) == octets

    def test_utf8_is_the_default(self) -> None:
        assert encode("€") == "€".encode()

    def test_a_lone_surrogate_becomes_the_replacement_character(self) -> None:
        assert encode("a\ud800b") == "a\ufffdb".encode()
        assert encode("\ud800", "utf16le") == b"\x00\xd8"

    def test_a_character_beyond_latin1_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="'€' at index 1") as caught:
            encode("a€", "latin1")
        assert caught.value.code == "ERR_INVALID_CHAR"

    @pytest.mark.parametrize("text", ["0", "xy", "0x10"])
    def test_what_is_not_hexadecimal_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidArgument, match="not hexadecimal"):
            encode(text, "hex")

    @pytest.mark.parametrize(
        ("text", "octets"),
        [
            ("YQ==", b"a"),
            ("YQ", b"a"),
            ("YW\r\nI=", b"ab"),
            ("YQ==ignored", b"a"),
            ("YWIjY", b"ab#"),
            ("Y", b""),
            ("", b""),
            ("_-8", b"\xff\xef"),
        ],
    )
    def test_base64_is_lenient(self, text: str, octets: bytes) -> None:
        assert encode(text, "base64") == octets
        assert encode(text, "base64url") == octets

    def test_bytes_like_comes_back_uncopied(self) -> None:
        for chunk in (b"ab", bytearray(b"ab")):
            assert encode(chunk) is chunk
        assert encode(memoryview(b"ab")) == b"ab"
        assert encode(b"ab", "hex") == b"ab"

    def test_views_of_other_items_are_cast_to_octets(self) -> None:
        numbers = array.array("I", [1, 2])
        assert bytes(encode(memoryview(numbers))) == numbers.tobytes()
        assert len(encode(memoryview(numbers))) == 2 * numbers.itemsize
        assert encode(memoryview(b"abcd")[::2]) == b"ac"
        foreign = (ctypes.c_uint16.__ctype_be__ * 2)(1, 2)
        assert bytes(encode(memoryview(foreign))) == b"\0\1\0\2"

    @pytest.mark.parametrize("chunk", [None, 1, 1.5, ["a"], {"a": 1}])
    def test_anything_else_is_refused(self, chunk: object) -> None:
        with pytest.raises(InvalidArgument, match="str or bytes-like") as caught:
            encode(chunk)  # type: ignore[arg-type]
        assert caught.value.code == "ERR_INVALID_ARG_TYPE"


def decode_in(encoding: str, pieces: list[bytes]) -> str:
    decoder = Decoder(encoding)
    return "".join([*map(decoder.decode, pieces), decoder.decode(b"", final=True)])


def split(octets: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    return [octets[a:b] for a, b in itertools.pairwise(edges)]


class TestDecoder:
    @pytest.mark.parametrize(
        ("text", "encoding", "octets"),
        [case for case in ENCODED if case[1] not in ("ascii", "hex")],
    )
    def test_every_encoding(self, text: str, encoding: str, octets: bytes) -> None:
        assert decode_in(encoding, [octets]) == text
        assert decode_in(encoding, [octets[i : i + 1] for i in range(len(octets))]) == text

    def test_ascii_drops_the_eighth_bit(self) -> None:
        assert decode_in("ascii", [b"a\xe1", b"\xff"]) == "aa\x7f"

    def test_hex_is_lower_case(self) -> None:
        assert decode_in("hex", [b"\xab", b"\x01"]) == "ab01"

    @pytest.mark.parametrize(
        ("encoding", "octets", "text"),
        [
            ("utf8", b"a\xe2\x82", "a\ufffd"),
            ("utf8", b"a\xffb", "a\ufffdb"),
            ("utf16le", b"a\x00b", "a\ufffd"),
            ("base64", b"a", "YQ=="),
            ("base64url", b"a", "YQ"),
        ],
    )
    def test_what_never_gets_whole(self, encoding: str, octets: bytes, text: str) -> None:
        assert decode_in(encoding, [octets]) == text

    @pytest.mark.parametrize(
        ("encoding", "octets", "pending"),
        [
            ("utf8", b"a\xe2\x82", b"\xe2\x82"),
            ("utf16le", b"a\x00b", b"b"),
            ("base64", b"abcd", b"d"),
            ("latin1", b"abcd", b""),
        ],
    )
    def test_pending(self, encoding: str, octets: bytes, pending: bytes) -> None:
        decoder = Decoder(encoding)
        decoder.decode(octets)
        assert decoder.pending == pending
        decoder.decode(b"", final=True)
        assert decoder.pending == b""

    @given(st.text(), st.lists(st.integers(0, 1000)))
    def test_any_split_of_text_gives_the_text(self, text: str, cuts: list[int]) -> None:
        for encoding in ("utf8", "utf16le"):
            octets = bytes(encode(text, encoding))
            assert decode_in(encoding, split(octets, cuts)) == text

    @given(st.binary(), st.lists(st.integers(0, 1000)))
    def test_any_split_of_octets_gives_the_same(self, octets: bytes, cuts: list[int]) -> None:
        pieces = split(octets, cuts)
        assert decode_in("latin1", pieces) == octets.decode("latin-1")
        assert decode_in("hex", pieces) == octets.hex()
        assert decode_in("base64", pieces) == base64.b64encode(octets).decode()
        for encoding in ("utf8", "utf16le", "ascii", "base64url"):
            assert decode_in(encoding, pieces) == decode_in(encoding, [octets])

    @given(st.binary())
    def test_what_was_decoded_encodes_to_the_same(self, octets: bytes) -> None:
        for encoding in ("latin1", "hex", "base64", "base64url"):
            assert encode(decode_in(encoding, [octets]), encoding) == octets
