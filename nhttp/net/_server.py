"""Server: accepts TCP and Unix connections, one thread for accepting and one for each connection.

Knows `Socket`, listening sockets and the thread cache; nothing of HTTP, which subclasses it and
overrides `_serve`. What happens on the accept thread is in `_accept`.
"""

from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

from nhttp import _threads
from nhttp.errors import StateError, socket_error
from nhttp.events import EventEmitter
from nhttp.net._accept import Listening
from nhttp.net._address import Address, address_of, describe
from nhttp.net._listen import Handle, ListenRequest, StrPath
from nhttp.net._socket import Socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from nhttp.events import Listener
    from nhttp.streams import Callback

__all__ = ["Server"]

_log = logging.getLogger("nhttp.net")

GRACE_SECONDS = 5.0  # what leaving a `with` block gives running work
LOOK_SECONDS = 0.5  # how late `serve_forever` may notice a signal


class Server(EventEmitter):
    """A TCP or Unix server (Node's ``net.Server``).

    `listen` binds in the calling thread; everything else happens on the accept thread and on one
    thread for each connection. `close` never blocks. As a context manager it closes, lets running
    work finish for `grace` seconds, and destroys what is left.

    Args:
        connection_listener: A listener for ``'connection'``.
        allow_half_open: Whether sockets may be written to after their peer has ended. Default:
            False.

    Events:
        listening: () the server accepts; on the accept thread. Once for each `listen`.
        connection: (socket) on the connection's own thread.
        close: () closed, and every connection gone; on the accept thread.
        error: (exception) listening failed, on the thread that called `listen`, which raises it
            when nobody listens; or accepting did, on the accept thread.
        drop: (address) a connection beyond `max_connections` was closed, by whoever accepts.

    Attributes:
        max_connections: Connections beyond this number are closed as they come. None: no limit.
        grace: Seconds that leaving a ``with`` block gives running work. Default: 5.0.

    Example:
        >>> with Server(lambda s: s.pipe(s)).listen(0, "127.0.0.1") as echo:  # doctest: +SKIP
        ...     print(echo.address())

    Source: net.Server of Node 6, as far as the HTTP manual leans on it.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"listening", "close"})

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["listening", "close"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["connection"], listener: Callable[[Socket], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["drop"], listener: Callable[[Address | str], object], /
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

    def __init__(
        self,
        connection_listener: Callable[[Socket], object] | None = None,
        *,
        allow_half_open: bool = False,
    ) -> None:
        super().__init__()
        self.allow_half_open = allow_half_open
        self.max_connections: int | None = None
        self.grace = GRACE_SECONDS
        # Guarded by `_lock`:
        self._listening: Listening | None = None  # None once it was told to stop
        self._latest: Listening | None = None  # whose thread will tell ``'close'``
        # Connections that are not closed, or whose thread still runs.
        self._open: set[Socket] = set()
        self._cut_off = False  # closed, and its connections destroyed: no more of them
        self._referenced = True
        self._changed = threading.Condition(self._lock)  # `_open` is empty, or it listens again
        self._closed = threading.Event()  # not listening, 'close' emitted
        self._closed.set()
        if connection_listener is not None:
            self.on("connection", connection_listener)

    # Listening.

    @overload
    def listen(self, callback: Callback | None = None, /) -> Self: ...
    @overload
    def listen(
        self,
        port: int,
        hostname: str | None = None,
        backlog: int | None = None,
        callback: Callback | None = None,
        /,
        *,
        reuse_port: bool = False,
        ipv6_only: bool = False,
    ) -> Self: ...
    @overload
    def listen(self, port: int, callback: Callback, /) -> Self: ...
    @overload
    def listen(self, port: int, backlog: int, callback: Callback | None = None, /) -> Self: ...
    @overload
    def listen(self, port: int, hostname: str | None, callback: Callback, /) -> Self: ...
    @overload
    def listen(self, path: StrPath, callback: Callback | None = None, /) -> Self: ...
    @overload
    def listen(self, path: StrPath, backlog: int, callback: Callback | None = None, /) -> Self: ...
    @overload
    def listen(self, handle: Handle, callback: Callback | None = None, /) -> Self: ...
    @overload
    def listen(
        self,
        *,
        port: int = 0,
        host: str | None = None,
        path: StrPath | None = None,
        fd: int | None = None,
        backlog: int | None = None,
        callback: Callback | None = None,
        reuse_port: bool = False,
        ipv6_only: bool = False,
    ) -> Self: ...
    def listen(self, *args: Any, **options: Any) -> Self:
        """Start to accept connections.

        Binds here and now, so that `address` is right and a port in use is reported when this
        returns; accepts on a thread of its own. Every form of the manual:

        * ``listen([port][, hostname][, backlog][, callback])``: TCP. Port 0, or none, lets the
          system choose. Without a host name, on all addresses, IPv6 and IPv4.
        * ``listen(path[, backlog][, callback])``: a Unix socket. The file is removed at `close`.
        * ``listen(handle[, callback])``: a bound `socket.socket`, another server, anything with a
          `fileno`, or ``{"fd": n}``.
        * keywords: `port`, `host`, `path`, `fd`, `backlog`, `callback`, `reuse_port` (several
          processes on one port), `ipv6_only`.

        A server that listens already is re-opened with the new options: its old address is given
        up, its connections live on.

        Args:
            *args: As above; `backlog` is the length of the queue of connections that wait to be
                accepted (default 511).
            **options: As above.

        Raises:
            InvalidArgument: A port outside 0 to 65535, or arguments of no known form.
            SocketError: The address cannot be had (``EADDRINUSE``, ``EACCES`` …), unless somebody
                listens for ``'error'``, who is then told instead.
        """
        request = ListenRequest(args, options)
        other = request.handle._listening if isinstance(request.handle, Server) else None
        if other is not None:
            other.share()  # first: should it stop just now, it must not shut down what is ours, too
        before = self._listening
        try:
            handle, path = self._open_listener(request, before)
        except OSError as error:
            failure = socket_error(error, "listen", request.describe())
            if not self.listener_count("error"):
                raise failure from None
            if request.callback is not None and before is None:
                self.once("listening", request.callback)  # the listener may try again
            self.emit("error", failure)
            return self
        shared = request.handle is not None or request.fd is not None
        listening = Listening(self, handle, path, shared=shared)
        with self._lock:
            before, self._listening = self._listening, listening
            self._latest = listening
            self._cut_off = False
            self._closed.clear()
            self._changed.notify_all()  # an earlier accept thread that waits to tell 'close'
            if self._referenced:
                listening.ref()
        if before is not None:
            before.stop()
        self._unlatch("listening", "close")
        try:
            if request.callback is not None:
                self.once("listening", request.callback)
            _threads.run(listening.run, name="nhttp-accept")
        except BaseException:
            self.close()
            listening.give_back()
            self._closed.set()
            raise
        return self

    def _open_listener(
        self, request: ListenRequest, before: Listening | None
    ) -> tuple[socket.socket, str | None]:
        """Give the new listening socket; the one before must not be in its way."""
        try:
            return request.open()
        except OSError as error:
            mine = before is not None and request.wants(before.address)
            if not mine or error.errno != errno.EADDRINUSE:
                raise
        assert before is not None
        before.stop()
        with self._lock:
            self._listening = None
        return request.open()

    @property
    def listening(self) -> bool:
        """Whether the server accepts connections."""
        return self._listening is not None

    def address(self) -> Address | str | None:
        """Where the server listens: an `Address`, or a Unix socket's path; None if it does not."""
        listening = self._listening
        return None if listening is None else listening.address

    def fileno(self) -> int:
        """The listening socket's descriptor, for another server to listen on; or -1."""
        listening = self._listening
        return -1 if listening is None else listening.fileno()

    def __repr__(self) -> str:
        address = self.address()
        where = "not listening" if address is None else f"on {describe(address)}"
        return f"<{type(self).__name__} {where}>"

    # Closing.

    def close(self, callback: Callback | None = None) -> Self:
        """Stop accepting; ``'close'`` follows when the last connection is gone. Never blocks.

        Args:
            callback: A listener for ``'close'``; called at once when the server is closed already.
        """
        with self._lock:
            listening, self._listening = self._listening, None
            was_closed = self._closed.is_set()
        if callback is not None:
            if was_closed and not self._is_latched("close"):
                callback()
            else:
                self.once("close", callback)
        if listening is not None:
            listening.stop()
        return self

    def close_all_connections(self) -> None:
        """Destroy every connection, whatever it is doing."""
        with self._lock:
            connections = list(self._open)
            # One that was accepted before `close` may not be among them yet.
            self._cut_off = self._listening is None
        for each in connections:
            each.destroy()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed and its connections are gone.

        Args:
            timeout: Seconds to wait at the most. Default: for ever.

        Returns:
            False when the time was over first.
        """
        return self._closed.wait(timeout and min(timeout, threading.TIMEOUT_MAX))

    def serve_forever(self) -> None:
        """Block until the server is closed, by another thread, a listener or Ctrl-C.

        Raises:
            StateError: The server is not listening (``ERR_SERVER_NOT_RUNNING``).
            KeyboardInterrupt: Ctrl-C; the ``with`` block around it then closes the server.
        """
        if self._closed.is_set():
            raise StateError(
                "the server is not listening: call listen first", "ERR_SERVER_NOT_RUNNING"
            )
        # Again and again: a signal that comes in the moment in which a wait begins does not end it,
        # and is noticed when it ends.
        while not self._closed.wait(LOOK_SECONDS):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        if not self.wait_closed(self.grace):
            self.close_all_connections()
            # Handlers see their sockets fail; one that never looks cannot be stopped.
            self.wait_closed(self.grace)

    def get_connections(self, callback: Callable[[None, int], object] | None = None) -> int:
        """Count the open connections.

        Args:
            callback: Called with ``(None, count)`` at once, as in Node.
        """
        with self._lock:
            count = sum(1 for each in self._open if each.fileno() >= 0)
        if callback is not None:
            callback(None, count)
        return count

    def ref(self) -> Self:
        """Keep the process alive while the server listens (the default)."""
        with self._lock:
            self._referenced = True
            if self._listening is not None:
                self._listening.ref()
        return self

    def unref(self) -> Self:
        """Let the process end although the server listens."""
        with self._lock:
            self._referenced = False
            if self._listening is not None:
                self._listening.unref()
        return self

    def _take_close(self, listening: Listening) -> tuple[Listener, ...] | None:
        """Wait for the last connection, and record ``'close'``; on the accept thread.

        Returns:
            The listeners, who are to be called; None when the server was opened again, which leaves
            it to another thread.
        """
        with self._lock:
            while self._open and self._latest is listening:
                self._changed.wait()
            if self._latest is not listening:
                return None
            # What `_latch` does, in one step with the decision: a `listen` on another thread either
            # came before it, or makes a new life of the server after it.
            self._latches = {**self._latches, "close": ()}
            return self._listeners.get("close", ())

    def _all_closed(self, listening: Listening) -> None:
        """Let `wait_closed` return: the listeners of ``'close'`` were called."""
        with self._lock:
            if self._latest is listening:
                self._closed.set()

    # The life of a connection, on its own thread.

    def _adopt(self, handle: socket.socket, peer: Any) -> bool:
        """Take a new connection over; on the accept thread, or the one in its place.

        Returns:
            Whether it rests; see `_start`.
        """
        with self._lock:
            full = self.max_connections is not None and len(self._open) >= self.max_connections
        if full:
            family = handle.family
            handle.close()
            self.emit("drop", address_of(family, peer))
            return False
        connection = self._wrap(handle)
        connection._peer = peer
        connection._on_closed = self._connection_closed
        connection._hold()
        with self._lock:
            self._open.add(connection)
            cut_off = self._cut_off
        if cut_off:
            connection.destroy()
        try:
            return self._start(connection)
        except RuntimeError as error:
            _log.error("no thread for a connection: %s; it is closed", error)
            connection.destroy()
            self._let_go(connection)
            return False

    def _start(self, connection: Socket) -> bool:
        """Have a new connection served.

        Returns:
            Whether it rests: it has no thread of its own, but a turn when something comes.

        Raises:
            RuntimeError: There is no thread for it.
        """
        _threads.run(self._run_connection, connection, name="nhttp-connection")
        return False

    def _wrap(self, handle: socket.socket) -> Socket:
        """Make the `Socket` of a connection."""
        return Socket(handle, allow_half_open=self.allow_half_open)

    def _run_connection(self, connection: Socket) -> None:
        goes_on = False
        try:
            goes_on = self._serve(connection)
        except Exception:
            _log.exception("a listener of %r raised; the connection is closed", self)
            connection.destroy()
        finally:
            if not goes_on:
                self._let_go(connection)

    def _let_go(self, connection: Socket) -> None:
        """Nobody serves the connection any more; its socket was held for that."""
        try:
            connection._release()
        finally:
            self._connection_served(connection)

    def _serve(self, connection: Socket) -> bool:
        """Serve one connection on its own thread, which holds the socket.

        Returns:
            Whether it goes on elsewhere, which is to end with `_let_go`.
        """
        self.emit("connection", connection)
        connection._drive()
        return False

    def _connection_closed(self, connection: Socket) -> None:
        """The descriptor was closed; the connection counts while its thread still runs."""
        with self._lock:  # as below: one of the two sees what the other did
            over = connection._served
        if over:
            self._forget(connection)

    def _connection_served(self, connection: Socket) -> None:
        """The thread is done; the connection counts while its socket is somebody else's."""
        with self._lock:
            connection._served = True
            over = connection._gone
        if over:
            self._forget(connection)

    def _forget(self, connection: Socket) -> None:
        with self._lock:
            self._open.discard(connection)
            if not self._open:
                self._changed.notify_all()
