"""Tables of typed events, as `EventEmitter` documents them, in two levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self, assert_type, overload

from nhttp.events import EventEmitter, Listener


class Door(EventEmitter):
    _latched = frozenset({"close", "error"})

    if TYPE_CHECKING:

        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Listener], object],
            /,
        ) -> Self: ...
        @overload
        def on(self, event: Literal["close"], listener: Callable[[], object], /) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["knock", "ring"], listener: Callable[[int, str], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = off = remove_listener = on


class HeavyDoor(Door):
    """The parent's table first, in the parent's order, then its own.

    The parent's methods are attributes to mypy, which can be assigned to, and whose type a subclass
    should therefore not narrow: it says so where its optional check ``mutable-override`` is on.
    """

    _latched = frozenset({"close", "error", "locked"})

    if TYPE_CHECKING:

        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Listener], object],
            /,
        ) -> Self: ...
        @overload
        def on(self, event: Literal["close"], listener: Callable[[], object], /) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["knock", "ring"], listener: Callable[[int, str], object], /
        ) -> Self: ...
        @overload
        def on(self, event: Literal["locked"], listener: Callable[[bytes], object], /) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = off = remove_listener = on  # type: ignore[mutable-override]

    def knock_politely(self) -> Self:
        return self.on("knock", lambda times, who: self.emit("ring", times, who))


def heard(times: int, who: str) -> None: ...
def heard_little(times: int) -> None: ...
def heard_wrongly(times: str, who: str) -> None: ...
def heard_anything(*args: object) -> None: ...
def heard_perhaps(times: int, who: str = "", loud: bool = False) -> bool:
    return loud


def failed(error: OSError) -> None: ...
def unlocked(key: bytes) -> None: ...


emitter = EventEmitter()
door = Door()
heavy = HeavyDoor()

# Without a table, every name and every listener goes.
assert_type(emitter.on("anything", print).once("else", lambda *args: None), EventEmitter)
emitter.on("anything", 3)  # E: arg-type | reportArgumentType

# Each method shares the table.
door.on("knock", heard)
door.once("knock", heard)
door.add_listener("knock", heard)
door.prepend_listener("knock", heard)
door.prepend_once_listener("knock", heard)
door.off("knock", heard)
door.remove_listener("knock", heard)

# A misspelt event is refused by each.
door.on("knok", heard)  # E: call-overload | reportCallIssue
door.once("knok", heard)  # E: call-overload | reportCallIssue
door.add_listener("knok", heard)  # E: call-overload | reportCallIssue
door.prepend_listener("knok", heard)  # E: call-overload | reportCallIssue
door.prepend_once_listener("knok", heard)  # E: call-overload | reportCallIssue
door.off("knok", heard)  # E: call-overload | reportCallIssue
door.remove_listener("knok", heard)  # E: call-overload | reportCallIssue
door.on("locked", unlocked)  # E: call-overload | reportCallIssue
door.on("locked", heard_anything)  # E: call-overload | reportCallIssue

# So is a listener that takes something else.
door.on("knock", heard_little)  # E: call-overload | reportCallIssue
door.on("knock", heard_wrongly)  # E: call-overload | reportCallIssue
door.once("ring", heard_wrongly)  # E: call-overload | reportCallIssue
door.on("close", heard)  # E: call-overload | reportCallIssue
door.on("error", failed)  # E: call-overload | reportCallIssue
door.on("close", None)  # E: call-overload | reportCallIssue
door.on("close")  # E: call-overload | reportCallIssue
heavy.prepend_listener("locked", heard)  # E: call-overload | reportCallIssue
heavy.once("knock", unlocked)  # E: call-overload | reportCallIssue

# A listener may take more than it is given, and return what it likes.
door.on("knock", heard_anything).on("knock", heard_perhaps).on("close", heard_anything)

# Lambdas know what they are given.
door.on("knock", lambda times, who: times.bit_length() + len(who.upper()))
door.on("knock", lambda times, who: times.upper())  # E: call-overload | reportAttributeAccessIssue
door.once("error", lambda error: error.add_note("seen"))
door.once("error", lambda error: error.nonsense)  # E: call-overload | reportAttributeAccessIssue
door.on("knock", lambda times: None)  # E: call-overload | reportCallIssue
heavy.once("locked", lambda key: key.decode())
heavy.once("locked", lambda key: key.encode())  # E: call-overload | reportAttributeAccessIssue

# Chains keep the class they began with.
assert_type(door.on("knock", heard), Door)
assert_type(door.once("close", print).off("ring", heard).prepend_once_listener("close", print), Door)
assert_type(heavy.on("knock", heard), HeavyDoor)
assert_type(heavy.once("knock", heard).add_listener("locked", unlocked), HeavyDoor)
assert_type(heavy.remove_all_listeners("knock").set_max_listeners(0), HeavyDoor)
heavy.on("knock", heard).on("lokced", unlocked)  # E: call-overload | reportCallIssue

# An emitter's own events.
door.on("newListener", lambda event, listener: (event.upper(), listener()))
door.on("removeListener", heard)  # E: call-overload | reportCallIssue

# The rest says what it gives.
assert_type(door.emit("knock", 1, "me"), bool)
assert_type(door.listeners("knock"), list[Callable[..., Any]])
assert_type(door.raw_listeners("knock"), list[Callable[..., Any]])
assert_type(door.listener_count("knock"), int)
assert_type(door.event_names(), list[str])
assert_type(door.get_max_listeners(), float)
door.set_max_listeners("ten")  # E: arg-type | reportArgumentType
