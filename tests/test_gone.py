"""What is concluded when a client has ended: a request may be whole, cut short, or being read."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from wire import Signal

from nhttp._gone import ClientWatch
from nhttp._parser import RequestParser
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        messages: Any = (self.request, Message())
        self.watch = ClientWatch(Socket(server), self.parser)
        self.watch.begin(*messages)

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
