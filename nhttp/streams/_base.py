"""What readable and writable streams share: the close path, and how threads wait."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ClassVar, Self, TypeAlias

from nhttp._encoding import BytesLike
from nhttp.errors import StateError
from nhttp.events import EventEmitter
from nhttp.streams._file import make_file

__all__ = ["HIGH_WATER_MARK", "BytesLike", "Callback", "Stream"]

Callback: TypeAlias = Callable[[], object]

# Called for two objects in each exchange. `super` costs as much as the call; so does looking
# something up in a class that was imported.
_init_emitter = EventEmitter.__init__

# What a stream takes from its source ahead of its reader in 'readable' mode, in bytes (as in Node).
HIGH_WATER_MARK = 16 * 1024


class Stream(EventEmitter):
    """What both kinds share: one close path, and a condition for whoever waits.

    `_lock` (the emitter's) guards every field below; `_changed` is a condition on it, made by the
    first thread that waits.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"error", "close"})
    _log: ClassVar[logging.Logger] = logging.getLogger("nhttp.streams")

    _changed: threading.Condition | None = None
    _destroyed = False
    _failure: BaseException | None = None  # the first error; what every later call raises

    def __init__(self) -> None:
        _init_emitter(self)
        # An object's own from the beginning: what it has not got itself CPython looks for in all of
        # its classes, each time, at ten times the cost. Subclasses do the same with what is looked
        # at in every exchange. Up to 29 attributes: with more, an object gets a dictionary.
        self._changed = None
        self._destroyed = False
        self._failure = None

    @property
    def destroyed(self) -> bool:
        """Whether `destroy` was called, by the user or because of an error."""
        return self._destroyed

    @property
    def errored(self) -> BaseException | None:
        """The error that ended the stream, if one did."""
        return self._failure

    def destroy(self, error: BaseException | None = None) -> Self:
        """End the stream at once, in both directions, and wake every thread that waits on it.

        Idempotent; the first error wins. Emits ``'error'``, when `error` is given, to whoever
        listens, then ``'close'``. May be called from any thread. What the listeners raise is
        logged: it is chance which thread closes a stream.

        What was fetched from the source before can still be read; ``'end'`` is not emitted any
        more.

        Args:
            error: Why; raised from reads and writes that come later. Default: none.
        """
        with self._lock:
            if self._destroyed:
                return self
            self._destroyed = True
            if self._failure is None:
                self._failure = error
            self._notify()
        self._destroy(error)
        return self

    def _destroy(self, error: BaseException | None) -> None:
        """Give the resources back and emit what is due. Called once, with no lock held."""
        self._emit_close(error)

    def _emit_close(self, error: BaseException | None) -> None:
        if error is not None:
            self._tell("error", error)
        self._tell("close")

    def _tell(self, event: str, *args: object) -> bool:
        """Emit a latched event whose listeners cannot be allowed to raise.

        Returns:
            Whether there were listeners.
        """
        try:
            return self._latch(event, *args)
        except Exception:
            self._log.exception("a listener of %r for %r raised", self, event)
            return True

    def _destroyed_error(self, doing: str) -> BaseException:
        """Give what a call on a destroyed stream raises."""
        if self._failure is not None:
            return self._failure
        name = type(self).__name__
        return StateError(f"cannot {doing}: the {name} was destroyed", "ERR_STREAM_DESTROYED")

    def _is_loss(self, error: BaseException) -> bool:
        """Whether this is what a call says on a stream that has broken, or was destroyed."""
        # `destroy` may have been given anything as the reason.
        return isinstance(error, (OSError, StateError)) or error is self._failure

    @contextmanager
    def _ignoring_loss(self) -> Generator[None, None, None]:
        """Ignore, within a ``with`` block, that the stream has broken or was destroyed."""
        try:
            yield
        except Exception as error:
            if not self._is_loss(error):
                raise

    def _late(self, doing: str, code: str) -> StateError:
        """Give what a call raises that comes after the end."""
        return StateError(f"cannot {doing}: the {type(self).__name__} was ended already", code)

    def _wake(self) -> None:
        """Have every thread in `_wait` look again."""
        with self._lock:
            self._notify()

    def _wait(self, timeout: float | None = None) -> bool:
        """Wait for `_notify`, False when the time was up first; `_lock` is held by the caller."""
        if self._changed is None:
            self._changed = threading.Condition(self._lock)
        # No longer than it can be told to: some centuries, and `math.inf` is more than that.
        return self._changed.wait(timeout and min(timeout, threading.TIMEOUT_MAX))

    def _notify(self) -> None:
        """Wake every thread in `_wait`; `_lock` is held by the caller."""
        if self._changed is not None:
            self._changed.notify_all()

    def _without_arguments(self, callback: Callback) -> Callable[..., object]:
        """Give a listener, for an event with arguments, that calls what takes none."""
        self._check_listener(callback)

        def listener(*_arguments: object) -> object:
            return callback()

        return listener

    # Python's file protocol, as far as both kinds share it.

    def makefile(
        self,
        mode: Any,  # or the overloads of subclasses would be incompatible
        *,
        encoding: str = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """Give a file of the `io` module's own over this stream, as `socket.socket.makefile` does.

        For what wants exactly that (`zipfile`, `io.BufferedWriter`), and for type checkers. It
        reads ahead, or gathers what is written. Closing it hands on what is left to be written, and
        leaves the stream as it is: neither ended nor destroyed.

        Args:
            mode (str): ``"rb"`` for octets and ``"r"`` for text from what can be read, ``"wb"`` and
                ``"w"`` for those to what can be written.
            encoding: Of text. Default: ``"utf-8"``.
            errors: What becomes of what cannot be decoded or encoded, as for `io.TextIOWrapper`.
                Default: ``"strict"``.
            newline: How line ends are read or written, as for `io.TextIOWrapper`. Default: all are
                read as line feeds; line feeds are written as the system's line ends.

        Returns:
            An `io.BufferedReader`, an `io.BufferedWriter` or an `io.TextIOWrapper`.

        Raises:
            InvalidArgument: Another mode.

        Example:
            >>> rows = csv.reader(request.makefile("r", newline=""))  # doctest: +SKIP
            >>> with response.makefile("wb") as file, ZipFile(file, "w") as zip:  # doctest: +SKIP
            ...     zip.write("report.txt")
            >>> response.end()  # doctest: +SKIP
        """
        return make_file(self, mode, encoding, errors, newline)

    def readable(self) -> bool:
        """Whether this is a stream to read from (`io.IOBase`)."""
        return False

    def writable(self) -> bool:
        """Whether this is a stream to write to (`io.IOBase`)."""
        return False

    def seekable(self) -> bool:
        """False: streams have no position to go back to (`io.IOBase`)."""
        return False

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        """Raise `io.UnsupportedOperation`, as files that are not `seekable` do (`io.IOBase`)."""
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        """Raise `io.UnsupportedOperation` (`io.IOBase`); messages that are sent know it."""
        raise io.UnsupportedOperation("tell")

    def truncate(self, _size: int | None = None, /) -> int:
        """Raise `io.UnsupportedOperation` (`io.IOBase`)."""
        raise io.UnsupportedOperation("truncate")

    def fileno(self) -> int:
        """Raise `io.UnsupportedOperation` (`io.IOBase`): only sockets have a descriptor."""
        raise io.UnsupportedOperation("fileno")

    def flush(self) -> None:
        """Do nothing, on a stream that keeps nothing to be flushed (`io.IOBase`)."""

    def isatty(self) -> bool:
        """False: no stream is a terminal (`io.IOBase`)."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.destroy()
