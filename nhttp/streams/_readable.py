"""Readable: pulling and flowing on one source, and the pipe that leads out of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

from nhttp import _threads
from nhttp._encoding import BytesLike, Decoder, encode, normalize
from nhttp.errors import StateError
from nhttp.streams._base import HIGH_WATER_MARK, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nhttp.streams._writable import Writable

__all__ = ["Readable"]

_W = TypeVar("_W", bound="Writable")


class Readable(Stream):
    """A stream to read from: Node's events and Python's file protocol on one object.

    Flowing: adding a ``'data'`` listener, `resume` or `pipe` makes the stream's driver thread read
        and
    emit until the end. Pulling: `read` and its relatives, and iteration, read on the calling
    thread. Both may be used one after the other; pulling to the end emits ``'end'`` too.

    A subclass implements `_read`. Any thread may call any method.

    Events:
        data: (chunk) bytes, or str after `set_encoding`; on the driver thread.
        readable: () octets are there, or the end is; on the driver thread.
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

    readable_high_water_mark: int = HIGH_WATER_MARK

    # Class-level defaults: a message whose body nobody reads never gets these as its own.
    _flowing: bool | None = None  # None: nobody has said yet; False: paused
    _rest: Any = None  # taken from the source, decoded, and not given to anybody yet
    _reader = 0  # ident of the thread that is in the source; 0: none
    _driven = False  # a thread is in `_drive`
    _dispatching = 0  # ident of the driver while 'readable' listeners run
    _source_ended = False  # the source has said that no more will come
    _end_emitted = False
    _decoder: Decoder | None = None
    _pipes: tuple[_Pipe, ...] = ()

    # What a subclass gives.

    def _read(self, size: int) -> bytes:
        """Block until there are octets; ``b""`` at the end. One thread at a time; no lock is held.

        A subclass that knows, with the last block, that it is the last sets `_source_ended`.
        `size` is a hint: how many octets the reader could use.
        """
        raise NotImplementedError

    def _start_driver(self) -> None:
        """Somebody wants the stream to flow and no driver runs. Called with no lock held."""
        _threads.run(self._drive, name=f"nhttp-{type(self).__name__.lower()}")

    def _over(self) -> bool:
        """Whether the driver has nothing to do any more. `_lock` is held."""
        return self._end_emitted or self._destroyed or self._failure is not None

    def _ended(self) -> None:
        """Everything was read: emit ``'end'``. Called once, with no lock held."""
        self._latch("end")

    def _failed(self, error: Exception) -> None:
        """The source raised. Called once, with no lock held, on the thread that read."""
        self.destroy(error)

    # State.

    @property
    def readable_flowing(self) -> bool | None:
        """True: flowing; False: paused; None: nobody has asked for data yet."""
        return self._flowing

    @property
    def readable_ended(self) -> bool:
        """Whether ``'end'`` was emitted."""
        return self._end_emitted

    @property
    def readable_length(self) -> int:
        """Octets that were taken from the source and wait for a reader."""
        return len(self._rest) if self._rest else 0

    @property
    def readable_encoding(self) -> str | None:
        """What `set_encoding` was told, or None."""
        return self._decoder.encoding if self._decoder is not None else None

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
        """
        if size is None:
            size = -1
        parts: list[bytes] = []
        total = 0
        try:
            while size < 0 or total < size:
                chunk = self._take(65536 if size < 0 else size - total)
                if not chunk:
                    break
                if 0 <= size < total + len(chunk):
                    cut = size - total
                    self._put_back(chunk[cut:])
                    chunk = chunk[:cut]
                parts.append(chunk)
                total += len(chunk)
        except BaseException:
            if parts:
                self._put_back(self._join(parts))
            raise
        if self._source_ended:
            self._end_if_drained()
        return parts[0] if len(parts) == 1 else self._join(parts)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read what is there: blocks only when nothing is, and for one block of the source.

        Inside a ``'readable'`` listener it does not block: ``b""`` means that nothing is buffered.
        """
        if size == 0:
            return self._join([])
        if self._dispatching == threading.get_ident() and not self._rest:
            return self._join([])
        chunk: bytes = self._take(65536 if size is None or size < 0 else size)
        if size is not None and 0 < size < len(chunk):
            self._put_back(chunk[size:])
            chunk = chunk[:size]
        if self._source_ended:
            self._end_if_drained()
        return chunk

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into `buffer`, one block at the most; 0 at the end (`io.BufferedIOBase`)."""
        view = memoryview(buffer).cast("B")
        chunk = self.read1(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    readinto1 = readinto

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to and with the next line feed, `size` octets at the most (`io.IOBase`)."""
        limit = -1 if size is None else size
        parts: list[bytes] = []
        total = 0
        while limit < 0 or total < limit:
            chunk = self._take(65536)
            if not chunk:
                break
            newline: Any = "\n" if isinstance(chunk, str) else b"\n"
            at = chunk.find(newline) + 1
            cut = at or len(chunk)
            if limit >= 0:
                cut = min(cut, limit - total)
            if cut < len(chunk):
                self._put_back(chunk[cut:])
                chunk = chunk[:cut]
            parts.append(chunk)
            total += len(chunk)
            if at and at <= cut:
                break
        if self._source_ended:
            self._end_if_drained()
        return self._join(parts)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over blocks as they come, until the end."""
        while chunk := self.read1():
            yield chunk

    def unshift(self, chunk: str | BytesLike, encoding: str | None = None) -> None:
        """Put octets back in front of what is still to be read (stream.Readable.unshift)."""
        data = bytes(encode(chunk, encoding))
        if data:
            self._put_back(self._decoder.decode(data) if self._decoder is not None else data)

    def _join(self, parts: list[Any]) -> bytes:
        # Typed as what it is before `set_encoding`.
        joined: bytes = self._nothing().join(parts)
        return joined

    def _nothing(self) -> Any:
        return b"" if self._decoder is None else ""

    def _put_back(self, chunk: Any) -> None:
        with self._lock:
            self._rest = chunk + self._rest if self._rest else chunk
            self._notify()

    def _take(self, size: int) -> Any:
        """Give the next block, kept or from the source; an empty one at the end."""
        while True:
            with self._lock:
                while True:
                    if self._rest:
                        chunk, self._rest = self._rest, None
                        self._notify()
                        return chunk
                    if self._source_ended or not self._reader:
                        break
                    self._wait()
                if not self._source_ended:
                    if self._failure is not None or self._destroyed:
                        raise self._destroyed_error("read")
                    self._reader = threading.get_ident()
            data = b"" if self._source_ended else self._take_from_source(size)
            if self._decoder is None:
                return data
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text

    def _take_from_source(self, size: int) -> bytes:
        failure: Exception | None = None
        data = b""
        try:
            data = self._read(size)
            if not data:
                self._source_ended = True
        except Exception as error:
            failure = error
            raise
        finally:
            with self._lock:
                self._reader = 0
                first = failure is not None and self._failure is None
                if first:
                    self._failure = failure
                self._notify()
            if first and failure is not None:
                self._failed(failure)
        return data

    def _end_if_drained(self) -> None:
        """Emit ``'end'`` if the last octet was taken; the caller saw `_source_ended`."""
        with self._lock:
            if self._end_emitted or self._rest:
                return
            if self._decoder is not None:
                self._rest = self._decoder.decode(b"", final=True)
                if self._rest:
                    return
            self._end_emitted = True
            self._notify()
        self._ended()

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

    def set_encoding(self, encoding: str) -> Self:
        """Deliver text: ``'data'`` and the reading methods give str from now on.

        A character that is cut by the arrival of its octets is held back until it is whole.

        Args:
            encoding: ``"utf8"``, ``"latin1"``, ``"hex"``, ``"base64"`` … (see the manual on
                Buffer).

        Raises:
            InvalidArgument: Unknown encoding.
        """
        self._decoder = Decoder(normalize(encoding))
        if self._rest:
            self._rest = self._decoder.decode(self._rest)
        return self

    def _listener_added(self, event: str) -> None:
        if event == "data":
            if self._flowing is None:
                self.resume()
        elif event == "readable":
            with self._lock:
                self._notify()
            self._demand()

    def _demand(self) -> None:
        with self._lock:
            if self._driven or self._over():
                return
        self._start_driver()

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
            while self._await_demand():
                try:
                    chunk = self._take(65536)
                except Exception:
                    if self._failure is None and not self._destroyed:
                        raise
                    break  # `_failed` has told everybody
                if self._flowing:
                    self._deliver(chunk)
                else:
                    self._offer(chunk)
        finally:
            with self._lock:
                self._driven = False

    def _await_demand(self) -> bool:
        """Wait until somebody wants to be given data; False when the stream is over."""
        with self._lock:
            while not self._over():
                if self._flowing:
                    return True
                if self._wants_readable():
                    return True
                self._wait()
        return False

    def _wants_readable(self) -> bool:
        # `_lock` is held: look at the emitter's table rather than ask it.
        if self._flowing is False or self._source_ended:
            return False
        return self.readable_length < self.readable_high_water_mark and self._hears("readable")

    def _deliver(self, chunk: Any) -> None:
        if chunk:
            self.emit("data", chunk)
        if self._source_ended:
            self._end_if_drained()

    def _offer(self, chunk: Any) -> None:
        """Keep a block that came in 'readable' mode, or while `pause` was called, and say so."""
        if chunk:
            with self._lock:
                self._rest = self._rest + chunk if self._rest else chunk
                self._notify()
        if not self._hears("readable"):
            return
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
        """
        pipe = _Pipe(self, destination, end=end)
        with self._lock:
            self._pipes = (*self._pipes, pipe)
        pipe.attach()
        if self._flowing is not True:
            self.resume()
        return destination

    def unpipe(self, destination: Writable | None = None) -> Self:
        """Stop writing to `destination`, or to everything that was piped to; the flow stops."""
        with self._lock:
            gone = tuple(p for p in self._pipes if destination in (None, p.destination))
            self._pipes = tuple(p for p in self._pipes if p not in gone)
            if gone:
                self._flowing = False
        for pipe in gone:
            pipe.detach()
        return self

    def close(self) -> None:
        """Be done with reading (`io.IOBase`): the same as `destroy` without an error."""
        self.destroy()


