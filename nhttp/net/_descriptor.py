"""Descriptor: the life of a socket's file descriptor, its addresses and its options.

Whoever is about to use the descriptor *holds* the socket, and lets go afterwards (`_hold`,
`_release`). `destroy` never closes it under anybody: it shuts the connection down, which wakes
every thread that is blocked in the kernel with it, and the last to let go closes it and emits
``'close'``. So a descriptor is never used after it was given back, and `destroy` never waits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nhttp import _threads
from nhttp.errors import StateError
from nhttp.net._address import Address, address_of, family_name
from nhttp.streams import Duplex

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["Descriptor", "Forks", "Hold", "set_option"]


class Forks:
    """With whom this process may share its descriptors, which each of them keeps open.

    Shutting down what is shared would do so for everybody. So what was opened before a fork is
    only closed in the child: it is the parent's.
    """

    seen = False  # there is a child, or a parent
    count = 0  # forks between the process that has loaded this and this one

    @classmethod
    def in_parent(cls) -> None:
        cls.seen = True

    @classmethod
    def in_child(cls) -> None:
        cls.seen = True
        cls.count += 1


os.register_at_fork(after_in_parent=Forks.in_parent, after_in_child=Forks.in_child)


class Hold:
    """Holds a socket for the length of a ``with`` block."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Descriptor) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        self._socket._hold()

    def __exit__(self, *exc_info: object) -> None:
        self._socket._release()


class Writing(Hold):
    """Holds a socket, and has its `_write_lock`, for the length of a ``with`` block."""

    __slots__ = ()

    def __enter__(self) -> None:
        self._socket._hold()
        try:
            self._socket._write_lock.acquire()
        except BaseException:  # Ctrl-C, in the wait
            self._socket._release()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self._socket._write_lock.release()
        self._socket._release()  # may close it, and tell listeners


