"""nhttp/events.py: what is told about listeners: those added, removed, and too many."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import pytest
from events_support import Door, Recorder, appender, together

from nhttp.errors import InvalidArgument, MaxListenersExceededWarning
from nhttp.events import EventEmitter, Listener


class TestNewListener:
    def test_is_emitted_before_the_listener_is_added(self) -> None:
        seen: list[tuple[str, Listener, int]] = []
        emitter = EventEmitter()

        def watcher(event: str, added: Listener) -> None:
            seen.append((event, added, emitter.listener_count(event)))

        emitter.on("newListener", watcher)
        listener = Recorder()
        emitter.on("x", listener)
        emitter.prepend_listener("x", listener)
        assert seen == [("x", listener, 0), ("x", listener, 1)]

    def test_gives_once_listeners_as_they_were_added(self) -> None:
        watcher, listener = Recorder(), Recorder()
        emitter = EventEmitter().on("newListener", watcher)
        emitter.once("x", listener).prepend_once_listener("x", listener)
        emitter.on("y", emitter.raw_listeners("x")[0])
        assert watcher.calls == [("x", listener), ("x", listener), ("y", listener)]

    def test_is_not_emitted_for_the_first_of_its_own(self) -> None:
        first, second = Recorder(), Recorder()
        EventEmitter().on("newListener", first).on("newListener", second)
        assert (first.calls, second.calls) == ([("newListener", second)], [])

    def test_what_it_adds_comes_before(self) -> None:
        log: list[str] = []
        emitter = EventEmitter()
        emitter.once("newListener", lambda *_: emitter.on("x", appender(log, "b")))
        emitter.on("x", appender(log, "a")).emit("x")
        assert log == ["b", "a"]

    def test_what_it_raises_keeps_the_listener_out(self) -> None:
        def refuses(event: str, listener: Listener) -> None:
            raise LookupError

        emitter = EventEmitter().on("newListener", refuses)
        with pytest.raises(LookupError):
            emitter.on("x", Recorder())
        assert emitter.listener_count("x") == 0


class TestRemoveListener:
    def test_is_emitted_after_the_listener_was_removed(self) -> None:
        seen: list[tuple[str, Listener, int]] = []
        emitter = EventEmitter()

        def watcher(event: str, removed: Listener) -> None:
            seen.append((event, removed, emitter.listener_count(event)))

        emitter.on("removeListener", watcher)
        listener = Recorder()
        emitter.on("x", listener).off("x", listener).off("x", listener)
        assert seen == [("x", listener, 0)]

    def test_gives_once_listeners_as_they_were_added(self) -> None:
        watcher, listener = Recorder(), Recorder()
        emitter = EventEmitter().on("removeListener", watcher).once("x", listener)
        emitter.off("x", listener)
        assert watcher.calls == [("x", listener)]

    def test_comes_before_the_call_of_a_once_listener(self) -> None:
        log: list[str] = []
        emitter = EventEmitter().on("removeListener", appender(log, "removed"))
        emitter.once("x", appender(log, "called")).emit("x")
        assert log == ["removed", "called"]

    def test_is_emitted_for_each_of_one_event_the_latest_first(self) -> None:
        watcher, one, two = Recorder(), Recorder(), Recorder()
        emitter = EventEmitter().on("removeListener", watcher).on("x", one).once("x", two)
        emitter.remove_all_listeners("x")
        assert watcher.calls == [("x", two), ("x", one)]
        assert emitter.event_names() == ["removeListener"]

    def test_is_emitted_for_all_events_its_own_last(self) -> None:
        first, second, listener = Recorder(), Recorder(), Recorder()
        emitter = EventEmitter().on("removeListener", first).on("removeListener", second)
        emitter.on("x", listener).on("y", listener).remove_all_listeners()
        assert first.calls == [("x", listener), ("y", listener), ("removeListener", second)]
        assert second.calls == [("x", listener), ("y", listener)]
        assert emitter.event_names() == []


class TestLeakWarning:
    def add(self, emitter: EventEmitter, count: int, event: str = "x") -> None:
        for _ in range(count):
            emitter.on(event, Recorder())

    def test_the_eleventh_listener_is_warned_about(self) -> None:
        door = Door()
        self.add(door, 10)
        with pytest.warns(MaxListenersExceededWarning) as caught:
            door.on("x", Recorder())
        assert str(caught[0].message) == (
            "Door has 11 listeners for 'x', which may be a leak: its limit is 10 "
            "(see set_max_listeners)"
        )
        assert caught[0].filename == __file__
        assert door.listener_count("x") == 11

    def test_once_per_event(self) -> None:
        emitter = EventEmitter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.add(emitter, 30)
            self.add(emitter, 30, "y")
        assert len(caught) == 2

    @pytest.mark.parametrize("limit", [0, math.inf])
    def test_no_limit(self, limit: float) -> None:
        emitter = EventEmitter().set_max_listeners(limit)
        self.add(emitter, 30)
        assert emitter.get_max_listeners() == limit

    def test_a_limit_of_its_own(self) -> None:
        emitter = EventEmitter().set_max_listeners(1)
        self.add(emitter, 1)
        with pytest.warns(MaxListenersExceededWarning, match="has 2 listeners"):
            emitter.once("x", Recorder())
        assert EventEmitter().get_max_listeners() == 10

    def test_the_default_of_all_emitters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        emitter, other = EventEmitter(), Door().set_max_listeners(5)
        monkeypatch.setattr(EventEmitter, "default_max_listeners", 2)
        assert (emitter.get_max_listeners(), other.get_max_listeners()) == (2, 5)
        self.add(emitter, 2)
        with pytest.warns(MaxListenersExceededWarning, match="has 3 listeners"):
            emitter.on("x", Recorder())

    @pytest.mark.parametrize("limit", [-1, -math.inf, math.nan, "5", None])
    def test_a_senseless_limit_is_refused(self, limit: Any) -> None:
        with pytest.raises(InvalidArgument, match="0 or more") as caught:
            EventEmitter().set_max_listeners(limit)
        assert caught.value.code == "ERR_INVALID_ARG_VALUE"

    def test_as_an_error_it_leaves_the_listener_added_and_called(self) -> None:
        door = Door().set_max_listeners(1).on("close", Recorder())
        door.emit("close")
        late = Recorder()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(MaxListenersExceededWarning):
                door.on("close", late)
        assert late.calls == [()]
        assert late in door.listeners("close")

    def test_two_threads_warn_once(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(20):
                emitter = EventEmitter().set_max_listeners(1)
                caught.clear()
                together(*[partial(emitter.on, "x", Recorder())] * 4)
                assert len(caught) == 1


class TestListenerAdded:
    class Curious(Door):
        def __init__(self) -> None:
            super().__init__()
            self.log: list[tuple[str, int, bool]] = []

        def _listener_added(self, event: str) -> None:
            self.log.append((event, self.listener_count(event), self.is_locked()))

    def test_is_called_after_each_registration_without_the_lock(self) -> None:
        curious = self.Curious()
        curious.on("x", Recorder()).once("x", Recorder()).prepend_listener("y", Recorder())
        assert curious.log == [("x", 1, False), ("x", 2, False), ("y", 1, False)]

    def test_is_not_called_for_removals(self) -> None:
        curious = self.Curious()
        curious.off("x", Recorder()).remove_all_listeners()
        assert curious.log == []

    def test_comes_before_the_call_of_a_late_listener(self) -> None:
        curious = self.Curious()
        curious.emit("close")
        seen: list[int] = []
        curious.on("close", lambda: seen.append(len(curious.log)))
        curious.once("close", lambda: seen.append(len(curious.log)))
        assert seen == [1, 2]
        assert curious.log == [("close", 1, False), ("close", 1, False)]
