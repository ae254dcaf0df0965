"""Just enough DER (ITU-T X.690) to say what a certificate says (RFC 5280, 4.1).

`ssl` tells what is in a certificate only of those that it has verified. What is told here decides
nothing: OpenSSL alone judges certificates.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Certificate", "read_certificate"]

_UTC_TIME = 0x17
_VERSION, _EXTENSIONS = 0xA0, 0xA3

# RFC 4519, 2, and RFC 5280, appendix A.1: what OpenSSL and Node call them.
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}

_ALTERNATIVE_NAMES = "2.5.29.17"
_EXTENDED_KEY_USAGE = "2.5.29.37"
_ENCODINGS = {0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x0C: "utf-8"}
# GeneralName of RFC 5280, 4.2.1.6, by OpenSSL's names.
_EMAIL, _DNS, _DIRECTORY, _URI, _IP, _REGISTERED = 0x81, 0x82, 0xA4, 0x86, 0x87, 0x88


class Certificate(NamedTuple):
    """What a certificate says of itself."""

    serial_number: str
    subject: dict[str, str | list[str]]
    issuer: dict[str, str | list[str]]
    valid_from: str
    valid_to: str
    subjectaltname: str
    ext_key_usage: list[str]


class _Element(NamedTuple):
    tag: int
    content: bytes

    def inside(self) -> list[_Element]:
        return list(_elements(self.content))


def _elements(data: bytes) -> Iterator[_Element]:
    """Give the elements that stand one behind the other.

    Raises:
        ValueError: One is cut, or of a form that DER has not.
    """
    position = 0
    while position < len(data):
        if position + 2 > len(data):
            raise ValueError("cut short")
        tag, size = data[position], data[position + 1]
        position += 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("no length of DER")
            size = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + size > len(data):
            raise ValueError("cut short")
        yield _Element(tag, data[position : position + size])
        position += size


def read_certificate(der: bytes) -> Certificate:
    """Give what a certificate says.

    Raises:
        ValueError: It is malformed.
    """
    try:
        (whole,) = _elements(der)
        fields = whole.inside()[0].inside()
        if fields[0].tag == _VERSION:
            del fields[0]
        serial, _, issuer, validity, subject = fields[:5]
        begin, end = validity.inside()
        extensions = dict(_extensions(fields[5:]))
        return Certificate(
            serial_number=serial.content.removeprefix(b"\0").hex().upper(),
            subject=_name(subject),
            issuer=_name(issuer),
            valid_from=_time(begin),
            valid_to=_time(end),
            subjectaltname=_alternative_names(extensions.get(_ALTERNATIVE_NAMES)),
            ext_key_usage=_purposes(extensions.get(_EXTENDED_KEY_USAGE)),
        )
    except (IndexError, UnicodeError) as error:
        raise ValueError("no certificate") from error


def _extensions(fields: list[_Element]) -> Iterator[tuple[str, bytes]]:
    for each in fields:
        if each.tag == _EXTENSIONS:
            for extension in each.inside()[0].inside():
                parts = extension.inside()
                yield _oid(parts[0].content), parts[-1].content


def _name(name: _Element) -> dict[str, str | list[str]]:
    """Give a distinguished name; what it has several of becomes a list, as in Node."""
    found: dict[str, str | list[str]] = {}
    for relative in name.inside():
        for attribute in relative.inside():
            oid, value = attribute.inside()
            key = _ATTRIBUTES.get(number := _oid(oid.content), number)
            text = value.content.decode(_ENCODINGS.get(value.tag, "latin-1"))
            before = found.get(key)
            if before is None:
                found[key] = text
            elif isinstance(before, list):
                before.append(text)
            else:
                found[key] = [before, text]
    return found


def _oid(content: bytes) -> str:
    numbers: list[int] = []
    number = 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - first * 40, *numbers[1:]]))


def _time(element: _Element) -> str:
    """Give a moment as OpenSSL writes it: ``Nov 22 00:45:00 2026 GMT``."""
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1
        text = ("20" if text[:2] < "50" else "19") + text
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    # Not what the locale calls it.
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[moment.month * 3 - 3 : moment.month * 3]
    return f"{month} {moment.day:2} {moment:%H:%M:%S %Y} GMT"


def _alternative_names(extension: bytes | None) -> str:
    """Give the names as Node does: ``DNS:localhost, IP Address:127.0.0.1``."""
    if extension is None:
        return ""
    (names,) = _elements(extension)
    return ", ".join(_general_name(each) for each in names.inside())


def _general_name(name: _Element) -> str:
    match name.tag:
        case tag if tag in (_EMAIL, _DNS, _URI):
            kind = {_EMAIL: "email", _DNS: "DNS", _URI: "URI"}[tag]
            text = name.content.decode("latin-1")
            # A comma in a name must not look like the end of it (CVE-2021-44532 of Node).
            if any(each in text for each in ',"\\') or not text.isprintable():
                text = '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
            return f"{kind}:{text}"
        case tag if tag == _IP and len(name.content) in (4, 16):
            return f"IP Address:{ip_address(name.content)}"
        case tag if tag == _DIRECTORY:
            return f"DirName:{_name(name.inside()[0])}"
        case tag if tag == _REGISTERED:
            return f"Registered ID:{_oid(name.content)}"
        case _:
            return "othername:<unsupported>"


def _purposes(extension: bytes | None) -> list[str]:
    if extension is None:
        return []
    (purposes,) = _elements(extension)
    return [_oid(each.content) for each in purposes.inside()]
