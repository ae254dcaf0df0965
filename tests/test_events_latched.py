"""nhttp/events.py: events that are remembered for listeners that come too late."""

from __future__ import annotations

import threading

import pytest
from events_support import REGISTERING, Door, Recorder, appender


class TestLatched:
    def test_present_listeners_are_called_as_ever(self) -> None:
        listener = Recorder()
        assert Door().on("close", listener).emit("close", 1) is True
        assert listener.calls == [(1,)]

    @pytest.mark.parametrize("method", REGISTERING)
    def test_a_listener_added_afterwards_is_called_at_once(self, method: str) -> None:
        door, listener = Door(), Recorder()
        door.emit("close", 1, "two")
        getattr(door, method)("close", listener)
        assert listener.calls == [(1, "two")]
        assert listener.threads == [threading.current_thread()]

    def test_the_adding_thread_calls(self) -> None:
        door, listener = Door(), Recorder()
        emitting = threading.Thread(target=door.emit, args=("close",))
        emitting.start()
        emitting.join(10)
        door.on("close", listener)
        assert listener.threads == [threading.current_thread()]

    def test_on_stays_for_the_next_life(self) -> None:
        door, listener = Door(), Recorder()
        door.emit("close", 1)
        door.on("close", listener)
        assert door.listeners("close") == [listener]
        door.unlatch("close")
        door.emit("close", 2)
        assert listener.calls == [(1,), (2,)]

    def test_once_is_only_called(self) -> None:
        door, listener = Door(), Recorder()
        door.emit("close", 1)
        door.once("close", listener)
        assert door.listeners("close") == []
        door.unlatch("close")
        door.emit("close", 2)
        assert listener.calls == [(1,)]

    def test_prepend_keeps_its_place_for_the_next_life(self) -> None:
        log: list[str] = []
        door = Door()
        door.emit("close")
        door.on("close", appender(log, "on")).prepend_listener("close", appender(log, "first"))
        assert log == ["on", "first"]
        door.unlatch("close")
        door.emit("close")
        assert log == ["on", "first", "first", "on"]

    def test_a_second_emit_does_nothing(self) -> None:
        door, present, late = Door(), Recorder(), Recorder()
        door.on("close", present).emit("close", 1)
        assert door.emit("close", 2) is False
        door.on("close", late)
        assert (present.calls, late.calls) == ([(1,)], [(1,)])

    def test_after_unlatch_nothing_has_happened(self) -> None:
        door, listener = Door(), Recorder()
        door.emit("close", 1)
        door.unlatch("close", "error")
        door.on("close", listener)
        assert listener.calls == []
        assert not door.is_latched("close")

    def test_is_latched(self) -> None:
        door = Door()
        assert not door.is_latched("close")
        door.emit("close")
        assert door.is_latched("close")
        assert not door.is_latched("error")

    def test_other_events_are_not_latched(self) -> None:
        door, listener = Door(), Recorder()
        door.emit("knock")
        door.on("knock", listener)
        assert listener.calls == []
        assert not door.is_latched("knock")

    def test_a_listener_added_by_a_listener_is_called_too(self) -> None:
        door, late = Door(), Recorder()
        door.on("close", lambda: door.on("close", late))
        door.emit("close")
        assert late.calls == [()]

    def test_what_a_late_listener_raises_reaches_who_adds_it(self) -> None:
        def fails() -> None:
            raise LookupError

        door = Door()
        door.emit("close")
        with pytest.raises(LookupError):
            door.on("close", fails)
        assert door.listeners("close") == [fails]

    def test_own_events_around_a_late_once_listener(self) -> None:
        log: list[str] = []
        door = Door().on("newListener", appender(log, "new"))
        door.on("removeListener", appender(log, "removed"))
        door.emit("close")
        log.clear()
        door.once("close", appender(log, "called"))
        assert log == ["new", "removed", "called"]

    def test_an_unheard_error_is_raised_and_latched(self) -> None:
        door, listener, error = Door(), Recorder(), OSError("broken")
        with pytest.raises(OSError, match="broken"):
            door.emit("error", error)
        door.on("error", listener)
        assert listener.calls == [(error,)]


class TestLatchHelper:
    def test_raises_no_unheard_error(self) -> None:
        door, listener, error = Door(), Recorder(), OSError("broken")
        assert door.latch("error", error) is False
        door.on("error", listener)
        assert listener.calls == [(error,)]

    def test_calls_present_listeners(self) -> None:
        door, listener, error = Door(), Recorder(), OSError("broken")
        assert door.on("error", listener).latch("error", error) is True
        assert listener.calls == [(error,)]

    def test_a_second_time_does_nothing(self) -> None:
        door, listener = Door(), Recorder()
        first, second = OSError("first"), OSError("second")
        door.on("error", listener).latch("error", first)
        assert door.latch("error", second) is False
        assert door.emit("error", second) is False
        assert listener.calls == [(first,)]

    def test_is_for_latched_events(self) -> None:
        with pytest.raises(AssertionError, match="Door does not latch 'knock'"):
            Door().latch("knock")
