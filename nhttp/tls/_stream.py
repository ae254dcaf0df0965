"""SecureStream: what is between a stream and TLS. `TLSSocket` is this, with what users see on top.

What TLS does is in `_engine`, which says as well how threads share it; what it runs over in
`_wire`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, ClassVar

from nhttp import _threads
from nhttp._timers import Deadline, now
from nhttp.errors import StateError, socket_error
from nhttp.net import Socket
from nhttp.net._descriptor import Hold
from nhttp.net._quick import QUICK_AT_MOST, QUICK_FLAGS
from nhttp.tls._errors import cut_short, gone_in_handshake, tls_error, too_slow
from nhttp.tls._wire import KernelWire, StreamWire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nhttp.streams import BytesLike
    from nhttp.tls._engine import Engine
    from nhttp.tls._wire import Wire

__all__ = ["SecureStream"]

# Octets of ciphertext asked of the wire in one call. More is slower: it falls out of the cache.
_BLOCK = 64 * 1024
# Octets of data encrypted and sent in one go.
_PIECE = 256 * 1024
# Below this, joining buffers costs less than a record for each.
_JOIN_BELOW = 16 * 1024
# What a peer may still send, and for how long, before a connection that failed is closed: a reset
# would overtake the alert that says why.
_LINGER_BYTES = 256 * 1024
_LINGER_SECONDS = 1.0


class SecureStream(Socket):
    """A socket whose octets pass through an `Engine`.

    The thread that shakes hands sets `_engine` and `_wire`, before `_connecting` ends and anybody
    else may look. `_taking` is held by whoever takes octets from the wire; the engine has locks of
    its own.
    """

    encrypted: ClassVar[bool] = True

    _engine: Engine | None = None
    _wire: Wire | None = None
    _inner: Socket | None = None  # what it runs over, if that is no socket of the kernel
    _shaking = 0  # ident of the thread that shakes hands, or is about to
    _wants_session = False  # somebody waits for 'session', which has not come; guarded by `_lock`
    _out_of_time = False  # the handshake's time is over; guarded by `_lock`

    def __init__(self, *, allow_half_open: bool = False) -> None:
        super().__init__(allow_half_open=allow_half_open)
        self._taking = threading.Lock()

    # The handshake.

    def _shake(self, engine: Engine, deadline: Deadline, seconds: float) -> None:
        """Shake hands over `_handle`, on this thread, which holds the socket.

        Args:
            engine: With which.
            deadline: Made for `_too_slow`; has been set. Is cancelled.
            seconds: How long that is, to be told.

        Raises:
            OSError: It failed.
        """
        handle = self._handle
        assert handle is not None
        wire: Wire = KernelWire(handle) if self._inner is None else StreamWire(self._inner)
        try:
            self._exchange_hellos(engine, wire)
        except OSError as error:
            with self._lock:
                late = self._out_of_time
            # What `_too_slow` and `destroy` do looks like the peer's doing.
            raise (too_slow(seconds) if late else socket_error(error, "handshake")) from None
        finally:
            deadline.cancel()
        self._engine, self._wire = engine, wire

    def _exchange_hellos(self, engine: Engine, wire: Wire) -> None:
        data = heard = b""
        while True:
            try:
                done = engine.shake(data)
            except ssl.SSLError as error:
                with suppress(OSError):
                    wire.send_now(engine.output())  # the alert that says why
                raise tls_error(error, "handshake", heard) from None
            out = engine.output()
            if out:
                wire.send(out)
            if done:
                return
            data = wire.receive(_BLOCK)
            if not data:
                raise gone_in_handshake()
            heard = heard or data

    def _send_in_plain(self, data: bytes) -> None:
        """Say something that is not encrypted, before a handshake or after one that failed.

        Does not block; what the kernel does not take is lost.
        """
        with suppress(OSError):
            if self._handle is not None:
                self._handle.send(data, socket.MSG_DONTWAIT)

    def _part(self) -> None:
        """Destroy a connection whose handshake failed, when what was said last has arrived.

        What is closed on unread octets is reset, which may overtake the alert.
        """
        handle = self._handle
        deadline = Deadline(self._stop_reading)
        deadline.set(now() + _LINGER_SECONDS)
        with suppress(OSError):
            if handle is not None and not self._destroyed:
                handle.shutdown(socket.SHUT_WR)
                budget = _LINGER_BYTES
                while budget > 0 and (data := handle.recv(_BLOCK)):
                    budget -= len(data)
        deadline.cancel()
        self.destroy()

    def _too_slow(self) -> None:
        """The handshake's deadline has passed; on the timer thread."""
        with self._lock:
            handle = self._handle
            if self._connecting and handle is not None:
                self._out_of_time = True
                with suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)  # does not block

    def _open_handle(self) -> socket.socket:
        if self._connecting and self._shaking == get_ident():
            raise StateError(
                "the TLS handshake comes first: wait for 'secureConnection' to read or write",
                "ENOTCONN",
            )
        return super()._open_handle()

    def _opened(self) -> tuple[Engine, Wire]:
        """Give what is there once the handshake is done, waiting for it."""
        self._open_handle()
        engine, wire = self._engine, self._wire
        if engine is None or wire is None:  # it failed just now, and this thread holds what is left
            raise self._destroyed_error("use the connection")
        return engine, wire

    # Reading.

    def _read(self, size: int) -> bytes:
        data = super()._read(size)
        if not data and self._truncated:
            raise cut_short()
        return data

    def _receive(self, size: int) -> bytes:
        engine, wire = self._engine, self._wire
        if engine is None or wire is None or self._connecting:
            engine, wire = self._opened()
        del size  # all that has come is given: nothing is to be left where a poll cannot see it
        try:
            with self._taking:
                data = self._next_data(engine, wire)
        except OSError as error:
            raise self._broken(error, "read") from None
        if data:
            self.bytes_read += len(data)
            self._active = now()
            if self._wants_session:
                self._tell_session()
        elif self._destroyed:
            raise self._destroyed_error("read")
        return data

    def _next_data(self, engine: Engine, wire: Wire) -> bytes:
        """Give what comes next, ``b""`` at the end; the caller has `_taking`."""
        while True:
            octets = b""
            if not engine.ready:
                if engine.ended:
                    return b""
                octets = wire.receive(_BLOCK)
                if not octets:
                    self._truncated = True
                    return b""
            data, has_turn = engine.decrypt(octets)
            if has_turn:
                self._send_aside(engine, wire)
            if data:
                return data

    def _tell_session(self) -> None:
        """Emit ``'session'`` if there is one."""

    # Sending what reading makes.

    def _send_aside(self, engine: Engine, wire: Wire) -> None:
        """Send what there is, without blocking; this thread has the turn, and gives it away."""
        try:
            while out := engine.take_output():
                sent = wire.send_now(out)
                if sent < len(out):
                    self._send_later(engine, wire, out[sent:])
                    return
        except Exception as error:
            engine.turn.release()
            if not self._is_loss(error):  # there is no thread: what it had to send is lost
                self.destroy(error)

    def _send_later(self, engine: Engine, wire: Wire, out: bytes) -> None:
        self._hold()
        try:
            _threads.run(self._send_rest, engine, wire, out, name="nhttp-tls")
        except BaseException:  # no thread to be had, or Ctrl-C: nobody else will let go
            self._release()
            raise

    def _send_rest(self, engine: Engine, wire: Wire, out: bytes) -> None:
        """On a helper thread, which has been given the turn, and holds the socket."""
        try:
            while out:
                wire.send(out)
                out = engine.take_output()
        except OSError:
            engine.turn.release()
        finally:
            self._release()

    # Writing.

    def _transmit(self, chunks: Sequence[BytesLike]) -> None:
        engine, wire = self._engine, self._wire
        if engine is None or wire is None or self._connecting:
            engine, wire = self._opened()
        total = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        engine.turn.acquire()
        try:
            for size, parts in _batches(chunks, total):
                out = engine.encrypt(parts) or self._encrypt_while_reading(engine, wire, parts)
                sent = self._send_quickly(out)
                if sent < len(out):
                    wire.send(out[sent:] if sent else out)
                self.bytes_written += size
                self._active = now()
            while out := engine.take_output():
                wire.send(out)
        except OSError:
            engine.turn.release()
            raise
        except BaseException:  # Ctrl-C: half a record may be out, and nothing can follow it
            engine.turn.release()
            self.destroy()
            raise

    def _send_quickly(self, out: bytes) -> int:
        """Send what can be sent with the interpreter's lock kept; give how much that was."""
        quick, handle = self._quick_send, self._handle
        if quick is None or self._inner is not None or handle is None or len(out) > QUICK_AT_MOST:
            return 0
        return max(0, quick(handle.fileno(), out, len(out), QUICK_FLAGS))

    def _encrypt_while_reading(self, engine: Engine, wire: Wire, parts: list[BytesLike]) -> bytes:
        """Encrypt where OpenSSL wants the rest of a message of the peer's first.

        Such as a session ticket of several records, of which some have come. A thread that reads
        will bring the others; if there is none, this one does.
        """
        while True:
            with self._taking:
                out = engine.encrypt(parts)
                if out is not None:
                    return out
                wire.send(engine.output())
                octets = wire.receive(_BLOCK)
            if not octets:
                raise cut_short()
            engine.supply(octets)

    def _sendfile(self, descriptor: int, offset: int, count: int) -> int | None:
        del descriptor, offset, count
        return None  # the kernel cannot encrypt it

    # The end.

    def _final(self) -> None:
        engine, wire = self._opened()
        engine.turn.acquire()
        engine.say_end()
        try:
            while out := engine.take_output():
                wire.send(out)
        except OSError:  # a peer that is gone already has nothing to be told
            engine.turn.release()
            return
        with suppress(OSError):
            wire.end()

    def _goodbye(self) -> None:
        engine, wire = self._engine, self._wire
        if engine is None or wire is None or self._connecting:
            return
        with self._ignoring_loss(), Hold(self):
            # Who has the turn is sending: that is no proper end.
            if engine.turn.acquire(blocking=False):
                engine.say_end()
                self._send_aside(engine, wire)

    def _destroy(self, error: BaseException | None) -> None:
        inner = self._inner
        if inner is not None and self._handle is None:
            inner.destroy()  # wakes the thread that waits for it to connect
        super()._destroy(error)

    def _close_handle(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            with self._lock:
                self._handle = None  # it is the inner one's to close
        try:
            super()._close_handle()
        finally:
            if inner is not None:
                inner._release()
                inner.destroy()

    # Looking ahead.

    def _has_more(self) -> bool:
        engine = self._engine
        return self._truncated or (engine is not None and (engine.ready or engine.ended))

    def _await_readable(self, seconds: float) -> bool:
        engine, wire = self._opened()
        until = now() + seconds
        while not (engine.ready or engine.ended or self._truncated):
            if not wire.await_data(until - now()):
                return False
            self._take_ahead(engine, wire)
        return True

    def _is_quiet(self) -> bool:
        with Hold(self):
            return not self._await_readable(0)

    def _take_ahead(self, engine: Engine, wire: Wire) -> None:
        """Decrypt what the wire has, and keep it; does not block, if others read as well."""
        with self._taking:
            if engine.ready or engine.ended or not wire.await_data(0):
                return
            octets = wire.receive(_BLOCK)
            if not octets:
                self._truncated = True
            elif engine.absorb(octets):
                self._send_aside(engine, wire)

    def _peek(self) -> bool:
        if self.readable_length:
            return True
        try:
            # If it is not readable it has not ended, whatever the watcher saw.
            if not self._await_readable(0):
                return True
        except OSError as error:
            self._unseen = True
            self.destroy(socket_error(error, "read"))
            return True
        engine = self._engine
        return engine is not None and engine.has_data


def _batches(chunks: Sequence[BytesLike], total: int) -> Iterable[tuple[int, list[BytesLike]]]:
    """Give what is to be encrypted and sent in one go each time, and how many octets that is."""
    if total < _JOIN_BELOW:
        return [(total, [chunks[0] if len(chunks) == 1 else b"".join(chunks)])] if total else []
    return _large_batches(chunks)


def _large_batches(chunks: Sequence[BytesLike]) -> Iterator[tuple[int, list[BytesLike]]]:
    batch: list[BytesLike] = []
    size = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            part = view[: _PIECE - size]
            batch.append(part)
            size += len(part)
            view = view[len(part) :]
            if size == _PIECE:
                yield size, batch
                batch, size = [], 0
    if batch:
        yield size, batch
