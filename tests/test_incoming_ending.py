"""The end of requests that are not read to theirs: clients that go, and handlers that destroy."""

from __future__ import annotations

import functools
import queue
from typing import TYPE_CHECKING, Any

import pytest
from support import Recorder, in_thread
from wire import GET, SECONDS, Signal, Wire, chunked, connected, post, serving

from nhttp.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage, ServerResponse

UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_thread_that_still_reads_when_the_response_is_out_is_waited_for(connection: str) -> None:
    reading, waiting = Signal(), Signal()
    readers: list[in_thread] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        def read_body() -> Any:
            reading.set()
            return read()

        def noted(timeout: float | None = None) -> bool:
            waiting.set()
            return wait(timeout)

        read, wait = request._body.read_body, request._wait
        request._body.read_body = read_body  # type: ignore[method-assign]
        readers.append(in_thread(request.read))
        assert reading.happens()
        request._wait = noted  # type: ignore[method-assign]
        response.set_header("Connection", connection)
        response.end("early")

    with connected(listener) as wire:
        assert wire.ask(UPLOAD + "abc").body == b"early"
        assert waiting.happens(), "or the rest would be dropped beside it"
    with pytest.raises((OSError, StateError)):
        readers[0].result()


class TestAClientThatGoes:
    """While a handler computes and nobody reads."""

    @pytest.mark.parametrize("how", [Wire.reset, Wire.__exit__, Wire.end])
    @pytest.mark.parametrize("text", [GET, UPLOAD + "abcdef", UPLOAD, UPLOAD + "abc"])
    def test_is_told_to_who_listens(self, text: str, how: Callable[[Wire], object]) -> None:
        told = {event: Signal() for event in ("aborted", "close", "response")}
        asked = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            if len(text) == len(UPLOAD) + 6:
                request.read()
            request.on("aborted", told["aborted"]).on("close", told["close"])
            response.on("close", told["response"])
            asked.set()
            assert all(each.happens() for each in told.values())
            assert request.aborted
            response.destroy()

        with serving(listener) as server:
            wire = Wire(server).send(text)
            assert asked.happens()
            how(wire)
            assert all(each.happens() for each in told.values())
            wire.socket.close()

    def test_behind_its_body_is_told_when_that_was_read(self) -> None:
        """The end is behind octets that nobody has read: the request is whole, and is read."""
        aborted, asked = Signal(), Signal()
        bodies: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("aborted", aborted)
            asked.set()
            bodies.append(request.read())
            aborted.happens()
            response.end("answered all the same")

        with serving(listener) as server, Wire(server) as wire:
            wire.send(chunked("abc")[:-5])
            assert asked.happens()
            assert not aborted.is_set()
            wire.send("0\r\n\r\n").end()
            assert wire.answer().body == b"answered all the same"
        assert bodies == [b"abc"]

    def test_is_told_to_the_next_request_too_that_came_before_the_end(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            told = Signal()
            request.on("aborted", told)
            assert told.happens()
            response.end()

        with connected(listener) as wire:
            wire.send(GET + GET).end()
            assert [wire.answer().status for _ in range(2)] == [200, 200]

    def test_listening_after_the_exchange_tells_nothing(self) -> None:
        kept: list[tuple[IncomingMessage, ServerResponse]] = []
        told = Signal()
        with connected(lambda *pair: (kept.append(pair), pair[1].end())) as wire:  # type: ignore[func-returns-value]
            wire.ask()
            wire.ask()
            request, response = kept[0]
            request.on("aborted", told)
            response.on("close", told)
            response.destroy()
            assert wire.ask().status == 200, "the connection is another request's by now"
        assert not told.is_set()


def test_destroy_while_the_body_flows() -> None:
    events: list[str] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.on("data", lambda _: request.destroy())
        for name in ("aborted", "close"):
            request.on(name, lambda name=name: events.append(name))
        request.on("end", lambda: events.append("end"))

    with connected(listener) as wire:
        assert wire.send(UPLOAD + "abc").is_closed()
    assert events == ["aborted", "close"]


@pytest.mark.parametrize("text", [GET, UPLOAD])
def test_destroying_a_request_breaks_the_exchange_off(text: str) -> None:
    events: list[str] = []
    kept: list[IncomingMessage] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        kept.append(request)
        for name in ("aborted", "close", "end"):
            request.on(name, functools.partial(events.append, name))
        request.destroy()
        assert events == ["aborted", "close"]

    with connected(listener) as wire:
        assert wire.send(text).is_closed()
    assert events == ["aborted", "close"]
    assert "destroyed on this side" in str(kept[0].errored), "the first reason is the reason"


def test_reading_a_request_that_was_destroyed() -> None:
    failures: list[str] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.destroy()
        try:
            request.read()
        except (OSError, StateError) as error:
            failures.append(getattr(error, "code", ""))

    with connected(listener) as wire:
        assert wire.send(UPLOAD).is_closed()
    assert failures == ["ECONNRESET"]


def test_a_body_that_was_dropped_is_not_taken_for_an_empty_one() -> None:
    kept: list[IncomingMessage] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        kept.append(request)
        response.end()

    with connected(listener) as wire:
        for _ in range(2):
            assert wire.ask(post("body")).status == 200
        with pytest.raises(StateError, match="finished first"):
            kept[0].read()


def test_a_body_that_came_with_its_head_can_be_read_to_its_end_by_who_has_begun() -> None:
    kept: list[IncomingMessage] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        assert request.read(2) == b"bo"
        kept.append(request)
        response.end()

    with connected(listener) as wire:
        for _ in range(2):
            assert wire.ask(post("body")).status == 200
        assert kept[0].read() == b"dy"


def test_a_client_that_goes_behind_a_whole_request_aborts_it_although_nobody_has_read_it() -> None:
    aborted = Signal()
    bodies: queue.Queue[bytes] = queue.Queue()

    def listener(request: IncomingMessage, _: ServerResponse) -> None:
        assert request.complete
        request.on("aborted", aborted)
        assert aborted.happens()
        bodies.put(request.read())
        request.destroy()

    with connected(listener) as wire:
        wire.send(post("body")).end()
        assert bodies.get(timeout=SECONDS) == b"body"


def test_a_request_may_flow_when_its_exchange_is_over() -> None:
    given: queue.Queue[tuple[IncomingMessage, ServerResponse]] = queue.Queue()
    waiting = Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        def noted(timeout: float | None = None) -> bool:
            waiting.set()
            return wait(timeout)

        wait = request._wait
        request._wait = noted  # type: ignore[method-assign]
        given.put((request, response))

    with connected(listener) as wire:
        wire.send(GET)
        request, response = given.get(timeout=SECONDS)
        assert waiting.happens()
        response.end("by another thread")
        assert wire.answer().status == 200
        wire.send(GET)
        _, response = given.get(timeout=SECONDS)  # the first exchange is over
        recorder = Recorder(request, "data", "end")
        recorder.wait("end")
        response.end()
        assert wire.answer().status == 200
    assert recorder.names == ["end"]


def test_the_rest_of_a_request_that_was_destroyed_is_no_end() -> None:
    ended, reached = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.on("end", ended)
        assert request.read(3) == b"the"
        request.destroy()
        assert (request.read(), request.read()) == (b" body", b"")
        assert not request.readable_ended
        reached.set()

    with connected(listener) as wire:
        assert wire.send(post("the body")).is_closed()
    assert reached.is_set()
    assert not ended.is_set()
