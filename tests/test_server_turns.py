"""Connections that rest between two requests: who serves them, and that nobody waits for long."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread
from wire import GET, LAST, SECONDS, Signal, Wire, chunked, ok, post, serving

import nhttp
from nhttp import _resting, _threads, _turns

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp import IncomingMessage, ServerResponse

pytestmark = pytest.mark.skipif(not _turns.AVAILABLE, reason="connections rest on Linux only")

SLOW = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
LEADER = _turns.THREAD_NAME


def _forget() -> None:
    """What was found out of how long turns take."""
    turns = _turns._turns
    with turns._lock:
        turns._lasted = turns._apart_until = turns._judge_from = -math.inf
        turns._apart = 0
        turns._guard.set(math.inf)
        turns._guarded = False


@pytest.fixture(autouse=True)
def never_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "LONG_SECONDS", SECONDS)
    monkeypatch.setattr(_turns, "GRACE_SECONDS", 0.0)
    _forget()


@pytest.fixture
def unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a turn takes."""
    monkeypatch.setattr(_turns, "LOOK_SECONDS", SECONDS)


def thread_name(_: IncomingMessage, response: ServerResponse) -> None:
    response.end(threading.current_thread().name)


class Echoing:
    """A listener that answers with what it reads, and notes its threads."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self._begun = Signal()

    def __call__(self, request: IncomingMessage, response: ServerResponse) -> None:
        self.threads.append(threading.get_ident())
        self._begun.set()
        response.end(request.read())

    def is_kept_by(self, wire: Wire) -> None:
        """Have it wait for the last octet of a body."""
        self._begun.clear()
        wire.send(post("body")[:-1])
        assert self._begun.happens()


def leads() -> bool:
    return any(each.name == LEADER for each in threading.enumerate())


@contextlib.contextmanager
def resting(server: nhttp.Server, count: int = 2) -> Generator[list[Wire]]:
    """Clients, more than one, whose connections have rested, and rest."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(count)]
        # The last one is accepted last: one that is alone when it is answered would not rest. After
        # its first request it does so even if somebody listens for connections.
        for each in (*reversed(wires), *wires):
            each.ask()
        yield wires


@contextlib.contextmanager
def two(
    listener: Callable[[IncomingMessage, ServerResponse], object] = ok, **options: Any
) -> Generator[tuple[Wire, Wire]]:
    with serving(listener, **options) as server, resting(server) as (first, second):
        yield first, second


# --- which thread ------------------------------------------------------------------------------


@pytest.mark.usefixtures("unnoticed")
def test_connections_share_a_thread() -> None:
    threads: list[threading.Thread] = []

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        threads.append(threading.current_thread())
        response.end()

    with two(listener) as (first, _):
        first.ask()
    assert len(threads) == 5
    assert len(set(threads)) == 1


@pytest.mark.usefixtures("unnoticed")
def test_connections_that_were_told_of_share_a_thread_once_they_have_been_served() -> None:
    threads: list[threading.Thread] = []

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        threads.append(threading.current_thread())
        response.end()

    with serving(listener) as server:
        server.on("connection", lambda _: None)
        with resting(server) as (first, _):
            first.ask()
    own, shared = threads[:2], threads[2:]
    assert len(set(own)) == 2
    assert len(set(shared)) == 1
    assert not set(own) & set(shared)


@pytest.mark.parametrize("option", [{"share_thread": False}, {"pin_threads": True}])
def test_a_server_whose_connections_keep_their_threads(option: dict[str, bool]) -> None:
    with two(thread_name, **option) as wires:
        assert {each.ask().body for each in wires} == {b"nhttp-connection"}
        assert not leads()


def test_share_thread_is_true_or_false() -> None:
    with pytest.raises(nhttp.errors.InvalidArgument, match="share_thread is True or False"):
        nhttp.Server(share_thread=None)  # type: ignore[arg-type]


def test_servers_share_the_thread_as_well() -> None:
    with two(thread_name) as (first, _), two(thread_name) as (second, _):
        assert first.ask().body == second.ask().body == LEADER.encode()
        assert [each.name for each in threading.enumerate()].count(LEADER) == 1


def test_nobody_leads_when_nobody_rests() -> None:
    with serving(ok) as server, resting(server) as wires:
        assert leads()
        for each in wires:
            assert each.ask(LAST).status == 200
            assert each.is_closed()
    # That no thread is left is looked at behind each test.


def test_where_there_is_no_thread_to_lead_connections_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = _threads.run

    def refuse(function: Any, *args: Any, name: str) -> None:
        if name == LEADER:
            raise RuntimeError("no thread")
        run(function, *args, name=name)

    monkeypatch.setattr(_threads, "run", refuse)
    with two(thread_name) as wires:
        assert {each.ask().body for each in wires} == {b"nhttp-connection"}


# --- nobody waits for long ---------------------------------------------------------------------


def test_a_handler_that_blocks_has_its_thread_to_itself() -> None:
    begun, free = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            begun.set()
            free.happens()
        thread_name(request, response)

    with two(listener) as (slow, other):
        slow.send(SLOW)
        assert begun.happens()
        assert {other.ask().body for _ in range(3)} <= {LEADER.encode(), b"nhttp-connection"}
        free.set()
        assert slow.answer().body == LEADER.encode()
        assert slow.ask().status == other.ask().status == 200


