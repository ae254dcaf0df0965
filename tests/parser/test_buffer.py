"""`Buffer`: what is copied and what is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nhttp._parser.buffer import Buffer


def test_a_block_comes_out_as_it_went_in() -> None:
    buffer = Buffer()
    block = b"0123456789"
    for count in (10, 20):
        buffer.append(block)
        assert buffer.take(count) is block
        assert len(buffer) == 0
    assert buffer.offset == 20


def test_a_block_behind_a_consumed_one_comes_out_as_it_went_in() -> None:
    buffer = Buffer()
    buffer.append(b"head")
    buffer.pos += 4
    block = b"0123456789"
    buffer.append(block)
    assert buffer.take(10) is block


def test_joined_blocks_come_out_as_bytes() -> None:
    buffer = Buffer()
    for block in (b"ab", b"cd", b"ef"):
        buffer.append(block)
    assert isinstance(buffer.data, bytearray)
    assert buffer.take(1) == b"a"
    buffer.append(b"gh")
    assert buffer.data == b"bcdefgh"
    taken = buffer.take(7)
    assert taken == b"bcdefgh"
    assert isinstance(taken, bytes)
    assert buffer.take(1) == b""


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.integers(0, 9)), max_size=30))
def test_what_goes_in_comes_out(steps: list[bytes | int]) -> None:
    buffer = Buffer()
    fed = taken = b""
    for step in steps:
        if isinstance(step, bytes):
            buffer.append(step)
            fed += step
        else:
            taken += buffer.take(step)
        assert buffer.offset == len(taken)
        assert len(buffer) == len(fed) - len(taken)
    assert taken + buffer.take(len(buffer)) == fed
