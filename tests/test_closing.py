"""How connections end: what was said last arrives, whatever the client is still sending."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest
from wire import GET, LAST, SECONDS, Signal, Wire, connected, ok, post, serving

if TYPE_CHECKING:
    from nhttp import IncomingMessage, ServerResponse
    from nhttp.net import Socket

UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


def test_what_comes_behind_the_last_one_does_not_hurt_its_answer() -> None:
    """Closing on octets that nobody has read would make the kernel send a reset."""
    asked, sent = Signal(), Signal()

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        asked.set()
        assert sent.happens()
        response.end("last")

    with connected(listener) as wire:
        wire.send(LAST)
        assert asked.happens()
        wire.send(GET)
        sent.set()
        assert wire.answer().body == b"last"
        assert wire.receive() == b""
    with connected(ok) as wire:
        assert wire.ask(LAST + GET).status == 200
        assert wire.receive() == b""
        wire.send("more").send("of it")


def test_the_rest_of_a_body_whose_beginning_was_read_does_not_hurt_the_answer() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        response.set_header("Connection", "close")
        response.end(request.read(5))

    with connected(listener) as wire:
        assert wire.ask(post("x" * 1000)[:-995]).body == b"xxxxx"
        assert wire.receive() == b""
        wire.send("x").send("x")


def test_who_is_still_sending_gets_the_answer_and_no_reset() -> None:
    with connected(ok) as wire:
        assert wire.ask("nonsense\r\n\r\n", body=False).status == 400
        assert wire.receive() == b""
        wire.send("more").send("of it")


@pytest.mark.parametrize(("size", "seconds"), [(4, 60.0), (1000, 0.05)])
def test_who_does_not_stop_sending_is_not_listened_to_for_ever(
    size: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nhttp._closing.LINGER_BYTES", size)
    monkeypatch.setattr("nhttp._closing.LINGER_SECONDS", seconds)
    closed = Signal()
    with serving(ok) as server:
        server.on("connection", lambda socket: socket.on("close", closed))
        with Wire(server) as wire:
            assert wire.ask("nonsense\r\n\r\n", body=False).status == 400
            wire.send("more")
            assert closed.happens()


def test_who_is_sending_until_a_client_error_listener_answers_is_not_held_up() -> None:
    failed: queue.Queue[Socket] = queue.Queue()
    with serving(ok) as server:
        server.on("clientError", lambda _, socket: failed.put(socket))
        with Wire(server) as wire:
            wire.send("nonsense\r\n\r\n").send(b"x" * 8 * 1024 * 1024)
            failed.get(timeout=SECONDS).end("late")
            assert wire.rest() == b"late"
            for _ in range(3):
                wire.send("more")
                with Wire(server) as other:
                    other.ask(LAST)


def test_what_comes_behind_an_upgrade_does_not_hurt_the_500_for_its_listener() -> None:
    asked, sent = Signal(), Signal()

    def listener(*_arguments: object) -> None:
        asked.set()
        assert sent.happens()
        raise KeyError

    with serving(ok) as server:
        server.on("upgrade", listener)
        with Wire(server) as wire:
            wire.send(UPGRADE)
            assert asked.happens()
            wire.send("more")
            sent.set()
            assert wire.answer(body=False).status == 500
            assert wire.receive() == b""
            wire.send("more").send("of it")
