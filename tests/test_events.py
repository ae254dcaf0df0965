"""nhttp/events.py: emitting, adding, removing and looking at listeners."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from events_support import REGISTERING, REMOVING, Door, Recorder, appender

from nhttp.errors import Error, InvalidArgument
from nhttp.events import EventEmitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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

    def test_what_does_nothing_when_it_is_called_is_refused(self) -> None:
        async def coroutine() -> None: ...
        async def asynchronous() -> AsyncIterator[int]:
            yield 1

        def generator() -> Iterator[bytes]:
            yield b"a body, as in WSGI"

        class Handler:
            async def method(self) -> None: ...

        emitter = EventEmitter()
        for listener in (coroutine, asynchronous, generator, Handler().method):
            with pytest.raises(InvalidArgument, match="awaited or iterated") as caught:
                emitter.on("x", listener)
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