def test_handlers_that_wait_for_one_another() -> None:
    barrier = threading.Barrier(4)

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            barrier.wait(SECONDS)
        response.end()

    with serving(listener) as server, resting(server, 4) as wires:
        for _ in range(3):
            for each in wires:
                each.send(SLOW)
            assert [each.answer().status for each in wires] == [200] * 4


def test_a_handler_that_asks_its_own_server() -> None:
    agent = nhttp.Agent(keep_alive=True)

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            with agent.get(f"http://{request.headers['host']}/") as inner:
                response.end(inner.read() + b", twice")
        else:
            response.end("once")

    with agent, serving(listener) as server, resting(server) as (first, _):
        address = server.address()
        assert isinstance(address, nhttp.net.Address)
        request = f"GET /slow HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\n\r\n"
        for _ in range(3):  # the inner connection rests as well, from the second time on
            assert first.ask(request).body == b"once, twice"


def test_where_turns_take_long_each_is_taken_on_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turns, "OFTEN_SECONDS", SECONDS)  # so that two are often
    begun, free = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            begun.set()
            free.happens()
        thread_name(request, response)

    with serving(listener) as server, resting(server, 4) as (first, second, third, fourth):
        first.send(SLOW)
        assert begun.happens()
        assert third.ask().body == LEADER.encode()  # another thread, which leads now
        begun.clear()
        second.send(SLOW)
        assert begun.happens()
        assert third.ask().body == fourth.ask().body == b"nhttp-connection"
        free.set()
        assert first.answer().status == second.answer().status == 200
        assert fourth.ask().body == b"nhttp-connection"  # it stays there for the time being
        _forget()
        fourth.ask()
        assert fourth.ask().body == LEADER.encode()


def test_where_many_turns_take_a_little_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turns, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(_turns, "process_time", lambda: 0.0)  # as if they waited for something
    with two(thread_name) as (first, _):
        while first.ask().body == LEADER.encode():
            pass
        assert first.ask().body == b"nhttp-connection"
        monkeypatch.setattr(_turns, "LONG_SECONDS", SECONDS)
        _forget()
        first.ask()
        assert first.ask().body == LEADER.encode()


@pytest.mark.parametrize("split", [1, len(GET) - 1])
def test_a_head_that_comes_in_pieces(split: int) -> None:
    with two() as (slow, other):
        slow.send(GET[:split])
        assert other.ask().status == 200
        slow.send(GET[split:])
        assert slow.answer().status == slow.ask().status == 200


@pytest.mark.parametrize("request_", [post("body"), chunked("bo", "dy")])
def test_a_body_that_comes_in_pieces(request_: str) -> None:
    with two() as (slow, other):
        for split in (request_.index("\r\n\r\n") + 4, len(request_) - 1):
            slow.send(request_[:split])
            assert other.ask(post("else")).body == b"else"
            slow.send(request_[split:])
            assert slow.answer().body == b"body"


def test_a_body_that_flows() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.on("end", response.end)
        request.on("data", response.write)

    with two(listener) as (slow, other):
        slow.send(post("body")[:-2])
        assert other.ask(post("else")).body == b"else"
        assert slow.send("dy").answer().body == b"body"


def test_a_response_that_another_thread_finishes() -> None:
    kept: list[ServerResponse] = []
    begun = Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            kept.append(response)
            begun.set()
        else:
            response.end("else")

    with two(listener) as (slow, other):
        for _ in range(3):
            begun.clear()
            slow.send(SLOW)
            assert begun.happens()
            assert other.ask().body == b"else"
            kept.pop().end("at last")
            assert slow.answer().body == b"at last"


@pytest.mark.usefixtures("unnoticed")
def test_a_connection_that_has_blocked_keeps_its_thread_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_resting, "STAY_REQUESTS", 2)
    listener = Echoing()
    threads = listener.threads
    with two(listener) as (slow, other):
        listener.is_kept_by(slow)
        other.ask()
        slow.send("y").answer()
        del threads[:]
        for each in (slow, slow, other, slow, slow, other):
            each.ask()
    # Twice where it has blocked, and then where the other one is served as well.
    assert threads[0] == threads[1]
    assert len(set(threads[2:])) == 1
    assert threads[0] != threads[2]


def test_a_client_that_does_not_read_its_answer() -> None:
    large = b"x" * 8_000_000

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        response.end(large if request.url == "/slow" else "small")

    with two(listener) as (slow, other):
        slow.send(SLOW)
        assert slow.socket.recv(1, socket.MSG_PEEK)  # it has begun
        assert other.ask().body == b"small"
        assert slow.answer().body == large


def test_a_tunnel() -> None:
    with serving(ok) as server, resting(server) as (first, other):
        server.on(
            "connect", lambda _, tunnel, head: (tunnel.write(b"open " + head), tunnel.pipe(tunnel))
        )
        assert first.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nand").exactly(8) == b"open and"
        assert other.ask().status == 200
        assert first.send("echo").exactly(4) == b"echo"
        assert first.end().is_closed()
        assert other.ask().status == 200


