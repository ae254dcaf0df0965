"""Output: where the answer goes, and what is there already."""

from __future__ import annotations

import errno
import io
import os
import re
from typing import TYPE_CHECKING, Self

from nhttp._get.failures import Exit, Failure

if TYPE_CHECKING:
    from pathlib import Path

    import nhttp

__all__ = ["Output", "have", "is_whole", "resumes"]

_STDOUT = 1
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", re.IGNORECASE)


class Output:
    """A file, or the standard output; a context manager that closes it.

    Nothing is kept here: what was written is with the system.
    """

    def __init__(self, file: io.FileIO, name: str, *, text_only: bool = False) -> None:
        self._file = file
        self._name = name
        self._text_only = text_only

    @classmethod
    def to_file(cls, path: Path, *, append: bool) -> Self:
        """Write to a file.

        Raises:
            Failure: It cannot be opened.
        """
        try:
            return cls(io.FileIO(path, "ab" if append else "wb"), str(path))
        except OSError as error:
            raise _unwritable(str(path), error) from error

    @classmethod
    def to_stdout(cls, *, binary: bool) -> Self:
        """Write to the standard output.

        Args:
            binary: Whether also what makes a mess of a terminal.

        Raises:
            Failure: It is closed.
        """
        name = "the standard output"
        try:
            # Not `sys.stdout`: what that cannot write it would try to write again at the exit.
            file = io.FileIO(_STDOUT, "wb", closefd=False)
        except OSError as error:
            raise _unwritable(name, error) from error
        return cls(file, name, text_only=not binary and file.isatty())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            Failure: It cannot be written; without a message when nobody reads any more.
        """
        if self._text_only and b"\0" in data:
            raise Failure(
                Exit.WRITE, "binary data is not for a terminal: use -o FILE, or -o - to see it"
            )
        view = memoryview(data)
        try:
            while view:
                view = view[self._write_some(view) :]
        except BrokenPipeError as error:
            raise Failure(Exit.WRITE, "") from error
        except OSError as error:
            raise _unwritable(self._name, error) from error

    def _write_some(self, view: memoryview) -> int:
        count: int | None = self._file.write(view)
        if count is None:  # it was made non-blocking by somebody else
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return count


def have(path: Path) -> int:
    """Give how many octets of a file are there already.

    Raises:
        Failure: That cannot be found out.
    """
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _unwritable(str(path), error) from error


def resumes(response: nhttp.IncomingMessage, offset: int) -> bool:
    """Whether an answer goes on where the file ends; False when it starts over.

    Raises:
        Failure: It does neither, and the file is better left as it is.
    """
    start, _ = _content_range(response)
    if response.status_code == 206 and start == offset:
        return True
    if 200 <= response.status_code < 300 and response.status_code != 206:
        return False
    said = f"{response.status_code} {response.status_message}".rstrip()
    raise Failure(Exit.RANGE, f"cannot resume at {offset}: the server answered {said}")


def is_whole(response: nhttp.IncomingMessage, offset: int) -> bool:
    """Whether the server says that nothing is missing."""
    return response.status_code == 416 and _content_range(response) == (None, offset)


def _content_range(response: nhttp.IncomingMessage) -> tuple[int | None, int | None]:
    """Give the first octet and the size of the whole, as far as the answer says."""
    match = _CONTENT_RANGE.fullmatch(str(response.headers.get("content-range", "")))
    if match is None:
        return None, None
    start, size = match.groups()
    return None if start is None else int(start), None if size == "*" else int(size)


def _unwritable(name: str, error: OSError) -> Failure:
    return Failure(Exit.WRITE, f"cannot write {name}: {error.strerror or error}")
