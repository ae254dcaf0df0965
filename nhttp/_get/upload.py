"""Upload: what ``-d`` says, sent block by block."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from nhttp._get.failures import Exit, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import nhttp

__all__ = ["Upload"]

_BLOCK = 64 * 1024
_STDIN = 0


class _Source(Protocol):
    def read(self, size: int, /) -> bytes | None: ...
    def close(self) -> None: ...


class Upload:
    """The body of a request; a context manager that closes its file.

    Attributes:
        size: How many octets, as far as that can be told before.
    """

    def __init__(self, source: _Source, name: str, size: int | None) -> None:
        self._source = source
        self._name = name
        self.size = size

    @classmethod
    def of(cls, data: str) -> Self:
        """Give the body that an argument stands for: itself, ``@FILE``, or ``@-``.

        Raises:
            Failure: The file cannot be opened.
        """
        if not data.startswith("@"):
            octets = os.fsencode(data)  # as they were typed
            return cls(io.BytesIO(octets), "the data", len(octets))
        name = data[1:]
        try:
            if name == "-":
                # Without a buffer: what comes is sent at once.
                return cls(io.FileIO(_STDIN, closefd=False), "the standard input", None)
            file = io.FileIO(name)
        except (OSError, ValueError) as error:
            raise _unreadable(name, error) from error
        about = os.fstat(file.fileno())
        return cls(file, name, about.st_size if stat.S_ISREG(about.st_mode) else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._source.close()

    @property
    def framing(self) -> tuple[str, str]:
        """The field that says how long the body is."""
        if self.size is None:
            return ("Transfer-Encoding", "chunked")
        return ("Content-Length", str(self.size))

    def send(self, request: nhttp.ClientRequest) -> nhttp.IncomingMessage:
        """Send all of it and wait for the answer; a refusal that comes earlier ends the sending.

        Raises:
            Failure: The body cannot be read.
            OSError: No answer came.
            nhttp.errors.Error: What came is none, or the body is not as long as a header says.
        """
        response = None
        for block in self._blocks():
            request.write(block)
            if response is None:
                response = _answered(request)
            if response is not None and response.status_code >= 400:
                return response
        request.end()
        return request.get_response() if response is None else response

    def _blocks(self) -> Iterator[bytes]:
        left = self.size
        while left is None or left > 0:
            block = self._read(_BLOCK if left is None else min(_BLOCK, left))
            if not block:
                break
            yield block
            left = None if left is None else left - len(block)
        if left:
            raise Failure(Exit.READ, f"{self._name} ended {left} octets early")

    def _read(self, size: int) -> bytes:
        try:
            block = self._source.read(size)
            if block is None:  # it was made non-blocking by somebody else
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError as error:
            raise _unreadable(self._name, error) from error
        return block


def _answered(request: nhttp.ClientRequest) -> nhttp.IncomingMessage | None:
    """Give the answer if it has come already."""
    try:
        return request.get_response(0)
    except TimeoutError:
        return None


def _unreadable(name: str, error: Exception) -> Failure:
    reason = getattr(error, "strerror", None) or error
    return Failure(Exit.READ, f"cannot read {name}: {reason}")
