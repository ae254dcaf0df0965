"""Where a message ends: the ladder of RFC 9112, section 6.3, and what Connection says.

Every rung that lets two recipients find two different ends is refused, not repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .grammar import CODING_LIST, HOST, is_ipv6
from .lines import MAX_LENGTH, MessageError

if TYPE_CHECKING:
    from .events import Fields

__all__ = ["body_framing", "check_host", "connection_options", "first_values"]


def first_values(fields: Fields) -> dict[str, str]:
    """Return the value of the first field of each name, by lower-cased name, in order."""
    values: dict[str, str] = {}
    for name, value in fields:
        values.setdefault(name.lower(), value)
    return values


def _values(fields: Fields, wanted: str) -> list[str]:
    return [value for name, value in fields if name.lower() == wanted]


def check_host(fields: Fields, lookup: dict[str, str], repeats: bool, minor_version: int) -> None:
    """Check that a request has its Host (RFC 9112, 3.2).

    Raises:
        MessageError: It is missing from HTTP/1.1, repeated, or not a host.
    """
    host = lookup.get("host")
    if host is None:
        if minor_version > 0:
            raise MessageError("HPE_INVALID_HEADER_TOKEN", "missing Host header")
        return
    if repeats and len(_values(fields, "host")) > 1:
        raise MessageError("HPE_INVALID_HEADER_TOKEN", "more than one Host header")
    match = HOST.fullmatch(host)
    if match is None or (match[1] is not None and not is_ipv6(match[1])):
        raise MessageError("HPE_INVALID_HEADER_TOKEN", f"invalid Host header {host[:64]!r}")


def body_framing(
    fields: Fields,
    lookup: dict[str, str],
    repeats: bool,
    minor_version: int,
    bodiless: bool = False,
) -> tuple[int | None, bool]:
    """Read Content-Length and Transfer-Encoding, alike in requests and responses.

    The numbers are those of RFC 9112, section 6.3. Its rungs 1 and 2, messages that have no body
    whatever the fields say, and 7 and 8, messages with neither field, are the callers'; but also
    a message without a body is refused when its fields contradict each other.

    Args:
        fields: All field lines.
        lookup: The first value of each name.
        repeats: Whether there are more values than that.
        minor_version: 0 or 1.
        bodiless: Whether rung 1 holds: nothing is there to be decoded, so that any coding will do.

    Returns:
        The content length, None if not given, and whether the body is chunked.

    Raises:
        MessageError: The fields allow no reading, or more than one.
    """
    coding = lookup.get("transfer-encoding")
    length = lookup.get("content-length")
    if coding is not None:
        if length is not None:
            _check_length(fields, length, repeats)
            # 3. Both: "ought to be handled as an error". Named by which comes second, as in Node.
            names = list(lookup)
            if names.index("transfer-encoding") < names.index("content-length"):
                reason = "Content-Length header behind Transfer-Encoding"
                raise MessageError("HPE_UNEXPECTED_CONTENT_LENGTH", reason)
            reason = "Transfer-Encoding header behind Content-Length"
            raise MessageError("HPE_INVALID_TRANSFER_ENCODING", reason)
        if bodiless and minor_version > 0:
            return None, coding.lower() == "chunked"
        _check_coding(fields, coding, repeats, minor_version)
        return None, True
    if length is not None:
        return _check_length(fields, length, repeats), False
    return None, False


def _check_coding(fields: Fields, coding: str, repeats: bool, minor_version: int) -> None:
    """Take ``chunked`` once, and nothing else."""
    code = "HPE_INVALID_TRANSFER_ENCODING"
    if minor_version == 0:
        # 6.1: "MUST treat the message as if the framing is faulty".
        raise MessageError(code, "Transfer-Encoding header in HTTP/1.0")
    if repeats:
        coding = ", ".join(_values(fields, "transfer-encoding"))
    coding = coding.lower()
    if coding == "chunked":
        return
    if CODING_LIST.fullmatch(coding) is None:
        raise MessageError(code, f"malformed Transfer-Encoding {coding[:64]!r}")
    *others, last = (item.strip("\t ") for item in coding.split(","))
    if last != "chunked" or "chunked" in others or "identity" in others:
        # 4. Not chunked in the end, so its length cannot be told; 7.1: never chunked twice.
        raise MessageError(code, f"Transfer-Encoding {coding[:64]!r} does not frame a body")
    # 6.1: a coding that is not understood should be answered with 501.
    raise MessageError(code, f"unsupported Transfer-Encoding {coding[:64]!r}", status=501)


def _check_length(fields: Fields, length: str, repeats: bool) -> int:
    """5 and 6. One length in decimal digits, and only one, even where the others are equal."""
    # str.isdigit() has more digits than these ten, superscripts in latin-1 among them.
    if not (length.isascii() and length.isdigit()):
        raise MessageError("HPE_INVALID_CONTENT_LENGTH", f"invalid Content-Length {length[:64]!r}")
    if repeats and len(_values(fields, "content-length")) > 1:
        raise MessageError("HPE_UNEXPECTED_CONTENT_LENGTH", "more than one Content-Length header")
    digits = length.lstrip("0")
    # int() refuses thousands of digits by an exception of its own, so they are counted first.
    if len(digits) > 19 or (value := int(digits or "0")) > MAX_LENGTH:
        raise MessageError("HPE_INVALID_CONTENT_LENGTH", "Content-Length too large")
    return value


def connection_options(
    fields: Fields, lookup: dict[str, str], repeats: bool, minor_version: int
) -> tuple[bool, bool]:
    """Read Connection and Upgrade (RFC 9112, 9.3; RFC 9110, 7.8).

    Returns:
        Whether the connection may persist, and whether another protocol is offered.
    """
    connection = lookup.get("connection")
    if connection is None:
        return minor_version > 0, False
    if repeats:
        connection = ",".join(_values(fields, "connection"))
    connection = connection.lower()
    if connection == "keep-alive":
        return True, False
    options = {option.strip("\t ") for option in connection.split(",")}
    persists = "close" not in options and (minor_version > 0 or "keep-alive" in options)
    # An Upgrade in HTTP/1.0 must be ignored, and one that Connection does not name is not for us.
    upgrade = minor_version > 0 and "upgrade" in options and _names_protocol(fields)
    return persists, upgrade


def _names_protocol(fields: Fields) -> bool:
    """Whether a list, in one or more Upgrade fields, has a member (RFC 9110, 5.6.1)."""
    return any(value.strip("\t ,") for value in _values(fields, "upgrade"))
