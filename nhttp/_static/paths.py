"""From the path of a URL to an open file, and no way out of the directory that is served.

Knows the file system, and nothing of requests and responses but the status that fits a refusal.

Where links may not lead out, a path is opened one name at a time with ``O_NOFOLLOW``. One that has
a link in it is resolved, and what it leads to, if that is inside, is opened in the same way: a link
that is put there meanwhile is not followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote_to_bytes

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Entry", "Opened", "Refused", "Target", "Tree", "quote_name"]

_NOTHING = "There is nothing here."

# What the system says of a path that leads nowhere.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}

# What it says when a link is not followed; and of a file taken for a directory.
_LINK = {errno.ELOOP, errno.ENOTDIR}

# With O_PATH (Linux), a directory that may be entered but not listed can be passed through.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
# A FIFO put there since it was looked at would otherwise block whoever opens it.
_OPEN = os.O_RDONLY | os.O_NONBLOCK


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A path that is not served.

    Attributes:
        status: 403, 404 or 500.
        why: A sentence for the person who asked.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def quote_name(name: str) -> str:
    """Give a file's name as one segment of a URL's path, whatever octets it is made of."""
    return quote(os.fsencode(name), safe="")


@attrs.frozen
class Target:
    """What the target of a request names below the directory.

    Attributes:
        names: The decoded segments of the path, without empty ones.
        segments: How many segments the path has, empty ones included.
        is_directory: Whether it ends with a slash.
        query: The query with its question mark, or "".
    """

    names: tuple[str, ...]
    segments: int
    is_directory: bool
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a request-target in origin-form or absolute-form (RFC 9112 section 3.2).

        Raises:
            Refused: It names nothing that could be a file (404).
        """
        path, mark, query = url.partition("?")
        if not path.startswith("/"):  # http://host/path
            path = "/" + path.partition("://")[2].partition("/")[2]
        segments = path.split("/")[1:]
        names = tuple(os.fsdecode(unquote_to_bytes(each)) for each in segments if each)
        # Clients take dot segments out before they ask, and no name of a file has a slash in it.
        if any(each in {".", ".."} or "/" in each or "\0" in each for each in names):
            raise Refused(404, _NOTHING)
        return cls(names, len(segments), not segments[-1], mark + query)

    @property
    def is_canonical(self) -> bool:
        """Whether this is how to name a directory: a slash behind each name, and no other."""
        return self.is_directory and self.segments == len(self.names) + 1

    @property
    def canonical(self) -> str:
        """The canonical URL of the directory, relative to this one.

        Relative, so that it is right behind a proxy that adds a prefix; up to the root and down
        again, so that it never begins with two slashes, which make a host of the first name.
        """
        up = "../" * (self.segments - 1) or "./"
        return up + "".join(quote_name(each) + "/" for each in self.names) + self.query


@attrs.frozen
class Opened:
    """An open file or directory; a context manager that closes it.

    Attributes:
        fd: Its descriptor.
        status: What `os.fstat` says of it.
        path: Where it was found.
    """

    fd: int
    status: os.stat_result
    path: Path

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


@attrs.frozen
class Entry:
    """A file or directory within a directory.

    Attributes:
        name: Its name, as the file system has it.
        is_directory: Whether it is a directory.
        size: How many octets a file has.
        modified: When it was last modified, in seconds since 1970.
    """

    name: str
    is_directory: bool
    size: int
    modified: float


class Tree:
    """A directory, and what may be reached below it. Any thread may call any method.

    Args:
        root: The directory. It may itself be a symbolic link.
        follow_links: Whether links may lead out of it.
    """

    def __init__(self, root: str | os.PathLike[str], *, follow_links: bool = False) -> None:
        self.root = Path(os.path.realpath(root))
        self.follow_links = follow_links

    def open(self, names: tuple[str, ...]) -> Opened:
        """Open what these names lead to, each below the one before.

        Raises:
            Refused: It is not there (404); it may not be read, is neither a file nor a directory,
                or a link leads out of the tree (403); the system cannot open it now (500).
        """
        path = self.root.joinpath(*names)
        with _refusing():
            if self.follow_links:
                return Opened(*_open(path, None, _OPEN), path)
            try:
                return Opened(*self._walk(names), path)
            except OSError as error:
                if error.errno not in _LINK:
                    raise
            return Opened(*self._walk(self._resolve(path)), path)

    def list(self, directory: Opened) -> list[Entry]:
        """Give what is in an open directory, in no order.

        Special files are left out, and so are links that lead nowhere or out of the tree.

        Raises:
            Refused: As for `open`.
        """
        with _refusing(), os.scandir(directory.fd) as found:
            return [entry for each in found if (entry := self._entry(directory, each))]

    def _entry(self, directory: Opened, found: os.DirEntry[str]) -> Entry | None:
        # A link may lead nowhere or out of the tree, and a file may just have been removed.
        with contextlib.suppress(OSError, Refused):
            if found.is_symlink() and not self.follow_links:
                self._resolve(directory.path / found.name)
            status = found.stat()
            if _is_served(status):
                is_directory = stat.S_ISDIR(status.st_mode)
                return Entry(found.name, is_directory, status.st_size, status.st_mtime)
        return None

    def _walk(self, names: tuple[str, ...]) -> tuple[int, os.stat_result]:
        """Open what is below the root, following no link."""
        with _directory(self.root, names[:-1]) as parent:
            return _open(names[-1] if names else ".", parent, _OPEN | os.O_NOFOLLOW)

    def _resolve(self, path: Path) -> tuple[str, ...]:
        """Give the names that lead from the root to a path when all links are followed."""
        resolved = Path(os.path.realpath(path))
        if not resolved.is_relative_to(self.root):
            raise Refused(403, "A symbolic link leads out of the directory that is served.")
        return resolved.relative_to(self.root).parts


@contextlib.contextmanager
def _refusing() -> Generator[None]:
    """Make a refusal of what the system says."""
    try:
        yield
    except PermissionError:
        raise Refused(403, "The server may not read this.") from None
    except OSError as error:
        if error.errno in _ABSENT:
            raise Refused(404, _NOTHING) from None
        raise Refused(500, f"The server cannot open this: {error.strerror}.") from error


@contextlib.contextmanager
def _directory(root: Path, names: tuple[str, ...]) -> Generator[int]:
    """Open a directory below the root, name by name, following no link."""
    fd = os.open(root, _PASS)
    try:
        for name in names:
            below = os.open(name, _PASS, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _open(name: str | Path, parent: int | None, flags: int) -> tuple[int, os.stat_result]:
    """Open a file or a directory, and nothing whose opening alone would do something."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=not flags & os.O_NOFOLLOW)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not _is_served(status):
        raise Refused(403, "This is neither a file nor a directory.")
    fd = os.open(name, flags, dir_fd=parent)
    status = os.fstat(fd)
    if not _is_served(status):  # something else was put there in between
        os.close(fd)
        raise Refused(404, _NOTHING)
    return fd, status


def _is_served(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
