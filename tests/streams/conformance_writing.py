"""Every byte stream, written to, and piped."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from conformance_support import BIG, Collected, Far, Kind, Throttled, feed
from support import SECONDS, Recorder, in_thread

from nhttp.errors import InvalidArgument, StateError

if TYPE_CHECKING:
    from nhttp.streams import Duplex


class Writing(Kind):
    """Octets on their way out."""

    def test_write_every_kind_of_chunk(self, stream: Duplex, far: Far) -> None:
        assert stream.write("ä")
        assert stream.write("ä", "latin1")
        assert stream.write("ff", "hex")
        assert stream.write(b"b")
        assert stream.write(bytearray(b"c"))
        assert stream.write(memoryview(b"d-e-")[::2])
        stream.set_default_encoding("latin1")
        stream.write("ä")
        stream.writelines([b"1", "2"])
        assert far.receive(10) == b"\xc3\xa4\xe4\xffbcde\xe41"
        assert far.receive(1) == b"2"

    def test_write_callbacks(self, stream: Duplex, far: Far) -> None:
        called: list[str] = []
        stream.write("a", lambda: called.append("first"))
        stream.write("b", "latin1", lambda: called.append("second"))
        stream.end("c", lambda: called.append("finish"))
        assert called == ["first", "second", "finish"]
        assert far.receive_all() == b"abc"

    def test_cork_keeps_and_uncork_sends(self, stream: Duplex, far: Far) -> None:
        called: list[int] = []
        stream.cork()
        stream.cork()
        assert stream.write("a", lambda: called.append(1))
        assert stream.write(b"b", lambda: called.append(2))
        stream.uncork()
        assert stream.writable_corked == 1
        assert stream.writable_length == 2
        assert called == []
        stream.uncork()
        assert called == [1, 2]
        assert stream.writable_length == 0
        stream.uncork()  # once too often does nothing
        assert far.receive(2) == b"ab"

    def test_a_corked_chunk_may_change_afterwards(self, stream: Duplex, far: Far) -> None:
        chunk = bytearray(b"a")
        stream.cork()
        stream.write(chunk)
        chunk[:] = b"b"
        stream.uncork()
        assert far.receive(1) == b"a"

    def test_corked_beyond_the_mark_needs_a_drain(self, stream: Any, far: Far) -> None:
        recorder = Recorder(stream, "drain")
        stream.cork()
        assert not stream.write(bytes(stream.writable_high_water_mark))
        assert stream.writable_need_drain
        assert recorder.names == []
        stream.uncork()
        assert recorder.names == ["drain"]
        assert not stream.writable_need_drain
        assert len(far.receive(stream.writable_high_water_mark)) == stream.writable_high_water_mark

    def test_behind_the_end_no_drain_is_to_come(self, stream: Any, far: Far) -> None:
        recorder = Recorder(stream, "drain")
        stream.cork()
        assert not stream.write(bytes(stream.writable_high_water_mark))
        stream.end()
        assert not stream.writable_need_drain
        assert recorder.names == []
        assert len(far.receive(stream.writable_high_water_mark)) == stream.writable_high_water_mark

    def test_end_sends_what_is_corked(self, stream: Duplex, far: Far) -> None:
        order: list[str] = []
        stream.cork()
        stream.write("a", lambda: order.append("a"))
        stream.on("finish", lambda: order.append("finish"))
        assert stream.end("b") is stream
        assert order == ["a", "finish"]
        assert stream.writable_ended
        assert stream.writable_finished
        assert far.receive_all() == b"ab"

    def test_finish_once_and_latched(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "finish")
        stream.end()
        stream.end()
        assert recorder.names == ["finish"]
        assert Recorder(stream, "finish").names == ["finish"]
        assert far.receive_all() == b""

    def test_write_after_end(self, stream: Duplex) -> None:
        stream.end("x")
        for late in (lambda: stream.write(b"y"), lambda: stream.end(b"y")):
            with pytest.raises(StateError) as caught:
                late()
            assert caught.value.code == "ERR_STREAM_WRITE_AFTER_END"

    def test_write_after_destroy(self, stream: Duplex) -> None:
        stream.destroy()
        with pytest.raises(StateError) as caught:
            stream.write(b"x")
        assert caught.value.code == "ERR_STREAM_DESTROYED"
        assert stream.end() is stream
        with pytest.raises(StateError):
            stream.end(b"x")
        assert not stream.writable_finished

    def test_writers_do_not_mix_within_one_call(self, stream: Duplex, far: Far) -> None:
        size = 300_000
        receiver = in_thread(far.receive_all)
        writers = [in_thread(stream.write, bytes([65 + i]) * size) for i in range(6)]
        for writer in writers:
            writer.result()
        stream.end()
        received = receiver.result()
        runs = [received[i : i + size] for i in range(0, len(received), size)]
        assert len(runs) == 6
        assert all(run == run[:1] * size for run in runs)

    def test_both_directions_at_once(self, stream: Duplex, far: Far) -> None:
        receiver = in_thread(far.receive_all)
        sender = in_thread(feed, far, BIG)
        writer = in_thread(lambda: stream.end(BIG))
        assert stream.read() == BIG
        writer.result()
        sender.result()
        assert receiver.result() == BIG


class Piping(Kind):
    """What flows into a destination."""

    def test_pipe_to_a_destination(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        recorder = Recorder(destination, "pipe", "finish")
        flow = Recorder(stream, "pause", "resume")
        assert stream.pipe(destination) is destination
        sender = in_thread(feed, far, BIG)
        recorder.wait("finish")
        sender.result()
        assert flow.names == ["resume"]  # there was always room
        assert destination.data == BIG
        assert recorder.noted[0] == ("pipe", (stream,))
        assert destination.finals == 1

    def test_pipe_without_end(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        recorder = Recorder(stream, "end")
        stream.pipe(destination, end=False)
        far.send(b"x")
        far.end()
        recorder.wait("end")
        assert destination.data == b"x"
        assert not destination.writable_ended

    @pytest.mark.parametrize("end", [True, False])
    def test_a_pipe_that_is_over_leaves_nothing_behind(
        self, stream: Duplex, far: Far, end: bool
    ) -> None:
        destination = Collected()
        recorder = Recorder(destination, "finish", "unpipe")
        stream.pipe(destination, end=end)
        far.send(b"x")
        far.end()
        recorder.wait("unpipe")
        assert recorder.names == (["finish", "unpipe"] if end else ["unpipe"])
        for event in ("data", "end"):
            assert stream.listener_count(event) == 0
        for event in ("drain", "close"):
            assert destination.listener_count(event) == 0

    @pytest.mark.parametrize("destination", [io.BytesIO(), None])
    def test_pipe_to_what_is_no_writable(self, stream: Duplex, far: Far, destination: Any) -> None:
        with pytest.raises(InvalidArgument, match="copyfileobj"):
            stream.pipe(destination)
        far.send(b"x")
        assert stream.read(1) == b"x"

    def test_pipe_to_what_is_destroyed_while_it_is_written_to(
        self, stream: Duplex, far: Far
    ) -> None:
        class Leaving(Collected):
            def _writev(self, chunks: Any) -> None:
                raise self.destroy(ValueError("enough"))._destroyed_error("write")

        destination = Leaving()
        recorder = Recorder(destination, "unpipe")
        stream.pipe(destination)
        far.send(b"x")
        recorder.wait("unpipe")
        far.send(b"y")
        assert stream.read(1) == b"y"

    def test_pipe_into_itself_echoes(self, stream: Duplex, far: Far) -> None:
        stream.pipe(stream)
        sender = in_thread(feed, far, BIG)
        assert far.receive_all() == BIG
        sender.result()

    def test_pipe_through_a_second_stream(self, stream: Duplex, far: Far) -> None:
        with self.open() as (second, second_far):
            destination = Collected()
            stream.pipe(second).on("finish", destination.end)
            receiver = in_thread(second_far.receive_all)
            sender = in_thread(feed, far, BIG)
            assert receiver.result() == BIG
            sender.result()

    def test_pipe_to_two_destinations(self, stream: Duplex, far: Far) -> None:
        first, second = Throttled(), Throttled()
        recorder = Recorder(second, "finish")
        for each in (first, second):
            stream.pipe(each)  # nothing has come yet
        flow = Recorder(stream, "pause")
        far.send(b"x")
        assert first.entered.acquire(timeout=SECONDS)
        assert second.entered.acquire(timeout=SECONDS)
        flow.wait("pause")
        stream.unpipe(Throttled())  # somebody else: nothing changes
        waiting = Recorder(stream, "resume")
        first.drain()
        assert waiting.names == []  # the other one is not ready
        second.drain()
        waiting.wait("resume")
        far.end()
        recorder.wait("finish")
        assert (first.data, second.data) == (b"x", b"x")

    def test_unpipe_stops(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        recorder = Recorder(destination, "unpipe")
        stream.pipe(destination)
        far.send(b"x")
        assert destination.entered.acquire(timeout=SECONDS)
        assert stream.unpipe(destination) is stream
        assert recorder.noted == [("unpipe", (stream,))]
        stream.unpipe(destination)
        assert recorder.names == ["unpipe"]
        far.send(b"y")
        far.end()
        assert stream.read() == b"y"
        assert not destination.writable_ended
        assert destination.listener_count("close") == destination.listener_count("drain") == 0

    def test_unpipe_of_everything(self, stream: Duplex) -> None:
        destinations = [Collected(), Collected()]
        for each in destinations:
            stream.pipe(each)
        stream.unpipe()
        assert stream.listener_count("data") == 0
        assert stream.is_paused()

    def test_a_destination_that_fails_is_unpiped(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        destination.fails = OSError("full")
        recorder = Recorder(destination, "error", "close")
        unpiped = Recorder(destination, "unpipe")
        stream.pipe(destination)
        far.send(b"x")
        unpiped.wait("unpipe")
        assert recorder.noted == [("error", (destination.fails,)), ("close", ())]
        assert not stream.destroyed
        far.send(b"y")
        assert stream.read(1) == b"y"

    def test_a_destination_that_is_ended_or_closed_by_others_is_unpiped(
        self, stream: Duplex, far: Far
    ) -> None:
        ended, closed = Collected(), Collected()
        unpiped = Recorder(ended, "unpipe")
        stream.pipe(ended)
        ended.end()
        far.send(b"x")
        unpiped.wait("unpipe")
        assert not ended.destroyed
        stream.pipe(closed)
        closed.destroy()
        assert stream.listener_count("data") == 0

    def test_a_destination_that_was_closed_before(self, stream: Duplex, far: Far) -> None:
        closed = Collected()
        closed.destroy()
        stream.pipe(closed)
        assert stream.listener_count("data") == stream.listener_count("end") == 0
        assert closed.listener_count("drain") == 0
        far.send(b"x")
        assert stream.read(1) == b"x"

    def test_a_destination_that_fails_at_the_end(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        unpiped = Recorder(destination, "unpipe")
        destination.cork()
        stream.pipe(destination)
        far.send(b"x")
        destination.fails = OSError("full")
        far.end()
        unpiped.wait("unpipe")
        assert stream.readable_ended

    def test_a_pipe_waits_for_drain(self, stream: Duplex, far: Far) -> None:
        destination = Throttled()
        recorder = Recorder(destination, "finish")
        stream.pipe(destination)
        flow = Recorder(stream, "pause", "resume")
        far.send(b"one")
        assert destination.entered.acquire(timeout=SECONDS)
        flow.wait("pause")
        far.send(b"two")
        assert destination.data == b"one"
        destination.drain()
        flow.wait("resume")
        assert destination.entered.acquire(timeout=SECONDS)
        flow.wait("pause", 2)
        far.end()
        destination.drain()
        recorder.wait("finish")
        assert destination.data == b"onetwo"

    def test_what_flows_into_a_blocked_destination_stays_small(
        self, stream: Duplex, far: Far
    ) -> None:
        destination = Collected()
        destination.gate.clear()
        stream.pipe(destination)
        far.send(b"x")
        assert destination.entered.acquire(timeout=SECONDS)
        far.sent_ahead()
        assert stream.readable_length == 0  # nothing is read while the destination is busy
        assert sum(map(len, destination.taken)) == 0
        stream.unpipe()
        destination.gate.set()
