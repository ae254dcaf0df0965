"""Every byte stream, read: pulled from, as octets or text, and flowing."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conformance_support import BIG, Far, Kind, feed
from support import SECONDS, Recorder, eventually, in_thread

from nhttp.errors import StateError

if TYPE_CHECKING:
    from nhttp.streams import Duplex


class Pulling(Kind):
    """Read on the calling thread, as Python's files are."""

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
        far.send(b"ab\ncd\nef")
        assert stream.read1(2) == b"ab"
        assert stream.read1() == b"\ncd\nef"
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


class Flowing(Kind):
    """Read on its own thread, as Node's streams are."""

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
        before = stream.is_paused()
        stream.pause()
        assert (before, stream.is_paused()) == (False, True)
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
        eventually(lambda: stream._reader != 0, "nobody reads")
        second = in_thread(stream.read1)
        stream.unshift(b"x")
        assert second.result() == b"x"
        far.send(b"0123456789")
        assert first.result() == b"0123456789"

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
