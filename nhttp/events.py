"""Node's events: an emitter calls the listeners of an event, in order, on the thread that emits.

Theory of operation. An emitter keeps one tuple of listeners for each event. Tuples are immutable:
adding and removing replaces one, under the emitter's lock, so an emit takes whichever tuple it
finds, without the lock, and whatever happens meanwhile touches the next emit only. Nothing that a
user wrote (a listener, or the ``__eq__`` or ``__del__`` of one) runs while the lock is held.

Between threads, an event can happen before its listener is added: ``http.get(...)`` may have failed
before ``.on("error", ...)`` behind it is reached. Events that happen once in an emitter's life are
therefore *latched*: the emit records its arguments and takes its listeners in one step under the
lock; adding a listener looks for that record in one step with the adding. So a listener is either
among those that the emit calls, or finds the record and is called by the thread that adds it: once,
whichever comes first.

This module knows nobody but `errors`.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, TypeVar

from nhttp.errors import Error, InvalidArgument, MaxListenersExceededWarning

__all__ = ["EventEmitter", "Listener"]

Listener: TypeAlias = Callable[..., Any]
"""What may be added for an event when no table of overloads says more."""

_T = TypeVar("_T")

_NOTHING: Final[Mapping[str, Any]] = {}

# What `inspect`, slow to import, calls CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR: what is
# called has done nothing yet when it returns.
_SUSPENDED = 0x20 | 0x80 | 0x200


class EventEmitter:
    """Something that tells its listeners what happens to it (Node's manual, *Events*).

    Listeners are called synchronously, in the order in which they were added, by the thread that
    calls `emit`. A listener that is added or removed meanwhile, by whatever thread, does not change
    the emit that is going on. What a listener raises comes out of `emit`, and the listeners behind
    it are not called. The same listener can be added several times and is then called as often.

    All methods may be called from any thread. Listeners are called with no lock held, and may call
    every method.

    Three events are the emitter's own:

    * ``"newListener"``, with the event's name and the listener, before a listener is added;
    * ``"removeListener"``, with the same, after a listener has been removed;
    * ``"error"``: when nobody listens for it, `emit` raises it.

    **Latched events.** A subclass names in `_latched` the events that happen at most once in its
    life. A listener that is added after such an event is called at once, with the arguments of the
    event, by the thread that adds it, like a callback added to a finished
    `concurrent.futures.Future`. Emitting one a second time does nothing: the first one stands.
    The emitter keeps the arguments until `_unlatch`.

    **Typed events.** A subclass states its events in one table of overloads of `on`, and the other
    methods that take a listener share it. Type checkers then know what each listener is given, and
    refuse names that are not in the table. A subclass of that class restates the table first, in
    the same order, and adds its own events behind it:

        class Door(EventEmitter):
            _latched = frozenset({"close"})

            if TYPE_CHECKING:

                @overload
                def on(
                    self,
                    event: Literal["newListener", "removeListener"],
                    listener: Callable[[str, Listener], object],
                    /,
                ) -> Self: ...
                @overload
                def on(
                    self, event: Literal["knock"], listener: Callable[[int], object], /
                ) -> Self: ...
                @overload
                def on(
                    self, event: Literal["close"], listener: Callable[[], object], /
                ) -> Self: ...
                def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

                once = add_listener = prepend_listener = prepend_once_listener = on
                off = remove_listener = on

    (Below such a class, mypy's optional check ``mutable-override`` wants to be told to ignore these
    last two lines: to mypy they narrow attributes, though nobody assigns to them.)

    Example:
        >>> door = EventEmitter()
        >>> _ = door.on("knock", lambda times: print("knocked", times, "times"))
        >>> door.emit("knock", 3)
        knocked 3 times
        True
        >>> door.emit("close")
        False

    Attributes:
        default_max_listeners: How many listeners an event of any emitter may have before a leak is
            suspected, unless `set_max_listeners` was called for the emitter. 0 or `math.inf`: any
            number.
    """

    default_max_listeners: ClassVar[float] = 10

    _latched: ClassVar[frozenset[str]] = frozenset()
    """The events that happen at most once. A subclass states its parent's again, with its own."""

    # Defaults of what few emitters ever have of their own: most live for one HTTP request.
    _max_listeners: float | None = None
    _warned: frozenset[str] = frozenset()

    def __init__(self) -> None:
        # Guards changes of the two below and of the two above. All may be read without it. A
        # subclass may guard small state of its own with it, but must not call a method of this
        # class while it holds it.
        self._lock = threading.Lock()
        # Replaced, never changed: an emit goes on with what it has found. No empty tuples: an event
        # is in here exactly while it has listeners.
        self._listeners: Mapping[str, tuple[Listener, ...]] = _NOTHING
        # The arguments of the latched events that have happened.
        self._latches: dict[str, tuple[Any, ...] | _Remembered] = {}

    # The name of the event is `Any` wherever a subclass states a table: with `str` here every table
    # would be an incompatible override.

    def on(self, event: Any, listener: Listener, /) -> Self:
        """Add a listener behind the present ones.

        If the event is latched and has happened, the listener is called now, on this thread. It
        also stays for the emitter's next life (a server that listens again).

        Args:
            event (str): The name of the event.
            listener: Called with what the event gives, on the thread that emits.

        Returns:
            The emitter, so that calls can be chained.

        Raises:
            InvalidArgument: The listener is not callable, or a coroutine or generator function.
        """
        return self._add_listener(event, listener)

    if TYPE_CHECKING:
        # pyright holds an assignment in a subclass to what its parent declares, so that `once = on`
        # would say nothing there if these were functions here.
        add_listener = once = prepend_listener = prepend_once_listener = on
        off = remove_listener = on
    else:
        add_listener = on

        def once(self, event: Any, listener: Listener, /) -> Self:
            """Add a listener for the next time only, behind the present ones.

            It is removed, and then called: once, even when two threads emit at the same time. If
            the event is latched and has happened, that was the time: the listener is called now,
            on this thread, and does not stay.

            Args:
                event (str): The name of the event.
                listener: Called with what the event gives, on the thread that emits.

            Returns:
                The emitter, so that calls can be chained.

            Raises:
                InvalidArgument: The listener is not callable, or a coroutine or generator function.
            """
            return self._add_listener(event, listener, once=True)

        def prepend_listener(self, event: Any, listener: Listener, /) -> Self:
            """Add a listener as `on` does, but before the present ones.

            Args:
                event (str): The name of the event.
                listener: Called with what the event gives, on the thread that emits.

            Returns:
                The emitter, so that calls can be chained.

            Raises:
                InvalidArgument: The listener is not callable, or a coroutine or generator function.
            """
            return self._add_listener(event, listener, first=True)

        def prepend_once_listener(self, event: Any, listener: Listener, /) -> Self:
            """Add a listener for the next time only, as `once` does, but before the present ones.

            Args:
                event (str): The name of the event.
                listener: Called with what the event gives, on the thread that emits.

            Returns:
                The emitter, so that calls can be chained.

            Raises:
                InvalidArgument: The listener is not callable, or a coroutine or generator function.
            """
            return self._add_listener(event, listener, once=True, first=True)

        def off(self, event: Any, listener: Listener, /) -> Self:
            """Remove a listener, however it was added.

            One that was added several times is removed once, the latest first. Bound methods are
            compared by what they are bound to, so ``emitter.off("data", self.feed)`` finds what
            ``emitter.on("data", self.feed)`` added. Does nothing when there is no such listener.

            Args:
                event (str): The name of the event.
                listener: What was given to `on`, `once`, `prepend_listener` or
                    `prepend_once_listener`, or an entry of `raw_listeners`.

            Returns:
                The emitter, so that calls can be chained.

            Raises:
                InvalidArgument: The listener is not callable, or a coroutine or generator function.
            """
            return self._remove_listener(event, listener)

        remove_listener = off

    def remove_all_listeners(self, event: str | None = None, /) -> Self:
        """Remove the listeners of one event, or of all events.

        Args:
            event: The name of the event. ``None`` for all, ``"removeListener"`` last, so that its
                listeners are told of all others.

        Returns:
            The emitter, so that calls can be chained.
        """
        if event is None:
            for name in self.event_names():
                if name != "removeListener":
                    self.remove_all_listeners(name)
            return self.remove_all_listeners("removeListener")
        if "removeListener" in self._listeners:
            for listener in reversed(self.raw_listeners(event)):
                self.off(event, listener)
        else:
            with self._lock:
                before = self._listeners
                self._listeners = _without(before, event)
            del before  # named above so that no `__del__` runs under the lock
        return self

    def emit(self, event: Any, /, *args: Any) -> bool:
        """Call the listeners of an event, in order, on this thread.

        Args:
            event (str): The name of the event.
            *args: What the listeners are called with.

        Returns:
            Whether there were listeners. False as well when the event is latched and has happened
            before: then nobody is called.

        Raises:
            BaseException: What a listener raises. For ``"error"`` without listeners, the first
                argument, when that is an exception.
            Error: ``"error"`` without listeners and with anything else (code
                ``ERR_UNHANDLED_ERROR``).
        """
        if event in self._latched:
            with self._lock:
                if event in self._latches:
                    return False
                self._latches[event] = args
                listeners = self._listeners.get(event)
        else:
            listeners = self._listeners.get(event)
        if listeners is None:
            if event == "error":
                raise _unheard(args)
            return False
        for listener in listeners:
            listener(*args)
        return True

    def listeners(self, event: str, /) -> list[Listener]:
        """Give the listeners of an event, as they were added, in the order of their turn.

        Args:
            event: The name of the event.

        Returns:
            A list of the caller's own.
        """
        return [_original(listener) for listener in self._listeners.get(event, ())]

    def raw_listeners(self, event: str, /) -> list[Listener]:
        """Give the listeners of an event as the emitter keeps them.

        Those added with `once` and `prepend_once_listener` are wrapped. Calling a wrapper removes
        it and calls the listener; its attribute ``listener`` is what was added.

        Args:
            event: The name of the event.

        Returns:
            A list of the caller's own.
        """
        return list(self._listeners.get(event, ()))

    def listener_count(self, event: str, /) -> int:
        """Tell how many listeners an event has.

        Args:
            event: The name of the event.
        """
        return len(self._listeners.get(event, ()))

    def event_names(self) -> list[str]:
        """Give the names of the events that have listeners, in the order of their first ones."""
        return list(self._listeners)

    def set_max_listeners(self, limit: float, /) -> Self:
        """Set how many listeners an event may have before a leak is suspected.

        More of them are added all the same; the first beyond the limit is warned about with
        `MaxListenersExceededWarning`, once for each event of an emitter.

        Args:
            limit: The number; 0 or `math.inf` for any number.

        Returns:
            The emitter, so that calls can be chained.

        Raises:
            InvalidArgument: The limit is negative or not a number.
        """
        if not _is_limit(limit):
            message = f"the limit of listeners must be 0 or more, not {limit!r}"
            raise InvalidArgument(message, "ERR_INVALID_ARG_VALUE")
        self._max_listeners = limit
        return self

    def get_max_listeners(self) -> float:
        """Give how many listeners an event may have before a leak is suspected."""
        limit = self._max_listeners
        return self.default_max_listeners if limit is None else limit

    # For subclasses.

    def _listener_added(self, event: str) -> None:
        """Take notice of a new listener: a subclass starts here what the listener waits for.

        Called with no lock held, on the thread that adds: after the listener has its place, and
        before it is called for a latched event that has happened (a `once` listener has only that
        call then, and no place).
        """

    def _latch(self, event: str, /, *args: Any) -> bool:
        """Emit a latched event, but do not raise an ``"error"`` that nobody listens for yet.

        Returns:
            Whether there were listeners. False as well when the event has happened before.
        """
        assert event in self._latched, f"{type(self).__name__} does not latch {event!r}"
        with self._lock:
            if event in self._latches:
                return False
            self._latches[event] = args
            listeners = self._listeners.get(event, ())
        for listener in listeners:
            listener(*args)
        return bool(listeners)

    def _latch_unheard(self, event: str, /, *args: Any) -> bool:
        """Record a latched event if nobody listens; `_lock` is held.

        Returns:
            False when somebody listens: then `_latch` is to be called, without the lock.
        """
        if event in self._listeners:
            return False
        if event not in self._latches:
            self._latches[event] = args
        return True

    def _unlatch(self, *events: str) -> None:
        """Forget that these events have happened: they can happen again."""
        with self._lock:
            # Kept until the lock is released: no `__del__` of an argument runs under it.
            before = [self._latches.pop(event, None) for event in events]
        del before

    def _latch_weakly(self, event: str, /) -> None:
        """Hold the arguments of a latched event weakly from now on.

        A listener that is added when nobody else holds them any more is not called.
        """
        with self._lock:
            args = self._latches.get(event)
            if isinstance(args, tuple):
                self._latches[event] = _Remembered(args)
        del args  # no `__del__` of an argument runs under the lock

    def _is_latched(self, event: str) -> bool:
        """Tell whether a latched event has happened, and was not forgotten since."""
        return event in self._latches

    # The emitter's own.

    @staticmethod
    def _check_listener(listener: object) -> Listener:
        """Refuse what is no listener (``ERR_INVALID_ARG_TYPE``)."""
        return _check_callable(listener)

    def _add_listener(
        self, event: str, listener: object, *, once: bool = False, first: bool = False
    ) -> Self:
        """Add a listener, or call it when the event is latched and has happened, or both."""
        function = _check_callable(listener)
        if "newListener" in self._listeners:
            self.emit("newListener", event, _original(function))
        entry = _Once(self, self._lock, event, function) if once else function
        with self._lock:
            happened = self._latches.get(event)
            if isinstance(happened, _Remembered):
                happened = happened.recall()
            present = self._listeners.get(event, ())
            if happened is None or not once:
                present = (entry, *present) if first else (*present, entry)
                self._listeners = {**self._listeners, event: present}
        self._listener_added(event)
        if happened is not None:
            if once:
                self._tell_removed(event, function)
            function(*happened)
        if len(present) > 1:
            self._suspect_leak(event, len(present))
        return self

    def _remove_listener(self, event: str, listener: object) -> Self:
        """Remove the latest entry that is, or wraps, a listener."""
        function = _check_callable(listener)
        while True:
            present = self._listeners.get(event, ())
            # Comparing may run the `__eq__` of a listener: not under the lock.
            index = _rindex(present, function)
            if index is None:
                return self
            with self._lock:
                if self._listeners.get(event, ()) is not present:
                    continue  # another thread was faster: look again
                if len(present) == 1:
                    self._listeners = _without(self._listeners, event)
                else:
                    rest = present[:index] + present[index + 1 :]
                    self._listeners = {**self._listeners, event: rest}
            self._tell_removed(event, present[index])
            return self

    def _suspect_leak(self, event: str, count: int) -> None:
        """Warn, once for an event, that it has more listeners than the limit."""
        limit = self.get_max_listeners()
        if not 0 < limit < count:
            return
        with self._lock:
            if event in self._warned:
                return
            self._warned |= {event}
        message = (
            f"{type(self).__name__} has {count} listeners for {event!r}, which may be a leak: "
            f"its limit is {limit} (see set_max_listeners)"
        )
        # 4: the line that called `on`, behind this method, `_add_listener` and `on`.
        warnings.warn(message, MaxListenersExceededWarning, stacklevel=4)

    def _tell_removed(self, event: str, listener: Listener) -> None:
        """Emit ``"removeListener"`` if anybody listens for it."""
        if "removeListener" in self._listeners:
            self.emit("removeListener", event, _original(listener))


class _Remembered:
    """The arguments of a latched event that are somebody else's to hold."""

    __slots__ = ("_references",)

    def __init__(self, args: tuple[Any, ...]) -> None:
        self._references = [_reference(each) for each in args]

    def recall(self) -> tuple[Any, ...] | None:
        """Give them; None when one of them is gone."""
        args = tuple(reference() for reference in self._references)
        return None if None in args else args


def _reference(argument: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(argument)
    except TypeError:  # octets, say, which hold nothing themselves
        return lambda: argument


class _Once:
    """A listener that removes itself before its one call.

    Refers to its emitter weakly: an emitter that is dropped with listeners waiting must go at once,
    not when the garbage collector finds a cycle.
    """

    __slots__ = ("_emitter", "_event", "_fired", "_lock", "listener")

    def __init__(
        self, emitter: EventEmitter, lock: threading.Lock, event: str, listener: Listener
    ) -> None:
        self._emitter = weakref.ref(emitter)
        self._lock = lock  # the emitter's; guards `_fired`: the thread that sets it makes the call
        self._event = event
        self._fired = False
        self.listener = listener

    def __call__(self, *args: Any) -> Any:
        with self._lock:
            if self._fired:
                return None
            self._fired = True
        emitter = self._emitter()
        if emitter is not None:
            emitter.off(self._event, self)
        return self.listener(*args)


def _without(mapping: Mapping[str, _T], name: str) -> Mapping[str, _T]:
    """Give a copy without one entry."""
    return {other: value for other, value in mapping.items() if other != name}


def _original(listener: Listener) -> Listener:
    """Give what was added: the inside of the wrapper of a `once` listener."""
    return listener.listener if isinstance(listener, _Once) else listener


def _rindex(present: tuple[Listener, ...], listener: Listener) -> int | None:
    """Give the place of the latest entry that is, or wraps, a listener."""
    for index in range(len(present) - 1, -1, -1):
        entry = present[index]
        if entry == listener or _original(entry) == listener:
            return index
    return None


def _check_callable(listener: object) -> Listener:
    if not callable(listener):
        message = f"a listener must be callable, not {type(listener).__name__}"
        raise InvalidArgument(message, "ERR_INVALID_ARG_TYPE")
    code: object = getattr(listener, "__code__", None)
    if isinstance(code, CodeType) and code.co_flags & _SUSPENDED:
        message = (
            f"a listener is called, and {listener!r} would have to be awaited or iterated, too"
        )
        raise InvalidArgument(message, "ERR_INVALID_ARG_TYPE")
    return listener


def _is_limit(limit: object) -> bool:
    return isinstance(limit, (int, float)) and limit >= 0  # NaN is not, either


def _unheard(args: tuple[Any, ...]) -> BaseException:
    """Give what to raise for an ``"error"`` without listeners."""
    if args and isinstance(args[0], BaseException):
        return args[0]
    detail = f": {args[0]!r}" if args else ""
    return Error(f"unhandled 'error' event{detail}", "ERR_UNHANDLED_ERROR")
