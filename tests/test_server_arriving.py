"""New connections: they rest at once, and who serves those that rest accepts them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import eventually, in_thread, logs, port_of
from test_server_turns import LEADER, SLOW, _forget, never_apart, thread_name, unnoticed
from wire import GET, LAST, SECONDS, Signal, Wire, ok, serving

import nhttp
from nhttp import _threads, _turns
from nhttp._connection import Connection
from nhttp.net import _accept as accept_module
from nhttp.net._accept import Deputy

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage, ServerResponse

__all__ = ["never_apart", "unnoticed"]

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

ACCEPT_THREAD = "nhttp-accept"
OWN_THREAD = "nhttp-connection"


def resting(kind: type) -> list[Any]:
    """Those of a kind that rest, or have a turn as one who does."""
    return [each for each in list(_turns._turns._resting.values()) if isinstance(each, kind)]


def rested(server: nhttp.Server, count: int) -> list[Wire]:
    """Clients that have sent nothing yet, and whose connections rest, as does who accepts."""
    wires = [Wire(server) for _ in range(count)]
    eventually(lambda: len(resting(Connection)) == count, "not all rest")
    eventually(lambda: len(resting(Deputy)) == 1, "the accept thread accepts by itself")
    return wires


def close(*wires: Wire) -> None:
    for each in wires:
        each.socket.close()


class Handler:
    """Says which thread it runs on; blocks where it is asked to."""

    def __init__(self) -> None:
        self.begun, self.free = Signal(), Signal()

    def __call__(self, request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            self.begun.set()
            self.free.happens()
        thread_name(request, response)


# --- who serves it -----------------------------------------------------------------------------


@pytest.mark.usefixtures("unnoticed")
def test_its_first_request_is_served_where_others_are() -> None:
    threads: set[threading.Thread] = set()

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        threads.add(threading.current_thread())
        response.end()

    with serving(listener) as server:
        other = rested(server, 1)  # otherwise nobody may rest in between
        for _ in range(3):
            with Wire(server) as wire:
                assert wire.ask(LAST).status == 200
                assert wire.is_closed()
        close(*other)
    assert len(threads) == 1


def test_one_that_has_sent_nothing_has_no_thread() -> None:
    with serving(ok) as server:
        wires = rested(server, 20)
        assert server.get_connections() == 20
        assert OWN_THREAD not in {each.name for each in threading.enumerate()}
        for each in wires:
            assert each.ask().status == 200
        close(*wires)


@pytest.mark.usefixtures("unnoticed")
def test_one_that_was_alone_when_it_was_answered_keeps_its_thread() -> None:
    threads: list[threading.Thread] = []

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        threads.append(threading.current_thread())
        response.end()

    with serving(listener) as server, Wire(server) as wire:
        for _ in range(3):
            wire.ask()
        assert len(set(threads)) == 1
        assert resting(Connection) == []
        with Wire(server) as other:  # it rests, once it is not alone any more
            for each in (other, wire, wire):
                each.ask()
            assert threads[-1] is threads[3] is not threads[0]


def test_where_nobody_else_can_lead_one_that_is_alone_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, leaders = _threads.run, 1

    def refuse(function: Any, *args: Any, name: str) -> None:
        nonlocal leaders
        if name == LEADER:
            if not leaders:
                raise RuntimeError("no thread")
            leaders -= 1
        run(function, *args, name=name)

    monkeypatch.setattr(_threads, "run", refuse)
    with serving(thread_name) as server:
        (wire,) = rested(server, 1)
        assert {wire.ask().body for _ in range(3)} == {LEADER.encode()}
        with Wire(server) as other:
            assert other.ask().body == LEADER.encode()
        close(wire)


def test_a_first_request_that_blocks_holds_nobody_up() -> None:
    handler = Handler()
    with serving(handler) as server:
        slow, second = rested(server, 2)
        slow.send(SLOW)
        assert handler.begun.happens()
        with Wire(server) as third:  # it is accepted meanwhile
            for each in (second, third):
                assert each.ask().status == 200
        handler.free.set()
        assert slow.answer().status == slow.ask().status == 200
        close(slow, second)


def test_first_requests_that_wait_for_one_another() -> None:
    barrier = threading.Barrier(5)

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        barrier.wait(SECONDS)
        response.end()

    with serving(listener) as server:
        wires = [Wire(server).send(LAST) for _ in range(5)]
        assert [each.answer().status for each in wires] == [200] * 5
        close(*wires)


@pytest.mark.parametrize("split", [1, len(GET) - 1])
def test_a_first_head_that_comes_in_pieces_holds_nobody_up(split: int) -> None:
    with serving(ok) as server:
        slow, other = rested(server, 2)
        slow.send(GET[:split])
        with Wire(server) as new:
            assert other.ask().status == new.ask().status == 200
        assert slow.send(GET[split:]).answer().status == 200
        close(slow, other)


def test_where_turns_take_long_it_has_a_thread_from_the_beginning() -> None:
    turns = _turns._turns
    with serving(thread_name) as server:
        first, second = rested(server, 2)
        with turns._lock:
            turns._apart_until = threading.TIMEOUT_MAX
        for _ in range(3):  # the first one is accepted by a thread of its own, as everybody's turn
            with Wire(server) as wire:
                assert wire.ask().body == OWN_THREAD.encode()
        assert resting(Deputy) == []
        _forget()
        with Wire(server) as wire:
            assert wire.ask().body == LEADER.encode()
        eventually(lambda: len(resting(Deputy)) == 1, "the accept thread accepts by itself")
        close(first, second)


# --- being told of it --------------------------------------------------------------------------


def test_who_listens_for_connections_is_told_before_anything_comes() -> None:
    told: list[tuple[str, str | None]] = []
    arrived = Signal()

    def connection_listener(connection: nhttp.net.Socket) -> None:
        told.append((threading.current_thread().name, connection.remote_address))
        arrived.set()

    with serving(thread_name) as server:
        others = rested(server, 2)
        server.on("connection", connection_listener)
        with Wire(server) as wire:
            assert arrived.happens()
            assert told == [(OWN_THREAD, "127.0.0.1")]
            assert wire.ask().body == OWN_THREAD.encode()
            assert wire.ask().body == LEADER.encode()
        close(*others)


def test_who_listens_for_connections_may_block() -> None:
    begun, free = Signal(), Signal()

    def connection_listener(_: nhttp.net.Socket) -> None:
        begun.set()
        free.happens()

    with serving(ok) as server:
        (other,) = rested(server, 1)
        server.once("connection", connection_listener)
        with Wire(server) as slow:
            assert begun.happens()
            with Wire(server) as new:
                assert other.ask().status == new.ask().status == 200
            free.set()
            assert slow.ask().status == 200
        close(other)


def test_one_too_many_is_dropped() -> None:
    dropped = Signal()
    with serving(ok) as server:
        server.max_connections = 2
        server.on("drop", dropped)
        first, second = rested(server, 2)
        with Wire(server) as third:
            assert third.is_closed()
            assert dropped.happens()
        close(first)
        eventually(lambda: server.get_connections() == 1, "it is still there")
        with Wire(server) as fourth:
            assert fourth.ask().status == second.ask().status == 200
        close(second)


# --- nothing comes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [nhttp.Server.close_idle_connections, nhttp.Server.close_all_connections]
)
def test_those_that_have_sent_nothing_are_closed(how: Callable[[nhttp.Server], object]) -> None:
    with serving(ok) as server:
        wires = rested(server, 5)
        how(server)
        assert all(each.is_closed() for each in wires)
        with Wire(server) as wire:
            assert wire.ask().status == 200
        close(*wires)


def test_those_that_have_sent_nothing_are_closed_with_their_server() -> None:
    with serving(ok) as server:
        wires = rested(server, 5)
        server.close()
        assert all(each.is_closed() for each in wires)
        assert server.wait_closed(SECONDS)
        close(*wires)


def test_one_that_stays_silent_is_closed_after_its_time() -> None:
    with serving(ok, timeout=0.05) as server:
        wires = [Wire(server) for _ in range(3)]
        assert all(each.is_closed() for each in wires)
        close(*wires)


def test_who_listens_for_silence_is_told_of_it() -> None:
    kept: list[nhttp.net.Socket] = []
    told = Signal()
    with serving(ok, timeout=0.05) as server:
        server.on("timeout", kept.append)
        server.on("timeout", told)
        with Wire(server) as wire:
            assert told.happens()
            kept[0].end("too late")
            assert wire.rest() == b"too late"


def test_a_first_head_that_does_not_come_in_time() -> None:
    with serving(ok, headers_timeout=0.05) as server:
        wire, other = rested(server, 2)
        assert wire.send(GET[:-1]).answer().status == 408
        assert other.ask().status == 200
        close(wire, other)


def test_one_that_leaves_or_is_reset_without_a_word() -> None:
    with serving(ok) as server:
        first, second, third = rested(server, 3)
        first.socket.close()
        second.reset()
        eventually(lambda: server.get_connections() == 1, "they are still there")
        assert third.ask().status == 200
        close(third)


# --- who accepts -------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [{"share_thread": False}, {"pin_threads": True}])
def test_where_connections_keep_their_threads_the_accept_thread_accepts(
    option: dict[str, bool],
) -> None:
    with serving(thread_name, **option) as server:
        for _ in range(3):
            with Wire(server) as wire:
                assert wire.ask().body == OWN_THREAD.encode()
        assert resting(Deputy) == []


def test_a_server_stops_while_another_thread_accepts() -> None:
    with serving(ok) as server:
        wires = rested(server, 2)
        port = port_of(server)
        close(*wires)
        server.close()
        assert server.wait_closed(SECONDS)
        assert resting(Deputy) == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        server.listen(port, "127.0.0.1")
        close(*rested(server, 1))


def test_a_server_that_shares_its_socket_stops_while_another_thread_accepts() -> None:
    """Nothing shuts the socket down then: others accept from it."""
    first, second = nhttp.create_server(thread_name), nhttp.create_server(thread_name)
    with socket.create_server(("127.0.0.1", 0)) as handle:
        address = handle.getsockname()
        with first.listen(handle.dup()), second.listen(handle.dup()):
            # Whoever is first accepts them, until each has accepted one.
            wires: list[socket.socket] = []
            while len(resting(Deputy)) < 2:
                wires.append(socket.create_connection(address, SECONDS))
                threading.Event().wait(0)
            first.close()
            for each in wires:
                each.close()
            assert first.wait_closed(SECONDS)
            with Wire(second) as wire:
                assert wire.ask().body == LEADER.encode()


def test_a_handler_closes_its_server_while_its_thread_would_accept() -> None:
    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        server.close()
        response.end("the last")

    with serving(listener) as server:
        (wire,) = rested(server, 1)
        assert wire.ask().body == b"the last"
        assert wire.is_closed()
        assert server.wait_closed(SECONDS)
        close(wire)


def test_where_it_cannot_rest_the_accept_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoEpoll:
        def __init__(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with serving(ok) as server:
        # The leader of connections has got its own by then.
        with Wire(server) as wire:
            assert wire.ask().status == 200
        real = select.epoll
        names: list[str] = []

        def epoll() -> Any:
            names.append(threading.current_thread().name)
            return NoEpoll() if names[-1] == ACCEPT_THREAD else real()

        monkeypatch.setattr(select, "epoll", epoll)
    with serving(ok) as server:
        for _ in range(3):
            with Wire(server) as wire:
                assert wire.ask().status == 200
        assert resting(Deputy) == []
    assert ACCEPT_THREAD in names


class Faulty(socket.socket):
    """A listening socket whose `accept` fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.faults: list[int] = []
        self.failed = Signal()

    def accept(self) -> Any:
        if self.faults:
            self.failed.set()
            raise OSError(self.faults.pop(), "injected")
        return super().accept()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EMFILE])
