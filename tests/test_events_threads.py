"""nhttp/events.py: emitting, adding and removing on several threads at once.

Threads are ordered by barriers and events. Where a race has no order, it is run `ROUNDS` times, and
what must hold in every order is asserted.
"""

from __future__ import annotations

import threading
from functools import partial

from events_support import Door, Recorder, together

from nhttp.events import EventEmitter

ROUNDS = 200


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
