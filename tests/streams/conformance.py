"""What every byte stream must do, whatever it is made of: one suite for all kinds.

A kind is a subclass of `Conformance` that says how to `open` a stream and the other end of it. What
is common to Node's streams and Python's files is in here; what only sockets do is in tests/net.
"""

from __future__ import annotations

from conformance_failing import Failing
from conformance_reading import Flowing, Pulling
from conformance_support import Far
from conformance_writing import Piping, Writing

__all__ = ["Conformance", "Far"]


class Conformance(Pulling, Flowing, Failing, Writing, Piping):
    """The suite. The streams may be written to after they have received their end."""
