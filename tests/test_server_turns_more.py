"""Connections that rest: threads that cannot be had, forks, and what is kept of them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextvars
import gc
import os
import socket
import ssl
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

import pytest
from https_support import identity
from support import eventually, listening, port_of
from test_server_turns import SLOW, Echoing, _forget, resting, thread_name, two
from tls_support import client_context
from wire import GET, LAST, SECONDS, Signal, post, serving

import nhttp
from nhttp import _resting, _threads, _turns, https

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage, ServerResponse

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

LEADER = _turns.THREAD_NAME


@pytest.fixture(autouse=True)
def never_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "LONG_SECONDS", SECONDS)
    _forget()


class NoLeaders(Signal):
    """While it is set, there is no thread to lead."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = Signal()
        self._run = _threads.run

    def run(self, function: Any, *args: Any, name: str) -> None:
        if name == LEADER and self.is_set():
            self.refused.set()
            raise RuntimeError("no thread")
        self._run(function, *args, name=name)


@pytest.fixture
def no_leaders(monkeypatch: pytest.MonkeyPatch) -> NoLeaders:
    made = NoLeaders()
    monkeypatch.setattr(_threads, "run", made.run)
    return made


def test_where_nobody_can_lead_a_leader_does_not_stay_with_one_that_has_blocked(
    no_leaders: NoLeaders,
) -> None:
    with two() as (slow, other):
        no_leaders.set()
        slow.send(post("body")[:-1])
        assert no_leaders.refused.happens()
        other.send(GET)
        slow.send("y")
        assert slow.answer().body == b"body"
        assert other.answer().status == 200
        assert slow.ask().status == other.ask().status == 200


def test_handlers_that_wait_for_one_another_until_there_is_a_thread(no_leaders: NoLeaders) -> None:
    barrier = threading.Barrier(2)
    begun = Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            begun.set()
            barrier.wait()
        response.end(request.read())

    with two(listener) as (first, second):
        no_leaders.set()
        first.send(SLOW)
        assert begun.happens()
        second.send(SLOW)
        assert no_leaders.refused.happens()
        no_leaders.clear()
        assert first.answer().status == second.answer().status == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_that_ends_its_thread_where_there_is_no_other(no_leaders: NoLeaders) -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            raise SystemExit
        response.end()

    with serving(listener) as server, resting(server, 3) as (first, second, other):
        no_leaders.set()
        for each in (first, second):
            assert each.send(SLOW).is_closed()
            assert other.ask().status == 200


def test_no_thread_holds_the_socket_of_one_that_rests() -> None:
    sockets: dict[int | None, nhttp.net.Socket] = {}

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        assert request.socket._owner == threading.get_ident()
        sockets[request.socket.remote_port] = request.socket
        others = [each for each in sockets.values() if each is not request.socket]
        response.end(str([each._owner for each in others]))

    with two(listener) as (first, second):
        for _ in range(2):
            # `_owner` of the other one, which has been served by the same thread.
            assert first.ask().body == second.ask().body == b"[0]"


def test_a_request_in_the_context_keeps_nothing_alive() -> None:
    current: contextvars.ContextVar[IncomingMessage] = contextvars.ContextVar("current")
    weak: list[weakref.ref[IncomingMessage]] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        current.set(request)
        weak.append(weakref.ref(request))
        response.end()

    gc.collect()
    gc.disable()
    try:
        with two(listener) as (first, second):
            for each in (first, second):
                each.ask(LAST)
            eventually(lambda: all(each() is None for each in weak), "a request is kept")
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_handler_that_forks() -> None:
    """The child has nobody to lead; the parent's connections go on."""
    statuses: list[int] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            child = os.fork()
            if not child:
                os._exit(bool(_turns._turns._resting or _turns._turns._epoll))
            statuses.append(os.waitpid(child, 0)[1])
        thread_name(request, response)

    with two(listener) as (first, other):
        for _ in range(3):
            assert first.ask(SLOW).status == other.ask().status == 200
    assert statuses == [0] * 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_serves_connections_of_its_own() -> None:
    with two() as (first, other):
        child = os.fork()
        if not child:
            status = 1
            try:
                with two(thread_name) as (third, fourth):
                    assert third.ask().body == fourth.ask().body == LEADER.encode()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert first.ask().status == other.ask().status == 200


def test_where_nothing_waits_for_many_connections_they_keep_their_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turns, "AVAILABLE", False)
    with two(thread_name) as wires:
        assert {each.ask().body for each in wires} == {b"nhttp-connection"}


def test_what_comes_soon_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)
    monkeypatch.setattr(_resting, "PATIENCE_SECONDS", SECONDS)
    listener = Echoing()
    with two(listener) as (slow, other):
        listener.is_kept_by(slow)
        slow.send("y").answer()
        other.ask()
        slow.ask()
    assert len(set(listener.threads[-3:])) == 1


class Client:
    """A client that speaks TLS, and says itself when octets are sent."""

    def __init__(self, server: https.Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port_of(server)), timeout=SECONDS)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost"
        )
        self.until(self.tls.do_handshake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def until(self, does: Callable[[], object]) -> object:
        """Do something that takes what the server says."""
        while True:
            try:
                return does()
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.socket.recv(65536))
            finally:
                self.flush()

    def flush(self) -> None:
        if out := self.outgoing.read():
            self.socket.sendall(out)

    def ask(self) -> None:
        self.tls.write(GET.encode())
        self.flush()
        self.until(lambda: self.tls.read(65536))


def test_the_end_of_a_tls_stream_that_comes_with_a_request_is_found() -> None:
    """The kernel has nothing more to tell of it."""
    files = identity("localhost")
    server = https.Server(thread_name, cert=files.cert, key=files.key, keep_alive_timeout=0)
    with listening(server), Client(server) as first, Client(server) as second:
        for each in (first, second, first):
            each.ask()
        first.tls.write(GET.encode())
        with pytest.raises(ssl.SSLWantReadError):
            first.tls.unwrap()
        first.flush()
        while first.socket.recv(65536):
            pass


def test_a_tls_record_that_comes_in_pieces() -> None:
    files = identity("localhost")
    server = https.Server(thread_name, cert=files.cert, key=files.key)
    with listening(server), Client(server) as slow, Client(server) as other:
        for each in (slow, other, slow):
            each.ask()
        slow.tls.write(GET.encode())
        record = slow.outgoing.read()
        slow.socket.sendall(record[:-1])
        other.ask()
        slow.socket.sendall(record[-1:])
        slow.until(lambda: slow.tls.read(65536))


def test_a_handler_that_closes_its_server() -> None:
    servers: list[nhttp.Server] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            servers[0].close()
        response.end()

    with serving(listener) as server, resting(server, 3) as (first, second, third):
        servers.append(server)
        answer = first.ask(SLOW)
        assert (answer.status, answer["connection"]) == (200, "close")
        assert first.is_closed()
        assert second.is_closed()
        assert third.is_closed()


def test_a_handler_that_destroys_its_connection_or_another_one() -> None:
    sockets: list[nhttp.net.Socket] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            request.socket.destroy()
            sockets[0].destroy()
        sockets.append(request.socket)
        response.end()

    with serving(listener) as server, resting(server, 3) as (other, first, second):
        sockets.clear()
        other.ask()
        assert first.send(SLOW).is_closed()
        assert other.is_closed()
        assert second.ask().status == 200
