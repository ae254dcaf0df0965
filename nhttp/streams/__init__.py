"""Readable and Writable: Node's streams for threads that may block.

Theory of operation. A `Readable` has a *source*, the method `_read`, which blocks until there are
octets, and gives ``b""`` at the end. Two things can draw on it:

* *pulling*: `read`, `read1`, iteration and the rest of Python's file protocol call the source on
  the thread that asks;
* *flowing*: one thread, the stream's *driver*, calls the source in a loop and emits ``'data'`` (or
  ``'readable'``) while somebody wants that.

At most one thread is in the source at a time; what it brings is kept, in order, and whoever else
waits for octets may take of it (`_source`). Whoever takes the last octet emits ``'end'``. Which
thread is the driver is the business of the subclass: `Readable` itself borrows one from the thread
cache.

A `Writable` blocks in `write` until its sink, `_writev`, has taken the octets; that is the
back-pressure. Writers queue on `_write_lock`, which is the only lock here that is ever held while
something blocks, and which nothing that closes a stream waits for before it has woken the writer.

Knows `events`, the thread cache and text encodings; neither sockets nor HTTP.
"""

from __future__ import annotations

from nhttp.streams._base import BytesLike, Callback
from nhttp.streams._duplex import Duplex
from nhttp.streams._readable import Readable
from nhttp.streams._writable import Writable

__all__ = ["BytesLike", "Callback", "Duplex", "Readable", "Writable"]
