"""What tests of the emitter share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from nhttp.events import EventEmitter, Listener

if TYPE_CHECKING:
    from collections.abc import Callable


REGISTERING = ["on", "add_listener", "once", "prepend_listener", "prepend_once_listener"]
REMOVING = ["off", "remove_listener"]


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
