"""What the conformance suite cannot ask of every kind of stream."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conformance_support import Collected, Throttled
from support import SECONDS, Recorder, in_thread

from nhttp.errors import InvalidArgument, StateError
from nhttp.streams import Duplex, Readable

if TYPE_CHECKING:
    from collections.abc import Iterable


class Blocks(Readable):
    """Gives what it was made with; an exception among it is raised."""

    def __init__(self, blocks: Iterable[bytes | BaseException], *, early: bool = False) -> None:
        super().__init__()
        self.blocks = list(blocks)
        self.early = early  # whether it knows that a block is the last
        self.asked: list[int] = []

    def _read(self, size: int) -> bytes:
        self.asked.append(size)
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, BaseException):
            raise block
        if self.early and not self.blocks:
            self._last = True
        return block


class Held(Readable):
    """A source that says when a thread is in it, and waits to be told to give a block."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.blocks: list[bytes] = []
        self.go = threading.Semaphore(0)
        self.inside = 0
        self.most = 0

    def _read(self, size: int) -> bytes:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.go.acquire(timeout=SECONDS)
        self.inside -= 1
        return self.blocks.pop(0) if self.blocks else b""

    def give(self, block: bytes) -> None:
        assert self.entered.acquire(timeout=SECONDS)
        self.blocks.append(block)
        self.go.release()


