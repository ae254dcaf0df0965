"""Header fields: what arrived as a mapping, and what may be sent.

Incoming fields become a `Headers` mapping by the manual's rules for duplicates (*message.headers*).
Outgoing names and values are checked here before a byte of them is sent.

Knows `errors` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast, overload

from nhttp.errors import InvalidArgument

__all__ = ["HeaderInput", "HeaderValue", "Headers"]

HeaderValue: TypeAlias = "str | int | Sequence[str | int]"
"""What a header may be set to; a sequence becomes one field line for each of its items."""

# Not `Iterable` of pairs: a mapping is iterable too, and mypy would infer `dict[str, object]`.
HeaderInput: TypeAlias = "Mapping[str, HeaderValue] | Sequence[tuple[str, HeaderValue]]"
"""Several headers at once: a mapping, or pairs, where a name may come more than once."""

_T = TypeVar("_T")

# message.headers: of these the first counts, and duplicates are dropped.
_FIRST_COUNTS = frozenset(
    {
        "age",
        "authorization",
        "content-length",
        "content-type",
        "etag",
        "expires",
        "from",
        "host",
        "if-modified-since",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "proxy-authorization",
        "referer",
        "retry-after",
        "user-agent",
    }
)

# RFC 9110 section 5.6.2: token.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 5.5: visible ASCII, space, tab, and octets above 0x7F. Anything else, and any
# character that is no octet, may not be in a value.
_NOT_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class Headers(Mapping[str, "str | list[str]"]):
    """The fields of a message as a read-only mapping (the manual's ``message.headers``).

    Keys are lower-case; look-ups are in any case. A value is a str: of some fields the first one
    that came, of ``cookie`` all joined with ``"; "``, of all others joined with ``", "``.
    ``set-cookie`` is always a list.

    Args:
        fields: Name and value of each field line, in the order in which they came.

    Example:
        >>> headers = Headers([("Accept", "a"), ("accept", "b"), ("Set-Cookie", "c=1")])
        >>> headers["Accept"], headers["set-cookie"], headers.get("x", "none")
        ('a, b', ['c=1'], 'none')
    """

    __slots__ = ("_values",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        values: dict[str, Any] = {}
        for name, value in fields:
            key = name.lower()
            if key == "set-cookie":
                values.setdefault(key, []).append(value)
            elif key not in values:
                values[key] = value
            elif key not in _FIRST_COUNTS:
                values[key] += ("; " if key == "cookie" else ", ") + value
        self._values = values

    @classmethod
    def _from_unique(cls, lookup: dict[str, str]) -> Headers:
        """Take over a mapping of lower-case names that were all different."""
        self = cls.__new__(cls)
        values: dict[str, Any] = lookup
        if "set-cookie" in values:
            values = dict(values)
            values["set-cookie"] = [values["set-cookie"]]
        self._values = values
        return self

    # The literal comes first on purpose: of that one name the manual promises a list.
    @overload
    def __getitem__(  # type: ignore[overload-overlap]
        self, name: Literal["set-cookie", "Set-Cookie"], /
    ) -> list[str]: ...
    @overload
    def __getitem__(self, name: str, /) -> str: ...
    def __getitem__(self, name: str, /) -> str | list[str]:
        values: dict[str, str | list[str]] = self._values
        value = values.get(name)
        return values[name.lower()] if value is None else value

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def get(  # type: ignore[overload-overlap]
            self, name: Literal["set-cookie", "Set-Cookie"], /
        ) -> list[str] | None: ...
        @overload
        def get(
            self, name: Literal["set-cookie", "Set-Cookie"], default: _T, /
        ) -> list[str] | _T: ...
        @overload
        def get(self, name: str, /) -> str | None: ...
        @overload
        def get(self, name: str, default: _T, /) -> str | _T: ...
        def get(self, name: str, default: Any = None, /) -> Any: ...  # noqa: D102  # pyright: ignore[reportIncompatibleMethodOverride]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values or (isinstance(name, str) and name.lower() in self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"


def distinct(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Give every value of every name, nothing joined and nothing dropped; keys are lower-case."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value)
    return values


def flatten(fields: Iterable[tuple[str, str]]) -> list[str]:
    """Give name, value, name, value … in one list, as ``raw_headers`` has them."""
    return [text for field in fields for text in field]


def check_name(name: object) -> str:
    """Give the name of a header to send, or refuse it.

    Raises:
        InvalidArgument: It is no token (``ERR_INVALID_HTTP_TOKEN``).
    """
    if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
        raise InvalidArgument(f"{name!r} is not a header name", "ERR_INVALID_HTTP_TOKEN")
    return str.__str__(name)


def tokens_of(value: str | list[str]) -> list[str]:
    """Give the items of a comma-separated field in lower case, such as those of Connection."""
    text = value if isinstance(value, str) else ",".join(value)
    return [item for each in text.lower().split(",") if (item := each.strip(" \t"))]


def check_text(value: object, what: str) -> str:
    """Give text that goes into a head, or refuse it; `what` names it in the message.

    Of a subclass it is the text itself, which was looked at, whatever its ``__str__`` says: an
    Enum of str gives the name of the member there.

    Raises:
        InvalidArgument: It is no str (``ERR_INVALID_ARG_TYPE``), or a character may not be there
            (``ERR_INVALID_CHAR``).
    """
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} is a str, not {value!r}", "ERR_INVALID_ARG_TYPE")
    bad = _NOT_IN_VALUE.search(value)
    if bad is not None:
        raise InvalidArgument(
            f"invalid character {bad.group()!r} at index {bad.start()} of {what}",
            "ERR_INVALID_CHAR",
        )
    return str.__str__(value)


def check_value(name: str, value: object) -> str | list[str]:
    """Give the value of a header to send as text, or refuse it.

    Raises:
        InvalidArgument: It is of another kind (``ERR_HTTP_INVALID_HEADER_VALUE``), or a character
            may not be there (``ERR_INVALID_CHAR``).
    """
    if isinstance(value, str):
        return check_text(value, f"header {name!r}")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        texts: list[str] = []
        items = cast("Sequence[object]", value)
        for each in items:
            if not isinstance(each, (str, int)):
                break
            text = each if isinstance(each, str) else str(each)
            texts.append(check_text(text, f"header {name!r}"))
        else:
            return texts
    raise InvalidArgument(
        f"header {name!r} cannot be {value!r}: a str, an int or a sequence of these is wanted",
        "ERR_HTTP_INVALID_HEADER_VALUE",
    )


@dataclass(slots=True)
class Field:
    """A header to be sent, checked. Not to be changed: many messages may have the same one."""

    name: str  # as it is sent
    value: str | list[str]  # a list for as many field lines
    lines: str  # as they go on the wire

    @classmethod
    def of(cls, name: str, value: object) -> Field:
        """Check a header.

        Raises:
            InvalidArgument: As `check_name` and `check_value`.
        """
        name = check_name(name)
        text = check_value(name, value)
        each = [text] if isinstance(text, str) else text
        return cls(name, text, "".join([f"{name}: {one}\r\n" for one in each]))

    def and_also(self, other: Field) -> Field:
        """Give a field with the lines of both, each as it was spelt."""
        values = [
            one
            for each in (self.value, other.value)
            for one in ([each] if isinstance(each, str) else each)
        ]
        return Field(other.name, values, self.lines + other.lines)


# What was checked before: a server says the same again and again. Dropped as a whole when it is
# full, so that values which never come twice cost no more than the checks that they need anyway.
# No lock: threads that race here check the same thing twice, or keep a few more than the bound.
_KNOWN: dict[tuple[str, str], tuple[str, Field]] = {}
_KNOWN_AT_MOST = 1024
_KNOWN_UP_TO = 128  # characters of a value that is worth keeping


def checked(name: str, value: object) -> tuple[str, Field]:
    """Give a header to send, with its lower-case name in front, or refuse it.

    Raises:
        InvalidArgument: As `check_name` and `check_value`.
    """
    # A subclass of str may have an equality of its own.
    if type(value) is not str or type(name) is not str:
        field = Field.of(name, value)
        return field.name.lower(), field
    known = _KNOWN.get((name, value))
    if known is None:
        known = name.lower(), Field.of(name, value)
        if len(value) <= _KNOWN_UP_TO:
            if len(_KNOWN) >= _KNOWN_AT_MOST:
                _KNOWN.clear()
            _KNOWN[name, value] = known
    return known


def pairs_of(headers: HeaderInput) -> Iterable[tuple[str, HeaderValue]]:
    """Give the pairs of what was given as a mapping or as pairs.

    Raises:
        InvalidArgument: It is neither (``ERR_INVALID_ARG_TYPE``).
    """
    # Nearly always a dict, which is told without asking the abstract base class.
    if isinstance(headers, dict) or isinstance(headers, Mapping):  # noqa: SIM101
        return headers.items()
    try:
        return [(name, value) for name, value in headers]
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"headers are a mapping, or pairs of name and value, not {headers!r}",
            "ERR_INVALID_ARG_TYPE",
        ) from None


def gather(headers: HeaderInput) -> dict[str, Field]:
    """Give headers to send by their lower-case names; a name that comes twice has both values.

    Raises:
        InvalidArgument: As `check_name` and `check_value`.
    """
    gathered: dict[str, Field] = {}
    for name, value in pairs_of(headers):
        key, field = checked(name, value)
        if key in gathered:
            field = gathered[key].and_also(field)
        gathered[key] = field
    return gathered
