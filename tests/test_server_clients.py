"""What goes wrong on a server by way of its clients: they vanish, or talk nonsense."""

from __future__ import annotations

import math
import queue
import threading
from typing import TYPE_CHECKING

import pytest
from support import logged
from wire import GET, LAST, SECONDS, Signal, Wire, chunked, connected, ok, post, serving

from nhttp.errors import ConnectionReset, ParseError

if TYPE_CHECKING:
    from collections.abc import Callable

    import nhttp
    from nhttp import IncomingMessage, ServerResponse
    from nhttp.net import Socket

UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


class TestNonsense:
    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("nonsense\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: " + "x" * 9000, 431),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        ],
    )
    def test_a_bad_head_is_answered_and_the_socket_destroyed(self, text: str, status: int) -> None:
        asked = Signal()
        with serving(asked) as server:
            with Wire(server) as wire:
                answer = wire.ask(text, body=False)
                assert (answer.status, answer["connection"]) == (status, "close")
                assert wire.is_closed()
            server.on("request", ok)
            with Wire(server) as wire:
                assert wire.ask().status == 200
        assert asked.is_set(), "by the second connection"

    def test_a_bad_head_behind_a_good_request(self) -> None:
        with connected(ok) as wire:
            wire.send(GET + "nonsense\r\n\r\n")
            assert wire.answer().status == 200
            assert wire.answer(body=False).status == 400
            assert wire.is_closed()

    def test_a_bad_chunk_in_the_middle_of_a_body(self) -> None:
        failures: list[Exception] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            try:
                request.read()
            except ParseError as error:
                failures.append(error)
                raise

        text = chunked("good").replace("0\r\n\r\n", "bad\n")
        with connected(listener) as wire:
            assert wire.ask(text, body=False).status == 400
            assert wire.is_closed()
        assert len(failures) == 1

    def test_a_bad_chunk_when_the_answer_is_half_out(self) -> None:
        responses: list[ServerResponse] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            responses.append(response)
            response.write("half")
            request.read()

        with connected(listener) as wire:
            wire.send(chunked("good").replace("0\r\n\r\n", "bad\n"))
            assert wire.head().status == 200
            assert b"0\r\n\r\n" not in wire.rest()
        assert [type(each.errored) for each in responses] == [ParseError]

    def test_a_client_error_listener_is_told_as_well_when_the_answer_is_half_out(self) -> None:
        told: queue.Queue[tuple[type[Exception], bool]] = queue.Queue()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            response.write("half")
            request.read()

        with serving(listener) as server:
            server.on(
                "clientError", lambda error, socket: told.put((type(error), socket.destroyed))
            )
            for text in (chunked("good").replace("0\r\n\r\n", "bad\n"), post("cut")[:-1]):
                with Wire(server) as wire:
                    assert wire.send(text).end().head().status == 200
                    assert told.get(timeout=SECONDS) == (ParseError, True)

    def test_a_bad_chunk_when_the_answer_is_out(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            response.end("answer")
            request.read()

        with connected(listener) as wire:
            assert wire.ask(chunked("good").replace("0\r\n\r\n", "bad\n")).body == b"answer"
            assert wire.receive() == b""
            wire.send("more").send("of it, for which nobody gets a reset")

    def test_a_client_error_listener_may_close_later_on_another_thread(self) -> None:
        def later(_: Exception, socket: nhttp.net.Socket) -> None:
            threading.Timer(0.05, socket.end, ["later"]).start()

        with serving(ok) as server:
            server.on("clientError", later)
            with Wire(server) as wire:
                assert wire.send("nonsense\r\n\r\n").send("more").rest() == b"later"
            with Wire(server) as wire:
                assert wire.send("nonsense\r\n\r\n").end().rest() == b"later"

    def test_a_client_error_listener_is_told_once_and_not_hurried(self) -> None:
        told: list[tuple[type[Exception], float]] = []

        def listener(error: Exception, socket: nhttp.net.Socket) -> None:
            told.append((type(error), socket._limit))
            socket.destroy(error)

        with serving(ok) as server:
            server.on("clientError", listener)
            with Wire(server) as wire:
                wire.ask(GET + "non")
                assert wire.send("sense\r\n\r\n").is_closed()
        assert told == [(ParseError, math.inf)]

    def test_a_client_error_listener_that_forgets_is_helped_by_the_timeout(self) -> None:
        with serving(ok, timeout=0.1) as server:
            server.on("clientError", Signal())
            with Wire(server) as wire:
                assert wire.send("nonsense\r\n\r\n").is_closed()


class TestVanishing:
    def test_a_reset_ends_what_nobody_goes_on_with(self) -> None:
        asked, closed = Signal(), Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.on("close", closed)
            asked.set()

        with serving(listener, timeout=0) as server:
            wire = Wire(server).send(GET)
            assert asked.happens()
            wire.reset()
            assert closed.happens()
            assert server.close().wait_closed(SECONDS)

    @pytest.mark.parametrize("vanish", [Wire.reset, Wire.__exit__])
    def test_at_any_octet_of_a_request(self, vanish: Callable[[Wire], object]) -> None:
        text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        with serving(ok) as server:
            for size in range(len(text)):
                vanish(Wire(server).send(text[:size]))
            with Wire(server) as wire:
                assert wire.ask(LAST).status == 200

    @pytest.mark.parametrize("vanish", [Wire.reset, Wire.__exit__])
    def test_at_any_octet_of_a_response(
        self, vanish: Callable[[Wire], object], caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            for _part in range(5):
                response.write("x" * 20)
            response.end()

        with serving(listener) as server:
            for size in range(0, 300, 13):
                wire = Wire(server).send(GET)
                wire.exactly(1 + size % 100)
                vanish(wire)
            with Wire(server) as wire:
                assert len(wire.ask(LAST).body) == 100
        assert not caplog.records, "nobody made a mistake"

    def test_in_the_middle_of_a_head_is_an_error_of_the_clients(self) -> None:
        errors: queue.Queue[Exception] = queue.Queue()
        with serving(ok) as server:
            server.on("clientError", lambda error, _: errors.put(error))
            wire = Wire(server)
            wire.ask()
            wire.send(GET[:10]).reset()
            assert isinstance(errors.get(timeout=SECONDS), ConnectionReset)

    def test_a_listener_may_destroy_the_socket_with_the_error_that_it_is_given(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with serving(ok) as server:
            server.on("clientError", lambda error, socket: socket.destroy(error))
            with Wire(server) as wire:
                assert wire.send("nonsense\r\n\r\n").is_closed()
        assert logged(caplog) == []

    def test_what_a_socket_was_destroyed_with_is_not_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        sockets: list[Socket] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            if request.method == "POST":
                request.socket.destroy(ValueError("enough"))
            response.end("fine")

        with serving(listener) as server:
            server.on("connection", sockets.append)
            with Wire(server) as wire:
                wire.ask()
                sockets[0].destroy(ValueError("enough"))
                assert wire.is_closed()
            with Wire(server) as wire:
                assert wire.send(UPLOAD).is_closed()
        assert logged(caplog) == []

    def test_writing_to_one_who_is_gone_raises_and_is_not_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked, gone, failed = Signal(), Signal(), Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            asked.set()
            gone.happens()
            try:
                while True:
                    response.write("x" * 100_000)
            except OSError:
                failed.set()
                raise

        with serving(listener) as server:
            wire = Wire(server).send(GET)
            assert asked.happens()
            wire.reset()
            gone.set()
            assert failed.happens()
        assert not caplog.records

    @pytest.mark.parametrize("text", [UPLOAD + "ab", chunked("abc")[:-5]])
    def test_a_body_cut_short_is_no_end(self, text: str) -> None:
        events: list[str] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("data", lambda _: events.append("data"))
            for name in ("end", "aborted", "close"):
                request.on(name, lambda name=name: events.append(name))
            request.on("error", lambda error: events.append(type(error).__name__))

        with connected(listener) as wire:
            answer = wire.send(text).end().answer(body=False)
            assert answer.status == 400
            assert wire.is_closed()
        # The watcher may notice the end while what came before it is still being delivered.
        assert sorted(events) == ["ConnectionReset", "aborted", "close", "data"]
        assert events.index("aborted") < events.index("close")

    def test_destroying_all_connections_is_no_mistake_either(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            asked.set()
            request.read()

        with serving(listener) as server:
            with Wire(server) as idle, Wire(server) as busy:
                busy.send(UPLOAD)
                assert asked.happens()
                server.close_all_connections()
                assert idle.is_closed()
                assert busy.is_closed()
            assert server.listening
        assert not caplog.records
