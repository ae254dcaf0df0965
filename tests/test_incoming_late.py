"""Requests that come too slowly, and listeners for the silence."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from wire import GET, Signal, Wire, connected, ok, post, serving

from nhttp.errors import SocketTimeout

if TYPE_CHECKING:
    from nhttp import IncomingMessage, ServerResponse

UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


class TestLateness:
    def test_a_body_that_comes_too_slowly(self) -> None:
        failures: list[Exception] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            try:
                request.read()
            except SocketTimeout as error:
                failures.append(error)
                raise

        with connected(listener, request_timeout=0.1) as wire:
            answer = wire.ask(UPLOAD + "abc", body=False)
            assert (answer.status, answer["connection"]) == (408, "close")
            assert wire.is_closed()
        assert len(failures) == 1

    def test_a_head_that_comes_too_slowly_behind_an_exchange(self) -> None:
        with connected(ok, headers_timeout=0.05) as wire:
            wire.ask()
            assert wire.ask(GET[:10], body=False).status == 408
            assert wire.is_closed()

    def test_a_body_that_comes_too_slowly_when_the_answer_is_half_out(self) -> None:
        responses: list[ServerResponse] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            responses.append(response)
            response.write("half")
            request.read()

        with connected(listener, request_timeout=0.05) as wire:
            assert wire.send(UPLOAD + "abc").head().status == 200
            assert b"0\r\n\r\n" not in wire.rest()
        assert [type(each.errored) for each in responses] == [SocketTimeout]

    @pytest.mark.parametrize("where", ["waiting", "paused", "thread"])
    def test_a_body_that_nobody_reads_when_its_time_is_over(self, where: str) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            if where == "paused":
                request.on("data", lambda _: request.pause())
            elif where == "thread":
                threading.Thread(target=pull, args=[request]).start()
            else:
                request.read1()

        def pull(request: IncomingMessage) -> None:
            with pytest.raises(SocketTimeout):
                request.read()

        with connected(listener, request_timeout=0.1) as wire:
            assert wire.ask(UPLOAD + "abc", body=False).status == 408
            assert wire.is_closed()

    def test_the_bound_on_a_head_does_not_bound_the_handler(self) -> None:
        """Nor the one on the request, once it is there."""
        late = threading.Event()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            assert not late.wait(0.3)
            response.end("slow but well")

        with connected(listener, headers_timeout=0.1, request_timeout=0.2) as wire:
            wire.send(GET[:10])
            assert wire.ask(GET[10:]).body == b"slow but well"

    @pytest.mark.parametrize("text", [GET, post("body")])
    def test_nothing_bounds_the_handler_of_a_request_that_has_arrived(self, text: str) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            assert request.socket._limit == math.inf
            ok(request, response)

        with connected(listener) as wire:
            assert wire.ask(text).status == 200

    def test_nor_once_it_has_read_the_rest(self) -> None:
        asked = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            assert request.socket._limit < math.inf
            asked.set()
            request.read()
            assert request.socket._limit == math.inf
            response.end()

        with connected(listener) as wire:
            wire.send(UPLOAD)
            assert asked.happens()
            assert wire.ask("abcdef").status == 200

    def test_0_turns_the_bounds_off(self) -> None:
        asked = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            assert request.socket._limit == math.inf
            asked.set()
            ok(request, response)

        options: Any = {"headers_timeout": 0, "request_timeout": 0, "timeout": 0}
        with connected(listener, **options) as wire:
            wire.send(UPLOAD[:20]).send(UPLOAD[20:])
            assert asked.happens()
            assert wire.ask("abcdef").body == b"abcdef"

    def test_a_listeners_timeout_is_for_its_exchange_alone(self) -> None:
        seen: list[float] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            seen.append(request.socket.timeout)
            request.set_timeout(33)
            response.end()

        with serving(listener) as server:
            server.on("connection", lambda socket: socket.set_timeout(7))
            with Wire(server) as wire:
                wire.ask()
                wire.ask()
        assert seen == [7, 120.0]

    def test_a_listener_of_an_exchange_that_is_over_saves_nobody(self) -> None:
        told = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.set_timeout(33, told)
            response.end()

        with connected(listener, timeout=0.05, keep_alive_timeout=0) as wire:
            wire.ask()
            assert wire.is_closed()
        assert not told.is_set()

    def test_a_listener_of_the_sockets_own_saves_nobody(self) -> None:
        told = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.socket.set_timeout(0.05, told)

        with connected(listener) as wire:
            assert wire.send(GET).is_closed()
        assert told.is_set()
