"""Writable: blocking writes, corking, and the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from nhttp._encoding import BytesLike, encode, normalize
from nhttp.streams._base import HIGH_WATER_MARK, Callback, Stream

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from nhttp.streams._readable import Readable

__all__ = ["Writable", "end_arguments"]


class Writable(Stream):
    """A stream to write to: `write` blocks until the octets are taken, `end` says that was all.

    A subclass implements `_writev`, and `_final` if there is something to do at the end. Any thread
    may call any method; what two threads write at once is not mixed within one call.

    Events:
        drain: () after a `write` that returned False: there is room again.
        finish: () everything was handed on after `end`. At most once.
        pipe, unpipe: (source)
        error: (exception) at most once.
        close: () at most once.

    Source: stream.Writable of Node 6; io.RawIOBase.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"finish", "error", "close"})

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["drain", "finish", "close"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["pipe", "unpipe"], listener: Callable[[Readable], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on
        off = remove_listener = on

        @overload
        def makefile(self, mode: Literal["wb"]) -> io.BufferedWriter: ...
        @overload
        def makefile(
            self,
            mode: Literal["w"],
            *,
            encoding: str = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
        ) -> io.TextIOWrapper: ...
        def makefile(
            self, mode: str, *, encoding: str = "", errors: Any = None, newline: Any = None
        ) -> Any: ...

    writable_high_water_mark: int = HIGH_WATER_MARK

    # Guarded by `_lock`, but for the last two:
    _corked = 0
    _pending: list[BytesLike] | None = None  # written while corked
    _pending_size = 0  # octets in `_pending`, while there is one
    _pending_callbacks: list[Callback] | None = None
    _need_drain = False  # a `write` returned False; 'drain' follows
    _write_ended = False  # `end` was called
    _write_finished = False  # and everything was handed on
    _sealed = False  # `end` has handed on the last octets; guarded by `_write_lock`
    _default_encoding: str | None = None  # for whoever sets it to order

    def __init__(self) -> None:
        super().__init__()
        # Held while octets are handed on, which may block; never taken with `_lock` held.
        self._write_lock = threading.Lock()

    # What a subclass gives.

    def _writev(self, chunks: Sequence[BytesLike]) -> None:
        """Hand the octets on, blocking until they are taken. `_write_lock` is held."""
        raise NotImplementedError

    def _final(self) -> None:
        """Everything was handed on and `end` was called. `_write_lock` is held."""

    def _writing(self) -> AbstractContextManager[object]:
        """Give what is entered around every use of the sink: `_write_lock`, and what that wants."""
        return self._write_lock

    # State.

    @property
    def writable_ended(self) -> bool:
        """Whether `end` was called."""
        return self._write_ended

    @property
    def writable_finished(self) -> bool:
        """Whether everything was handed on after `end`: just before ``'finish'``."""
        return self._write_finished

    @property
    def writable_corked(self) -> int:
        """How many `cork` calls have not been undone by `uncork`."""
        return self._corked

    @property
    def writable_length(self) -> int:
        """Octets that wait here to be handed on."""
        return self._pending_size if self._pending else 0

    @property
    def writable_need_drain(self) -> bool:
        """Whether a `write` returned False and ``'drain'`` is still to come."""
        return self._need_drain and not self._write_ended

    @property
    def closed(self) -> bool:
        """Whether writing is over for good (`io.IOBase`)."""
        return self._write_ended or self._destroyed

    def writable(self) -> bool:
        """True: this is a stream to write to (`io.IOBase`)."""
        return True

    # Writing.

    def write(
        self,
        chunk: str | BytesLike,
        encoding: str | Callback | None = None,
        callback: Callback | None = None,
    ) -> bool:
        """Write, blocking until the octets are taken.

        Args:
            chunk: Text or anything bytes-like.
            encoding: How text becomes octets. Default: ``"utf8"``, or what `set_default_encoding`
                said.
            callback: Called on this thread when the octets have been taken. May stand in the place
                of `encoding`.

        Returns:
            True: the octets are taken, or kept while there is room. False: too much is kept;
            ``'drain'`` follows.

        Raises:
            InvalidArgument: `chunk` is of another kind, or `callback` cannot be called.
            StateError: After `end` (``ERR_STREAM_WRITE_AFTER_END``) or `destroy`.
            OSError: The other side is gone.
        """
        if callable(encoding):
            encoding, callback = None, encoding
        if callback is not None:
            self._check_listener(callback)
        data: BytesLike
        if type(chunk) is bytes and encoding is None:
            data = chunk  # as `encode` would say, after a call: what is written most
        else:
            data = encode(chunk, encoding or self._default_encoding)
        with self._lock:
            if self._write_ended or self._destroyed:
                self._check_writable()
            if self._corked:
                # The caller may reuse its buffer before the cork is out.
                self._queue(bytes(data), callback)
                full = self.writable_length >= self.writable_high_water_mark
                self._need_drain = self._need_drain or full
                return not full
        with self._writing():
            if self._sealed:  # by a thread that came later and was faster
                raise self._late("write", "ERR_STREAM_WRITE_AFTER_END")
            # What was corked is older, even if the thread that uncorked it has not sent it yet.
            older, callbacks = self._take_pending() if self._pending else ((), ())
            self._writev([*older, data])
        for each in callbacks:
            each()
        if callback is not None:
            callback()
        return True

    def end(
        self,
        chunk: str | BytesLike | Callback | None = None,
        encoding: str | Callback | None = None,
        callback: Callback | None = None,
    ) -> Self:
        """Write `chunk`, if given, and say that this was all; blocks until the octets are taken.

        Emits ``'finish'``. Calling it again without a chunk does nothing.

        Args:
            chunk: The last octets; the callback may stand in its place.
            encoding: As for `write`.
            callback: A listener for ``'finish'``.

        Raises:
            InvalidArgument: `chunk` is of another kind.
            StateError: A chunk is given after an earlier `end` (``ERR_STREAM_WRITE_AFTER_END``), or
                after `destroy`.
            OSError: The other side is gone.
        """
        chunk, encoding, callback = end_arguments(chunk, encoding, callback)
        data = None if chunk is None else encode(chunk, encoding or self._default_encoding)
        if callback is not None:
            self.once("finish", callback)
        with self._lock:
            if data is None and (self._write_ended or self._destroyed):
                return self
            self._check_writable()
            self._write_ended = True
            self._corked = 0
        with self._writing():
            chunks, callbacks = self._take_pending()
            if data is not None and len(data):
                chunks.append(data)
            if chunks:
                self._writev(chunks)
            self._sealed = True
            self._final()
        for each in callbacks:
            each()
        self._finish()
        return self

    def cork(self) -> None:
        """Keep what is written from now on, until `uncork` sends it in one go."""
        with self._lock:
            self._corked += 1

    def uncork(self) -> None:
        """Undo one `cork`; the last one sends what was kept, and raises what `write` would."""
        with self._lock:
            if not self._corked:
                return
            self._corked -= 1
            if self._corked:
                return
        self.flush()

    def flush(self) -> None:
        """Send what was written while corked (`io.IOBase`); nothing else is ever kept here.

        Raises:
            OSError: The other side is gone.
        """
        with self._writing():
            chunks, callbacks = self._take_pending()
            if chunks:
                self._writev(chunks)
        for each in callbacks:
            each()
        with self._lock:
            drained = self._need_drain and not self._pending
            self._need_drain = self._need_drain and not drained
        if drained:
            self.emit("drain")

    def writelines(self, lines: Iterable[str | BytesLike], /) -> None:
        """Write each of `lines`, adding nothing in between (`io.IOBase`)."""
        for line in lines:
            self.write(line)

    def set_default_encoding(self, encoding: str) -> Self:
        """Set what `write` and `end` assume for text when they are not told.

        Raises:
            InvalidArgument: Unknown encoding.
        """
        self._default_encoding = normalize(encoding)
        return self

    def close(self) -> None:
        """Say that this was all (`io.IOBase`): the same as `end`."""
        if not self._destroyed:
            self.end()

    def __exit__(self, *exc_info: object) -> None:
        # What was cut short by an exception must not look complete.
        if exc_info[0] is None:
            self.close()
        else:
            self.destroy()

    def _check_writable(self) -> None:
        """Raise if nothing may be written any more; `_lock` is held."""
        if self._write_ended:
            raise self._late("write", "ERR_STREAM_WRITE_AFTER_END")
        if self._destroyed:
            raise self._destroyed_error("write")

    def _queue(self, data: bytes, callback: Callback | None) -> None:
        """Keep a corked write; `_lock` is held."""
        if self._pending is None:
            self._pending = []
            self._pending_size = 0
            self._pending_callbacks = []
        self._pending.append(data)
        self._pending_size += len(data)
        if callback is not None and self._pending_callbacks is not None:
            self._pending_callbacks.append(callback)

    def _take_pending(self) -> tuple[list[BytesLike], list[Callback]]:
        with self._lock:
            chunks, callbacks = self._pending or [], self._pending_callbacks or []
            self._pending = self._pending_callbacks = None
        return chunks, callbacks

    def _finish(self) -> None:
        """Emit ``'finish'``, once."""
        with self._lock:
            if self._write_finished or self._destroyed:
                return
            self._write_finished = True
            if self._changed is not None:  # `_notify`, without a call: every message ends here
                self._changed.notify_all()
            if self._latch_unheard("finish"):
                return
        self._latch("finish")


def end_arguments(
    chunk: str | BytesLike | Callback | None,
    encoding: str | Callback | None,
    callback: Callback | None,
) -> tuple[str | BytesLike | None, str | None, Callback | None]:
    """Sort the arguments of `end`, where a callback may stand in the place of any other."""
    if callable(chunk):
        return None, None, chunk
    if callable(encoding):
        return chunk, None, encoding
    return chunk, encoding, callback