def test_accepting_fails_for_the_moment(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(accept_module, "_RETRY_SECONDS", 0.0)
    handle = Faulty()
    with nhttp.create_server(ok).listen(handle) as server:
        (other,) = rested(server, 1)
        handle.faults = [code]
        with Wire(server) as wire:
            assert handle.failed.happens()
            assert wire.ask().status == other.ask().status == 200
        close(other)


def test_accepting_fails_for_good() -> None:
    failed = Signal()
    handle = Faulty()
    with nhttp.create_server(ok).listen(handle) as server:
        server.on("error", failed)
        (other,) = rested(server, 1)
        handle.faults = [errno.EBADF]
        with logs("cannot accept any more"):
            with contextlib.suppress(ConnectionError):  # it may all be over before it has connected
                close(Wire(server))
            assert failed.happens()
        assert not server.listening
        assert other.ask().status == 200
        close(other)
        assert server.wait_closed(SECONDS)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_ends_the_thread_that_accepts() -> None:
    def leave(*_: object) -> None:
        raise SystemExit

    with serving(ok) as server:
        (other,) = rested(server, 1)
        server.once("drop", leave)
        server.max_connections = 1
        with Wire(server) as dropped:
            assert dropped.is_closed()
        server.max_connections = None
        with Wire(server) as wire:
            assert wire.ask().status == other.ask().status == 200
        close(other)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_parent_accepts_after_a_fork_and_its_child_does_not() -> None:
    with serving(ok) as server:
        (other,) = rested(server, 1)
        child = os.fork()
        if not child:
            server.close()
            os._exit(bool(_turns._turns._resting))
        assert os.waitpid(child, 0)[1] == 0
        with Wire(server) as wire:
            assert wire.ask().status == other.ask().status == 200
        eventually(lambda: len(resting(Deputy)) == 1, "the accept thread accepts by itself")
        close(other)


def test_many_clients_that_come_and_go() -> None:
    """Seeded, and ordered by nothing: whoever asks is answered."""

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            threading.Event().wait(0.006)  # longer than a turn is to be
        response.end(request.url)

    def client(server: nhttp.Server, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(25):
            kind = dice.choices(("quick", "slow", "pieces", "silent", "twice"), (20, 1, 2, 3, 3))[0]
            request = LAST.replace("/ ", f"/{kind} ", 1)
            with Wire(server) as wire:
                if kind == "silent":
                    continue
                if kind == "twice":
                    assert wire.ask(request.replace("close", "keep-alive")).body == b"/twice"
                if kind == "pieces":
                    wire.send(request[:9])
                    threading.Event().wait(0)
                    request = request[9:]
                assert wire.ask(request).body == f"/{kind}".encode()
                assert wire.is_closed()

    with serving(listener) as server:
        for each in [in_thread(client, server, seed) for seed in range(16)]:
            each.result()