def test_what_is_not_http() -> None:
    kept: list[nhttp.net.Socket] = []
    with serving(ok) as server, resting(server, 3) as (first, second, other):
        assert first.send("nonsense\r\n\r\n").answer().status == 400
        told = Signal()
        server.on("clientError", lambda _, connection: kept.append(connection))
        server.on("clientError", told)
        second.send("nonsense\r\n\r\n")
        assert told.happens()
        assert other.ask().status == 200
        kept[0].end("it was")
        assert second.rest() == b"it was"


def test_a_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            raise ValueError("on purpose")
        response.end()

    with caplog.at_level(logging.CRITICAL), two(listener) as (first, other):
        assert first.ask(SLOW).status == 500
        assert other.ask().status == first.ask().status == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_that_ends_its_thread() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            raise SystemExit
        response.end()

    with serving(listener) as server, resting(server, 3) as (first, second, other):
        for each in (first, second):
            assert each.send(SLOW).is_closed()
            assert other.ask().status == 200


# --- what stays as it is -----------------------------------------------------------------------


def test_requests_that_come_together_are_answered_in_order() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        response.end(request.url + request.read().decode())

    with two(listener) as (first, second):
        for wire in (first, second):
            wire.send("".join(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(5)))
            wire.send(post("body") + "\r\n" + LAST)
            bodies = [wire.answer().body for _ in range(7)]
            assert bodies == [b"/0", b"/1", b"/2", b"/3", b"/4", b"/body", b"/"]
            assert wire.is_closed()


def test_what_a_handler_leaves_in_its_context_is_for_its_connection() -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        before = whose.get()
        whose.set(request.read().decode() or before)
        response.end(before)

    with two(listener) as (first, second):
        assert first.ask(post("first's")).body == b"nobody's"
        assert second.ask(post("second's")).body == b"nobody's"
        assert [first.ask().body, second.ask().body] == [b"first's", b"second's"]


def test_a_connection_that_rests_is_closed_after_its_time() -> None:
    gone = Signal()
    with serving(ok, keep_alive_timeout=0.05) as server:
        server.on("connection", lambda connection: connection.on("close", gone))
        with resting(server) as (first, second):
            assert first.is_closed()
            assert second.is_closed()
        assert gone.happens()


def test_a_client_that_leaves() -> None:
    gone = threading.Semaphore(0)
    with serving(ok) as server:
        server.on("connection", lambda connection: connection.on("close", gone.release))
        with resting(server, 3) as (first, second, other):
            first.socket.close()
            assert gone.acquire(timeout=SECONDS)
            second.reset()
            assert gone.acquire(timeout=SECONDS)
            assert other.ask().status == 200
            assert server.get_connections() == 1


def test_a_connection_that_is_destroyed_while_it_rests() -> None:
    connections: list[nhttp.net.Socket] = []
    with serving(ok) as server:
        server.on("connection", connections.append)
        with resting(server) as (first, second):
            for each in connections:
                each.destroy()
            assert first.is_closed()
            assert second.is_closed()


@pytest.mark.parametrize("how", [nhttp.Server.close, nhttp.Server.close_all_connections])
def test_closing_a_server_closes_what_rests(how: Callable[[nhttp.Server], object]) -> None:
    with serving(ok) as server, resting(server, 20) as wires:
        how(server)
        assert all(each.is_closed() for each in wires)


def test_closing_a_server_serves_what_has_come() -> None:
    """The request is there, and its turn has not come."""
    begun, free = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            begun.set()
            free.happens()
        response.end("served")

    with serving(listener) as server, resting(server, 5) as (slow, *others):
        slow.send(SLOW)
        assert begun.happens()
        for each in others:
            each.send(GET)
        server.close()
        free.set()
        for each in (slow, *others):
            assert each.answer().body == b"served"
            assert each.is_closed()


def test_many_connections_and_handlers_of_every_kind() -> None:
    """Seeded, and ordered by nothing: whoever asks is answered, in order, with its own answer."""
    later: list[in_thread] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        kind, text = request.url[1], request.url[2:]
        if kind == "b":
            text += request.read().decode()
        if kind == "l":
            later.append(in_thread(response.end, text))
        elif kind == "w":
            threading.Event().wait(0.006)  # longer than a turn is to be
            response.end(text)
        else:
            response.end(text)

    def client(server: nhttp.Server, seed: int) -> None:
        dice = random.Random(seed)
        with Wire(server) as wire:
            for number in range(40):
                kind = dice.choices("qblw", (20, 5, 3, 1))[0]
                text, body = f"{kind}{seed}-{number}-", f"{number}" if kind == "b" else ""
                head = f"POST /{text} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
                wire.send(head)
                if dice.random() < 0.5:
                    threading.Event().wait(0)
                assert wire.ask(body).body.decode() == text[1:] + body

    with serving(listener) as server:
        threads = [in_thread(client, server, seed) for seed in range(16)]
        for each in (*threads, *later):
            each.result()
