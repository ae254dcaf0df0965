"""ServerResponse: the answer to one request, as a handler writes it.

Adds to `outgoing` what only answers have: status line, interim responses, files. Knows the request
that it answers.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import stat
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, Self, overload

from nhttp.errors import InvalidArgument, StateError
from nhttp.headers import Field, HeaderInput, check_text, gather, pairs_of, tokens_of
from nhttp.options import check_count
from nhttp.outgoing import BodyRule, Framing, OutgoingMessage, check_framing, date_line
from nhttp.status import STATUS_CODES
from nhttp.streams._base import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp.incoming import IncomingMessage
    from nhttp.net import Socket
    from nhttp.streams import Readable

__all__ = ["ServerResponse"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"

# Octets that one sendfile call moves at the most: see `net`, a slow peer shows as activity.
_FILE_BLOCK = 1024 * 1024

_ALLOWED: Final = BodyRule.ALLOWED
_NO_FRAMING: Final = Framing.NONE
_LENGTH: Final = Framing.LENGTH
_NOTHING: Final[frozenset[str]] = frozenset()
_NO_HEADERS: Final[dict[str, Field]] = {}

# Called in each exchange: see `streams._base`.
_init_stream = Stream.__init__
_finish = OutgoingMessage._finish

_KEEP_ALIVE = "Connection: keep-alive\r\n"
# Whatever is said by itself, or changes how something else is said.
_TOUCHY = frozenset(
    {"connection", "keep-alive", "date", "content-length", "transfer-encoding", "trailer"}
)

# Of answers that end their exchange and may have a body: status lines, and the reasons in them.
_USUAL_LINES: Final[dict[tuple[int, str | None], tuple[str, str]]] = {
    (code, said): (f"HTTP/1.1 {code} {reason}\r\n", reason)
    for code, reason in STATUS_CODES.items()
    if code >= 200 and code not in (204, 304)
    for said in (reason, None)
}


class Exchange(Protocol):
    """What a response knows of the connection that it is sent on."""

    def watch(self) -> None:
        """Somebody wants to be told when the client disappears; any thread."""

    def keep_alive_hint(self) -> str | None:
        """The line that says how long the connection is kept; None: it is not kept at all."""


class ServerResponse(OutgoingMessage):
    """What a handler answers with: made by the server, given to ``'request'`` listeners.

    Set headers and `status_code`, or call `write_head`; then `write` as often as wanted, and `end`,
    which every response must get. Any thread may do that, also after the handler has returned.
    Writing blocks until the kernel has the octets. When the client has gone, writing raises
    (``EPIPE``, ``ECONNRESET``), which a handler may let pass: the server takes it for what it is.

    Events:
        finish: () everything was handed to the operating system. At most once, and the last.
        close: () the connection broke before that; told by a helper thread while the handler
            computes. At most once.
        timeout: (socket) nothing happened on the connection for as long as `set_timeout` said; on a
            helper thread.
        pipe, unpipe: (source) see `streams.Readable.pipe`.

    Attributes:
        status_code: What is sent as the status code, unless `write_head` says it. Default: 200.
        status_message: What is sent as the reason phrase, unless `write_head` was called; None: the
            standard one.
        request: The request that this answers.
        send_date: Whether ``Date`` is sent when it was not set. Default: True.

    Example:
        >>> def handler(request, response):
        ...     response.write_head(200, {"Content-Type": "text/plain"})
        ...     response.end("hello")

    Source: http.ServerResponse in the manual.
    """

    _latched: ClassVar[frozenset[str]] = frozenset({"finish", "error", "close"})
    _log: ClassVar[logging.Logger] = logging.getLogger("nhttp.server")

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: Literal["drain", "finish", "close"], listener: Callable[[], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["error"], listener: Callable[[Exception], object], /
        ) -> Self: ...
        @overload
        def on(
            self,
            event: Literal["newListener", "removeListener"],
            listener: Callable[[str, Callable[..., object]], object],
            /,
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["pipe", "unpipe"], listener: Callable[[Readable], object], /
        ) -> Self: ...
        @overload
        def on(
            self, event: Literal["timeout"], listener: Callable[[Socket], object], /
        ) -> Self: ...
        def on(self, event: Any, listener: Callable[..., Any], /) -> Self: ...  # noqa: D102

        once = add_listener = prepend_listener = prepend_once_listener = on  # type: ignore[mutable-override]
        off = remove_listener = on  # type: ignore[mutable-override]

    send_date = True
    status_code = 200
    status_message: str | None = None

    _written: tuple[int, str | None] = (200, None)  # the status that `write_head` was given
    _continued = False  # a 100 went out

    def __init__(self, request: IncomingMessage, exchange: Exchange) -> None:
        socket = request.socket
        _init_stream(self)
        self._write_lock = socket._write_lock  # under which whole messages are written
        self.socket = socket
        self.request = request
        self._exchange = exchange
        # Its own from the beginning: see `Stream.__init__`.
        self._headers = self._pending = None
        self._head_ready = self._head_sent = self._write_ended = self._write_finished = False
        self._framing = _NO_FRAMING
        self._suppressed = _NOTHING
        self._trailers = ""
        self.send_date = True
        self.status_message = None
        self.use_chunked_encoding_by_default = request.http_version_minor != 0

    # The head.

    def write_head(
        self,
        status_code: int,
        status_message: str | HeaderInput | None = None,
        headers: HeaderInput | None = None,
    ) -> Self:
        """Fix the head: status and headers. It leaves with the first octets of the body.

        `headers` are merged with what `set_header` set, and win.

        Args:
            status_code: 100 to 999.
            status_message: The reason phrase. Default: the standard one. The headers may stand in
                its place.
            headers: A mapping, or pairs, where a name that comes twice is sent twice.

        Raises:
            InvalidArgument: The code, the message or a header cannot be sent.
            StateError: The head is fixed or out already (``ERR_HTTP_HEADERS_SENT``).

        Source: response.writeHead in the manual.
        """
        if self._head_ready:
            self._check_head_open("write")
        if status_message is not None and not isinstance(status_message, str):
            if headers is not None:
                raise InvalidArgument(
                    f"the status message is a str, not {status_message!r}", "ERR_INVALID_ARG_TYPE"
                )
            status_message, headers = None, status_message
        code = status_code
        if code.__class__ is not int or not 200 <= code <= 599:
            code = _check_status(code)
        message = status_message and check_text(status_message, "the status message")
        merged = gather(headers) if headers is not None else {}
        if self._headers:
            merged = {**self._headers, **merged}
        if not _TOUCHY.isdisjoint(merged):
            check_framing(merged)
        # Nothing is changed by a call that was refused.
        self.status_code = code
        if message is not None:
            self.status_message = message
        self._written = code, self.status_message
        self._headers = merged
        self._head_ready = True
        return self

    def _render_head(self, body_size: int | None) -> bytes:
        # Most answers are here in whole, and leave their framing and the connection to us.
        request, headers = self.request, self._headers or _NO_HEADERS
        usual = _USUAL_LINES.get((self.status_code, self.status_message))
        if (
            usual is None
            or body_size is None
            or request.method == "HEAD"
            or not (request.complete and self.should_keep_alive and self.send_date)
            or self._suppressed
            or self._trailers
            or not _TOUCHY.isdisjoint(headers)
            or (hint := self._exchange.keep_alive_hint()) is None
        ):
            return OutgoingMessage._render_head(self, body_size)
        self._head_ready = self._head_sent = True
        self._framing = _LENGTH
        self._declared = body_size
        head, self.status_message = usual
        for field in headers.values():
            head += field.lines
        head += f"{date_line()}{_KEEP_ALIVE}{hint}Content-Length: {body_size}\r\n\r\n"
        return head.encode("latin-1")

    def _start_line(self) -> str:
        message = self.status_message
        if message is None:
            # The manual: afterwards this says what was sent.
            message = self.status_message = STATUS_CODES.get(self.status_code, "unknown")
        return f"HTTP/1.1 {self.status_code:d} {message}\r\n"

    def _check_head(self) -> None:
        if self._head_ready:
            # `write_head` has looked. The manual: what was assigned since is for implicit heads.
            self.status_code, self.status_message = self._written
            return
        code, message = self.status_code, self.status_message
        if code.__class__ is not int or (code, message) not in _USUAL_LINES:  # 200.0 would be
            _check_status(code)
            if message is not None:
                self.status_message = check_text(message, "the status message")
        if self._headers:
            check_framing(self._headers)

    def _body_rule(self) -> BodyRule:
        # RFC 9112, 6.3: some end with their head whatever its fields say.
        code = self.status_code
        if code == 204 or code < 200:
            # RFC 9110, 8.6, and RFC 9112, 6.1: no length in these, not even as a remark.
            return BodyRule.UNSPOKEN
        if code == 304:
            return BodyRule.ABSENT
        return BodyRule.DESCRIBED if self.request.method == "HEAD" else _ALLOWED

    def _connection_lines(self) -> str:
        request, headers = self.request, self._headers or {}
        if not request.complete and not self._continued and "expect" in request._head.lookup:
            # Nobody knows whether the body will come that was not asked for (RFC 9110, 10.1.1).
            self.should_keep_alive = False
        if self.status_code < 200:
            # The client waits on for a final response, and must not take the next one for it.
            self.should_keep_alive = False
        hint = self._exchange.keep_alive_hint()
        if hint is None:
            self.should_keep_alive = False
        if "connection" in headers:
            if "close" in tokens_of(headers["connection"].value):
                self.should_keep_alive = False
            return ""
        if "connection" in self._suppressed:
            if not request.http_version_minor:
                self.should_keep_alive = False  # which it would have to be told
            return ""
        if not self.should_keep_alive:
            return "Connection: close\r\n"
        if hint and "keep-alive" not in headers:
            return f"{_KEEP_ALIVE}{hint}"
        return _KEEP_ALIVE

    # Interim responses.

    def write_continue(self) -> None:
        """Send ``100 Continue``: the client may send its body (see ``'checkContinue'``).

        Nothing is sent to a client that speaks HTTP/1.0, as with the other two.

        Raises:
            StateError: The head is out (``ERR_HTTP_HEADERS_SENT``), or the connection was
                destroyed.
            OSError: The peer is gone.

        Source: response.writeContinue in the manual; RFC 9110, 15.2.
        """
        self._continued = True
        self._write_interim(_CONTINUE)

    def write_processing(self) -> None:
        """Send ``102 Processing``: the answer takes its time (RFC 2518, 10.1).

        Raises:
            Exception: As `write_continue`.
        """
        self._write_interim(_PROCESSING)

    def write_early_hints(self, headers: HeaderInput) -> None:
        """Send ``103 Early Hints`` (RFC 8297).

        Args:
            headers: What to send with it, usually ``Link``.

        Raises:
            InvalidArgument: As for `set_header`.
            Exception: As `write_continue`.
        """
        lines = "".join([Field.of(name, value).lines for name, value in pairs_of(headers)])
        self._write_interim(f"HTTP/1.1 103 Early Hints\r\n{lines}\r\n".encode("latin-1"))

    def _write_interim(self, head: bytes) -> None:
        if not self.request.http_version_minor:
            return  # which knows no interim responses (RFC 9110, 15.2)
        with self._writing():
            if self._head_sent:
                raise StateError(
                    "an interim response cannot follow the final one", "ERR_HTTP_HEADERS_SENT"
                )
            self._connected()._writev([head])

    # Files.

    def write_file(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        offset: int = 0,
        count: int | None = None,
    ) -> int:
        """Write a piece of a file, without copying it through this process where that can be.

        Goes by way of `os.sendfile`; what cannot is read and written. Does not end the response.
        The position of `file` is not changed.

        Args:
            file: A path, or a file opened for reading in binary mode.
            offset: Where to begin, in octets.
            count: How many octets. Default: up to the end of the file.

        Returns:
            How many octets were written.

        Raises:
            InvalidArgument: `offset` or `count` is negative.
            OSError: The file cannot be read, or the peer is gone.
            StateError: After `end` or `destroy`; or the file ended before `count` octets
                (``ERR_STREAM_PREMATURE_CLOSE``): the length that was promised cannot be kept, so
                the connection is destroyed.
        """
        check_count("offset", offset)
        if count is not None:
            check_count("count", count)
        if isinstance(file, (str, os.PathLike)):
            from pathlib import Path  # it loads slowly, and few servers send files

            with Path(file).open("rb") as opened:
                return self.write_file(opened, offset, count)
        with self._lock:
            self._check_writable()
        descriptor = _descriptor_of(file)
        if descriptor is None:
            return self._write_blocks(file, offset, count)
        available = max(0, os.fstat(descriptor).st_size - offset)
        size = available if count is None else min(count, available)
        if count is not None and size < count:
            raise self._cut_short(count, size)
        self.flush()  # what was written while corked comes first
        with self._writing():
            if self._sealed:  # by a thread that came later and was faster
                raise self._late("write", "ERR_STREAM_WRITE_AFTER_END")
            if not self._head_sent:
                self._writev([])
            if not size or self._framing is Framing.NONE:
                return size
            if self._framing is Framing.CHUNKED:
                self._connected()._writev([b"%x\r\n" % size])
            self._send_file(descriptor, offset, size)
            self._body_sent += size
            if self._framing is Framing.CHUNKED:
                self._connected()._writev([b"\r\n"])
        return size

    def _send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send exactly `size` octets of a file. `_write_lock` is held."""
        socket = self._connected()
        end = offset + size
        while offset < end:
            block = min(_FILE_BLOCK, end - offset)
            sent = socket._sendfile(descriptor, offset, block)
            if sent is None:  # not between these two: copy
                data = os.pread(descriptor, block, offset)
                if data:
                    socket._writev([data])
                sent = len(data)
            if not sent:
                raise self._cut_short(size, size - (end - offset))
            offset += sent

    def _write_blocks(self, file: IO[bytes], offset: int, count: int | None) -> int:
        """Copy from a file that the kernel knows nothing of."""
        with _position_kept(file):
            file.seek(offset)
            written = 0
            while count is None or written < count:
                block = _FILE_BLOCK if count is None else min(_FILE_BLOCK, count - written)
                data = file.read(block)
                if not data:
                    break
                self.write(data)
                written += len(data)
        if count is not None and written < count:
            raise self._cut_short(count, written)
        return written

    def _cut_short(self, wanted: int, there: int) -> StateError:
        error = StateError(
            f"the file ended after {there} of {wanted} octets", "ERR_STREAM_PREMATURE_CLOSE"
        )
        if self._head_sent:
            self.destroy(error)
        return error

    # The end.

    def _finish(self) -> None:
        try:
            _finish(self)
        finally:  # a 'finish' listener may raise
            self.request._release()

    def _listener_added(self, event: str) -> None:
        if event == "close":
            self._exchange.watch()

    def _destroy(self, error: BaseException | None) -> None:
        # Once it is out, the connection is the next request's.
        if self.socket is not None and not self._write_finished:
            self.socket.destroy(error)
        self.request._release()

    def _broken(self, error: BaseException | None) -> None:
        """The connection is gone; whoever waits for room or the end is told. Once."""
        with self._lock:
            if self._write_finished:
                return
            self._destroyed = True
            if self._failure is None:
                self._failure = error
            self._notify()
        self._tell("close")

    def _done(self) -> bool:
        """Whether nothing more will come: sent, or given up."""
        return self._write_finished or self._destroyed

    def destroy(self, error: BaseException | None = None) -> Self:
        """Destroy the connection, and with it this response.

        Args:
            error: Why; raised from writes that come later. Default: none.
        """
        return super().destroy(error)

    def _reset(self) -> None:
        """Forget what a handler prepared and did not send."""
        self._headers = None
        self._trailers = ""
        self._head_ready = False
        self.status_message = None
        with self._lock:
            self._pending = self._pending_callbacks = None
            self._corked = 0

    def __repr__(self) -> str:
        request = self.request
        return f"<{type(self).__name__} {self.status_code} to {request.method} {request.url}>"


def _check_status(code: object) -> int:
    if not isinstance(code, int) or not 100 <= code <= 999:
        raise InvalidArgument(
            f"a status code is 100 to 999, not {code!r}", "ERR_HTTP_INVALID_STATUS_CODE"
        )
    return int(code)


def _descriptor_of(file: IO[bytes]) -> int | None:
    """Give the descriptor of a regular file; None for anything else."""
    # Others have a descriptor too, and other octets than those behind it: those of `bz2`, say.
    if not isinstance(getattr(file, "raw", file), io.FileIO):
        return None
    descriptor = file.fileno()
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


@contextlib.contextmanager
def _position_kept(file: IO[bytes]) -> Generator[None, None, None]:
    before = file.tell()
    try:
        yield
    finally:
        file.seek(before)
