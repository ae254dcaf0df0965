"""nhttp/events.py: Node's emitter, latched events, and both between threads.

Threads are ordered by barriers and events. Where a race has no order, it is run `ROUNDS` times, and
what must hold in every order is asserted.
"""

from __future__ import annotations

import gc
import math
import threading
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from nhttp.errors import Error, InvalidArgument, MaxListenersExceededWarning
from nhttp.events import EventEmitter, Listener

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTERING = ["on", "add_listener", "once", "prepend_listener", "prepend_once_listener"]
REMOVING = ["off", "remove_listener"]

ROUNDS = 200


class Recorder:
    """A listener that remembers its calls, and the threads that made them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, *args: Any) -> None:
        self.calls.append(args)
        self.threads.append(threading.current_thread())


class Door(EventEmitter):
    """An emitter with latched events, its helpers opened up."""

    _latched = frozenset({"close", "error"})

    def latch(self, event: str, *args: Any) -> bool:
        return self._latch(event, *args)

    def unlatch(self, *events: str) -> None:
        self._unlatch(*events)

    def is_latched(self, event: str) -> bool:
        return self._is_latched(event)

    def is_locked(self) -> bool:
        return self._lock.locked()


def appender(log: list[str], word: str) -> Listener:
    return lambda *_args: log.append(word)


def together(*actions: Callable[[], object]) -> None:
    """Run each action on its own thread, all let go at the same moment; raise what they raise."""
    barrier = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        barrier.wait(10)
        try:
            action()
        except BaseException as error:  # the test below raises it
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


class TestEmit:
    def test_calls_listeners_in_the_order_of_registration(self) -> None:
        log: list[str] = []
        emitter = EventEmitter()
        for word in "abc":
            emitter.on("x", appender(log, word))
        emitter.emit("x")
        assert log == ["a", "b", "c"]

    def test_passes_its_arguments(self) -> None:
        listener = Recorder()
        EventEmitter().on("x", listener).emit("x", 1, "two", [3])
        assert listener.calls == [(1, "two", [3])]

    def test_calls_on_the_emitting_thread(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().on("x", listener)
        thread = threading.Thread(target=emitter.emit, args=("x",))
        thread.start()
        thread.join(10)
        assert listener.threads == [thread]

    def test_tells_whether_there_were_listeners(self) -> None:
        emitter = EventEmitter().on("x", Recorder())
        assert emitter.emit("x") is True
        assert emitter.emit("y") is False

    def test_calls_the_listeners_of_that_event_only(self) -> None:
        listener = Recorder()
        EventEmitter().on("x", listener).emit("y")
        assert listener.calls == []

    def test_exception_propagates_and_later_listeners_are_not_called(self) -> None:
        def fails() -> None:
            raise LookupError("in a listener")

        before, after = Recorder(), Recorder()
        emitter = EventEmitter().on("x", before).on("x", fails).on("x", after)
        with pytest.raises(LookupError, match="in a listener"):
            emitter.emit("x")
        assert (before.calls, after.calls) == ([()], [])

    def test_a_listener_added_meanwhile_waits_for_the_next(self) -> None:
        late = Recorder()
        emitter = EventEmitter()
        emitter.once("x", lambda: emitter.on("x", late))
        emitter.emit("x")
        assert late.calls == []
        emitter.emit("x")
        assert late.calls == [()]

    def test_a_listener_removed_meanwhile_still_gets_this_one(self) -> None:
        other = Recorder()
        emitter = EventEmitter()
        emitter.on("x", lambda: emitter.off("x", other)).on("x", other)
        emitter.emit("x")
        emitter.emit("x")
        assert other.calls == [()]

    def test_listeners_are_called_without_the_lock(self) -> None:
        door = Door()
        seen: list[bool] = []
        for event in ("knock", "close"):
            door.on(event, lambda: seen.append(door.is_locked()))
            door.once(event, lambda: seen.append(door.is_locked()))
            door.emit(event)
        door.on("close", lambda: seen.append(door.is_locked()))
        assert seen == [False] * 5

    def test_a_listener_may_emit_again(self) -> None:
        depths: list[int] = []
        emitter = EventEmitter()

        def listener(depth: int) -> None:
            depths.append(depth)
            if depth:
                emitter.emit("x", depth - 1)

        emitter.on("x", listener).emit("x", 2)
        assert depths == [2, 1, 0]


class TestUnheardError:
    @pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()], ids=repr)
    def test_an_exception_is_raised_itself(self, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            EventEmitter().emit("error", error)
        assert caught.value is error

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ((), "unhandled 'error' event"),
            (("broken",), "unhandled 'error' event: 'broken'"),
            ((OSError,), "unhandled 'error' event: <class 'OSError'>"),
        ],
    )
    def test_anything_else_is_wrapped(self, args: tuple[object, ...], message: str) -> None:
        with pytest.raises(Error) as caught:
            EventEmitter().emit("error", *args)
        assert type(caught.value) is Error
        assert (str(caught.value), caught.value.code) == (message, "ERR_UNHANDLED_ERROR")

    def test_a_heard_one_is_not_raised(self) -> None:
        listener, error = Recorder(), OSError("broken")
        assert EventEmitter().on("error", listener).emit("error", error)
        assert listener.calls == [(error,)]

    def test_is_raised_once_its_listeners_are_gone(self) -> None:
        emitter = EventEmitter().once("error", Recorder())
        emitter.emit("error", OSError("first"))
        with pytest.raises(OSError, match="second"):
            emitter.emit("error", OSError("second"))


class TestRegistering:
    def test_all_methods_return_the_emitter(self) -> None:
        emitter, listener = EventEmitter(), Recorder()
        assert emitter.on("x", listener) is emitter
        assert emitter.add_listener("x", listener) is emitter
        assert emitter.once("x", listener) is emitter
        assert emitter.prepend_listener("x", listener) is emitter
        assert emitter.prepend_once_listener("x", listener) is emitter
        assert emitter.off("x", listener) is emitter
        assert emitter.off("x", Recorder()) is emitter
        assert emitter.remove_listener("x", listener) is emitter
        assert emitter.remove_all_listeners("x") is emitter
        assert emitter.remove_all_listeners() is emitter
        assert emitter.set_max_listeners(3) is emitter

    def test_prepended_listeners_come_first(self) -> None:
        log: list[str] = []
        emitter = EventEmitter().on("x", appender(log, "on"))
        emitter.prepend_listener("x", appender(log, "prepended"))
        emitter.prepend_once_listener("x", appender(log, "prepended once"))
        emitter.emit("x")
        emitter.emit("x")
        assert log == ["prepended once", "prepended", "on", "prepended", "on"]

    def test_add_listener_is_on(self) -> None:
        log: list[str] = []
        emitter = EventEmitter().on("x", appender(log, "on"))
        emitter.add_listener("x", appender(log, "added")).emit("x")
        assert log == ["on", "added"]

    def test_a_listener_added_twice_is_called_twice(self) -> None:
        listener = Recorder()
        EventEmitter().on("x", listener).on("x", listener).emit("x")
        assert listener.calls == [(), ()]

    @pytest.mark.parametrize("method", REGISTERING + REMOVING)
    @pytest.mark.parametrize("listener", [None, "a string", 3])
    def test_what_cannot_be_called_is_refused(self, method: str, listener: object) -> None:
        emitter = EventEmitter()
        with pytest.raises(InvalidArgument, match="a listener must be callable, not") as caught:
            getattr(emitter, method)("x", listener)
        assert caught.value.code == "ERR_INVALID_ARG_TYPE"
        assert emitter.event_names() == []

    def test_no_emitter_hears_anothers_events(self) -> None:
        listener = Recorder()
        EventEmitter().on("x", listener)
        EventEmitter().emit("x")
        assert listener.calls == []


class TestOnce:
    def test_is_called_once(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().once("x", listener)
        assert emitter.emit("x", 1) is True
        assert emitter.emit("x", 2) is False
        assert listener.calls == [(1,)]

    def test_is_removed_before_its_call(self) -> None:
        counts: list[int] = []
        emitter = EventEmitter()
        emitter.once("x", lambda: counts.append(emitter.listener_count("x"))).emit("x")
        assert counts == [0]

    def test_is_called_once_though_it_emits_its_own_event(self) -> None:
        calls: list[int] = []
        emitter = EventEmitter()

        def listener() -> None:
            calls.append(1)
            emitter.emit("x")

        emitter.once("x", listener).emit("x")
        assert calls == [1]

    def test_stays_called_out_when_it_raises(self) -> None:
        def fails() -> None:
            raise LookupError

        emitter = EventEmitter().once("x", fails)
        with pytest.raises(LookupError):
            emitter.emit("x")
        assert emitter.emit("x") is False

    def test_added_twice_is_called_twice(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().once("x", listener).once("x", listener)
        emitter.emit("x")
        emitter.emit("x")
        assert listener.calls == [(), ()]

    def test_removed_by_an_earlier_listener_still_gets_this_one(self) -> None:
        listener = Recorder()
        emitter = EventEmitter()
        emitter.on("x", lambda: emitter.off("x", listener)).once("x", listener)
        emitter.emit("x")
        emitter.emit("x")
        assert listener.calls == [()]

    def test_does_not_keep_its_emitter_alive(self) -> None:
        emitter = EventEmitter()
        emitter.once("x", Recorder())
        gone = weakref.ref(emitter)
        gc.disable()
        try:
            del emitter
            assert gone() is None
        finally:
            gc.enable()


class TestRemoving:
    def test_takes_at_most_one_the_latest_first(self) -> None:
        log: list[str] = []
        twice = appender(log, "twice")
        emitter = EventEmitter().on("x", twice).on("x", appender(log, "between")).on("x", twice)
        emitter.off("x", twice).emit("x")
        assert log == ["twice", "between"]

    @pytest.mark.parametrize("method", REMOVING)
    def test_finds_once_listeners_by_what_was_added(self, method: str) -> None:
        listener = Recorder()
        emitter = EventEmitter().once("x", listener).prepend_once_listener("x", listener)
        getattr(emitter, method)("x", listener)
        getattr(emitter, method)("x", listener)
        assert emitter.emit("x") is False
        assert listener.calls == []

    def test_finds_once_listeners_by_their_wrapper(self) -> None:
        emitter = EventEmitter().once("x", Recorder()).once("x", Recorder())
        first, second = emitter.raw_listeners("x")
        emitter.off("x", first)
        assert emitter.raw_listeners("x") == [second]

    def test_finds_bound_methods(self) -> None:
        class Feeder:
            def feed(self) -> None:
                raise AssertionError

        feeder = Feeder()
        emitter = EventEmitter().on("x", feeder.feed)
        assert emitter.off("x", Feeder().feed).listener_count("x") == 1
        assert emitter.off("x", feeder.feed).listener_count("x") == 0

    def test_of_a_stranger_changes_nothing(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().on("x", listener)
        emitter.off("x", Recorder()).off("y", listener)
        assert emitter.listeners("x") == [listener]

    def test_compares_without_the_lock(self) -> None:
        door = Door()
        seen: list[bool] = []

        class Nosy(Recorder):
            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                seen.append(door.is_locked())
                return False

        door.on("x", Nosy()).off("x", Recorder())
        assert seen
        assert not any(seen)

    def test_looks_again_when_another_came_between(self) -> None:
        emitter = EventEmitter()
        late = Recorder()

        class Meddler(Recorder):
            """Adds a listener while it is compared, as another thread might."""

            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                if late not in emitter.listeners("y"):
                    emitter.on("y", late)
                    emitter.on("x", late)
                return self is other

        meddler = Meddler()
        emitter.on("x", meddler).off("x", meddler)
        assert emitter.listeners("x") == [late]

    def test_all_of_one_event(self) -> None:
        emitter = EventEmitter().on("x", Recorder()).once("x", Recorder()).on("y", Recorder())
        assert emitter.remove_all_listeners("x").event_names() == ["y"]
        assert emitter.remove_all_listeners("never heard of").event_names() == ["y"]

    def test_all_of_all_events(self) -> None:
        emitter = EventEmitter().on("x", Recorder()).on("y", Recorder())
        assert emitter.remove_all_listeners().event_names() == []

    def test_all_runs_no_destructor_under_the_lock(self) -> None:
        door = Door()
        seen: list[bool] = []

        class Last(Recorder):
            def __del__(self) -> None:
                seen.append(door.is_locked())

        door.on("x", Last()).remove_all_listeners("x")
        door.on("x", Last()).remove_all_listeners()
        listener = Last()
        door.on("x", listener).off("x", listener)
        del listener
        door.latch("close", Last())
        door.unlatch("close")
        gc.collect()
        assert seen == [False] * 4


class TestLooking:
    def test_listeners_are_given_as_they_were_added(self) -> None:
        one, two, three = Recorder(), Recorder(), Recorder()
        emitter = EventEmitter().on("x", one).once("x", two).prepend_once_listener("x", three)
        assert emitter.listeners("x") == [three, one, two]

    def test_listeners_of_nothing(self) -> None:
        emitter = EventEmitter()
        assert emitter.listeners("x") == []
        assert emitter.raw_listeners("x") == []
        assert emitter.listener_count("x") == 0
        assert emitter.event_names() == []

    def test_the_lists_are_copies(self) -> None:
        emitter = EventEmitter().on("x", Recorder())
        emitter.listeners("x").clear()
        emitter.raw_listeners("x").clear()
        emitter.event_names().clear()
        assert emitter.listener_count("x") == 1
        assert emitter.event_names() == ["x"]

    def test_raw_listeners_wrap_once_listeners(self) -> None:
        plain, once = Recorder(), Recorder()
        emitter = EventEmitter().on("x", plain).once("x", once)
        first, wrapper = emitter.raw_listeners("x")
        assert first is plain
        assert getattr(wrapper, "listener", None) is once

    def test_calling_the_inside_of_a_wrapper_removes_nothing(self) -> None:
        once = Recorder()
        emitter = EventEmitter().once("x", once)
        wrapper: Any = emitter.raw_listeners("x")[0]
        wrapper.listener(1)
        assert once.calls == [(1,)]
        assert emitter.listeners("x") == [once]

    def test_calling_a_wrapper_removes_it_and_calls_the_listener(self) -> None:
        once = Recorder()
        emitter = EventEmitter().once("x", once)
        wrapper = emitter.raw_listeners("x")[0]
        wrapper(1)
        wrapper(2)
        assert once.calls == [(1,)]
        assert emitter.listener_count("x") == 0

    def test_a_wrapper_outlives_its_emitter(self) -> None:
        once = Recorder()
        wrapper = EventEmitter().once("x", once).raw_listeners("x")[0]
        gc.collect()
        wrapper(1)
        wrapper(2)
        assert once.calls == [(1,)]

    def test_listener_count_counts_duplicates(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().on("x", listener).on("x", listener).once("x", listener)
        assert emitter.listener_count("x") == 3

    def test_event_names_in_the_order_of_their_first_listeners(self) -> None:
        emitter = EventEmitter().on("b", Recorder()).on("a", Recorder()).on("b", Recorder())
        assert emitter.event_names() == ["b", "a"]

    def test_event_names_without_events_whose_listeners_are_gone(self) -> None:
        listener = Recorder()
        emitter = EventEmitter().on("x", listener).once("y", Recorder())
        emitter.off("x", listener).emit("y")
        assert emitter.event_names() == []


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

    @pytest.mark.parametrize("limit", [-1, -math.inf, math.nan])
    def test_a_senseless_limit_is_refused(self, limit: float) -> None:
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


class TestThreads:
    """What must hold in whatever order threads come."""

    def test_once_fires_once_for_two_emits(self) -> None:
        for _ in range(ROUNDS):
            emitter, listener = EventEmitter(), Recorder()
            emitter.once("x", listener)
            together(*[partial(emitter.emit, "x")] * 2)
            assert listener.calls == [()]
            assert emitter.event_names() == []

    def test_once_is_claimed_by_the_first_of_two_that_hold_it(self) -> None:
        """Both emits have taken their listeners before either reaches the one-time listener."""
        emitter, listener = EventEmitter(), Recorder()
        barrier = threading.Barrier(2)
        emitter.on("x", lambda: barrier.wait(10)).once("x", listener)
        together(*[partial(emitter.emit, "x")] * 2)
        assert listener.calls == [()]

    def test_adding_from_several_threads_loses_none(self) -> None:
        for _ in range(ROUNDS):
            emitter = EventEmitter().set_max_listeners(0)
            listeners = [Recorder() for _ in range(4)]
            together(*[partial(emitter.on, "x", one) for one in listeners])
            assert set(emitter.listeners("x")) == set(listeners)

    def test_removing_from_several_threads_removes_each(self) -> None:
        for _ in range(ROUNDS):
            emitter, kept = EventEmitter(), Recorder()
            listeners = [Recorder() for _ in range(4)]
            for one in (*listeners, kept):
                emitter.on("x", one)
            together(*[partial(emitter.off, "x", one) for one in listeners])
            assert emitter.listeners("x") == [kept]

    def test_on_off_and_emit_at_once(self) -> None:
        emitter = EventEmitter().set_max_listeners(0)
        steady, fleeting, once = Recorder(), Recorder(), Recorder()
        emitter.on("x", steady)

        def add_and_remove() -> None:
            for _ in range(ROUNDS):
                emitter.on("x", fleeting)
                emitter.prepend_once_listener("x", once)
                emitter.off("x", fleeting)

        def emit() -> None:
            for _ in range(ROUNDS):
                assert emitter.emit("x")
                assert "x" in emitter.event_names()

        together(add_and_remove, add_and_remove, emit, emit)
        emitter.emit("x")
        assert len(steady.calls) == 2 * ROUNDS + 1
        assert len(once.calls) == 2 * ROUNDS
        assert emitter.listeners("x") == [steady]

    def test_remove_all_against_adding(self) -> None:
        for _ in range(ROUNDS):
            emitter, listener = EventEmitter(), Recorder()
            emitter.on("x", Recorder())
            together(partial(emitter.on, "x", listener), emitter.remove_all_listeners)
            assert emitter.listeners("x") in ([], [listener])

    def test_every_listener_gets_a_latched_event_exactly_once(self) -> None:
        for _ in range(ROUNDS):
            door = Door()
            stay, prepended, once, prepended_once = listeners = [Recorder() for _ in range(4)]
            together(
                partial(door.emit, "close", 7),
                partial(door.on, "close", stay),
                partial(door.prepend_listener, "close", prepended),
                partial(door.once, "close", once),
                partial(door.prepend_once_listener, "close", prepended_once),
            )
            assert [one.calls for one in listeners] == [[(7,)]] * 4
            assert set(door.listeners("close")) == {stay, prepended}

    def test_the_first_of_two_latched_emits_stands(self) -> None:
        for _ in range(ROUNDS):
            door, present, late = Door(), Recorder(), Recorder()
            door.on("close", present)
            together(partial(door.emit, "close", 1), partial(door.latch, "close", 2))
            door.on("close", late)
            assert present.calls in ([(1,)], [(2,)])
            assert late.calls == present.calls

    def test_a_late_listener_does_not_wait_for_the_emit(self) -> None:
        """As with a `Future`: the emitting thread may still be in an earlier listener."""
        door, late = Door(), Recorder()
        entered, leave = threading.Event(), threading.Event()

        def slow() -> None:
            entered.set()
            leave.wait(10)

        door.on("close", slow)
        emitting = threading.Thread(target=door.emit, args=("close",))
        emitting.start()
        assert entered.wait(10)
        door.on("close", late)
        assert late.calls == [()]
        leave.set()
        emitting.join(10)
        assert not emitting.is_alive()
        assert late.calls == [()]
