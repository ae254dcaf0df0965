"""What is concluded when a client has ended: a request may be whole, cut short, or being read."""

from __future__ import annotations

import socket
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from wire import GET, Signal, chunked, connected

from nhttp import _gone, _watcher
from nhttp._gone import ClientWatch
from nhttp._parser import RequestParser
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nhttp import IncomingMessage, ServerResponse

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


class Message:
    """What a `ClientWatch` needs of a request, and of a response."""

    def __init__(self) -> None:
        self.told = Signal()
        self.complete = False
        self.socket = Socket()
        self._write_ended = False

    def _tell_aborted(self) -> None:
        self.told()

    def _tell(self, event: str) -> None:
        assert event == "close"


class Exchange:
    """A connection whose client has begun a request with a body of five octets."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.parser = RequestParser()
        self.parser.feed(HEAD)
        self.parser.next_event()
        self.request = Message()
        self.messages: Any = (self.request, Message())
        self.watch = ClientWatch(Socket(server), self.parser)
        self.watch._exchange = self.latest()  # as if it were watched

    def latest(self) -> Any:
        return self.messages

    def ends_behind(self, octets: bytes) -> None:
        self.client.sendall(octets)
        self.client.shutdown(socket.SHUT_WR)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    client, server = socket.socketpair()
    with closing(client):
        made = Exchange(client, server)
        yield made
        made.watch.end()
        made.watch.socket.destroy()


def test_a_request_that_is_cut_short_is_aborted(exchange: Exchange) -> None:
    exchange.ends_behind(b"abc")
    exchange.watch._peer_gone()
    assert exchange.request.told.happens()


def test_a_request_that_is_whole_is_aborted_when_it_was_read(exchange: Exchange) -> None:
    exchange.ends_behind(b"abcde")
    exchange.watch._peer_gone()
    assert not exchange.watch._is_cut_short()
    exchange.watch.arrived()
    assert exchange.request.told.happens()


def test_nothing_is_concluded_while_octets_are_on_their_way(exchange: Exchange) -> None:
    exchange.ends_behind(b"abcde")
    exchange.watch.reading()
    octets = exchange.server.recv(100)
    exchange.watch._peer_gone()  # they are not in the kernel any more, and not in the parser yet
    exchange.parser.feed(octets)
    exchange.watch.was_read()
    assert exchange.watch._owed
    assert not exchange.request.told.is_set()
    exchange.watch.arrived()
    assert exchange.request.told.happens()


def test_it_is_concluded_when_they_have_come(exchange: Exchange) -> None:
    exchange.ends_behind(b"abc")
    exchange.watch.reading()
    octets = exchange.server.recv(100)
    exchange.watch._peer_gone()
    assert not exchange.request.told.is_set()
    exchange.parser.feed(octets)
    exchange.watch.was_read()
    assert exchange.request.told.happens()


def test_nothing_is_watched_between_two_exchanges(exchange: Exchange) -> None:
    exchange.watch.rest()
    exchange.watch.watch(lambda: None)
    assert exchange.watch._watching is None
    exchange.watch._peer_gone()  # of a watch that was cancelled too late
    assert not exchange.watch._owed


def test_nothing_is_watched_when_this_side_has_gone(exchange: Exchange) -> None:
    exchange.watch.rest()
    exchange.watch.socket.destroy()
    exchange.watch.watch(exchange.latest)
    assert exchange.watch._watching is None
    assert exchange.watch._exchange is None
    assert not exchange.watch._is_cut_short()


def test_nothing_is_watched_behind_the_last_exchange(exchange: Exchange) -> None:
    exchange.watch.end()
    exchange.watch.watch(exchange.latest)
    assert exchange.watch._watching is None
    assert exchange.watch._exchange is None


def test_who_watches_too_late_watches_the_exchange_that_is_under_way(exchange: Exchange) -> None:
    exchange.watch.watch(exchange.latest)
    before = exchange.watch._watching
    assert before is not None
    exchange.request.complete = True
    exchange.messages = (exchange.request, Message())
    exchange.watch.watch(exchange.latest)
    assert exchange.watch._watching is before
    assert exchange.watch._exchange is exchange.messages
    assert exchange.watch._whole


def test_a_client_that_goes_with_its_answer_aborts_nothing(exchange: Exchange) -> None:
    answered: Any = Message()
    answered._write_ended = True
    request: Any = exchange.request
    exchange.watch._tell(request, answered)
    assert not exchange.request.told.is_set()


def test_what_is_found_out_in_one_exchange_is_not_told_to_the_next(exchange: Exchange) -> None:
    exchange.ends_behind(b"abcde")
    exchange.watch.watch(exchange.latest)
    exchange.watch._peer_gone()
    assert exchange.watch._owed
    exchange.watch.rest()
    assert not exchange.watch._owed


# The same on a server.


def watch_of(request: IncomingMessage) -> ClientWatch:
    connection: Any = request._body
    watch: ClientWatch = connection._client
    return watch


def test_nothing_is_concluded_by_a_server_while_octets_are_on_their_way() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        def receive(size: int) -> bytes:
            octets = original(size)
            watch._peer_gone()  # they are not in the kernel any more, and not in the parser yet
            assert watch._unsure
            return octets

        request.on("aborted", lambda: None)  # or it is not watched
        watch = watch_of(request)
        original = request.socket._receive
        request.socket._receive = receive  # type: ignore[method-assign]
        asked.set()
        response.end(request.read())

    asked = Signal()
    with connected(listener) as wire:
        wire.send(HEAD)
        assert asked.happens()
        assert wire.ask("abcde").body == b"abcde"


@pytest.mark.parametrize("gone", [False, True])
def test_a_request_that_is_whole_is_complete_when_it_is_aborted(
    gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete: list[bool] = []

    def at_once(function: Callable[..., object], *args: object, name: str) -> None:
        function(*args)

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.on("aborted", lambda: complete.append(request.complete))
        if gone:
            watch_of(request)._peer_gone()
        response.end(request.read())

    monkeypatch.setattr(_gone, "_threads", SimpleNamespace(run=at_once))
    with connected(listener) as wire:
        assert wire.ask(chunked("abc")).body == b"abc"
    assert complete == [True] * gone


def test_nobody_is_watched_any_more_when_this_side_has_gone_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled = Signal()

    def watched(*_: object) -> SimpleNamespace:
        return SimpleNamespace(cancel=cancelled)

    def listener(request: IncomingMessage, _: ServerResponse) -> None:
        request.on("aborted", lambda: None)
        request.destroy()

    monkeypatch.setattr(_watcher, "watch", watched)
    with connected(listener) as wire:
        assert wire.send(GET).is_closed()
    assert cancelled.is_set()
