"""Writable, by itself: corking, callbacks, and the end."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
from typing import Any

import pytest
from conformance_support import Collected
from support import SECONDS, Recorder, in_thread

from nhttp.errors import InvalidArgument, StateError
from nhttp.streams import Writable


class TestWritable:
    def test_a_subclass_must_say_where_to(self) -> None:
        with pytest.raises(NotImplementedError):
            Writable().write(b"x")

    def test_file_protocol(self) -> None:
        stream = Collected()
        assert stream.writable()
        assert not stream.readable()
        with io.TextIOWrapper(stream, encoding="utf-8") as text:  # type: ignore[type-var]
            text.write("ä")
        assert stream.data == "ä".encode()
        assert stream.closed
        stream.close()

    @pytest.mark.parametrize("corked", [False, True])
    @pytest.mark.parametrize("call", ["write", "end"])
    def test_what_cannot_be_called_back_is_refused_before_anything_is_written(
        self, call: str, corked: bool
    ) -> None:
        async def coroutine() -> None: ...

        stream = Collected()
        if corked:
            stream.cork()
        method: Any = getattr(stream, call)
        for arguments in (("x", None, 5), (b"x", "utf8", coroutine), ("x", coroutine)):
            with pytest.raises(InvalidArgument) as caught:
                method(*arguments)
            assert caught.value.code == "ERR_INVALID_ARG_TYPE"
        for chunk in ("x", b"x", memoryview(b"x")):
            with pytest.raises(InvalidArgument, match="unknown encoding 5") as caught:
                method(chunk, 5)
            assert caught.value.code == "ERR_UNKNOWN_ENCODING"
        assert stream.writable_length == 0
        assert stream.end("y").data == b"y"

    def test_with_block_ends(self) -> None:
        with Collected() as stream:
            stream.write("x")
        assert stream.writable_finished
        assert stream.data == b"x"

    def test_with_block_that_fails_does_not_end(self) -> None:
        stream = Collected()

        def fail() -> None:
            with stream:
                stream.write("half")
                raise ValueError

        with pytest.raises(ValueError, match=r"^$"):
            fail()
        assert stream.destroyed
        assert not stream.writable_ended
        stream.close()
        assert stream.finals == 0

    def test_end_forms(self) -> None:
        called: list[int] = []
        Collected().end(lambda: called.append(1))
        Collected().end("x", lambda: called.append(2))
        stream = Collected()
        stream.end("ff", "hex", lambda: called.append(3))
        assert called == [1, 2, 3]
        assert stream.data == b"\xff"

    def test_the_sink_is_not_used_for_nothing(self) -> None:
        for last in (None, ""):
            stream = Collected()
            stream.flush()
            stream.cork()
            stream.uncork()
            assert stream.end(last).taken == []
            assert stream.finals == 1

    def test_no_drain_for_what_had_room(self) -> None:
        stream = Collected()
        recorder = Recorder(stream, "drain")
        for size in (2, 1):
            stream.cork()
            assert stream.write(bytes(size))
            assert stream.writable_length == size
            stream.uncork()
            assert not stream.writable_need_drain
        stream.flush()
        assert recorder.names == []

    def test_uncorked_too_often(self) -> None:
        stream = Collected()
        stream.uncork()
        stream.write("a")
        assert (stream.writable_corked, stream.data) == (0, b"a")

    def test_end_undoes_the_corking(self) -> None:
        stream = Collected()
        stream.cork()
        assert stream.end("a").writable_corked == 0
        assert stream.data == b"a"

    def test_the_default_encoding_is_for_the_end_too(self) -> None:
        assert Collected().set_default_encoding("hex").end("6869").data == b"hi"

    def test_destroyed_is_closed(self) -> None:
        stream = Collected()
        assert not stream.closed
        assert stream.destroy().closed

    def test_a_write_that_waits_while_end_comes_is_still_taken(self) -> None:
        stream = Collected()
        stream.gate.clear()
        first = in_thread(stream.write, b"1")
        assert stream.entered.acquire(timeout=SECONDS)
        ending = in_thread(stream.end, b"2")
        stream.gate.set()
        first.result()
        ending.result()
        assert stream.data == b"12"

    def test_a_write_that_is_overtaken_by_end_is_refused(self) -> None:
        stream = Collected()

        class Slow(Collected):
            def _writing(self) -> Any:
                if not self._write_ended:
                    self.end()  # another thread is faster, between the check and the lock
                return super()._writing()

        stream = Slow()
        with pytest.raises(StateError) as caught:
            stream.write(b"x")
        assert caught.value.code == "ERR_STREAM_WRITE_AFTER_END"
        assert stream.data == b""

    def test_what_was_corked_goes_first(self) -> None:
        class Overtaken(Collected):
            def flush(self) -> None:
                stream.write(b"2")  # by another thread, before the one that uncorked gets there
                super().flush()

        called: list[int] = []
        stream = Overtaken()
        stream.cork()
        stream.write(b"1", lambda: called.append(1))
        stream.uncork()
        assert stream.data == b"12"
        assert called == [1]

    def test_destroyed_before_it_could_finish(self) -> None:
        class Fragile(Collected):
            def _final(self) -> None:
                self.destroy()

        stream = Fragile()
        recorder = Recorder(stream, "finish", "close")
        stream.end(b"x")
        assert recorder.names == ["close"]

    def test_corked_again_while_it_drains(self) -> None:
        stream = Collected()
        recorder = Recorder(stream, "drain")
        stream.cork()

        def again() -> None:
            stream.cork()
            stream.write("x")

        stream.write(bytes(stream.writable_high_water_mark), again)
        stream.uncork()
        assert recorder.names == []
        stream.uncork()
        assert recorder.names == ["drain"]

    def test_unknown_default_encoding(self) -> None:
        with pytest.raises(InvalidArgument):
            Collected().set_default_encoding("rot13")
