"""The grammar of RFC 9110 and RFC 9112 as regular expressions.

Whole heads are matched as `str`, decoded from latin-1, because that is what fields become in the
end; single lines are walked through as bytes, where they lie. Every repetition is possessive or is
followed by something that it cannot match itself, and none is nested in another that could match
the same text, so that matching takes linear time whatever a peer sends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .events import Fields

__all__ = [
    "CHUNK_LINE",
    "CODING_LIST",
    "HOST",
    "METHODS",
    "METHOD_SET",
    "NOT_BLANK",
    "NOT_CONTENT",
    "NOT_HEX",
    "NOT_QUOTED",
    "NOT_TARGET",
    "NOT_TOKEN",
    "REQUEST_LINE",
    "STATUS_LINE",
    "STRAY",
    "is_ipv6",
    "split_fields",
    "target_fits",
]

METHODS: Final = (
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
)
"""The methods of Node 20, and QUERY."""

METHOD_SET: Final = frozenset(METHODS)

# RFC 9110, 5.6.2: tchar. As the inside of a character class.
_TCHAR = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
# RFC 9110, 5.5: field-content, less strictly placed: HTAB, SP, VCHAR, obs-text.
_CONTENT = r"\t -~\x80-\xff"
_VISIBLE = r"!-~\x80-\xff"
# RFC 9112, 3.2: no form of the request target has a fragment, and none has obs-text: Python's own
# str methods take U+0085 and U+00A0 for whitespace, so a path with them would come apart later.
_TARGET = r"!\"$-~"

# --- whole heads, str --------------------------------------------------------------------------

# RFC 9112, 3: method SP request-target SP HTTP-version CRLF
REQUEST_LINE: Final = re.compile(rf"([{_TCHAR}]++) ([{_TARGET}]++) HTTP/1\.([01])\r\n")

# RFC 9112, 4: HTTP-version SP status-code SP [ reason-phrase ] CRLF; the second SP is often missing
# when there is no reason. RFC 9110, 15: 600 to 999 are invalid, and to be taken as a 5xx.
STATUS_LINE: Final = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9]{{2}})(?: ([{_CONTENT}]*+))?+\r\n")

# RFC 9112, 5: field-name ":" OWS field-value OWS CRLF. The first form is what nearly everybody
# sends: one space or none, a value that is not empty, no whitespace behind it.
_PLAIN_FIELD = re.compile(
    rf"^([{_TCHAR}]++): ?+([{_VISIBLE}][{_CONTENT}]*+)(?<![\t ])\r\n", re.MULTILINE
)
_FIELD = re.compile(rf"^([{_TCHAR}]++):[\t ]*+([{_CONTENT}]*+)\r\n", re.MULTILINE)


def split_fields(text: str, start: int) -> Fields | None:
    r"""Split the field lines in `text[start:]`, which ends with its only empty line.

    A match begins at the beginning of a line and holds no line feed but its last character. So
    there are as many matches as lines exactly when every line was matched as a whole.

    Returns:
        The fields, or None when a line is not a field line.
    """
    lines = text.count("\n", start) - 1
    fields: Fields = _PLAIN_FIELD.findall(text, start)
    if len(fields) == lines:
        return fields
    fields = _FIELD.findall(text, start)
    if len(fields) == lines:
        return [(name, value.rstrip("\t ")) for name, value in fields]
    return None


# --- parts of a head, str ----------------------------------------------------------------------

# RFC 3986, 3.2.2, with at least one character: RFC 9110, 4.2.1 refuses an empty host.
_REG_NAME = r"A-Za-z0-9\-._~!$&'()*+,;="
# The group is what must be the address of an IP-literal.
_URI_HOST = (
    rf"(?:\[(?:([0-9A-Fa-f:.]++)|[vV][0-9A-Fa-f]++\.[{_REG_NAME}:]++)\]"
    rf"|(?:[{_REG_NAME}]++|%[0-9A-Fa-f]{{2}})++)"
)
# RFC 9110, 7.2: Host = uri-host [ ":" port ], empty where the target has no authority.
HOST: Final = re.compile(rf"(?:{_URI_HOST}(?::[0-9]*+)?+)?+")
# RFC 9112, 3.2.2, for the two schemes that HTTP/1.1 is spoken for. No userinfo: RFC 9110, 4.2.4.
_ABSOLUTE_FORM = re.compile(rf"[Hh][Tt][Tt][Pp][Ss]?://{_URI_HOST}(?::[0-9]*+)?+(?:[/?].*+)?+")
# RFC 9112, 3.2.3: uri-host ":" port, which must be one (RFC 9110, 9.3.6).
_AUTHORITY_FORM = re.compile(rf"{_URI_HOST}:0*+([1-9][0-9]{{0,4}})")
_MAX_PORT = 65535
# RFC 9110, 10.1.4, without parameters, which no coding in use has.
CODING_LIST: Final = re.compile(rf"[{_TCHAR}]++(?:[\t ]*+,[\t ]*+[{_TCHAR}]++)*+")

# RFC 9112, 3.2.4 knows "*" for OPTIONS alone; UPnP's M-SEARCH and NOTIFY have it by specification.
_ASTERISK_METHODS = frozenset({"M-SEARCH", "NOTIFY", "OPTIONS"})


def target_fits(method: str, target: str) -> bool:
    """Say whether the form of `target` is one that RFC 9112, section 3.2 has for `method`."""
    if target[0] == "/":
        return method != "CONNECT"
    if method == "CONNECT":
        match = _AUTHORITY_FORM.fullmatch(target)
        if match is None or int(match[2]) > _MAX_PORT:
            return False
    elif target == "*":
        return method in _ASTERISK_METHODS
    else:
        match = _ABSOLUTE_FORM.fullmatch(target)
        if match is None:
            return False
    return match[1] is None or is_ipv6(match[1])


def is_ipv6(address: str) -> bool:
    """Say whether what a host has in brackets is an address (RFC 3986, section 3.2.2)."""
    from ipaddress import AddressValueError, IPv6Address  # most connections never need it

    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


# --- the end of a run within a line, bytes -----------------------------------------------------


def _other_than(characters: str) -> re.Pattern[bytes]:
    return re.compile(rf"[^{characters}]".encode("latin-1"))


NOT_TOKEN: Final = _other_than(_TCHAR)
NOT_TARGET: Final = _other_than(_TARGET)
NOT_CONTENT: Final = _other_than(_CONTENT)
NOT_HEX: Final = _other_than("0-9A-Fa-f")
NOT_BLANK: Final = _other_than(r"\t ")
NOT_QUOTED: Final = _other_than(r"\t !#-\[\]-~\x80-\xff")

# What asks for a closer look at a head still incomplete: the end of a line, a control character
# that no line may have, a CR that ends no line.
STRAY: Final = re.compile(rb"[\x00-\x08\n-\x0c\x0e-\x1f\x7f]|(?<=\r)[^\n]")

# RFC 9112, 7.1.1: *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ), where "bad"
# whitespace must be understood (RFC 9110, 5.6.3) and a value is a token or a quoted string.
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSION = (
    rf"[\t ]*+;[\t ]*+[{_TCHAR}]++"
    rf"(?:[\t ]*+=[\t ]*+(?:[{_TCHAR}]++|{_QUOTED}))?+"
)  # fmt: skip
# RFC 9112, 7.1: chunk-size [ chunk-ext ] CRLF
CHUNK_LINE: Final = re.compile(rf"([0-9A-Fa-f]++)(?:{_EXTENSION})*+\r\n".encode("latin-1"))
