"""What every byte stream must do, whatever it is made of: one suite for all kinds.

A kind is a subclass of `Conformance` that says how to `open` a stream and the other end of it. What
is common to Node's streams and Python's files is in here; what only sockets do is in tests/net.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from support import SECONDS, Recorder, in_thread

from nhttp.errors import StateError
from nhttp.streams import Duplex, Writable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

BIG = bytes(range(256)) * 4096 * 3  # 3 MiB: more than any buffer between the two ends


class Far(Protocol):
    """The other end of a stream: what the tests send and receive with."""

    def send(self, data: bytes) -> None:
        """Have the stream under test receive something; blocks while nothing fits."""

    def end(self) -> None:
        """Have it receive the end."""

    def fail(self) -> None:
        """Have its reading and writing fail."""

    def receive(self, size: int) -> bytes:
        """Give exactly so many octets of what it wrote; fewer at the end."""
        ...

    def receive_all(self) -> bytes:
        """Give everything up to its end."""
        ...

    def sent_ahead(self) -> int:
        """Send until nothing fits any more for a moment; give how much that was."""
        ...


class Collected(Writable):
    """A destination in memory, that can be told to be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []
        self.finals = 0
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def _writev(self, chunks: Any) -> None:
        self.entered.release()
        assert self.gate.wait(SECONDS)
        if self.fails is not None:
            raise self.fails
        self.taken.append(b"".join(chunks))

    def _final(self) -> None:
        self.finals += 1

    @property
    def data(self) -> bytes:
        return b"".join(self.taken)


class Throttled(Collected):
    """A destination that queues: `write` returns False, and 'drain' follows when it is told to."""

    def write(self, chunk: Any, encoding: Any = None, callback: Any = None) -> bool:
        super().write(chunk, encoding, callback)
        with self._lock:
            self._need_drain = True
        return False

    def drain(self) -> None:
        with self._lock:
            self._need_drain = False
        self.emit("drain")


def feed(far: Far, data: bytes) -> None:
    far.send(data)
    far.end()


