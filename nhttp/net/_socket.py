"""Socket: a TCP or Unix stream with Node's events, and blocking calls on the same object.

Knows the operating system's sockets, timers and `streams`; nothing of HTTP.

The life of the file descriptor. Whoever is about to use it *holds* the socket, and lets go
afterwards (`_hold`, `_release`). `destroy` never closes it under anybody: it shuts the connection
down, which wakes every thread that is blocked in the kernel with it, and the last to let go closes
it and emits ``'close'``. So a descriptor is never used after it was given back, and `destroy` never
waits.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import socket
from contextlib import AbstractContextManager
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from nhttp import _threads
from nhttp._timers import Deadline, now
from nhttp.errors import InvalidArgument, StateError, socket_error
from nhttp.net._address import Address, address_of, describe, family_name
from nhttp.streams import BytesLike, Callback, Duplex, Readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Socket"]

_log = logging.getLogger("nhttp.net")

# Octets handed to the kernel in one call at the most: a slow peer then shows as activity, not as
# one call that lasts for minutes.
_SEND_BLOCK = 1024 * 1024
# How many buffers one sendmsg takes (IOV_MAX is 1024 on Linux; POSIX promises 16).
_SEND_BUFFERS = 512
# Below this, joining buffers costs less than giving the kernel several of them.
_JOIN_BELOW = 16 * 1024


_NOTHING: AbstractContextManager[object] = contextlib.nullcontext()


class _Hold:
    """Holds a socket for the length of a ``with`` block."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        self._socket._hold()

    def __exit__(self, *exc_info: object) -> None:
        self._socket._release()


