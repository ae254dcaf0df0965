"""Socket: a TCP or Unix stream with Node's events, and blocking calls on the same object.

How its descriptor is shared by threads, and when it is closed, is in `_descriptor`; how long it may
be silent, in `_clock`; how a connection is made, in `_dial`. Knows the operating system's sockets,
timers and `streams`; nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from nhttp import _threads, _watcher
from nhttp._timers import now
from nhttp.errors import StateError, socket_error
from nhttp.net._address import describe
from nhttp.net._clock import Clock
from nhttp.net._descriptor import Forks, Hold
from nhttp.net._dial import Dial
from nhttp.net._quick import QUICK_AT_MOST, QUICK_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nhttp.net._dial import Route
    from nhttp.net._quick import QuickSend
    from nhttp.streams import BytesLike, Callback, Readable

__all__ = ["Socket", "await_readable"]

# Octets asked of the kernel in one call: at least, while such blocks come full, and at the most.
_RECEIVE_BLOCK = 64 * 1024
_RECEIVE_MORE = 120 * 1024  # the C library maps 128 KiB anew each time, page fault by page fault
_RECEIVE_MAX = 1024 * 1024
# Octets handed to the kernel in one call at the most: a slow peer then shows as activity, not as
# one call that lasts for minutes.
_SEND_BLOCK = 1024 * 1024
# How many buffers one sendmsg takes (IOV_MAX is 1024 on Linux; POSIX promises 16).
_SEND_BUFFERS = 512
# Below this, joining buffers costs less than giving the kernel several of them.
_JOIN_BELOW = 16 * 1024

# Seconds that `poll` can be told to wait: its milliseconds are a C int.
_POLL_AT_MOST = 2_000_000.0

_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class Socket(Clock):
    """A stream over a connected TCP or Unix socket (Node's ``net.Socket``).

    Reading and writing block; see `streams.Readable` and `streams.Writable` for what both offer.
    Writing in one thread and reading in another at the same time is what it is made for.

    The end of the peer is noticed by whoever reads. When nobody does, and this side was ended, it
    is noticed nevertheless and the socket closes, unless something is left to read. An open socket
    keeps the process alive; one that is dropped is closed, with a `ResourceWarning`.

    `destroy` gives the connection up at once: what the peer has not read yet may be lost to it when
    there is something here that was not read (the kernel then resets the connection). `end` says
    goodbye properly.

    Args:
        handle: A connected `socket.socket` to take over. Default: none yet; call `connect`.
        fd: The file descriptor of a connected stream socket to take over instead.
        allow_half_open: Whether writing goes on after the peer has ended its side. Default: False,
            the peer's end then ends this side too.

    Attributes:
        allow_half_open: As given; a change counts if it comes before the peer's end.
        bytes_read: Octets received so far; with TLS, after decrypting.
        bytes_written: Octets handed to the kernel so far; with TLS, before encrypting.

    Events, beside those of `Duplex`, on the socket's own thread if nothing else is said. An error
    that ended it there and that nobody was told, by ``'error'`` or by a call, is logged.
        connect: () the connection stands. At most once.
        ready: () the same moment.
        timeout: () nothing happened for as long as `set_timeout` said; on a helper thread.
        agentRemove, free: () between an Agent and whoever shares its sockets.

    Example:
        >>> s = Socket()
        >>> s.connect(8000, "127.0.0.1", lambda: s.end("hello"))  # doctest: +SKIP

    Source: net.Socket of Node 6, as far as the HTTP manual leans on it.
    """

    _latched: ClassVar[frozenset[str]] = frozenset(
        {"end", "finish", "error", "close", "connect", "ready"}
    )

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
        @overload
        def on(
            self,
            event: Literal["connect", "ready", "timeout", "agentRemove", "free"],
            listener: Callable[[], object],
            /,
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    def __init__(
        self,
        handle: socket.socket | None = None,
        *,
        fd: int | None = None,
        allow_half_open: bool = False,
    ) -> None:
        super().__init__()
        if fd is not None:
            handle = socket.socket(fileno=fd)
        self.allow_half_open = allow_half_open
        # Set by who sends often from several threads: see `_quick`.
        self._quick_send: QuickSend | None = None
        self._block = _RECEIVE_BLOCK  # what the one thread that is reading asks for next
        # Octets moved so far; written by the one thread that is reading, or writing.
        self.bytes_read: int = 0
        self.bytes_written: int = 0
        self._handle = handle
        self._connecting = False
        self._watch: _watcher.Watch | None = None  # for the peer's end; guarded by `_lock`
        self._poller: select.poll | None = None  # of the one thread that asks `_is_quiet`
        self._forks = Forks.count
        if handle is not None:
            handle.setblocking(True)
            self._keep_alive_while_open()

    # Connecting.

    def connect(
        self,
        port: int | str | None = None,
        host: str | Callback | None = None,
        listener: Callback | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        family: int = 0,
        local_address: str | None = None,
        local_port: int = 0,
    ) -> Self:
        """Connect on the socket's own thread and emit ``'connect'``, or ``'error'``.

        Returns at once; a `write` or `read` behind it waits until the connection stands.

        Args:
            port: The port; or, as a str that is no number, the path of a Unix socket.
            host: Name or address; the listener may stand in its place. Default: ``"localhost"``.
            listener: A listener for ``'connect'``.
            path: The path of a Unix socket, instead of `port`.
            family: 4 or 6 for one kind of address only; 0: both, in the resolver's order.
            local_address: The local address to connect from.
            local_port: The local port to connect from.

        Raises:
            InvalidArgument: No port and no path, or a port that is none.
            StateError: The socket is connected, or was (``EISCONN``).
        """
        dial = Dial(
            port,
            host,
            listener,
            path=path,
            family=family,
            local_address=local_address,
            local_port=local_port,
        )
        self._begin_connect(dial)
        return self

    def _connect_here(
        self,
        port: int | str | None = None,
        host: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        family: int = 0,
        local_address: str | None = None,
    ) -> Self:
        """Connect as `connect` does, and return when the connection stands.

        On this thread, unless a name has to be looked up, which nothing can interrupt. `destroy`,
        by any thread, ends the wait.

        Raises:
            OSError: There is no connection.
        """
        dial = Dial(
            port,
            host,
            None,
            path=path,
            family=family,
            local_address=local_address,
            local_port=0,
        )
        self._begin_connect(dial, here=dial.knows_address())
        self._open_handle()
        return self

    def _begin_connect(self, dial: Route, *, here: bool = False) -> None:
        with self._lock:
            if self._handle is not None or self._connecting or self._destroyed:
                raise StateError("the socket is connected already, or was", "EISCONN")
            self._connecting = True
            self._forks = Forks.count
            # The thread that connects is the driver as well: nothing comes before 'connect'.
            self._driven = True
            self._holders += 1
        try:
            if dial.listener is not None:
                self.once("connect", dial.listener)
            self._keep_alive_while_open()
            if not here:
                _threads.run(self._run_connect, dial, name="nhttp-socket")
        except BaseException:
            self.destroy()
            self._release()
            raise
        if here:
            self._run_connect(dial, drive=False)

    def _run_connect(self, dial: Route, *, drive: bool = True) -> None:
        """Connect, and tell; then, on the socket's own thread, drive the stream if that is wanted.

        Args:
            dial: Where to.
            drive: Whether this is the socket's own thread. If not, another one becomes the driver.
        """
        try:
            try:
                dial.run(self)
            except OSError as error:
                self._unseen = not self._destroyed  # whoever has destroyed it was told
                self.destroy(error)
            if self._connected():
                self._active = now()
                self._tell_connected()
                if not drive:
                    self._leave_driving()
                elif self._keep_driving():
                    self._drive_claimed()
        except Exception as error:
            self._listener_raised(error)
        finally:
            self._release()

    def _tell_connected(self) -> None:
        self._latch("connect")
        self._latch("ready")

    def _leave_driving(self) -> None:
        with self._lock:
            self._driven = False
        if self._wanted():
            self._demand()

    # Reading.

    def _start_driver(self) -> None:
        if self._handle is not None:  # otherwise the thread that connects will see to it
            self._keep_alive_while_open()
            _threads.run(self._run_driver, name="nhttp-socket")

    def _run_driver(self) -> None:
        """The socket's own thread: deliver what comes until the stream is over."""
        try:
            self._hold()
        except Exception:  # destroyed meanwhile, for whatever reason
            return
        try:
            self._drive_safely()
        finally:
            self._release()

    def _fetch(self) -> bool:
        if super()._fetch():
            return True
        if self._failure is not None:
            self._unseen = not self._hears("error")
        return False

    def _read(self, size: int) -> bytes:
        with Hold(self):
            return self._receive(size)

    def _receive(self, size: int) -> bytes:
        """Read from the kernel; ``b""`` at the end. The caller holds the socket."""
        handle = self._handle
        if handle is None or self._connecting:
            handle = self._open_handle()
        block = self._block
        try:
            data = handle.recv(block if size <= block else min(size, _RECEIVE_MAX))
        except OSError as error:
            raise self._broken(error, "read") from None
        if data:
            count = len(data)
            self.bytes_read += count
            self._active = now()
            if count >= block:  # there is more than that: less work for each octet from now on
                self._block = _RECEIVE_MORE
            elif count <= _RECEIVE_BLOCK:
                self._block = _RECEIVE_BLOCK
        elif self._destroyed:
            raise self._destroyed_error("read")
        return data

    def _broken(self, error: OSError, syscall: str) -> BaseException:
        """A system call failed: destroy the socket, and give what is to be raised."""
        self.destroy(socket_error(error, syscall))
        return self._destroyed_error(syscall)  # the first error, if there was one before

    def _ended(self) -> None:
        try:
            super()._ended()
        finally:
            if self._write_ended:
                if self._write_finished:
                    self.destroy()
            elif not self.allow_half_open:
                with self._ignoring_loss():
                    self.end()

    # Writing.

    def _writev(self, chunks: Sequence[BytesLike]) -> None:
        try:
            self._transmit(chunks)
        except OSError as error:
            raise self._broken(error, "write") from None

    def _transmit(self, chunks: Sequence[BytesLike]) -> None:
        """Hand octets to the kernel; a failure is the caller's, and leaves the socket as it is."""
        handle = self._handle
        if handle is None or self._connecting:
            handle = self._open_handle()
        data: BytesLike | None
        if len(chunks) == 1:
            data = chunks[0]
            size = len(data)
        else:
            size = sum(map(len, chunks))
            data = b"".join(chunks) if size < _JOIN_BELOW else None
        sent = 0
        if data is None:
            if size <= _SEND_BLOCK and len(chunks) <= _SEND_BUFFERS:
                sent = handle.sendmsg(chunks)
        else:
            if self._quick_send is not None and size <= QUICK_AT_MOST and type(data) is bytes:
                sent = self._quick_send(handle.fileno(), data, size, QUICK_FLAGS)
            if sent <= 0:
                sent = handle.send(data) if size <= _SEND_BLOCK else 0
        self.bytes_written += sent
        self._active = now()
        if sent < size:
            self._send_on(handle, chunks, sent)

    def _send_on(self, handle: socket.socket, chunks: Sequence[BytesLike], sent: int) -> None:
        """Go on behind what was sent, without copying, as much in each call as is good."""
        views = [memoryview(chunk) for chunk in chunks]
        while True:
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if not views:
                return
            views[0] = views[0][sent:]
            parts: list[memoryview] = []
            room = _SEND_BLOCK
            for view in views[:_SEND_BUFFERS]:
                parts.append(view[:room])
                room -= len(parts[-1])
            sent = handle.sendmsg(parts)
            self._moved(sent)

    def _sendfile(self, descriptor: int, offset: int, count: int) -> int | None:
        """Send from a file inside the kernel; None when it cannot be. `_write_lock` is held.

        Returns how many octets were sent; 0: the file has no more.
        """
        handle = self._open_handle()
        if not hasattr(os, "sendfile"):
            return None
        try:
            sent = os.sendfile(handle.fileno(), descriptor, offset, count)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP):
                return None
            raise self._broken(error, "write") from None
        self._moved(sent)
        return sent

    def _moved(self, count: int) -> None:
        self.bytes_written += count
        self._active = now()

    def _final(self) -> None:
        handle = self._open_handle()
        # A peer that is gone already has nothing to be told.
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_WR)

    def _finish(self) -> None:
        super()._finish()
        if self._end_emitted:
            self.destroy()
        elif not self._wanted() and self._owner != get_ident():
            self._watch_peer()

    # The end of a peer whom nobody reads.

    def _drive_claimed(self) -> None:
        if self._write_finished and not self._wanted():
            self._watch_peer()
        super()._drive_claimed()

    def _watch_peer(self) -> None:
        """Nobody may ever read again, so nobody would notice the peer's end: have it watched."""
        # Refused when somebody else watches it, who then sees to it, or when it is closed.
        with contextlib.suppress(ValueError, RuntimeError), self._ignoring_loss(), Hold(self):
            watch = _watcher.watch(self._open_handle(), self._peer_ended)
            with self._lock:
                self._watch = watch

    def _peer_ended(self) -> None:
        """The peer has ended, or reset, the connection; on the watcher thread."""
        _threads.run(self._take_end, name="nhttp-socket")

    def _take_end(self) -> None:
        """Take the end of the stream, unless something stands in front of it; on a helper thread.

        What stands there can still be read. But nothing will happen any more by itself, so the
        process need not wait for it.
        """
        with self._ignoring_loss():
            with Hold(self):
                left = self._peek()
            if not left:
                self._fetch_end()
            elif not self._wanted() and not self._reader:
                self._stop_keeping_alive()

    def _fetch_end(self) -> None:
        """Have the end noticed, and keep what comes instead: it may be for somebody who reads."""
        with self._lock:
            while self._reader:  # not for long: the connection has ended
                self._wait()
            if self._rest:
                return
            ended = self._source_ended
            if not ended:
                self._claim_source()
        if not ended:
            self._fill(_RECEIVE_BLOCK)
        if self._source_ended:
            self._end_if_drained()

    def _peek(self) -> bool:
        """Whether there is something to read. The caller holds the socket, which has ended."""
        if self.readable_length:
            return True
        try:
            return bool(self._open_handle().recv(1, _PEEK))
        except BlockingIOError:
            return True  # it has not ended, whatever the watcher saw
        except OSError as error:
            self._unseen = True
            self.destroy(socket_error(error, "read"))
            return True

    # What is different where octets are encrypted: see `nhttp.tls`.

    encrypted: ClassVar[bool] = False
    """Whether this is a `tls.TLSSocket`."""

    _truncated = False  # the end came without a word of the peer's; never so without TLS

    def _goodbye(self) -> None:
        """Say, without blocking, that this side ends properly; a `destroy` follows."""

    def _has_more(self) -> bool:
        """Whether there is something to read that the kernel has given already."""
        return False

    def _await_readable(self, seconds: float) -> bool:
        """Whether something can be read, or the end, within so many seconds.

        The caller holds the socket, and is the only one to read.
        """
        return await_readable(self._open_handle(), seconds)

    def _is_quiet(self) -> bool:
        """Whether nothing is there to be read, and no end. Nobody else reads.

        The caller need not hold the socket: should the descriptor be another's by now, a look takes
        nothing from that. Before each use of a kept connection it is asked, so it is to be cheap:
        `poll` takes a third of what a peek does that raises `BlockingIOError`, and what is polled
        is kept.
        """
        poller = self._poller
        if poller is None:
            handle = self._handle
            if handle is None or handle.fileno() < 0:  # closed just now
                return False
            self._poller = poller = _poller_of(handle)
        return not self._destroyed and not poller.poll(0)

    def _await_awake(self, seconds: float) -> None:
        """Look again and again whether something can be read, for so long at the most.

        The caller holds the socket, and is the only one to read.
        """
        if self._has_more():
            return
        poller = self._poller
        if poller is None:
            poller = self._poller = _poller_of(self._open_handle())
        until = now() + seconds
        while not poller.poll(0) and now() < until:
            pass

    # Closing.

    def _close_handle(self) -> None:
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        super()._close_handle()

    # State.

    def _done_writing(self) -> bool:
        """Whether nothing more goes out; not while a thread still sends the last of it."""
        return self._write_finished or self._destroyed

    @property
    def connecting(self) -> bool:
        """Whether `connect` was called and the connection does not stand yet."""
        return self._connecting

    @property
    def pending(self) -> bool:
        """Whether there is no connection yet: `connecting`, or `connect` was not called."""
        return self._connecting or (self._handle is None and not self._destroyed)

    @property
    def ready_state(self) -> str:
        """``"opening"``, ``"open"``, ``"readOnly"``, ``"writeOnly"`` or ``"closed"``."""
        if self._connecting:
            return "opening"
        if self._destroyed or self._handle is None:
            return "closed"
        if self._source_ended:
            return "closed" if self._write_ended else "writeOnly"
        return "readOnly" if self._write_ended else "open"

    def __repr__(self) -> str:
        peer = self._remote()
        where = "" if peer is None else f" {describe(peer)}"
        return f"<{type(self).__name__}{where} {self.ready_state}>"


def await_readable(handle: socket.socket, seconds: float) -> bool:
    """Whether something can be read, or the end, within so many seconds; `math.inf`: some day."""
    poller = _poller_of(handle)
    return bool(poller.poll(max(0.0, seconds) * 1000 if seconds < _POLL_AT_MOST else None))


def _poller_of(handle: socket.socket) -> select.poll:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return poller
