"""Pipe: what `Readable.pipe` puts between a source and a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nhttp.errors import InvalidArgument
from nhttp.streams._writable import Writable

if TYPE_CHECKING:
    from nhttp.streams._readable import Readable

__all__ = ["Pipe"]


class Pipe:
    """One `Readable.pipe`: the listeners that it put on both sides.

    `waiting` is guarded by the source's `_lock`. The listeners for ``'data'`` and ``'end'`` run on
    the source's driver thread, those of the destination on whichever thread drains or closes it.
    """

    def __init__(self, source: Readable, destination: Writable, *, end: bool) -> None:
        _check_writable(destination)
        self.source = source
        self.destination = destination
        self.end = end
        self.waiting = False  # the flow is paused until the destination has drained

    def attach(self) -> None:
        self.destination.emit("pipe", self.source)
        self.destination.on("drain", self.on_drain)
        self.destination.on("close", self.on_close)
        self.source.on("end", self.on_end)
        if self.attached:
            self.source.prepend_listener("data", self.on_data)
        if not self.attached:
            self._let_go()  # the destination was closed already, or another thread was faster

    @property
    def attached(self) -> bool:
        return self in self.source._pipes

    def detach(self) -> None:
        self._let_go()
        self.destination.emit("unpipe", self.source)
        if self.waiting and self.source._pipes:
            self.source._go_on(self)  # the others need not wait for this one any more

    def _let_go(self) -> None:
        self.source.off("data", self.on_data)
        self.source.off("end", self.on_end)
        self.destination.off("drain", self.on_drain)
        self.destination.off("close", self.on_close)

    def on_data(self, chunk: Any) -> None:
        try:
            taken = self.destination.write(chunk)
        except Exception as error:
            if not self.destination._is_loss(error):
                raise
            if isinstance(error, OSError):
                self.destination.destroy(error)  # if it has not done so itself
            self.source.unpipe(self.destination)
            return
        if not taken:
            with self.source._lock:
                self.waiting = True
            self.source.pause()
            # It may have been drained in between, and 'drain' is not told twice.
            if not self.destination.writable_need_drain:
                self.source._go_on(self)

    def on_drain(self) -> None:
        with self.source._lock:
            waiting = self.waiting
        if waiting:
            self.source._go_on(self)

    def on_end(self) -> None:
        if self.end:
            with self.destination._ignoring_loss():
                self.destination.end()
        self.source.unpipe(self.destination)

    def on_close(self) -> None:
        # A response is also told 'close' when its client has ended its side alone, and may still be
        # waiting for the answer: what can be written to is written to.
        if self.destination.destroyed:
            self.source.unpipe(self.destination)


def _check_writable(destination: object) -> None:
    if not isinstance(destination, Writable):
        raise InvalidArgument(
            f"pipe() wants a streams.Writable, not {type(destination).__name__}; into a file goes "
            "shutil.copyfileobj(stream, file)",
            "ERR_INVALID_ARG_TYPE",
        )