class Socket(Duplex):
    """A stream over a connected TCP or Unix socket (Node's ``net.Socket``).

    Reading and writing block; see `streams.Readable` and `streams.Writable` for what both offer.
    Writing in one thread and reading in another at the same time is what it is made for.

    Args:
        handle: A connected `socket.socket` to take over. Default: none yet; call `connect`.
        fd: The file descriptor of a connected stream socket to take over instead.
        allow_half_open: Whether writing goes on after the peer has ended its side. Default: False,
            the peer's end then ends this side too.

    Events, beside those of `Duplex`, on the socket's own thread if nothing else is said:
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
        # Octets moved so far; written by the one thread that is reading, or writing.
        self.bytes_read = 0
        self.bytes_written = 0
        # Guarded by `_lock`:
        self._handle = handle
        self._connecting = False
        self._holders = 0  # threads that may be using the descriptor
        self._owner = 0  # ident of a thread that holds it for as long as it serves the connection
        self._referenced = True  # an open socket keeps the process alive
        self._refs = 0  # what was told to the keeper: 1 while open and referenced
        # Who is told when the descriptor has been closed: the server that counts connections.
        self._on_closed: Callable[[Socket], object] | None = None
        # The exchange that uses the connection: told by whoever destroys it, so that its thread
        # wakes.
        self._on_destroyed: Callable[[], object] | None = None
        # What happens when a deadline passes; on the timer thread. True: it was dealt with.
        self._on_idle: Callable[[Socket], bool] | None = None
        self._served = False  # a server's connection whose thread is done
        self._timeout = 0.0  # seconds; 0: none
        self._deadline: Deadline | None = None
        self._limit = math.inf  # a moment that no activity puts off: a server's bounds on a request
        # Known from `accept`, asked for otherwise.
        self._peer: Any = None
        if handle is not None:
            handle.setblocking(True)
            self._keep_alive_while_open()

    # The descriptor.

    def _hold(self) -> None:
        """Keep the descriptor open until `_release`."""
        with self._lock:
            if self._destroyed:
                raise self._destroyed_error("use the connection")
            self._holders += 1

    def _release(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._destroyed and not self._holders
        if last:
            self._close_handle()

    def _writing(self) -> AbstractContextManager[object]:
        # The thread that holds it all the time need not do so again.
        return _NOTHING if self._owner == get_ident() else _Hold(self)

    def _open_handle(self) -> socket.socket:
        """Give the connected socket, waiting for a `connect` that is under way."""
        handle = self._handle
        if handle is None or self._connecting:
            with self._lock:
                while self._connecting and not self._destroyed:
                    self._wait()
                if self._destroyed:
                    raise self._destroyed_error("use the connection")
                handle = self._handle
            if handle is None:
                raise StateError("the socket is not connected: call connect first", "ENOTCONN")
        return handle

    def _destroy(self, error: BaseException | None) -> None:
        del error  # kept as `_failure`, and emitted with 'close'
        if self._deadline is not None:
            self._deadline.cancel()
        with self._lock:
            handle = self._handle
            unused = not self._holders
        if handle is not None:
            # Wakes whoever is blocked in the kernel with it. A socket that never got anywhere, or
            # whose peer is gone, refuses; then nobody is blocked.
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
        if self._on_destroyed is not None:
            self._on_destroyed()
        if unused:
            self._close_handle()

    def _close_handle(self) -> None:
        """Nobody uses the descriptor any more and nobody will: give it back, tell everybody."""
        with self._lock:
            handle, self._handle = self._handle, None
            refs, self._refs = self._refs, 0
            self._connecting = False
            self._notify()
        if handle is not None:
            if self._peer is None:
                self._peer = _name_of(handle.getpeername)
            handle.close()
        if refs:
            _threads.unref()
        if self._on_closed is not None:
            self._on_closed(self)
        self._emit_close(self._failure)

    def _keep_alive_while_open(self) -> None:
        with self._lock:
            if self._refs or not self._referenced or self._destroyed:
                return
            self._refs = 1
        _threads.ref()

    def ref(self) -> Self:
        """Keep the process alive while this socket is open (the default)."""
        self._referenced = True
        if self._handle is not None:
            self._keep_alive_while_open()
        return self

    def unref(self) -> Self:
        """Let the process end although this socket is open."""
        self._referenced = False
        with self._lock:
            refs, self._refs = self._refs, 0
        if refs:
            _threads.unref()
        return self

    # Connecting.

    def connect(
        self,
        port: int | str | None = None,
        host: str | Callback | None = None,
        listener: Callback | None = None,
        *,
        path: str | None = None,
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
        if callable(host):
            host, listener = None, host
        if isinstance(port, str) and not port.isdigit():
            port, path = None, port
        if path is None:
            target: tuple[str, int] | str = (host or "localhost", check_port(port))
        else:
            target = path
        with self._lock:
            if self._handle is not None or self._connecting or self._destroyed:
                raise StateError("the socket is connected already, or was", "EISCONN")
            self._connecting = True
        if listener is not None:
            self.once("connect", listener)
        self._keep_alive_while_open()
        self._hold()
        local = (local_address or "", local_port) if local_address or local_port else None
        try:
            _threads.run(self._run_connect, target, family, local, name="nhttp-socket")
        except BaseException:
            self.destroy()
            self._release()
            raise
        return self

    def _run_connect(
        self, target: tuple[str, int] | str, family: int, local: tuple[str, int] | None
    ) -> None:
        """The socket's own thread: connect, tell, and drive the stream if somebody wants that."""
        try:
            if self._establish(target, family, local):
                self._latch("connect")
                self._latch("ready")
                if self._wanted():
                    self._drive()
        except Exception as error:  # a listener raised
            _log.exception("a listener of %r raised; the socket is destroyed", self)
            self.destroy(error)
        finally:
            self._release()

    def _establish(
        self, target: tuple[str, int] | str, family: int, local: tuple[str, int] | None
    ) -> bool:
        """Connect on this thread, which holds the socket; False when the socket was destroyed."""
        try:
            if isinstance(target, str):
                self._try(socket.AF_UNIX, target, target, local)
            else:
                self._try_each(target, family, local)
        except OSError as error:
            where = target if isinstance(target, str) else f"{target[0]}:{target[1]}"
            self.destroy(socket_error(error, "connect", where))
        with self._lock:
            self._connecting = False
            self._notify()
            return not self._destroyed

    def _try_each(
        self, target: tuple[str, int], family: int, local: tuple[str, int] | None
    ) -> None:
        """Try the addresses of a host in turn; the first error counts when all fail."""
        wanted = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}.get(family)
        if wanted is None:
            raise InvalidArgument(f"family is 4, 6 or 0, not {family!r}", "ERR_INVALID_ARG_VALUE")
        first: OSError | None = None
        for kind, _, _, _, address in socket.getaddrinfo(*target, wanted, socket.SOCK_STREAM):
            if self._destroyed:
                return
            where = describe(Address(str(address[0]), int(address[1]), family_name(kind)))
            try:
                self._try(kind, address, where, local)
            except OSError as error:
                first = first or error
            else:
                return
        if first is not None:
            raise first

    def _try(self, kind: int, address: Any, where: str, local: tuple[str, int] | None) -> None:
        handle = socket.socket(kind, socket.SOCK_STREAM)
        with self._lock:
            # From here on `destroy` finds it, and wakes the `connect` below.
            self._handle = None if self._destroyed else handle
        try:
            if self._handle is None:
                raise OSError("destroyed")
            if local is not None:
                handle.bind(local)
            handle.connect(address)
        except OSError as error:
            with self._lock:
                self._handle = None
            handle.close()
            raise socket_error(error, "connect", where) from error

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

    # Reading.

    def _start_driver(self) -> None:
        if self._handle is None or self._connecting:
            return  # the thread that connects goes on with it
        _threads.run(self._run_driver, name="nhttp-socket")

    def _run_driver(self) -> None:
        """The socket's own thread: deliver what comes until the stream is over."""
        with contextlib.suppress(StateError, OSError):
            self._hold()
            try:
                self._drive_safely()
            finally:
                self._release()

    def _drive_safely(self) -> None:
        """Drive on this thread, which holds the socket; a listener that raises ends it, logged."""
        try:
            self._drive()
        except Exception as error:
            _log.exception("a listener of %r raised; the socket is destroyed", self)
            self.destroy(error)

    def _wanted(self) -> bool:
        return self._flowing is True or self._hears("readable")

    def _read(self, size: int) -> bytes:
        with _Hold(self):
            return self._receive(max(size, 65536))

    def _receive(self, size: int) -> bytes:
        """Read from the kernel; ``b""`` at the end. The caller holds the socket."""
        handle = self._open_handle()
        try:
            data = handle.recv(size)
        except OSError as error:
            failure = socket_error(error, "read")
            self.destroy(failure)
            raise failure from None
        if data:
            self.bytes_read += len(data)
            self._touch()
        elif self._destroyed:
            raise self._destroyed_error("read")
        return data

    def _ended(self) -> None:
        super()._ended()
        if self._write_ended:
            if self._write_finished:
                self.destroy()
        elif not self.allow_half_open:
            with contextlib.suppress(OSError, StateError):
                self.end()

    def _failed(self, error: Exception) -> None:
        self.destroy(error)

    # Writing.

    def _writev(self, chunks: Sequence[BytesLike]) -> None:
        handle = self._open_handle()
        try:
            if len(chunks) == 1:
                self._send(handle, chunks[0])
            elif sum(map(len, chunks)) < _JOIN_BELOW:
                self._send(handle, b"".join(chunks))
            else:
                self._send_gathered(handle, chunks)
        except OSError as error:
            failure = socket_error(error, "write")
            self.destroy(failure)
            raise failure from None

    def _send(self, handle: socket.socket, data: BytesLike) -> None:
        size = len(data)
        sent = handle.send(data) if size <= _SEND_BLOCK else 0
        self._moved(sent)
        if sent == size:
            return
        view = memoryview(data)
        while sent < size:
            count = handle.send(view[sent : sent + _SEND_BLOCK])
            self._moved(count)
            sent += count

    def _send_gathered(self, handle: socket.socket, chunks: Sequence[BytesLike]) -> None:
        """Send several buffers without copying them."""
        views = [memoryview(chunk) for chunk in chunks if len(chunk)]
        while views:
            count = handle.sendmsg(views[:_SEND_BUFFERS])
            self._moved(count)
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]

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
            failure = socket_error(error, "write")
            self.destroy(failure)
            raise failure from None
        self._moved(sent)
        return sent

    def _moved(self, count: int) -> None:
        self.bytes_written += count
        self._touch()

    def _touch(self) -> None:
        """Something happened on the connection: the silence begins anew."""
        if self._deadline is not None:
            moment = now() + self._timeout if self._timeout else math.inf
            self._deadline.set(min(moment, self._limit))

    def _set_limit(self, moment: float) -> None:
        """Set a moment that no activity puts off; `math.inf`: none."""
        self._limit = moment
        if self._deadline is None and moment < math.inf:
            self._make_deadline()
        self._touch()

    def _make_deadline(self) -> None:
        self._deadline = Deadline(self._idle)
        if self._destroyed:
            self._deadline.cancel()

    def _final(self) -> None:
        handle = self._open_handle()
        # A peer that is gone already has nothing to be told.
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_WR)

    def _finish(self) -> None:
        super()._finish()
        if self._end_emitted:
            self.destroy()

    # Options.

    @property
    def timeout(self) -> float:
        """Seconds of silence until ``'timeout'``; 0: never."""
        return self._timeout

    def set_timeout(self, seconds: float, callback: Callback | None = None) -> Self:
        """Emit ``'timeout'`` after so many seconds without anything read or written.

        The connection is not ended by that: whoever listens does it, if at all.

        Args:
            seconds: 0 turns it off.
            callback: A listener for the next ``'timeout'`` (removed again when `seconds` is 0).
        """
        if callback is not None:
            if seconds:
                self.once("timeout", callback)
            else:
                self.off("timeout", callback)
        self._timeout = seconds
        if self._deadline is None and seconds:
            self._make_deadline()
        self._touch()
        return self

    def _done_writing(self) -> bool:
        return self._write_ended or self._destroyed

    def _stop_reading(self) -> None:
        """Wake whoever reads, with the end of the stream; what has arrived can still be read."""
        handle = self._handle
        if handle is not None:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RD)

    def _idle(self) -> None:
        """The deadline passed; on the timer thread, where nothing may block."""
        if self._on_idle is not None and self._on_idle(self):
            return
        if self._hears("timeout"):
            _threads.run(self.emit, "timeout", name="nhttp-timeout")

    def set_no_delay(self, no_delay: bool = True) -> Self:
        """Send small writes at once instead of gathering them (Nagle's algorithm off)."""
        return self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(no_delay))

    def set_keep_alive(self, enable: bool = False, initial_delay: float = 0) -> Self:
        """Have the kernel probe an idle connection.

        Args:
            enable: On or off. Default: off.
            initial_delay: Seconds of idleness before the first probe; 0 leaves the system's
                setting.
        """
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(enable))
        option = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
        if enable and initial_delay and option is not None:
            self._set_option(socket.IPPROTO_TCP, option, max(1, int(initial_delay)))
        return self

    def _set_option(self, level: int, option: int, value: int) -> Self:
        with contextlib.suppress(StateError, OSError), _Hold(self):
            handle = self._open_handle()
            if handle.family in (socket.AF_INET, socket.AF_INET6):
                handle.setsockopt(level, option, value)
        return self

    # Addresses.

    def address(self) -> Address | str | None:
        """The local address, or a Unix socket's path; None while there is no connection."""
        with self._lock:
            handle = self._handle
        name = None if handle is None else _name_of(handle.getsockname)
        return None if handle is None or name is None else address_of(handle.family, name)

    @property
    def local_address(self) -> str | None:
        """The IP address on this side, or None."""
        address = self.address()
        return address.address if isinstance(address, Address) else None

    @property
    def local_port(self) -> int | None:
        """The port on this side, or None."""
        address = self.address()
        return address.port if isinstance(address, Address) else None

    def _remote(self) -> Any:
        if self._peer is None:
            with self._lock:
                handle = self._handle
            if handle is not None and not self._connecting:
                self._peer = _name_of(handle.getpeername)
        return self._peer

    @property
    def remote_address(self) -> str | None:
        """The peer's IP address; None for Unix sockets and before the connection stands."""
        peer = self._remote()
        return str(peer[0]) if isinstance(peer, tuple) else None

    @property
    def remote_port(self) -> int | None:
        """The peer's port, or None."""
        peer = self._remote()
        return int(peer[1]) if isinstance(peer, tuple) else None

    @property
    def remote_family(self) -> str | None:
        """``"IPv4"`` or ``"IPv6"``, or None."""
        peer = self._remote()
        if not isinstance(peer, tuple):
            return None
        return "IPv4" if len(peer) == 2 else "IPv6"

    def fileno(self) -> int:
        """The file descriptor, -1 when there is none."""
        handle = self._handle
        return -1 if handle is None else handle.fileno()

    def __repr__(self) -> str:
        peer = self._remote()
        where = f" {peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        return f"<{type(self).__name__}{where} {self.ready_state}>"


def check_port(port: object) -> int:
    """Give the number of a port, or refuse it (``ERR_SOCKET_BAD_PORT``)."""
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise InvalidArgument(f"a port is 0 to 65535, not {port!r}", "ERR_SOCKET_BAD_PORT")
    return port


def _name_of(ask: Callable[[], Any]) -> Any:
    """Ask for a socket's name; None when it has none any more."""
    try:
        return ask()
    except OSError:
        return None