class Descriptor(Duplex):
    """A stream over a file descriptor: who may use it, when it is closed, what it is bound to."""

    _log: ClassVar[logging.Logger] = logging.getLogger("nhttp.net")

    # Defaults, also for `__del__` of an object whose `__init__` failed. Guarded by `_lock`:
    _handle: socket.socket | None = None
    _connecting = False
    _holders = 0  # threads that may be using the descriptor
    _referenced = True  # an open socket keeps the process alive
    _closing = False  # a thread has begun, or is about, to close the descriptor
    _refs = 0  # what was told to the keeper: 1 while open and referenced
    _options: tuple[tuple[int, int, int], ...] = ()  # set before there was a connection
    # How the one thread that receives for a client's exchange holds it, and the one that sends,
    # without the lock: it stores that it is in the kernel, or back, and then looks at `_destroyed`.
    # Who destroys does so the other way round. So one of the two sees the other, and the last to
    # let go closes the descriptor.
    _receiving = False
    _sending = False
    # Not guarded:
    _forks = 0  # `Forks.count` when it was opened
    _owner = 0  # ident of a thread that holds it for as long as it serves the connection
    _gone = False  # 'close' was emitted; set before `_on_closed` is called
    _served = False  # a server's connection whose thread is done; guarded by the server's `_lock`
    _peer: tuple[Any, ...] | str | bytes | None = None  # known from `accept`, asked for otherwise
    # What `set_keep_alive` was told last: two threads that disagree are for them to order.
    _probing: tuple[bool, float] | None = None
    # Failed on its own thread, and nobody has been told. Decides only whether that is logged.
    _unseen = False
    # Who is told when the descriptor has been closed: the server that counts connections.
    _on_closed: Callable[[Any], object] | None = None
    # The exchange that uses the connection: told by whoever destroys it, so that its thread wakes.
    _on_destroyed: Callable[[], object] | None = None

    @property
    def _inherited(self) -> bool:
        """Whether this was opened before a fork, by the process that this one is a child of."""
        return self._forks != Forks.count

    # Holding.

    def _hold(self) -> None:
        """Keep the descriptor open until `_release`."""
        with self._lock:
            if self._destroyed:
                raise self._destroyed_error("use the connection")
            self._holders += 1

    def _release(self) -> None:
        if self._let_go():
            self._close_handle()

    def _let_go(self) -> bool:
        """Undo `_hold`; True when it is this thread that must see to `_close_handle`."""
        with self._lock:
            self._holders -= 1
            return self._must_be_closed()

    def _left(self) -> None:
        """The exchange's thread has come back from receiving, or sending: look who is the last.

        Of use only when this is destroyed. No lock is held: it may be closed, and tell listeners.
        """
        with self._lock:
            last = self._must_be_closed()
        if last:
            self._close_handle()

    def _must_be_closed(self) -> bool:
        """Whether nobody uses what was destroyed; only one is told so. `_lock` is held."""
        used = self._holders or self._receiving or self._sending
        if used or self._closing or not self._destroyed:
            return False
        self._closing = True
        return True

    def _writing(self) -> AbstractContextManager[object]:
        # The thread that holds it all the time need not do so again.
        return self._write_lock if self._owner == get_ident() else Writing(self)

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

    # Connecting: see `_dial.Line`.

    def _take_handle(self, handle: socket.socket) -> bool:
        with self._lock:
            if not self._destroyed:
                self._handle = handle
            return not self._destroyed

    def _drop_handle(self) -> bool:
        with self._lock:
            if not self._destroyed:
                self._handle = None
            # Whoever destroys it may be about to use the handle; then it is closed with the rest.
            return not self._destroyed

    def _connected(self) -> bool:
        """Let everybody go on who waited for the connection; False when there is none."""
        with self._lock:
            handle, options = self._handle, self._options
            if not self._destroyed and handle is not None:
                for option in options:  # does not block
                    set_option(handle, *option)
            self._connecting = False
            self._notify()
            return not self._destroyed

    # Closing.

    def _destroy(self, error: BaseException | None) -> None:
        del error  # kept as `_failure`, and emitted with 'close'
        with self._lock:
            handle = self._handle
            self._holders += 1
        try:
            if handle is not None and not self._inherited:
                # Wakes whoever is blocked in the kernel with it. A socket that never got anywhere,
                # or whose peer is gone, refuses; then nobody is blocked.
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)
            on_destroyed = self._on_destroyed  # once: another thread may be taking it away
            if on_destroyed is not None:
                on_destroyed()
        finally:
            self._release()

    def _retire(self) -> None:
        """Destroy a connection whose thread is about to let it go, when there is nothing to tell.

        If nobody else has anything to do with it, closing it ends both directions and wakes nobody,
        which saves the system call that would have.
        """
        with self._lock:
            alone = self._holders == 1 and not self._destroyed and not Forks.seen
            self._destroyed = self._destroyed or alone
        if not alone:
            self.destroy()

    def _stop_reading(self, really: Callable[[socket.socket], bool] | None = None) -> None:
        """Wake whoever reads, with the end of the stream; what has arrived can still be read.

        Does not block, and calls no listener: for the timer thread.

        Args:
            really: Decides, with the descriptor held, whether to do so. Default: yes.
        """
        try:
            self._hold()
        except Exception:  # destroyed, for whatever reason
            return
        handle = None if self._inherited else self._handle
        with contextlib.suppress(OSError):
            if handle is not None and (really is None or really(handle)):
                handle.shutdown(socket.SHUT_RD)
        if self._let_go():
            _threads.run(self._close_handle, name="nhttp-close")

    def _close_handle(self) -> None:
        """Nobody uses the descriptor any more and nobody will: give it back, tell everybody."""
        with self._lock:
            handle, self._handle = self._handle, None
            self._connecting = False
            self._notify()
        if handle is not None:
            handle.close()
        self._stop_keeping_alive()
        try:
            self._emit_close(self._failure)
        finally:
            self._gone = True
            if self._on_closed is not None:
                self._on_closed(self)

    def __del__(self) -> None:
        # Dropped while open: `socket.socket` closes the descriptor, and warns of it.
        if self._refs:
            self._stop_keeping_alive()
        if self._unseen:
            # Not itself: whoever keeps the record would have it live on.
            self._log.warning("%s failed, and nobody was told: %s", repr(self), self._failure)

    # An error that nobody has seen.

    def _emit_close(self, error: BaseException | None) -> None:
        if error is not None and self._tell("error", error):
            self._unseen = False
        super()._emit_close(None)

    def _destroyed_error(self, doing: str) -> BaseException:
        self._unseen = False
        return super()._destroyed_error(doing)

    def _listener_added(self, event: str) -> None:
        if event == "error":
            self._unseen = False
        super()._listener_added(event)

    # Keeping the process alive.

    def _keep_alive_while_open(self) -> None:
        with self._lock:
            self._take_ref()

    def _take_ref(self) -> None:
        """Have the process kept alive, if that is wanted and not done; `_lock` is held."""
        if self._refs or not self._referenced or self._destroyed:
            return
        # Under the lock: whoever finds `_refs` at 1 may undo it.
        _threads.ref()
        self._refs = 1

    def _stop_keeping_alive(self) -> None:
        with self._lock:
            refs, self._refs = self._refs, 0
        if refs:
            _threads.unref()

    def ref(self) -> Self:
        """Keep the process alive while this socket is open (the default)."""
        with self._lock:
            self._referenced = True
            if self._handle is not None or self._connecting:
                self._take_ref()
        return self

    def unref(self) -> Self:
        """Let the process end although this socket is open."""
        if not self._referenced and not self._refs:
            return self  # an Agent says so again each time that it keeps the connection
        with self._lock:  # both in one step: a `ref` comes before it, or after it
            self._referenced = False
            refs, self._refs = self._refs, 0
        if refs:
            _threads.unref()
        return self

    # Options.

    def set_no_delay(self, no_delay: bool = True) -> Self:
        """Send small writes at once instead of gathering them (Nagle's algorithm off).

        Like every option, kept until there is a connection, and ignored on a Unix socket.
        """
        return self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(no_delay))

    def set_keep_alive(self, enable: bool = False, initial_delay: float = 0) -> Self:
        """Have the kernel probe an idle connection.

        Args:
            enable: On or off. Default: off.
            initial_delay: Seconds of idleness before the first probe; 0 leaves the system's
                setting.
        """
        if self._probing == (enable, initial_delay):
            return self  # an Agent says so again each time that it keeps the connection
        self._probing = (enable, initial_delay)
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(enable))
        option = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
        if enable and initial_delay and option is not None:
            self._set_option(socket.IPPROTO_TCP, option, max(1, int(initial_delay)))
        return self

    def _set_option(self, level: int, option: int, value: int) -> Self:
        with self._lock:
            connected = self._handle is not None and not self._connecting
            if not connected:
                self._options = (*self._options, (level, option, value))
        if connected:
            with self._ignoring_loss(), Hold(self):
                set_option(self._open_handle(), level, option, value)
        return self

    # Addresses.

    def _ask(self, question: Callable[[socket.socket], Any]) -> Any:
        """Ask the connected socket something; None when there is none, or it does not know."""
        if self._handle is None or self._connecting:
            return None
        try:
            with Hold(self):
                return question(self._open_handle())
        except Exception as error:
            if not self._is_loss(error):
                raise
            return None

    def address(self) -> Address | str | None:
        """The local address, or a Unix socket's path; None while there is no connection."""

        def local(handle: socket.socket) -> Address | str:
            return address_of(handle.family, handle.getsockname())

        address: Address | str | None = self._ask(local)
        return address

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

    def _remote(self) -> Address | None:
        if self._peer is None:
            self._peer = self._ask(socket.socket.getpeername)
        peer = self._peer
        if not isinstance(peer, tuple):  # a Unix socket's name, or none
            return None
        family = socket.AF_INET if len(peer) == 2 else socket.AF_INET6
        return Address(str(peer[0]), int(peer[1]), family_name(family))

    @property
    def remote_address(self) -> str | None:
        """The peer's IP address; None for Unix sockets and before the connection stands."""
        peer = self._remote()
        return None if peer is None else peer.address

    @property
    def remote_port(self) -> int | None:
        """The peer's port, or None."""
        peer = self._remote()
        return None if peer is None else peer.port

    @property
    def remote_family(self) -> str | None:
        """``"IPv4"`` or ``"IPv6"``, or None."""
        peer = self._remote()
        return None if peer is None else peer.family

    def fileno(self) -> int:
        """The file descriptor, -1 when there is none."""
        handle = self._handle
        return -1 if handle is None else handle.fileno()


def set_option(handle: socket.socket, level: int, option: int, value: int) -> None:
    """Set an option where it means something; does not block."""
    if handle.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the connection is gone
            handle.setsockopt(level, option, value)
