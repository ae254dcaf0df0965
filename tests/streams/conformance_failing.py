"""Every byte stream, when it fails, is destroyed, or meets a listener that raises."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from conformance_support import BIG, Far, Kind
from support import Recorder, in_thread, logs

from nhttp.errors import StateError

if TYPE_CHECKING:
    from nhttp.streams import Duplex


class Failing(Kind):
    """Failures and early ends."""

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
        self, stream: Any, event: str
    ) -> None:
        def listener(*args: object) -> None:
            raise ValueError("a bug")

        recorder = Recorder(stream, "close")
        stream.on(event, listener)
        with logs("a bug"):
            stream.destroy(OSError("gone"))
            recorder.wait("close")
        assert stream.destroyed
        if event == "close":
            stream.off("close", listener)

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
