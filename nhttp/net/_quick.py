"""A send that does not let go of the interpreter's lock.

`socket.send` gives the lock up for as long as the kernel takes, in case that is long. Handing a
small answer over takes a few microseconds. On a busy server another thread takes the lock
meanwhile, and the first one has to wait for its turn again: a request then changes threads twice,
and once if the lock is kept. So a small piece is offered to the kernel with the lock held, in a way
that cannot block. What the kernel does not take at once goes the ordinary way.

Knows `ctypes`, if there is one, and nothing of the project.
"""

from __future__ import annotations

import socket
import sys
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    QuickSend: TypeAlias = Callable[[int, bytes, int, int], int]

__all__ = ["QUICK_AT_MOST", "QUICK_FLAGS", "load_quick_send"]

QUICK_AT_MOST = 16 * 1024
"""Octets that are worth trying: copying more would keep the lock for too long."""

QUICK_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


@cache
def load_quick_send() -> QuickSend | None:
    """Give the C library's ``send(descriptor, octets, size, flags)``; None where it is of no use.

    It returns how many octets were taken; -1 when none were, for whatever reason: to learn it, send
    in the ordinary way. Takes a few milliseconds the first time.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None  # no lock that could be kept
    try:
        import ctypes  # it loads slowly, and only servers need it

        send = ctypes.PyDLL(None).send  # unlike a CDLL's functions, these keep the lock
    except (ImportError, OSError, AttributeError):
        return None
    send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
    send.restype = ctypes.c_ssize_t
    return send
