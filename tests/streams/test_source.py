"""Source: what is kept of a stream, who is given it, and who is told that it is over."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import pytest
from support import SECONDS, Recorder, in_thread
from test_streams import Blocks, Held, noting_waits

from nhttp.streams import Readable


def test_the_end_is_told_to_a_subclass_once() -> None:
    class Counting(Blocks):
        ends = 0

        def _ended(self) -> None:
            self.ends += 1
            super()._ended()

    stream = Counting([b"x"])
    assert [stream.read(), stream.read(), stream.read1()] == [b"x", b"", b""]
    assert stream.ends == 1


def test_what_comes_is_kept_behind_what_was_left() -> None:
    stream = Blocks([b"ab", b"cd"])
    assert stream.read1(1) == b"a"
    assert stream.readable_length == 1
    recorder = Recorder(stream, "readable")
    recorder.wait("readable", 2)
    assert stream.read() == b"bcd"


def test_an_encoding_counts_for_what_was_left() -> None:
    stream = Blocks([b"a\xe2\x82", b"\xac"])
    assert stream.read1(1) == b"a"
    stream.set_encoding("utf8")
    stream.set_encoding("hex")
    text: object = stream.read()
    assert text == "e282ac"


def test_text_is_put_back_as_it_is() -> None:
    stream = Blocks([b"a"]).set_encoding("hex")
    stream.unshift("not hex ")
    text: object = stream.read()
    assert text == "not hex 61"


def test_the_error_that_a_source_is_destroyed_with_is_raised_as_it_is() -> None:
    class Broken(Readable):
        def _read(self, size: int) -> bytes:
            error = OSError("broken")
            self.destroy(error)
            raise error

    with pytest.raises(OSError, match="broken") as caught:
        Broken().read()
    assert caught.value.__cause__ is None


def test_nobody_sees_the_end_before_the_last_block_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Early(Held):
        def _read(self, size: int) -> bytes:
            self._last = True
            return super()._read(size)

    stream = Early()
    waiting = noting_waits(stream, monkeypatch)
    first = in_thread(stream.read1)
    assert stream.entered.acquire(timeout=SECONDS)
    second = in_thread(stream.read1)
    assert waiting.wait(SECONDS)
    assert not stream.readable_ended
    stream.blocks.append(b"last")
    stream.go.release()
    assert sorted([first.result(), second.result()]) == [b"", b"last"]
    assert stream.readable_ended
