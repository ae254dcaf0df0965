"""Readable: pulling and flowing on one source."""

from __future__ import annotations

import math
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

from nhttp import _threads
from nhttp.streams._base import HIGH_WATER_MARK
from nhttp.streams._pipe import Pipe
from nhttp.streams._source import BLOCK, Source

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from nhttp.streams._writable import Writable

__all__ = ["Readable"]

_W = TypeVar("_W", bound="Writable")


class Demand(Enum):
    """What the driver is to do next."""

    FETCH = "fetch a block; the source is claimed"
    FLOW = "emit what is kept as 'data', or drop it if nobody listens"
    TELL = "tell 'readable' listeners of what is kept"
    OVER = "stop: the stream is over"


class Readable(Source):
    """A stream to read from: Node's events and Python's file protocol on one object.

    Flowing: adding a ``'data'`` listener, `resume` or `pipe` makes the stream's driver thread read
    and emit until the end. Pulling: `read` and its relatives, and iteration, read on the calling
    thread. Both may be used one after the other; pulling to the end emits ``'end'`` too.

    A subclass implements `_read`. Any thread may call any method; threads that read at the same
    time share what comes, each octet goes to one of them. What a listener raises on the driver
    thread is logged and destroys the stream.

    Events:
        data: (chunk) bytes, or str after `set_encoding`; on the driver thread.
        readable: () there is something to `read1`, or the end; on the driver thread. While somebody
            listens, `pause` holds nothing back, as in Node.
        end: () everything was read; on the thread that read the last of it. At most once.
        error: (exception) at most once.
        close: () nothing more will happen. At most once.
        pause, resume: ()

    Example:
        A source of its own::

            class Zeros(Readable):
                def _read(self, size: int) -> bytes:
                    return bytes(size)

    Source: stream.Readable of Node 6; io.BufferedIOBase.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"end", "error", "close"})

    if TYPE_CHECKING:

        @overload
        def on(self, event: Literal["data"], listener: Callable[[bytes], object], /) -> Self: ...
        @overload
        def on(self, event: Literal["data"], listener: Callable[[str], object], /) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["readable", "end", "close", "pause", "resume"],
            listener: Callable[[], object],
            /,
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
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on
        off = remove_listener = on

        @overload
        def makefile(self, mode: Literal["rb"]) -> io.BufferedReader: ...
        @overload
        def makefile(
            self,
            mode: Literal["r"],
            *,
            encoding: str = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
        ) -> io.TextIOWrapper: ...
        def makefile(
            self, mode: str, *, encoding: str = "", errors: Any = None, newline: Any = None
        ) -> Any: ...

    readable_high_water_mark: int = HIGH_WATER_MARK

    # Class-level defaults, as in `Source`. Guarded by `_lock`:
    _flowing: bool | None = None  # None: nobody has said yet; False: paused
    _driven = False  # a thread is in `_drive`, or another one has taken its part
    _pipes: tuple[Pipe, ...] = ()
    # The driver's own:
    _dispatching = 0  # ident of the driver while 'readable' listeners run

    # What a subclass may override.

    def _start_driver(self) -> None:
        """Somebody wants the stream to flow and no driver runs. Called with no lock held."""
        _threads.run(self._drive_safely, name=f"nhttp-{type(self).__name__.lower()}")

    def _over(self) -> bool:
        """Whether the driver has nothing to do any more. `_lock` is held."""
        return self._end_emitted or self._destroyed or self._failure is not None

    # State.

    @property
    def readable_flowing(self) -> bool | None:
        """True: flowing; False: paused; None: nobody has asked for data yet."""
        return self._flowing

    @property
    def closed(self) -> bool:
        """Whether reading is over for good (`io.IOBase`)."""
        return self._destroyed

    def readable(self) -> bool:
        """True: this is a stream to read from (`io.IOBase`)."""
        return True

    def is_paused(self) -> bool:
        """Whether `pause` was called without a `resume` since."""
        return self._flowing is False

    # Pulling.

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` octets, blocking until they are there or the end is; all of it by default.

        After `set_encoding` the result is a str, and `size` counts characters.

        Args:
            size: How many octets; negative or None: everything until the end.

        Returns:
            Fewer than `size` octets only at the end; ``b""`` when nothing is left.

        Raises:
            OSError: The stream broke off. What had come before the break is kept for `read1`.
            StateError: The stream was destroyed (``ERR_STREAM_DESTROYED``).
        """
        return self._pull(math.inf if size is None or size < 0 else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to and with the next line feed, `size` octets at the most (`io.IOBase`).

        At the end, what is left; ``b""`` when nothing is. Raises what `read` does.
        """
        return self._pull(math.inf if size is None or size < 0 else size, line=True)

    def _pull(self, size: float, *, line: bool = False) -> bytes:
        parts: list[Any] = []
        total = 0
        try:
            while total < size:
                chunk = self._take(size - total, line=line)
                if not chunk:
                    break
                parts.append(chunk)
                total += len(chunk)
                if (self._source_ended and not self._rest) or (
                    line and chunk[-1:] in (b"\n", "\n")
                ):
                    break
        except BaseException:  # as in `readlines`: nothing is lost
            self._put_back(self._nothing().join(parts))
            raise
        if self._source_ended:
            self._end_if_pulled()
        joined: bytes = parts[0] if len(parts) == 1 else self._nothing().join(parts)
        return joined

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read what is there: blocks only when nothing is, and for one block of the source.

        Inside a ``'readable'`` listener it does not block: ``b""`` means that nothing is kept.
        Elsewhere that is the end.

        Args:
            size: How many octets at the most; negative or None: all of them.

        Raises:
            Exception: As for `read`.
        """
        chunk: bytes = self._nothing()
        if size == 0 or (self._dispatching == threading.get_ident() and not self._rest):
            return chunk
        chunk = self._take(math.inf if size is None or size < 0 else size)
        if self._source_ended:
            self._end_if_pulled()
        return chunk

    def _end_if_pulled(self) -> None:
        """Emit ``'end'`` if what was just taken is the last; the caller saw `_source_ended`.

        Not inside a 'readable' listener, who is given it first: the driver sees to it afterwards.
        """
        if self._dispatching != threading.get_ident():
            self._end_if_drained()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into `buffer` until it is full, as `read` does (`io.BufferedIOBase`).

        Returns:
            How many octets; fewer than there is room for only at the end.
        """
        view = memoryview(buffer).cast("B")
        chunk = self.read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def readinto1(self, buffer: bytearray | memoryview, /) -> int:
        """Read into `buffer` what is there, as `read1` does; 0 at the end (`io.BufferedIOBase`)."""
        view = memoryview(buffer).cast("B")
        chunk = self.read1(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read lines until the end (`io.IOBase`).

        Args:
            hint: No more lines once so many octets were read; None, 0 or less: all.

        Raises:
            Exception: As for `readline`. The lines before that are put back.
        """
        lines: list[bytes] = []
        total = 0
        try:
            while line := self.readline():
                lines.append(line)
                total += len(line)
                if hint is not None and 0 < hint <= total:
                    break
        except BaseException:  # an error, or Ctrl-C: what was taken can still be read
            self._put_back(self._nothing().join(lines))
            raise
        return lines

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over blocks as they come, until the end."""
        while chunk := self.read1():
            yield chunk

    # Flowing.

    def resume(self) -> Self:
        """Let the stream flow: ``'data'`` is emitted, or the octets dropped if nobody listens."""
        with self._lock:
            before, self._flowing = self._flowing, True
            self._notify()
        if before is not True:
            self.emit("resume")
        self._demand()
        return self

    def pause(self) -> Self:
        """Stop the flow. From another thread, one ``'data'`` may be under way when this returns."""
        with self._lock:
            before, self._flowing = self._flowing, False
        if before is not False:
            self.emit("pause")
        return self

    def _listener_added(self, event: str) -> None:
        if event == "data":
            if self._flowing is None:
                self.resume()
        elif event == "readable":
            with self._lock:
                self._untold = True
                self._notify()
            self._demand()

    def _demand(self) -> None:
        with self._lock:
            if self._driven or self._over():
                return
        self._start_driver()

    def _wanted(self) -> bool:
        """Whether somebody wants to be given data."""
        return self._flowing is True or self._hears("readable")

    def _keep_driving(self) -> bool:
        """Decide whether the thread that has set `_driven` goes on as the driver, or is done."""
        with self._lock:
            # In one step with the look: who asks for data from now on starts a driver.
            self._driven = self._wanted()
            return self._driven

    def _drive_safely(self) -> None:
        """Drive on this thread; a listener that raises ends the stream, and is logged."""
        try:
            self._drive()
        except Exception as error:
            self._listener_raised(error)

    def _listener_raised(self, error: Exception) -> None:
        self._log.exception("a listener of %r raised; it is destroyed", self)
        self.destroy(error)

    def _drive(self) -> None:
        """Emit what is to be emitted until the stream is over; this thread is the driver now."""
        with self._lock:
            if self._driven:
                return
            self._driven = True
        self._drive_claimed()

    def _drive_claimed(self) -> None:
        """Drive on a thread that has set `_driven` already."""
        try:
            while True:
                match self._await_demand():
                    case Demand.FETCH:
                        if not self._fetch():
                            return
                    case Demand.FLOW:
                        self._flow()
                    case Demand.TELL:
                        self._tell_readable()
                    case Demand.OVER:
                        return
        finally:
            with self._lock:
                self._driven = False

    def _await_demand(self) -> Demand:
        """Wait until there is something to do."""
        with self._lock:
            while not self._over():
                kept = bool(self._rest) or self._source_ended
                if self._flowing:
                    if kept:
                        return Demand.FLOW
                    room = True
                elif self._hears("readable"):
                    if kept and self._untold:
                        return Demand.TELL
                    room = self.readable_length < self.readable_high_water_mark
                else:
                    room = False
                if room and not self._source_ended and not self._reader:
                    self._claim_source()
                    return Demand.FETCH
                self._wait()
        return Demand.OVER

    def _fetch(self) -> bool:
        """Fill from the source that was claimed; False when it failed, and everybody was told."""
        try:
            self._fill(BLOCK)
        except Exception:
            return False
        return True

    def _flow(self) -> None:
        with self._lock:
            if not self._flowing:
                return  # paused meanwhile: what came is kept
            chunk = self._cut(math.inf)
        if chunk:
            self.emit("data", chunk)
        if self._source_ended:
            self._end_if_drained()

    def _tell_readable(self) -> None:
        with self._lock:
            self._untold = False
        self._dispatching = threading.get_ident()
        try:
            self.emit("readable")
        finally:
            self._dispatching = 0
        if self._source_ended:
            self._end_if_drained()

    def _hears(self, event: str) -> bool:
        return self.listener_count(event) > 0

    # Piping.

    def pipe(self, destination: _W, *, end: bool = True) -> _W:
        """Write everything that comes to `destination`, at the pace that it can take.

        Runs on this stream's driver thread, where `destination.write` blocks. When `destination`
        fails, it is unpiped; closing this stream then is the caller's business, as in Node.

        Args:
            destination: Where to; emits ``'pipe'``.
            end: Whether the end of this stream ends `destination`. Default: True.

        Returns:
            `destination`, so that pipes can be chained.

        Raises:
            InvalidArgument: `destination` is no `Writable`; for a file see `shutil.copyfileobj`.
        """
        pipe = Pipe(self, destination, end=end)
        with self._lock:
            self._pipes = (*self._pipes, pipe)
        pipe.attach()
        if pipe.attached and self._flowing is not True:
            self.resume()
        return destination

    def unpipe(self, destination: Writable | None = None) -> Self:
        """Stop writing to `destination`, or to everything that was piped to.

        The flow stops when no pipe is left.
        """
        with self._lock:
            gone = tuple(p for p in self._pipes if destination in (None, p.destination))
            self._pipes = tuple(p for p in self._pipes if p not in gone)
            if gone and not self._pipes:
                self._flowing = False
        for pipe in gone:
            pipe.detach()
        return self

    def _go_on(self, pipe: Pipe) -> None:
        """A pipe that had paused the flow can go on: resume unless another one cannot."""
        with self._lock:
            pipe.waiting = False
            if any(each.waiting for each in self._pipes):
                return
        self.resume()

    def close(self) -> None:
        """Be done with reading (`io.IOBase`): the same as `destroy` without an error."""
        self.destroy()
