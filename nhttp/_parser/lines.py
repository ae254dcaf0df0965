"""What is wrong with one line: the slow way, taken only when something may be.

Each check looks at `data[pos:end]`, where a line begins at `pos`, and returns where the next one
begins. It raises `MessageError` for the first thing wrong in the order of the bytes, and
`IncompleteError` when the line's end has not arrived. An error depends on nothing behind its own
position, so that looking at more bytes, or at fewer that still include it, finds the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from .buffer import Data
from .grammar import (
    METHOD_SET,
    NOT_BLANK,
    NOT_CONTENT,
    NOT_HEX,
    NOT_QUOTED,
    NOT_TARGET,
    NOT_TOKEN,
    target_fits,
)

if TYPE_CHECKING:
    import re

__all__ = [
    "MAX_LENGTH",
    "IncompleteError",
    "LineCheck",
    "MessageError",
    "check_chunk_line",
    "check_field_line",
    "check_line_end",
    "check_request_line",
    "check_status_line",
]


class IncompleteError(Exception):
    """The bytes end before the line does."""


class MessageError(Exception):
    """A message is refused. It never leaves the parser, which returns an `Invalid` instead.

    Attributes:
        code: Node's code for it.
        reason: What is wrong, in words.
        at: The index of the offending byte in the buffer's data; None where no byte is to blame.
        status: The status code that a server should answer with.
    """

    def __init__(self, code: str, reason: str, at: int | None = None, status: int = 400) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.at = at
        self.status = status


LineCheck: TypeAlias = Callable[[Data, int, int], int]

MAX_LENGTH: Final = 2**63 - 1
"""The largest length of a body or a chunk: what fits the signed 64 bits of everybody else."""

_HT, _LF, _CR, _SP, _QUOTE, _COLON, _SEMICOLON, _EQUALS, _BACKSLASH = b'\t\n\r ":;=\\'
_DIGITS = frozenset(b"0123456789")


def check_request_line(data: Data, pos: int, end: int) -> int:
    """Check a request line (RFC 9112, 3)."""
    at = _find(NOT_TOKEN, data, pos, end)
    if data[at] != _SP or at == pos:
        raise _invalid("HPE_INVALID_METHOD", data, at, "method")
    method = data[pos:at].decode("latin-1")
    if method not in METHOD_SET:
        raise MessageError("HPE_INVALID_METHOD", f"unknown method {method[:32]!r}", at)

    target = at + 1
    at = _find(NOT_TARGET, data, target, end)
    if data[at] == _CR and at > target:
        raise MessageError("HPE_INVALID_VERSION", "request line without HTTP version", at)
    if data[at] != _SP or at == target:
        raise _invalid("HPE_INVALID_URL", data, at, "request target")
    if not target_fits(method, data[target:at].decode("latin-1")):
        raise MessageError("HPE_INVALID_URL", f"request target has no form that {method} has", at)

    version = at + 1
    at = _check_version(data, version, end)
    next_line = check_line_end(data, at, end, "HPE_INVALID_VERSION", "HTTP version")
    _check_supported(data, version)
    return next_line


def check_status_line(data: Data, pos: int, end: int) -> int:
    """Check a status line (RFC 9112, 4)."""
    at = _check_version(data, pos, end)
    if _byte(data, at, end) != _SP:
        raise _invalid("HPE_INVALID_VERSION", data, at, "HTTP version")
    _check_supported(data, pos)
    status = at + 1
    for at in range(status, status + 3):
        if _byte(data, at, end) not in _DIGITS or data[status] == ord("0"):
            raise _invalid("HPE_INVALID_STATUS", data, at, "status code")
    at = status + 3
    if _byte(data, at, end) != _SP:
        return check_line_end(data, at, end, "HPE_INVALID_STATUS", "status code")
    at = _find(NOT_CONTENT, data, at, end)
    return check_line_end(data, at, end, "HPE_INVALID_CONSTANT", "reason phrase")


def check_field_line(data: Data, pos: int, end: int) -> int:
    """Check a field line, or the empty line behind the last one (RFC 9112, 5)."""
    at = _find(NOT_TOKEN, data, pos, end)
    byte = data[at]
    if byte == _COLON and at > pos:
        at = _find(NOT_CONTENT, data, at + 1, end)
        return check_line_end(data, at, end, "HPE_INVALID_HEADER_TOKEN", "header value")
    if byte in (_CR, _LF):
        if at == pos:
            return check_line_end(data, at, end, "HPE_CR_EXPECTED", "empty line")
        reason = "header line without colon"
    elif byte in (_SP, _HT):
        # RFC 9112, 5.1 and 5.2: both have been used to hide a field from one of two recipients.
        reason = "obsolete line folding" if at == pos else "whitespace in header name"
    elif byte == _COLON:
        reason = "empty header name"
    else:
        raise _invalid("HPE_INVALID_HEADER_TOKEN", data, at, "header name")
    raise MessageError("HPE_INVALID_HEADER_TOKEN", reason, at)


def check_chunk_line(data: Data, pos: int, end: int) -> int:
    """Check a line of chunk size and extensions (RFC 9112, 7.1)."""
    hit = NOT_HEX.search(data, pos, end)
    at = end if hit is None else hit.start()
    # Sixteen digits hold every size there is; a seventeenth is looked at before the end is.
    digits = len(data[pos:at].lstrip(b"0"))
    if digits > 16:
        reason = "chunk size of over 16 digits"
        raise MessageError("HPE_INVALID_CHUNK_SIZE", reason, at - digits + 16)
    _byte(data, at, end)
    if at == pos:
        raise _invalid("HPE_INVALID_CHUNK_SIZE", data, at, "chunk size")
    if int(data[pos:at], 16) > MAX_LENGTH:
        raise MessageError("HPE_INVALID_CHUNK_SIZE", "chunk size too large", at)
    code, where = "HPE_INVALID_CHUNK_SIZE", "chunk size"
    while data[semicolon := _find(NOT_BLANK, data, at, end)] == _SEMICOLON:
        at = _check_chunk_extension(data, semicolon + 1, end)
        code, where = "HPE_STRICT", "chunk extension"
    # RFC 9112, 7.1.1 has whitespace in front of a semicolon, and none in front of CRLF.
    if semicolon > at:
        raise MessageError(code, f"whitespace behind {where}", semicolon)
    return check_line_end(data, at, end, code, where)


def check_line_end(data: Data, pos: int, end: int, code: str, where: str) -> int:
    """Check that what may be in a line and ends at `pos` has CRLF behind it (RFC 9112, 2.2)."""
    if _byte(data, pos, end) == _LF:
        raise MessageError("HPE_CR_EXPECTED", f"LF without CR in {where}", pos)
    if data[pos] != _CR:
        raise _invalid(code, data, pos, where)
    if _byte(data, pos + 1, end) != _LF:
        raise MessageError("HPE_LF_EXPECTED", f"CR without LF in {where}", pos + 1)
    return pos + 2


def _check_version(data: Data, pos: int, end: int) -> int:
    """Check ``HTTP/`` and two digits with a dot in between; return where they end."""
    for at, expected in enumerate(b"HTTP/0.0", pos):
        byte = _byte(data, at, end)
        if byte in _DIGITS if expected in _DIGITS else byte == expected:
            continue
        if at < pos + 5:
            raise MessageError("HPE_INVALID_CONSTANT", "expected 'HTTP/'", at)
        raise _invalid("HPE_INVALID_VERSION", data, at, "HTTP version")
    return pos + 8


def _check_supported(data: Data, pos: int) -> None:
    """Check that the version at `pos` is one of the two that are spoken here.

    RFC 9110, 2.5 would have HTTP/1.2 and later read as HTTP/1.1. As neither exists, whoever sends
    one is after something else; Node refuses them too.
    """
    version = data[pos + 5 : pos + 8].decode("latin-1")
    if version not in {"1.0", "1.1"}:
        reason = f"unsupported HTTP version {version}"
        raise MessageError("HPE_INVALID_VERSION", reason, pos + 5, 505)


def _check_chunk_extension(data: Data, pos: int, end: int) -> int:
    """Check what follows a semicolon: a name, and perhaps a value; return where it ends."""
    name_end = _check_token(data, _find(NOT_BLANK, data, pos, end), end)
    at = _find(NOT_BLANK, data, name_end, end)
    if data[at] != _EQUALS:
        return name_end
    at = _find(NOT_BLANK, data, at + 1, end)
    if data[at] != _QUOTE:
        return _check_token(data, at, end)
    while data[at := _find(NOT_QUOTED, data, at + 1, end)] != _QUOTE:
        # RFC 9110, 5.6.4: a backslash takes the next octet into the string, whatever it is.
        if data[at] == _BACKSLASH:
            at += 1
            _byte(data, at, end)
        if NOT_CONTENT.match(data, at) is not None:
            raise _invalid("HPE_STRICT", data, at, "quoted chunk extension")
    return at + 1


def _check_token(data: Data, pos: int, end: int) -> int:
    at = _find(NOT_TOKEN, data, pos, end)
    if at == pos:
        raise _invalid("HPE_STRICT", data, at, "chunk extension")
    return at


def _find(pattern: re.Pattern[bytes], data: Data, pos: int, end: int) -> int:
    """Return where `pattern` is first found."""
    hit = pattern.search(data, pos, end)
    if hit is None:
        raise IncompleteError
    return hit.start()


def _byte(data: Data, at: int, end: int) -> int:
    if at == end:
        raise IncompleteError
    return data[at]


def _invalid(code: str, data: Data, at: int, where: str) -> MessageError:
    return MessageError(code, f"invalid character {chr(data[at])!r} in {where}", at)