class _Pipe:
    """One `Readable.pipe`: the listeners that it put on both sides."""

    def __init__(self, source: Readable, destination: Writable, *, end: bool) -> None:
        self.source = source
        self.destination = destination
        self.end = end

    def attach(self) -> None:
        self.destination.on("drain", self.on_drain)
        self.destination.on("close", self.on_close)
        if self.end:
            self.source.on("end", self.on_end)
        self.source.prepend_listener("data", self.on_data)
        self.destination.emit("pipe", self.source)

    def detach(self) -> None:
        self.source.off("data", self.on_data)
        self.source.off("end", self.on_end)
        self.destination.off("drain", self.on_drain)
        self.destination.off("close", self.on_close)
        self.destination.emit("unpipe", self.source)

    def on_data(self, chunk: Any) -> None:
        try:
            taken = self.destination.write(chunk)
        except (OSError, StateError):
            # The destination has told its own listeners why.
            self.source.unpipe(self.destination)
            return
        if not taken:
            self.source.pause()
            # It may have been drained in between, and 'drain' is not told twice.
            if not self.destination.writable_need_drain:
                self.source.resume()

    def on_drain(self) -> None:
        self.source.resume()

    def on_end(self) -> None:
        try:
            self.destination.end()
        except (OSError, StateError):
            self.source.unpipe(self.destination)

    def on_close(self) -> None:
        self.source.unpipe(self.destination)
