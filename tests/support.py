"""What tests of several modules need: waiting, recording events, pairs of sockets."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nhttp
from nhttp.net import Address, Server, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp.events import EventEmitter

__all__ = [
    "NO_THREADS_AT_EXIT",
    "SECONDS",
    "Recorder",
    "accept_into",
    "exit_status",
    "in_serve_forever",
    "in_thread",
    "listening",
    "logged",
    "logs",
    "open_files",
    "port_of",
    "raw_pair",
    "socket_pair",
]

SECONDS = 20.0  # a wait that takes this long has failed

NO_THREADS_AT_EXIT = pytest.mark.skipif(
    sys.version_info[:3] in {(3, 12, 0), (3, 12, 1)},
    reason="this Python starts no threads once the main thread has ended",
)


class Recorder:
    """Notes the events of an emitter, in order, with the threads that emitted them."""

    def __init__(self, emitter: EventEmitter, *events: str) -> None:
        self.noted: list[tuple[str, tuple[Any, ...]]] = []
        self.threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        for event in events:
            emitter.on(event, functools.partial(self.note, event))

    def note(self, event: str, *args: Any) -> None:
        with self._changed:
            self.noted.append((event, args))
            self.threads.append(threading.current_thread())
            self._changed.notify_all()

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.noted]

    def all(self, event: str) -> list[tuple[Any, ...]]:
        return [args for name, args in self.noted if name == event]

    def wait(self, event: str, count: int = 1) -> tuple[Any, ...]:
        """Wait for the `count`-th of an event; give what it came with."""
        self.wait_until(lambda: len(self.all(event)) >= count, f"{count} {event!r}")
        return self.all(event)[count - 1]

    def wait_until(self, condition: Callable[[], bool], what: str = "it") -> None:
        with self._changed:
            assert self._changed.wait_for(condition, SECONDS), f"no {what} in {self.noted}"

    def data(self) -> Any:
        """Everything that ``'data'`` gave."""
        chunks = [args[0] for args in self.all("data")]
        return (chunks[0][:0] if chunks else b"").join(chunks)


class in_thread:  # noqa: N801 - used like a function
    """Runs a function on a thread of its own; `result` waits, and raises what it raised."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._function = functools.partial(function, *args)
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), f"{self._function} does not end"
        if self._error is not None:
            raise self._error
        return self._value


def in_serve_forever(server: Server) -> in_thread:
    """Have a thread call `serve_forever`; it waits there when this returns."""
    waiting, wait = threading.Event(), server._closed.wait

    def noted(timeout: float | None = None) -> bool:
        waiting.set()
        return wait(timeout)

    server._closed.wait = noted  # type: ignore[method-assign]
    serving = in_thread(server.serve_forever)
    assert waiting.wait(SECONDS)
    return serving


class _Awaited(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in self.format(record):
            self.seen.set()


@contextlib.contextmanager
def logs(text: str) -> Generator[None]:
    """See that something is logged during the block, or, by another thread, soon after it."""
    handler = _Awaited(text)
    logging.getLogger().addHandler(handler)
    try:
        yield
        assert handler.seen.wait(SECONDS), f"{text!r} is not logged"
    finally:
        logging.getLogger().removeHandler(handler)


def raw_pair(family: int) -> tuple[socket.socket, socket.socket]:
    """Two plain sockets, connected to each other, that never wait for longer than `SECONDS`."""
    if family == socket.AF_UNIX:
        near, far = socket.socketpair()
    else:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        with socket.create_server((host, 0), family=family) as listener:
            near = socket.create_connection(listener.getsockname()[:2])
            far, _ = listener.accept()
    far.settimeout(SECONDS)
    return near, far


@contextlib.contextmanager
def socket_pair(
    family: int = socket.AF_INET, *, allow_half_open: bool = False
) -> Generator[tuple[Socket, socket.socket]]:
    """A `Socket`, and the plain socket at its other end."""
    raw, far = raw_pair(family)
    near = Socket(raw, allow_half_open=allow_half_open)
    try:
        with far:
            yield near, far
    finally:
        near.destroy()


def port_of(server: Server) -> int:
    address = server.address()
    assert isinstance(address, Address)
    return address.port


@contextlib.contextmanager
def listening(server: Server, *args: Any, **options: Any) -> Generator[Server]:
    """A server on the loopback interface that is closed, with its connections, at the end."""
    server.grace = 0
    if not args and not options:
        args = (0, "127.0.0.1")
    server.listen(*args, **options)
    try:
        yield server
    finally:
        server.close()
        server.close_all_connections()
        assert server.wait_closed(SECONDS)


@contextlib.contextmanager
def accept_into(path: Path | None = None) -> Generator[tuple[Any, Callable[[], socket.socket]]]:
    """A plain listening socket: its address, and a function that accepts."""
    accepted: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        if path is None:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        else:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()
        listener.settimeout(SECONDS)

        def accept() -> socket.socket:
            far, _ = listener.accept()
            far.settimeout(SECONDS)
            accepted.append(stack.enter_context(far))
            return far

        yield listener.getsockname(), accept


def eventually(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait for something that another thread does by itself, and that tells nobody."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    assert condition(), what


def logged(caplog: pytest.LogCaptureFixture) -> list[type[BaseException]]:
    """What was logged on the server's logger, by kind of exception."""
    return [
        record.exc_info[0]
        for record in caplog.records
        if record.name == "nhttp.server" and record.exc_info and record.exc_info[0]
    ]


def open_files(place: Path) -> int:
    """Count the descriptors of files and directories on the file system that a place is on.

    Servers have others, and those come and go with their threads.
    """
    device = place.stat().st_dev

    def is_there(descriptor: str) -> bool:
        with contextlib.suppress(OSError):  # it is closed just now
            return os.fstat(int(descriptor)).st_dev == device
        return False

    return sum(is_there(each.name) for each in Path("/dev/fd").iterdir())


def exit_status(*lines: str) -> int:
    """Run a program, which may fork, in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(Path(nhttp.__file__).parents[1])},
        timeout=2 * SECONDS,
        check=False,
    ).returncode
