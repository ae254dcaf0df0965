"""Engine: TLS between two buffers in memory. Octets in, octets out; no socket, and nothing blocks.

An `ssl.SSLObject` must not be used by two threads at once, so each call of it is made under `lock`,
for as long as it takes to encrypt or decrypt. What it has to say to the peer it leaves in
`outgoing`, and that is the problem of this file: reading makes output as well (alerts, answers to
key updates), and what two threads take from there must go to the wire in the order in which it was
made, though sending blocks and must not be done under the lock.

So there is the *turn*, a second lock: who has it, and nobody else, takes from `outgoing` and sends.

* A writer waits for the turn, then encrypts a piece, takes what there is, sends it, and so on.
* A reader never waits for it. A reader that waited for a writer, which waits for the peer to read,
  would wait for ever if the peer's reader did the same. If the turn is free it takes it along, and
  sends what the kernel takes without blocking; what is left goes to a helper thread, together with
  the turn. If the turn is not free, who has it sees to the rest.
* The turn is given back in one step with finding nothing in `outgoing`, under `lock`. So nothing is
  left there without somebody who has the turn.

Whoever holds the turn may be blocked in the kernel; destroying the socket wakes it. `lock` is taken
inside the turn, never the other way round, except without waiting.
"""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING

from nhttp.tls._errors import TLSError, tls_error

if TYPE_CHECKING:
    from nhttp.streams import BytesLike

__all__ = ["Engine"]

_RECORD = 16 * 1024  # octets of data in a record at the most (RFC 8446, 5.1)

# Octets that reading may leave to be sent by whoever has the turn, and is stuck: a peer that has
# alerts made and reads none could fill the memory with them.
_MAX_ANSWERS = 64 * 1024

_WantRead = ssl.SSLWantReadError  # a global is found faster than an attribute


class Engine:
    """One TLS connection.

    Any thread may call any method, except that until `shake` has returned True one thread alone
    does, and that reading is one thread's at a time, for the order of what comes.

    Attributes:
        lock: Guards everything below; held while OpenSSL works. `ended`, `ready` and `has_data` are
            also read without it: who takes octets from the wire has taken all that they tell of.
        turn: Held by whoever sends; see above.
        ended: The peer has said that this was all.
        ready: There may be something to be had from `decrypt` without more input.
        object: What `ssl` does the work with.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        servername: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self.turn = threading.Lock()
        self.ended = False
        self.ready = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._kept = b""  # decrypted by `say_end`, which must leave nothing behind
        self._failure: TLSError | None = None  # what came is not TLS; told behind what came before
        self._said_end = False
        self.object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=servername,
            session=session,
        )

    # The handshake, which one thread does alone.

    def shake(self, data: bytes) -> bool:
        """Take what the peer said, and go on; True when the handshake is done.

        Raises:
            ssl.SSLError: It failed; there may be an alert to send.
        """
        if data:
            self._incoming.write(data)
        try:
            self.object.do_handshake()
        except _WantRead:
            return False
        self.ready = bool(self._incoming.pending)
        return True

    def output(self) -> bytes:
        """Take what there is to be sent: for the handshake, and for who has the turn."""
        with self.lock:
            return self._outgoing.read()

    # Reading.

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """Take octets from the wire, and give what they mean; nothing when there is no more of it.

        Returns:
            The data, all that is there; and whether the turn was taken, as there is something to be
            sent: the caller has to `take_output`.

        Raises:
            TLSError: It means nothing.
        """
        with self.lock:
            if data:
                self._incoming.write(data)
            plain, self._kept = self._kept, b""
            if not self.ended:
                plain = self._decrypt(plain)
            self.ready = self._failure is not None
            if not plain and self._failure is not None:
                failure = self._failure
            elif not self._outgoing.pending:
                return plain, False
            elif self.turn.acquire(blocking=False):
                return plain, True
            elif self._outgoing.pending <= _MAX_ANSWERS:
                return plain, False
            else:
                failure = TLSError(
                    "TLS read failed: the peer wants answers, and does not read them", "EPROTO"
                )
        raise failure

    def _decrypt(self, plain: bytes) -> bytes:
        """Give `plain` and all that can be decrypted; `lock` is held."""
        parts = [plain] if plain else []
        read, buffered = self.object.read, self._incoming
        try:
            # A record is given whole, so that nothing is left of it inside OpenSSL.
            while part := read(_RECORD):
                parts.append(part)
                if not buffered.pending:  # costs less than the exception that tells so
                    break
            else:
                self.ended = True
        except _WantRead:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self._failure = self._failure or tls_error(error, "read")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # Writing.

    def encrypt(self, parts: list[BytesLike]) -> bytes | None:
        """Give what is to be sent for `parts`, behind all else that is; the caller has the turn.

        Args:
            parts: What has been encrypted is taken out of it.

        Returns:
            None: OpenSSL will not go on before it has read more.

        Raises:
            TLSError: Nothing can be sent any more.
        """
        with self.lock:
            try:
                while parts:
                    self.object.write(parts[0])
                    del parts[0]
            except _WantRead:
                return None
            except ssl.SSLError as error:
                raise tls_error(error, "write") from None
            return self._outgoing.read()

    def take_output(self) -> bytes:
        """Give what is to be sent; nothing: there is none, and the turn was given back."""
        with self.lock:
            if self._outgoing.pending:
                return self._outgoing.read()
            self.turn.release()
            return b""

    def say_end(self) -> None:
        """Leave a close_notify to be sent; reading goes on. The caller has the turn."""
        with self.lock:
            if self._said_end:
                return
            self._said_end = True
            # `unwrap` reads as well, and what it finds it drops: leave it nothing but what it
            # cannot use, a part of a record.
            if not self.ended and self._failure is None:
                self._keep()
            try:
                self.object.unwrap()
            except (ssl.SSLError, ValueError):  # the peer has not said the same yet; or it is over
                return

    # Octets that nobody is waiting for.

    def supply(self, data: bytes) -> None:
        """Take octets from the wire, to be decrypted by whoever reads."""
        with self.lock:
            self._incoming.write(data)
            self.ready = True

    def _keep(self) -> None:
        """Decrypt all that can be, and keep it; `lock` is held."""
        self._kept = self._decrypt(self._kept)
        self.ready = bool(self._kept) or self._failure is not None

    @property
    def has_data(self) -> bool:
        """Whether data is kept that was decrypted and not given to anybody."""
        return bool(self._kept)

    def absorb(self, data: bytes) -> bool:
        """Take octets from the wire, and keep what they mean; `ready` if that is something.

        Returns:
            Whether the turn was taken, as by `decrypt`.
        """
        with self.lock:
            self._incoming.write(data)
            if not self.ended:
                self._keep()
            return bool(self._outgoing.pending) and self.turn.acquire(blocking=False)