class Conformance:
    """The suite. The streams may be written to after they have received their end."""

    def open(self) -> AbstractContextManager[tuple[Duplex, Far]]:
        raise NotImplementedError

    @pytest.fixture
    def pair(self) -> Any:
        with self.open() as pair:
            yield pair

    @pytest.fixture
    def stream(self, pair: tuple[Duplex, Far]) -> Duplex:
        return pair[0]

    @pytest.fixture
    def far(self, pair: tuple[Duplex, Far]) -> Far:
        return pair[1]

    # Pulling.

    def test_read_gives_everything_up_to_the_end(self, stream: Duplex, far: Far) -> None:
        sender = in_thread(feed, far, BIG)
        assert stream.read() == BIG
        sender.result()
        assert stream.readable_ended

    def test_read_of_a_size_blocks_until_all_of_it_is_there(self, stream: Duplex, far: Far) -> None:
        reader = in_thread(stream.read, 6)
        far.send(b"abc")
        far.send(b"defgh")
        assert reader.result() == b"abcdef"
        far.end()
        assert stream.read(10) == b"gh"
        assert stream.read(10) == b""

    def test_read_nothing(self, stream: Duplex) -> None:
        assert stream.read(0) == b""
        assert stream.read1(0) == b""
        assert stream.readline(0) == b""
        assert stream.readinto(bytearray()) == 0

    def test_read_of_octets_one_by_one(self, stream: Duplex, far: Far) -> None:
        far.send(b"abc")
        far.end()
        assert [stream.read(1) for _ in range(5)] == [b"a", b"b", b"c", b"", b""]

    def test_read1_takes_what_is_there(self, stream: Duplex, far: Far) -> None:
        far.send(b"abcdef")
        assert stream.read1(2) == b"ab"
        assert stream.read1() == b"cdef"
        far.end()
        assert stream.read1() == b""
        assert stream.read1() == b""

    def test_readinto(self, stream: Duplex, far: Far) -> None:
        far.send(b"abc")
        buffer = bytearray(2)
        assert stream.readinto(buffer) == 2
        assert buffer == b"ab"
        assert stream.readinto1(buffer) == 1
        assert buffer == b"cb"
        far.end()
        assert stream.readinto(buffer) == 0

    def test_readline(self, stream: Duplex, far: Far) -> None:
        reader = in_thread(stream.readline)
        far.send(b"fir")
        far.send(b"st\nsecond\n\nrest")
        far.end()
        assert reader.result() == b"first\n"
        assert stream.readline(3) == b"sec"
        assert stream.readline(None) == b"ond\n"
        assert [stream.readline() for _ in range(3)] == [b"\n", b"rest", b""]

    def test_iteration_gives_blocks_until_the_end(self, stream: Duplex, far: Far) -> None:
        sender = in_thread(feed, far, BIG)
        blocks = list(stream)
        sender.result()
        assert b"".join(blocks) == BIG
        assert all(blocks)

    def test_as_text_with_text_io_wrapper(self, stream: Duplex, far: Far) -> None:
        far.send("grün\nweiß".encode())
        far.end()
        with io.TextIOWrapper(stream, encoding="utf-8") as text:  # type: ignore[type-var]
            assert list(text) == ["grün\n", "weiß"]
        assert stream.destroyed

    def test_json_load(self, stream: Duplex, far: Far) -> None:
        far.send(b'{"a": [1, ')
        far.send(b"2]}")
        far.end()
        assert json.load(stream) == {"a": [1, 2]}

    def test_csv(self, stream: Duplex, far: Far) -> None:
        far.send(b"a,b\n1,2\n")
        far.end()
        text = io.TextIOWrapper(stream, encoding="ascii", newline="")  # type: ignore[type-var]
        assert list(csv.reader(text)) == [["a", "b"], ["1", "2"]]
        text.close()

    def test_copyfileobj(self, stream: Duplex, far: Far) -> None:
        sender = in_thread(feed, far, BIG)
        copy = io.BytesIO()
        shutil.copyfileobj(stream, copy)
        sender.result()
        assert copy.getvalue() == BIG

    def test_file_protocol(self, stream: Duplex) -> None:
        assert stream.readable()
        assert stream.writable()
        assert not stream.seekable()
        assert not stream.isatty()
        assert not stream.closed
        stream.flush()
        stream.close()
        assert stream.closed

    # Text.

    @pytest.mark.parametrize("encoding", ["utf8", "utf16le"])
    def test_set_encoding_never_splits_a_character(
        self, stream: Duplex, far: Far, encoding: str
    ) -> None:
        text = "aß€😀" * 3
        octets = text.encode("utf-8" if encoding == "utf8" else "utf-16-le")
        recorder = Recorder(stream, "end")
        assert stream.set_encoding(encoding) is stream
        recorder_data = Recorder(stream, "data")
        for octet in octets:
            far.send(bytes([octet]))
        far.end()
        recorder.wait("end")
        assert recorder_data.data() == text
        assert stream.readable_encoding == encoding

    def test_pulling_text_counts_characters(self, stream: Any, far: Far) -> None:
        stream.set_encoding("utf8")
        far.send("ä€\nxy".encode())
        far.end()
        assert stream.read(1) == "ä"
        assert stream.readline() == "€\n"
        assert stream.read() == "xy"
        assert stream.read() == ""

    def test_a_character_that_never_gets_whole(self, stream: Any, far: Far) -> None:
        stream.set_encoding("utf8")
        far.send(b"a\xe2\x82")
        far.end()
        assert stream.read() == "a\ufffd"
        assert stream.readable_ended

    def test_set_encoding_of_what_was_fetched_already(self, stream: Any, far: Far) -> None:
        far.send("x€".encode())
        assert stream.read(2) == b"x\xe2"
        stream.unshift(b"\xe2")
        stream.set_encoding("utf8")
        assert stream.read(1) == "€"
        stream.unshift("a€b")
        assert stream.readable_length == 3
        stream.set_encoding("latin1")
        far.end()
        assert stream.read() == "a€b".encode().decode("latin-1")

    # Flowing.

    def test_data_and_end_in_order_on_one_thread(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "resume", "data")
        sender = in_thread(feed, far, BIG)
        recorder.wait("end")
        sender.result()
        assert recorder.data() == BIG
        assert recorder.names[0] == "resume"
        assert recorder.names[-1] == "end"
        assert recorder.names.count("end") == 1
        assert len(set(recorder.threads[1:])) == 1
        assert stream.readable_flowing

    def test_resume_without_a_listener_drops_what_comes(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end")
        stream.resume()
        far.send(b"nobody wants it")
        far.end()
        recorder.wait("end")
        assert stream.read() == b""

    def test_pause_keeps_what_comes_until_resume(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "pause", "end")
        stream.pause()
        assert stream.is_paused()
        assert stream.readable_flowing is False
        data = Recorder(stream, "data")  # does not resume what was paused
        far.send(b"kept")
        far.end()
        assert data.noted == []
        stream.resume()
        recorder.wait("end")
        assert data.data() == b"kept"

    def test_pause_in_a_listener_and_pull_the_rest(self, stream: Duplex, far: Far) -> None:
        seen: list[bytes] = []
        paused = threading.Event()

        def first(chunk: bytes) -> None:
            seen.append(chunk)
            stream.pause()
            paused.set()

        stream.on("data", first)
        far.send(b"one")
        assert paused.wait(SECONDS)
        far.send(b"two")
        far.end()
        assert stream.read() == b"two"
        assert seen == [b"one"]

    def test_pause_from_another_thread_loses_and_reorders_nothing(
        self, stream: Duplex, far: Far
    ) -> None:
        flowed: list[bytes] = []
        some = threading.Event()

        def on_data(chunk: bytes) -> None:
            flowed.append(chunk)
            some.set()

        stream.on("data", on_data)
        sender = in_thread(feed, far, BIG)
        assert some.wait(SECONDS)
        stream.pause()
        pulled = stream.read()
        sender.result()
        # One 'data' may have been under way: it holds what came before all that was pulled.
        assert b"".join(flowed) + pulled == BIG

    def test_pause_and_resume_many_times(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "data")
        sender = in_thread(feed, far, BIG)
        while "end" not in recorder.names:
            stream.pause()
            stream.resume()
        sender.result()
        assert recorder.data() == BIG

    def test_a_listener_may_pull(self, stream: Duplex, far: Far) -> None:
        pulled: list[bytes] = []
        stream.on("data", lambda chunk: pulled.append(stream.read(3)))
        recorder = Recorder(stream, "end")
        far.send(b"a")
        sender = in_thread(far.send, b"bcd")
        sender.result()
        far.end()
        recorder.wait("end")
        assert b"".join(pulled) in (b"bcd", b"")  # both may have come as one block

    def test_unshift_comes_first(self, stream: Duplex, far: Far) -> None:
        far.send(b"world")
        assert stream.read(1) == b"w"
        stream.unshift("hello w")
        stream.unshift(b"")
        assert stream.readable_length >= 7
        far.end()
        assert stream.read() == b"hello world"
        with pytest.raises(StateError) as caught:
            stream.unshift(b"late")
        assert caught.value.code == "ERR_STREAM_UNSHIFT_AFTER_END_EVENT"

    def test_unshift_octets_on_a_stream_of_text(self, stream: Any, far: Far) -> None:
        stream.set_encoding("utf8")
        stream.unshift("€".encode())
        far.end()
        assert stream.read() == "€"

    def test_unshift_wakes_a_thread_that_waits_behind_another(
        self, stream: Duplex, far: Far
    ) -> None:
        first = in_thread(stream.read, 10)
        second = in_thread(stream.read1)
        stream.unshift(b"x")
        far.send(b"0123456789")
        far.end()
        assert sorted(first.result() + second.result()) == sorted(b"x0123456789")

    # 'readable'.

    def test_readable_and_read1(self, stream: Duplex, far: Far) -> None:
        got: list[bytes] = []

        def on_readable() -> None:
            while chunk := stream.read1(2):
                got.append(chunk)

        recorder = Recorder(stream, "end")
        stream.on("readable", on_readable)
        far.send(b"abc")
        far.send(b"de")
        far.end()
        recorder.wait("end")
        assert b"".join(got) == b"abcde"
        assert recorder.names == ["end"]

    def test_readable_is_told_of_what_was_kept_before(self, stream: Duplex, far: Far) -> None:
        far.send(b"abcdef")
        far.end()
        assert stream.read(3) == b"abc"
        recorder = Recorder(stream, "end", "readable")
        recorder.wait("readable")
        assert stream.read() == b"def"
        recorder.wait("end")

    def test_readable_goes_on_while_paused(self, stream: Duplex, far: Far) -> None:
        stream.pause()
        recorder = Recorder(stream, "readable")
        far.send(b"x")
        recorder.wait("readable")
        assert stream.read1() == b"x"

    def test_readable_does_not_run_ahead(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "readable")
        far.sent_ahead()
        recorder.wait("readable")
        mark, block = stream.readable_high_water_mark, 64 * 1024
        assert stream.readable_length <= mark + block

    # The end.

    def test_end_once_whoever_reads_the_last(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end")
        readers = [in_thread(lambda: b"".join(stream)) for _ in range(4)]
        sender = in_thread(feed, far, BIG)
        parts = [reader.result() for reader in readers]
        sender.result()
        assert sum(map(len, parts)) == len(BIG)
        assert recorder.names == ["end"]

    def test_pull_while_flowing(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "data")
        pulled = in_thread(lambda: b"".join(stream))
        sender = in_thread(feed, far, BIG)
        total = len(pulled.result())
        sender.result()
        recorder.wait("end")
        recorder.wait_until(lambda: total + len(recorder.data()) == len(BIG), "the rest")
        assert recorder.names.count("end") == 1

    def test_end_is_latched(self, stream: Duplex, far: Far) -> None:
        far.end()
        assert stream.read() == b""
        recorder = Recorder(stream, "end")
        assert recorder.names == ["end"]

    def test_after_the_end_there_is_nothing_for_ever(self, stream: Duplex, far: Far) -> None:
        far.send(b"x")
        far.end()
        assert stream.read() == b"x"
        stream.destroy()
        assert (stream.read(), stream.read(5), stream.read1(), stream.readline()) == (b"",) * 4
        assert list(stream) == []

    # Failures and early ends.

    def test_a_failure_reaches_a_blocked_reader(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "error", "close")
        reader = in_thread(stream.read, 10)
        far.send(b"abc")
        far.fail()
        with pytest.raises(OSError, match=r"."):
            reader.result()
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        assert recorder.all("error") == [(stream.errored,)]
        assert stream.destroyed

    def test_what_came_before_a_failure_can_still_be_read(self, stream: Duplex, far: Far) -> None:
        far.send(b"abc")
        assert stream.read(1) == b"a"
        far.fail()
        with pytest.raises(OSError, match=r"."):
            stream.read(10)
        assert stream.read1() == b"bc"
        with pytest.raises(OSError, match=r"."):
            stream.read1()

    def test_a_failure_ends_the_flow(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "error", "close", "data")
        far.send(b"abc")
        recorder.wait("data")
        far.fail()
        recorder.wait("close")
        assert recorder.names == ["data", "error", "close"]

    def test_destroy_wakes_a_blocked_reader(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "error", "close")
        readers = [in_thread(stream.read) for _ in range(3)]
        stream.destroy()
        for reader in readers:
            with pytest.raises(StateError) as caught:
                reader.result()
            assert caught.value.code == "ERR_STREAM_DESTROYED"
        recorder.wait("close")
        assert recorder.names == ["close"]
        assert stream.errored is None

    def test_destroy_wakes_a_blocked_writer(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "close")
        writers = [in_thread(stream.write, BIG * 4) for _ in range(2)]
        assert far.receive(1) == BIG[:1]
        stream.destroy()
        for writer in writers:
            with pytest.raises((StateError, OSError)):
                writer.result()
        recorder.wait("close")

    def test_destroy_wakes_the_driver(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "error", "close", "data")
        far.send(b"x")
        recorder.wait("data")
        assert stream.destroy() is stream
        recorder.wait("close")
        assert recorder.names == ["data", "close"]

    def test_destroy_wakes_a_paused_driver(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "close", "data")
        far.send(b"x")
        recorder.wait("data")
        stream.pause()
        stream.destroy()
        recorder.wait("close")

    def test_destroy_in_a_listener(self, stream: Duplex, far: Far) -> None:
        recorder = Recorder(stream, "end", "close")
        stream.on("data", lambda chunk: stream.destroy())
        far.send(b"x")
        recorder.wait("close")
        assert recorder.names == ["close"]

    def test_destroy_is_idempotent_and_the_first_error_wins(self, stream: Duplex) -> None:
        first, second = OSError("first"), OSError("second")
        recorder = Recorder(stream, "error", "close")
        stream.destroy(first).destroy(second).destroy()
        recorder.wait("close")
        assert recorder.noted == [("error", (first,)), ("close", ())]
        assert stream.errored is first
        with pytest.raises(OSError, match="first"):
            stream.read()
        with pytest.raises(OSError, match="first"):
            stream.write(b"x")

    def test_destroy_from_many_threads(self, stream: Duplex) -> None:
        recorder = Recorder(stream, "error", "close")
        for each in [in_thread(stream.destroy, OSError(str(i))) for i in range(8)]:
            each.result()
        recorder.wait("close")
        assert recorder.names == ["error", "close"]

    def test_after_destroy_what_was_kept_can_be_read_and_end_never_comes(
        self, stream: Duplex, far: Far
    ) -> None:
        far.send(b"abc")
        far.end()
        assert stream.read(1) == b"a"
        recorder = Recorder(stream, "end", "close")
        stream.destroy()
        recorder.wait("close")
        assert stream.read1() == b"bc"
        with contextlib.suppress(StateError):  # or b"", if the end had been seen already
            assert stream.read1() == b""
        assert recorder.names == ["close"]
        assert not stream.readable_ended

    def test_a_listener_that_raises_on_the_driver_destroys_and_is_logged(
        self, stream: Duplex, far: Far, caplog: pytest.LogCaptureFixture
    ) -> None:
        bug = ValueError("a bug")

        def on_data(chunk: bytes) -> None:
            raise bug

        recorder = Recorder(stream, "error", "close")
        stream.on("data", on_data)
        far.send(b"x")
        recorder.wait("close")
        assert recorder.noted == [("error", (bug,)), ("close", ())]
        assert "a listener of" in caplog.text
        assert "a bug" in caplog.text

    @pytest.mark.parametrize("event", ["error", "close"])
    def test_a_listener_of_the_end_of_all_that_raises_is_logged(
        self, stream: Any, event: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener(*args: object) -> None:
            raise ValueError("a bug")

        recorder = Recorder(stream, "close")
        stream.on(event, listener)
        stream.destroy(OSError("gone"))
        recorder.wait("close")
        assert stream.destroyed
        if event == "close":
            stream.off("close", listener)
        assert "a bug" in caplog.text

    def test_an_end_listener_that_raises_reaches_the_puller(self, stream: Duplex, far: Far) -> None:
        def listener() -> None:
            raise ValueError("a bug")

        stream.on("end", listener)
        far.end()
        with pytest.raises(ValueError, match="a bug"):
            stream.read()
        assert stream.read() == b""

    def test_with_block(self, stream: Duplex, far: Far) -> None:
        with stream as same:
            assert same is stream
        assert stream.destroyed

    # Writing.

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

    # Piping.

    def test_pipe_to_a_destination(self, stream: Duplex, far: Far) -> None:
        destination = Collected()
        recorder = Recorder(destination, "pipe", "finish")
        assert stream.pipe(destination) is destination
        sender = in_thread(feed, far, BIG)
        recorder.wait("finish")
        sender.result()
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
