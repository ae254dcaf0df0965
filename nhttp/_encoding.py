"""Text to octets and back, under the names that Node gives to encodings.

``"utf8"``, ``"latin1"``, ``"hex"``, ``"base64"`` and their relatives. Standard library only.
"""

from __future__ import annotations

import base64
import codecs
import re
from typing import TYPE_CHECKING, TypeAlias

from nhttp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BytesLike", "Decoder", "encode", "normalize"]

# What every write accepts besides str. (`collections.abc.Buffer` is Python 3.12's.)
BytesLike: TypeAlias = "bytes | bytearray | memoryview"

_ALIASES = {
    "utf8": "utf8",
    "utf-8": "utf8",
    "latin1": "latin1",
    "latin-1": "latin1",
    "binary": "latin1",
    "ascii": "ascii",
    "ucs2": "utf16le",
    "ucs-2": "utf16le",
    "utf16le": "utf16le",
    "utf-16le": "utf16le",
    "utf-16-le": "utf16le",
    "hex": "hex",
    "base64": "base64",
    "base64url": "base64url",
}
_SEVEN_BITS = bytes(octet & 0x7F for octet in range(256))
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def normalize(encoding: str) -> str:
    """Give the one name of an encoding, or refuse it.

    Raises:
        InvalidArgument: No such encoding (``ERR_UNKNOWN_ENCODING``).
    """
    name = _ALIASES.get(encoding) or _ALIASES.get(str(encoding).lower())
    if name is None:
        known = ", ".join(sorted(set(_ALIASES.values())))
        raise InvalidArgument(
            f"unknown encoding {encoding!r}; one of {known} is wanted", "ERR_UNKNOWN_ENCODING"
        )
    return name


def _encode_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; Node writes the replacement character.
        return _SURROGATES.sub("\ufffd", text).encode()


def _encode_latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        # Node keeps the low octet of each code unit; a character beyond U+00FF would be changed
        # into another one without a word, so it is refused.
        bad = next(c for c in text if ord(c) > 0xFF)
        raise InvalidArgument(
            f"character {bad!r} at index {text.index(bad)} is not in latin1", "ERR_INVALID_CHAR"
        ) from None


def _encode_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidArgument(f"not hexadecimal: {error}", "ERR_INVALID_ARG_VALUE") from None


def _encode_base64(text: str) -> bytes:
    # As lenient as Node: both alphabets, line breaks and missing padding.
    plain = text.translate({ord("-"): "+", ord("_"): "/"}).split("=", 1)[0]
    plain = _NOT_BASE64.sub("", plain)
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    return base64.b64decode(plain + "=" * (-len(plain) % 4))


_ENCODERS: dict[str, Callable[[str], bytes]] = {
    "utf8": _encode_utf8,
    "latin1": _encode_latin1,
    "ascii": _encode_latin1,
    "utf16le": lambda text: text.encode("utf-16-le", "surrogatepass"),
    "hex": _encode_hex,
    "base64": _encode_base64,
    "base64url": _encode_base64,
}


def encode(chunk: str | BytesLike, encoding: str | None = None) -> BytesLike:
    """Give the octets of what somebody wants to write.

    Args:
        chunk: Text, or anything bytes-like, which comes back as it is (a memoryview of other items
            than octets is cast).
        encoding: How text becomes octets: ``"utf8"`` (default), ``"latin1"``, ``"ascii"``,
            ``"utf16le"``, ``"hex"``, ``"base64"``, ``"base64url"`` or an alias of these.

    Raises:
        InvalidArgument: `chunk` is neither text nor bytes-like, or the encoding is not known, or
            the text cannot be encoded by it.
    """
    if isinstance(chunk, str):
        if encoding is None:
            return _encode_utf8(chunk)
        return _ENCODERS[normalize(encoding)](chunk)
    if encoding is not None:
        normalize(encoding)  # of no use here, but a mistake, or a callback that is none
    if isinstance(chunk, (bytes, bytearray)):
        return chunk
    try:
        view = memoryview(chunk)
    except TypeError:
        raise InvalidArgument(
            f"a chunk is str or bytes-like, not {type(chunk).__name__}", "ERR_INVALID_ARG_TYPE"
        ) from None
    try:
        return view.cast("B")
    except TypeError:  # gaps between its items, or items of a foreign byte order
        return view.tobytes()


class Decoder:
    """Turns octets into text piece by piece and never splits a character.

    Used by one thread at a time: the one that reads the stream.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = normalize(encoding)
        self._rest = b""  # octets of a group that is not complete yet (base64 only)
        self._incremental: codecs.IncrementalDecoder | None = None
        if self.encoding == "utf8":
            self._incremental = codecs.getincrementaldecoder("utf-8")("replace")
        elif self.encoding == "utf16le":
            self._incremental = codecs.getincrementaldecoder("utf-16-le")("replace")

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """Give the text that `data` completes; `final` flushes what is left.

        An incomplete character at the end becomes U+FFFD, as in Node.
        """
        if self._incremental is not None:
            return self._incremental.decode(data, final)
        match self.encoding:
            case "latin1":
                return data.decode("latin-1")
            case "ascii":
                return data.translate(_SEVEN_BITS).decode("ascii")
            case "hex":
                return data.hex()
            case _:
                return self._decode_base64(data, final=final)

    @property
    def pending(self) -> bytes:
        """The octets of a character, or group, that is not whole yet."""
        return self._rest if self._incremental is None else self._incremental.getstate()[0]

    def _decode_base64(self, data: bytes, *, final: bool) -> str:
        # Three octets are four characters: cutting elsewhere would put padding into the middle.
        data = self._rest + data
        whole = len(data) if final else len(data) - len(data) % 3
        data, self._rest = data[:whole], data[whole:]
        if self.encoding == "base64url":
            return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
        return base64.b64encode(data).decode("ascii")
