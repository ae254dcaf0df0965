"""Any bytes, split anyhow: the same events, and never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from parser_cases import events_of, joined, load

from nhttp._parser import Limits, RequestParser, ResponseParser

LIMITS = Limits(
    max_head_size=120,
    max_headers_count=4,
    max_trailer_size=40,
    max_chunk_line=24,
    max_chunk_extensions=30,
    max_interim_responses=2,
)
SEEDS = [
    vector.bytes
    for vector in [*load("requests"), *load("responses")]
    if len(vector.bytes) < 200 and vector.split
]
SCRAPS = [
    b"\0", b"\t", b"\n", b"\r", b"\r\n", b"\r\n\r\n", b" ", b":", b";a=b", b"\x7f", b"\x85",
    b"\xff", b"0\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"A: b\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: a\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n",
]  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Bytes that are almost HTTP, whole and in pieces."""
    data = b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        scrap = draw(st.sampled_from(SCRAPS))
        data = data[:at] + scrap + data[at + draw(st.integers(0, 4)) :]
    if draw(st.booleans()):
        return data, [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return data, [piece for piece in pieces if piece]


@settings(deadline=None)
@given(streams(), st.sampled_from([None, LIMITS]))
def test_requests(stream: tuple[bytes, list[bytes]], limits: Limits | None) -> None:
    data, pieces = stream
    whole = joined(events_of(RequestParser(limits), data))
    assert joined(events_of(RequestParser(limits), *pieces)) == whole


@settings(deadline=None)
@given(
    streams(),
    st.sampled_from([None, LIMITS]),
    st.sampled_from(["GET", "HEAD", "CONNECT"]),
    st.booleans(),
)
def test_responses(
    stream: tuple[bytes, list[bytes]], limits: Limits | None, method: str, upgrade: bool
) -> None:
    data, pieces = stream
    one, other = ResponseParser(limits), ResponseParser(limits)
    one.expect(method, upgrade)
    other.expect(method, upgrade)
    whole = joined(events_of(one, data))
    assert joined(events_of(other, *pieces)) == whole


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), st.integers(1, 59))
def test_noise(data: bytes, cut: int) -> None:
    pieces = [piece for piece in (data[:cut], data[cut:]) if piece]
    assert events_of(RequestParser(), *pieces) == events_of(RequestParser(), data)
