"""StaticFiles: the request listener that serves the files below a directory.

What it answers is decided by functions that know nothing of connections: `paths` finds the file,
`conditional` compares it with what the client has, `ranges` reads what the client wants of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nhttp._static import page
from nhttp._static.conditional import Validators, precondition, range_counts
from nhttp._static.content_type import SNIFFED, content_type, is_text
from nhttp._static.listing import listing_page
from nhttp._static.paths import Opened, Refused, Target, Tree
from nhttp._static.ranges import content_range, multipart, parse_range
from nhttp.status import STATUS_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nhttp.headers import HeaderValue
    from nhttp.incoming import IncomingMessage
    from nhttp.response import ServerResponse

__all__ = ["StaticFiles"]

_ALLOW = "GET, HEAD, OPTIONS"
_INDEXES = ("index.html", "index.htm")

# Octets up to which a body is read and leaves with its head, in one system call.
_SMALL = 64 * 1024

# Kept by browsers, but asked for again each time: who serves files from a shell is changing them.
_CACHING = {"Cache-Control": "no-cache"}


class StaticFiles:
    """A request listener that serves the files below a directory. Any thread may call it.

    Files come with their content type, validators and ranges; directories as their ``index.html``,
    or else as a page that lists them. Hidden files are files like others. No path leads out of the
    directory, and no symbolic link does unless `follow_links`.

    Args:
        directory: What to serve.
        follow_links: Whether symbolic links may lead out of the directory.

    Example:
        >>> server = nhttp.create_server(StaticFiles("public"))  # doctest: +SKIP
    """

    def __init__(
        self, directory: str | os.PathLike[str] = ".", *, follow_links: bool = False
    ) -> None:
        self._tree = Tree(directory, follow_links=follow_links)

    def __call__(self, request: IncomingMessage, response: ServerResponse) -> None:
        """Answer a request."""
        if request.method == "OPTIONS":
            response.write_head(204, {"Allow": _ALLOW}).end()
        elif request.method not in {"GET", "HEAD"}:
            response.set_header("Allow", _ALLOW)
            _send_error(response, 405, "Files can be read here, and nothing else.")
        else:
            try:
                target = Target.parse(request.url)
                with self._tree.open(target.names) as opened:
                    self._send(request, response, target, opened)
            except Refused as refused:
                _send_error(response, refused.status, refused.why)

    def _send(
        self, request: IncomingMessage, response: ServerResponse, target: Target, opened: Opened
    ) -> None:
        if not opened.is_directory:
            if target.is_directory:  # a file's name with a slash behind it
                raise Refused(404, "There is nothing here.")
            _send_file(request, response, opened)
        elif not target.is_canonical:
            # The links in a directory's pages are relative, and right behind its slash alone.
            response.set_header("Location", target.canonical)
            response.write_head(301, _CACHING).end()
        elif (index := self._open_index(target)) is not None:
            with index:
                _send_file(request, response, index)
        else:
            entries = self._tree.list(opened)
            _send_page(response, 200, listing_page(target.names, entries))

    def _open_index(self, target: Target) -> Opened | None:
        for name in _INDEXES:
            try:
                opened = self._tree.open((*target.names, name))
            except Refused as refused:
                if refused.status != 404:
                    raise
                continue
            if not opened.is_directory:
                return opened
            opened.close()
        return None


def _send_file(request: IncomingMessage, response: ServerResponse, file: Opened) -> None:
    """Answer with a file: with all of it, with ranges of it, or with a status alone."""
    size = file.status.st_size
    validators = Validators.of(file.status)
    fields: dict[str, HeaderValue]
    fields = {"Accept-Ranges": "bytes", **_CACHING, **validators.fields}
    failed = precondition(request.method, request.headers, validators)
    if failed is not None:
        response.write_head(failed, fields).end()
        return
    kind = _kind_of(file)
    ranges = _ranges_wanted(request, validators, size)
    pieces: Sequence[bytes | range]
    if ranges is None:
        status, pieces = 200, [range(size)]
        fields["Content-Type"] = kind
    elif not ranges:
        response.set_header("Content-Range", content_range(None, size))
        _send_error(response, 416, f"The file has {size:,} bytes.")
        return
    elif len(ranges) == 1:
        status, pieces = 206, ranges
        fields["Content-Type"] = kind
        fields["Content-Range"] = content_range(ranges[0], size)
    else:
        boundary = os.urandom(16).hex()
        status, pieces = 206, multipart(ranges, size, kind, boundary)
        fields["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    fields["Content-Length"] = sum(map(len, pieces))
    response.write_head(status, fields)
    _write_pieces(response, file, pieces)


def _kind_of(file: Opened) -> str:
    kind = content_type(file.path.name)
    if kind is not None:
        return kind
    text = is_text(os.pread(file.fd, SNIFFED, 0))
    return "text/plain; charset=utf-8" if text else "application/octet-stream"


def _ranges_wanted(
    request: IncomingMessage, validators: Validators, size: int
) -> list[range] | None:
    """Give the ranges to send, none of them for 416; None for the whole file."""
    wanted = request.headers.get("range")
    # RFC 9110, 14.2: it has a meaning for GET alone.
    if wanted is None or request.method != "GET" or not range_counts(request.headers, validators):
        return None
    return parse_range(wanted, size)


def _write_pieces(response: ServerResponse, file: Opened, pieces: Sequence[bytes | range]) -> None:
    """Write the body, the ranges among the pieces from the file, and end the response."""
    if len(pieces) == 1 and isinstance(pieces[0], range) and len(pieces[0]) <= _SMALL:
        response.end(os.pread(file.fd, len(pieces[0]), pieces[0].start))
        return
    with os.fdopen(file.fd, "rb", closefd=False) as source:
        for piece in pieces:
            if isinstance(piece, range):
                response.write_file(source, piece.start, len(piece))
            else:
                response.write(piece)
    response.end()


def _send_page(response: ServerResponse, status: int, content: bytes) -> None:
    response.set_header("Content-Length", len(content))
    response.write_head(status, {**page.FIELDS, **_CACHING})
    response.end(content)


def _send_error(response: ServerResponse, status: int, why: str) -> None:
    _send_page(response, status, page.error_page(status, STATUS_CODES[status], why))
