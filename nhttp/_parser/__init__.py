"""A strict HTTP/1.x parser by RFC 9112: bytes in, typed events out.

Theory of operation. A parser owns a buffer of bytes and a state, and knows nothing else: no socket,
no thread, no clock. Its owner calls `feed()` with whatever arrived and `next_event()` until that
says `NEED_DATA`. A message is a head, any number of blocks of `bytes`, and an `EndOfMessage`. What
cannot be parsed, or could be parsed in two ways, becomes `Invalid`, which ends the connection.

A head is parsed when it has arrived in whole, by regular expressions (`grammar`), which in CPython
beat any loop over octets. A head still incomplete, and one that the expressions refuse, is walked
through line by line (`lines`, `section`): that finds an error without waiting for the head's end,
and says where it is. Both ways accept the same language, and the outcome never depends on how the
bytes were split.

The files, each importing only those above it::

    events    what a parser returns
    limits    how much it takes
    buffer    the bytes not consumed yet
    grammar   the regular expressions, by RFC section
    lines     what is wrong with one line
    section   a head or a trailer section, up to its empty line
    framing   where a message ends: the ladder of RFC 9112, section 6.3
    body      bodies by length or up to the close
    chunked   bodies in chunks, and their trailers
    machine   the states that both directions share
    request   `RequestParser`, what a server needs
    response  `ResponseParser`, what a client needs
"""

from __future__ import annotations

from .events import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Closed,
    EndOfMessage,
    Event,
    Invalid,
    NeedData,
    Paused,
    RequestHead,
    ResponseHead,
)
from .grammar import METHODS
from .limits import Limits
from .request import RequestParser
from .response import ResponseParser

__all__ = [
    "CLOSED",
    "METHODS",
    "NEED_DATA",
    "PAUSED",
    "Closed",
    "EndOfMessage",
    "Event",
    "Invalid",
    "Limits",
    "NeedData",
    "Paused",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "ResponseParser",
]
