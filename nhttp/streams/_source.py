"""Source: where a stream's octets come from, handed out piece by piece to whoever takes them.

`Readable` is this with Node's events and Python's file protocol on top.
"""

from __future__ import annotations

import threading
from typing import Any, Self

from nhttp._encoding import BytesLike, Decoder, encode, normalize
from nhttp.streams._base import Stream

__all__ = ["BLOCK", "Source"]

BLOCK = 64 * 1024  # octets that are asked for when the taker wants as much as there is


class Source(Stream):
    """What is kept of a source, and who may ask the source for more.

    At most one thread is in `_read` at a time (`_reader`); what it brings is kept in `_rest`, under
    the lock, in the order in which it came, before anybody is given any of it. So whoever waits for
    its turn in the source is woken by octets that another thread's call brought and did not need.
    """

    # Class-level defaults: a message whose body nobody reads never gets these as its own.
    _rest: Any = None  # taken from the source, decoded, and not given to anybody yet
    _rest_from = 0  # how much of the front of it was given away
    _reader = 0  # ident of the thread that is in the source; 0: none
    _last = False  # the block that `_read` gives next, or has given, is the last; the reader's own
    _source_ended = False  # the source has said that no more will come, and what came is kept
    _end_emitted = False
    _untold = False  # something came of which 'readable' listeners have not been told
    _decoder: Decoder | None = None

    # What a subclass gives.

    def _read(self, size: int) -> bytes:
        """Block until there are octets; ``b""`` at the end. One thread at a time; no lock is held.

        A subclass that knows, with the last block, that it is the last sets `_last`.
        `size` is a hint: how many octets the taker could use.
        """
        raise NotImplementedError

    def _ended(self) -> None:
        """Everything was taken: emit ``'end'``. Called once, with no lock held."""
        self._latch("end")

    def _failed(self, error: Exception) -> None:
        """The source raised. Called once, with no lock held, on the thread that read."""
        self.destroy(error)

    # Taking.

    def _take(self, limit: float, *, line: bool = False) -> Any:
        """Give up to `limit` octets or characters, blocking until there are any; none at the end.

        Args:
            limit: How many at the most.
            line: Whether to stop behind a line feed.

        Raises:
            Exception: The source failed, or the stream was destroyed, and nothing is kept.
        """
        while True:
            with self._lock:
                while self._reader and not self._rest and not self._destroyed:
                    self._wait()
                if self._rest or self._source_ended:
                    return self._cut(limit, line=line)
                self._claim_source()
            self._fill(limit)

    def _cut(self, limit: float, *, line: bool = False) -> Any:
        """Take up to `limit` from the front of what is kept; `_lock` is held."""
        rest, start = self._rest, self._rest_from
        if not rest:
            return self._nothing()
        stop = len(rest)
        if line:
            newline: Any = "\n" if isinstance(rest, str) else b"\n"
            stop = rest.find(newline, start) + 1 or stop
        if stop - start > limit:
            stop = start + int(limit)
        if stop == len(rest):
            self._rest, self._rest_from = None, 0
            if self._changed is not None:
                self._notify()  # there is room for more
        else:
            self._rest_from = stop
        return rest[start:stop]

    def _claim_source(self) -> None:
        """Become the one thread that is in the source; `_lock` is held. `_fill` must follow."""
        if self._failure is not None or self._destroyed:
            raise self._destroyed_error("read")
        self._reader = threading.get_ident()

    def _fill(self, limit: float) -> None:
        """Fetch one block from the source and keep it; this thread has claimed the source."""
        try:
            data = self._read(BLOCK if limit > BLOCK else int(limit))
        except Exception as error:
            if self._source_failed(error) or error is self._failure:
                raise
            raise self._destroyed_error("read") from error
        except BaseException:  # Ctrl-C: the stream is as it was
            with self._lock:
                self._reader = 0
                self._notify()
            raise
        with self._lock:
            self._reader = 0
            if self._last or not data:
                self._source_ended = True
            self._keep(data)
            self._untold = True
            self._notify()

    def _keep(self, data: Any) -> None:
        """Put a block from the source behind what is kept; `_lock` is held."""
        if self._decoder is not None:
            data = self._decoder.decode(data, final=self._source_ended)
        if not data:
            return
        if self._rest:
            data = self._rest[self._rest_from :] + data
        self._rest, self._rest_from = data, 0

    def _source_failed(self, error: Exception) -> bool:
        """Take notice of what `_read` raised; whether it was that which ended the stream."""
        with self._lock:
            self._reader = 0
            # What a destroyed stream's source says is a consequence of that, not a failure.
            first = self._failure is None and not self._destroyed
            if first:
                self._failure = error
            self._notify()
        if first:
            try:
                self._failed(error)
            except Exception:
                # The thread that read has the failure itself to report.
                self._log.exception("a listener of %r raised", self)
        return first

    def _put_back(self, chunk: Any) -> None:
        """Put something in front of what is kept."""
        if chunk:
            with self._lock:
                self._prepend(chunk)

    def _prepend(self, chunk: Any) -> None:
        """Put something in front of what is kept; `_lock` is held."""
        rest = self._rest[self._rest_from :] if self._rest else self._nothing()
        self._rest, self._rest_from = chunk + rest, 0
        self._notify()

    def _end_if_drained(self) -> None:
        """Emit ``'end'`` if the last octet was taken; the caller saw `_source_ended`."""
        with self._lock:
            if self._end_emitted or self._destroyed or self._rest:
                return
            self._end_emitted = True
            self._notify()
        self._ended()

    def _nothing(self) -> Any:
        return b"" if self._decoder is None else ""

    # State.

    @property
    def readable_ended(self) -> bool:
        """Whether ``'end'`` was emitted."""
        return self._end_emitted

    @property
    def readable_length(self) -> int:
        """Octets (characters after `set_encoding`) that were fetched and wait for a reader."""
        return len(self._rest) - self._rest_from if self._rest else 0

    @property
    def readable_encoding(self) -> str | None:
        """What `set_encoding` was told, or None."""
        return self._decoder.encoding if self._decoder is not None else None

    def set_encoding(self, encoding: str) -> Self:
        """Deliver text: ``'data'`` and the reading methods give str from now on.

        A character that is cut by the arrival of its octets is held back until it is whole. What
        was fetched already and not read yet is delivered as text, too.

        Args:
            encoding: ``"utf8"``, ``"latin1"``, ``"hex"``, ``"base64"`` … (see the manual on
                Buffer).

        Raises:
            InvalidArgument: Unknown encoding.
        """
        decoder = Decoder(normalize(encoding))
        with self._lock:
            kept = self._rest[self._rest_from :] if self._rest else self._nothing()
            if self._decoder is not None:  # told a second time: octets again, as they came
                kept = bytes(encode(kept, self._decoder.encoding)) + self._decoder.pending
            self._decoder = decoder
            self._rest, self._rest_from = None, 0
            self._keep(kept)
        return self

    def unshift(self, chunk: str | BytesLike, encoding: str | None = None) -> None:
        """Put octets back in front of what is still to be read (stream.Readable.unshift).

        Args:
            chunk: Octets, or text, which after `set_encoding` is put back as it is.
            encoding: How text becomes octets on a stream of octets. Default: ``"utf8"``.

        Raises:
            InvalidArgument: `chunk` is of another kind, or the encoding is not known.
            StateError: ``'end'`` was emitted (``ERR_STREAM_UNSHIFT_AFTER_END_EVENT``).
        """
        decoder = self._decoder
        if decoder is None:
            data: Any = bytes(encode(chunk, encoding))
        elif isinstance(chunk, str):
            data = chunk
        else:
            # In front of everything: a character is whole in here, or never will be.
            data = Decoder(decoder.encoding).decode(bytes(encode(chunk)), final=True)
        with self._lock:
            if self._end_emitted:
                raise self._late("unshift", "ERR_STREAM_UNSHIFT_AFTER_END_EVENT")
            if data:
                self._prepend(data)