def noting_waits(stream: Held, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set when a thread begins to wait for another one."""
    waiting = threading.Event()

    def wait(timeout: float | None = None) -> bool:
        waiting.set()
        return Held._wait(stream, timeout)

    monkeypatch.setattr(stream, "_wait", wait)
    return waiting


class TestReadable:
    def test_a_subclass_must_say_what_to_read(self) -> None:
        with pytest.raises(NotImplementedError):
            Readable().read()

    @pytest.mark.parametrize("early", [False, True])
    def test_a_source_that_knows_its_last_block(self, early: bool) -> None:
        stream = Blocks([b"ab", b"c"], early=early)
        recorder = Recorder(stream, "end")
        assert stream.read1() == b"ab"
        assert stream.read1() == b"c"
        assert recorder.names == (["end"] if early else [])
        assert stream.read1() == b""
        assert recorder.names == ["end"]

    @pytest.mark.parametrize("early", [False, True])
    def test_flowing_to_the_end(self, early: bool) -> None:
        stream = Blocks([b"ab", b"c"], early=early)
        recorder = Recorder(stream, "end", "data")
        recorder.wait("end")
        assert recorder.noted == [("data", (b"ab",)), ("data", (b"c",)), ("end", ())]

    def test_a_last_block_that_cuts_a_character(self) -> None:
        stream: Any = Blocks([b"a\xe2"], early=True)
        stream.set_encoding("utf8")
        assert stream.read1() == "a\ufffd"
        assert stream.readable_ended

    @pytest.mark.parametrize("size", [None, -1, -2])
    def test_no_size_is_any_size(self, size: int | None) -> None:
        for method in ("read", "readline", "read1"):
            stream = Blocks([b"a block"])
            assert getattr(stream, method)(size) == b"a block"
            assert getattr(stream, method)(size) == b""

    @pytest.mark.parametrize("encoding", [None, "utf8"])
    def test_only_readline_stops_behind_a_line(self, encoding: str | None) -> None:
        for method, expected in (("read", "a\nb\nc"), ("readline", "a\n")):
            stream = Blocks([b"a\n", b"b\n", b"c"])
            if encoding is not None:
                stream.set_encoding(encoding)
            got = getattr(stream, method)(5)
            assert got == (expected if encoding else expected.encode())

    def test_the_source_is_told_what_is_wanted(self) -> None:
        stream = Blocks([b"abc", b"d"])
        assert stream.read(4) == b"abcd"
        assert stream.asked == [4, 1]
        stream.read()
        assert stream.asked[2:] == [65536]

    def test_ctrl_c_in_the_source_leaves_the_stream_as_it_was(self) -> None:
        stream = Blocks([b"a", KeyboardInterrupt(), b"b"])
        with pytest.raises(KeyboardInterrupt):
            stream.read()
        assert stream.read() == b"ab"

    def test_ctrl_c_in_the_source_lets_the_next_reader_in(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupted(Held):
            def _read(self, size: int) -> bytes:
                block = super()._read(size)
                if block == b"^C":
                    raise KeyboardInterrupt
                return block

        stream = Interrupted()
        waiting = noting_waits(stream, monkeypatch)
        first = in_thread(stream.read1)
        assert stream.entered.acquire(timeout=SECONDS)
        second = in_thread(stream.read1)
        assert waiting.wait(SECONDS)
        stream.blocks.append(b"^C")
        stream.go.release()
        with pytest.raises(KeyboardInterrupt):
            first.result()
        stream.give(b"x")
        assert second.result() == b"x"

    def test_what_is_read_makes_room_for_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = Held()
        waiting = noting_waits(stream, monkeypatch)
        recorder = Recorder(stream, "close", "readable")
        full = bytes(stream.readable_high_water_mark)
        stream.give(full)
        assert waiting.wait(SECONDS)
        assert stream.read1() == full
        stream.give(b"more")
        recorder.wait("readable", 2)
        stream.destroy()
        stream.go.release()
        recorder.wait("close")

    def test_what_a_failing_line_had_is_kept(self) -> None:
        stream = Blocks([b"half a", OSError("broken")])
        with pytest.raises(OSError, match="broken"):
            stream.readline()
        assert stream.read1() == b"half a"

    def test_one_thread_at_a_time_is_in_the_source(self) -> None:
        stream = Held()
        readers = [in_thread(stream.read1) for _ in range(4)]
        for _ in range(4):
            stream.give(b"x")
        assert [reader.result() for reader in readers] == [b"x"] * 4
        assert stream.most == 1

    def test_what_one_reader_does_not_need_wakes_another(self) -> None:
        stream = Held()
        readers = [in_thread(stream.read, 1) for _ in range(3)]
        stream.give(b"abc")
        assert sorted(reader.result() for reader in readers) == [b"a", b"b", b"c"]

    def test_destroy_wakes_a_reader_that_waits_for_another(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream = Held()
        first = in_thread(stream.read)
        assert stream.entered.acquire(timeout=SECONDS)
        waiting = noting_waits(stream, monkeypatch)
        second = in_thread(stream.read)
        assert waiting.wait(SECONDS)
        stream.destroy()
        with pytest.raises(StateError, match="destroyed"):
            second.result()
        stream.go.release()
        first.result()

    def test_characters_stay_in_order_between_two_readers(self) -> None:
        text = "aß€😀" * 500
        octets = text.encode()
        stream = Blocks([octets[i : i + 1] for i in range(len(octets))])
        stream.set_encoding("utf8")
        readers = [in_thread(lambda: list(stream)) for _ in range(2)]
        parts = [part for reader in readers for part in reader.result()]
        assert sorted(parts) == sorted(text)

    def test_pause_and_resume_are_told_when_they_change_something(self) -> None:
        stream = Blocks([])
        recorder = Recorder(stream, "pause", "resume")
        stream.pause().pause().resume().resume().pause()
        assert recorder.names == ["pause", "resume", "pause"]
        stream.destroy()

    def test_paused_while_the_driver_is_in_the_source(self) -> None:
        stream = Held()
        recorder = Recorder(stream, "data", "end")
        assert stream.entered.acquire(timeout=SECONDS)
        stream.pause()
        reader = in_thread(stream.read1)
        stream.blocks.append(b"kept")
        stream.go.release()
        assert reader.result() == b"kept"
        assert recorder.names == []
        stream.resume()
        stream.give(b"")
        recorder.wait("end")

    def test_destroyed_while_the_driver_is_in_the_source(self) -> None:
        stream = Held()
        recorder = Recorder(stream, "error", "close", "end", "data")
        assert stream.entered.acquire(timeout=SECONDS)
        stream.destroy()
        stream.blocks.append(b"late")
        stream.go.release()
        recorder.wait("close")
        assert recorder.names == ["close"]

    def test_two_that_ask_for_data_get_one_driver(self) -> None:
        stream = Held()
        barrier = threading.Barrier(4)

        def resume() -> None:
            barrier.wait(SECONDS)
            stream.resume()

        recorder = Recorder(stream, "end")
        for each in [in_thread(resume) for _ in range(4)]:
            each.result()
        stream.give(b"x")
        stream.give(b"")
        recorder.wait("end")
        assert stream.most == 1

    def test_a_thread_that_finds_a_driver_is_none(self) -> None:
        stream = Held()
        recorder = Recorder(stream, "end", "data")
        assert stream.entered.acquire(timeout=SECONDS)
        stream._drive()  # returns at once
        stream.go.release()
        recorder.wait("end")

    def test_wake_has_whoever_waits_look_again(self) -> None:
        stream = Held()
        reader = in_thread(stream.read1)
        assert stream.entered.acquire(timeout=SECONDS)
        second = in_thread(stream.read1)
        stream._wake()
        stream.go.release()
        assert (reader.result(), second.result()) == (b"", b"")

    def test_a_listener_that_raises_for_error_does_not_hide_the_failure(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Odd(Blocks):
            def _failed(self, error: Exception) -> None:
                raise ValueError("a bug")

        stream = Odd([OSError("broken")])
        with pytest.raises(OSError, match="broken"):
            stream.read()
        assert "a bug" in caplog.text

    def test_a_readable_listener_that_reads_nothing_is_not_told_twice(self) -> None:
        stream = Held()
        recorder = Recorder(stream, "end", "readable")
        stream.give(b"a")
        recorder.wait("readable")
        stream.give(b"b")
        recorder.wait("readable", 2)
        assert stream.read1() == b"ab"
        stream.give(b"")
        recorder.wait("end")
        assert recorder.names.count("readable") == 3

    def test_a_second_readable_listener_is_told_of_what_the_first_one_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream, waits = Held(), list[threading.Event]()
        told = threading.Event()

        def leaving() -> None:
            stream.off("readable", leaving)
            waits.append(noting_waits(stream, monkeypatch))
            told.set()

        stream.on("readable", leaving)
        stream.give(b"left")
        assert told.wait(SECONDS)
        assert waits[0].wait(SECONDS)
        recorder = Recorder(stream, "readable", "close")
        recorder.wait("readable")
        assert stream.read1(4) == b"left"
        stream.destroy()
        stream.go.release()
        recorder.wait("close")

    def test_read1_in_a_readable_listener_never_blocks(self) -> None:
        stream = Held()
        got: list[bytes] = []
        stream.on("readable", lambda: got.extend([stream.read1(), stream.read1()]))
        recorder = Recorder(stream, "end")
        stream.give(b"a")
        stream.give(b"")
        recorder.wait("end")
        assert got == [b"a", b"", b"", b""]

    def test_after_an_unknown_encoding_nothing_has_changed(self) -> None:
        stream = Blocks([b"a"])
        with pytest.raises(InvalidArgument):
            stream.set_encoding("rot13")
        assert stream.readable_encoding is None
        assert stream.read() == b"a"

    def test_closing(self) -> None:
        stream = Blocks([b"a"])
        with io.BufferedReader(stream) as buffered:
            assert buffered.read() == b"a"
        assert stream.closed
        assert not stream.writable()
        other = Blocks([])
        with other:
            pass
        assert other.destroyed

    def test_readable_without_a_listener_any_more(self) -> None:
        stream = Held()
        recorder = Recorder(stream, "close")

        def nothing() -> None:
            stream.off("readable", nothing)

        stream.on("readable", nothing)
        stream.give(b"x")
        stream.destroy()
        recorder.wait("close")


class TestPipe:
    def test_a_bug_in_a_destination_is_logged_and_ends_the_source(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        source, destination = Blocks([b"x"]), Collected()
        destination.fails = ValueError("a bug")
        recorder = Recorder(source, "close")
        source.pipe(destination)
        recorder.wait("close")
        assert source.errored is destination.fails
        assert "a bug" in caplog.text

    def test_drained_in_between(self) -> None:
        class Quick(Throttled):
            def write(self, chunk: Any, encoding: Any = None, callback: Any = None) -> bool:
                super().write(chunk, encoding, callback)
                self.drain()
                return False

        source, destination = Blocks([b"a", b"b"]), Quick()
        recorder = Recorder(destination, "finish")
        source.pipe(destination)
        recorder.wait("finish")
        assert destination.data == b"ab"

    def test_a_waiting_destination_that_leaves_lets_the_others_go_on(self) -> None:
        source = Held()
        slow, quick = Throttled(), Collected()
        source.pipe(quick)
        source.pipe(slow)
        flow = Recorder(source, "pause", "resume")
        done = Recorder(quick, "finish")
        source.give(b"x")
        flow.wait("pause")
        source.unpipe(slow)
        flow.wait("resume")
        source.give(b"")
        done.wait("finish")
        assert quick.data == b"x"

    def test_unpiping_does_not_resume_what_is_paused(self) -> None:
        source, slow = Held(), Throttled()
        for each in (slow, Collected()):
            source.pipe(each)
        source.pause()
        source.unpipe(slow)  # which was not why
        assert source.is_paused()
        source.unpipe().pipe(slow)
        flow = Recorder(source, "pause", "resume")
        source.give(b"x")
        flow.wait("pause")
        source.unpipe(slow)  # which was why, and there is nobody else
        assert flow.names == ["pause"]
        source.destroy()
        source.go.release()

    def test_drain_of_a_pipe_that_does_not_wait_resumes_nothing(self) -> None:
        source, destination = Held(), Throttled()
        source.pipe(destination)
        source.pause()
        destination.drain()
        assert source.is_paused()
        source.destroy()
        source.go.release()

    def test_a_source_that_has_ended_ends_the_destination(self) -> None:
        source, destination = Blocks([]), Collected()
        source.read()
        source.pipe(destination)
        assert destination.writable_finished

    def test_a_destination_that_tells_close_and_can_still_be_written_to(self) -> None:
        source, destination = Blocks([b"x"]), Collected()
        recorder = Recorder(destination, "finish")
        destination._latch("close")  # as a response does whose client has ended its side
        source.pipe(destination)
        recorder.wait("finish")
        assert destination.data == b"x"

    def test_unpiped_while_being_piped(self) -> None:
        source, destination = Blocks([b"x"]), Collected()
        destination.on("pipe", lambda _: source.unpipe(destination))
        source.pipe(destination)
        assert source.listener_count("data") == 0
        assert destination.listener_count("close") == 0


class TestDuplex:
    def test_tables_of_latched_events(self) -> None:
        assert {"end", "finish", "error", "close"} == Duplex._latched
