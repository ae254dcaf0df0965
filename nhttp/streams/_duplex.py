"""Duplex: a stream to read from and to write to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from nhttp.streams._readable import Readable
from nhttp.streams._writable import Writable

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

__all__ = ["Duplex"]


class Duplex(Readable, Writable):
    """Both at once, independent of each other; `destroy` ends both."""

    _latched: ClassVar[frozenset[str]] = frozenset({"end", "finish", "error", "close"})

    if TYPE_CHECKING:

        @overload
        def on(self, event: Literal["data"], listener: Callable[[bytes], object], /) -> Self: ...
        @overload
        def on(self, event: Literal["data"], listener: Callable[[str], object], /) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["readable", "end", "close", "pause", "resume", "drain", "finish"],
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
        @overload
        def on(
            self, event: Literal["pipe", "unpipe"], listener: Callable[[Readable], object], /
        ) -> Self: ...
        # Both parents' tables are in here; pyright wants each of them first.
        def on(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, event: Any, listener: Callable[..., Any], /
        ) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

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
        def makefile(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, mode: str, *, encoding: str = "", errors: Any = None, newline: Any = None
        ) -> Any: ...

    @property
    def closed(self) -> bool:
        """Whether the stream was destroyed (`io.IOBase`)."""
        return self._destroyed

    def close(self) -> None:
        """End both directions at once (`io.IOBase`): the same as `destroy`."""
        self.destroy()
