"""An exchange: who ends it, and who closes a socket that is destroyed under it."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from support import SECONDS, in_thread

from nhttp import net
from nhttp._agent.channel import Channel
from nhttp._agent.options import RequestOptions
from nhttp._exchange import Exchange


class Taker:
    """Stands for the agent: counts what comes back."""

    keep_alive = True

    def __init__(self) -> None:
        self.given_back: list[Channel] = []
        self.dropped: list[Channel] = []

    def _give_back(self, channel: Channel, _options: RequestOptions) -> None:
        self.given_back.append(channel)

    def _drop(self, channel: Channel, _error: BaseException | None = None) -> None:
        self.dropped.append(channel)


def exchange_on(sock: net.Socket, agent: Any) -> Exchange:
    channel = Channel("name", sock)
    return Exchange(agent, channel, RequestOptions(), reused=True, repeatable=True)


def test_the_last_to_be_done_gives_the_socket_back_and_nobody_else_does() -> None:
    sock = net.Socket()
    for _ in range(50):
        agent, barrier = Taker(), threading.Barrier(2)
        exchange = exchange_on(sock, agent)

        def send(exchange: Exchange = exchange, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(SECONDS)
            exchange.sent(keep_alive=True)

        sender = in_thread(send)
        barrier.wait(SECONDS)
        exchange.received()
        sender.result()
        assert (agent.given_back, agent.dropped) == ([exchange.channel], [])
        assert exchange.over
        assert not exchange.give_up()


def test_who_gives_up_first_leaves_nothing_to_be_given_back() -> None:
    agent = Taker()
    exchange = exchange_on(net.Socket(), agent)
    exchange.close()
    exchange.close()
    exchange.sent(keep_alive=True)
    exchange.received()
    assert (agent.given_back, agent.dropped) == ([], [exchange.channel])


def transmit(exchange: Exchange) -> None:
    exchange.transmit([b"octets"])
    exchange.socket._left()


@pytest.mark.parametrize("direction", ["receive", "send"])
def test_a_socket_that_is_destroyed_under_an_exchange_is_closed_when_its_thread_is_back(
    direction: str,
) -> None:
    near, far = socket.socketpair()
    with far:
        sock = net.Socket(near)
        inside, may_go = threading.Event(), threading.Event()

        def block(*_args: object) -> bytes:
            inside.set()
            assert may_go.wait(SECONDS)
            return b""

        stand_in: Any = sock
        exchange = exchange_on(sock, Taker())
        if direction == "receive":
            stand_in._receive = block
            user = in_thread(exchange._receive)
        else:
            stand_in._transmit = block
            user = in_thread(transmit, exchange)
        assert inside.wait(SECONDS)
        closed = threading.Event()
        sock.on("close", closed.set)
        sock.destroy()
        assert sock.fileno() >= 0
        assert not closed.is_set()
        may_go.set()
        user.result()
        assert sock.fileno() == -1
        assert closed.is_set()


def test_an_exchange_does_not_touch_a_socket_that_was_destroyed() -> None:
    sock = net.Socket().destroy()
    exchange = exchange_on(sock, Taker())
    exchange.transmit([b"octets"])
    assert isinstance(exchange.send_failure, ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        exchange.read_head(None)
