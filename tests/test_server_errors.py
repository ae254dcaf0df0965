"""What goes wrong on a server by itself: listeners that raise."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import eventually, in_thread, logged
from wire import GET, SECONDS, Signal, Wire, connected, ok, post, serving

import nhttp
from nhttp.errors import ConnectionReset, StateError

if TYPE_CHECKING:
    from nhttp import IncomingMessage, ServerResponse

UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


class HandlerError(Exception):
    """A mistake in a handler."""


def oops(*_arguments: object) -> None:
    raise HandlerError


class TestAListenerThatRaises:
    def test_before_the_head_is_answered_with_500(self, caplog: pytest.LogCaptureFixture) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            if request.url == "/bad":
                response.set_header("X-Half", "done")
                response.write_head(201, "Nearly")
                response.add_trailers({"X-Behind": "it"})
                response.cork()
                response.write("never sent")
                oops()
            response.end("fine")

        with connected(listener) as wire:
            answer = wire.ask("GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (answer.status, answer.reason) == (500, "Internal Server Error")
            assert (answer["x-half"], answer["content-length"], answer.body) == (None, "0", b"")
            assert wire.ask().body == b"fine", "the connection goes on"
        assert logged(caplog) == [HandlerError]

    def test_after_the_head_closes_the_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.write("half")
            oops()

        with serving(listener) as server:
            with Wire(server) as wire:
                assert wire.send(GET).head().status == 200
                assert b"0\r\n\r\n" not in wire.rest()
            with Wire(server) as wire:
                assert wire.send(GET).head().status == 200
        assert logged(caplog) == [HandlerError, HandlerError]

    def test_as_one_does_whose_own_connection_is_lost(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener(_: IncomingMessage, __: ServerResponse) -> None:
            raise ConnectionReset("of a client that the handler has", "ECONNRESET")

        with connected(listener) as wire:
            assert wire.ask().status == 500
        assert logged(caplog) == [ConnectionReset]

    @pytest.mark.parametrize("error", [HandlerError(), StateError("no", "ERR_HTTP_HEADERS_SENT")])
    def test_when_the_client_has_gone_is_logged_all_the_same(
        self, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener(request: IncomingMessage, _: ServerResponse) -> None:
            request.destroy()
            raise error

        with connected(listener) as wire:
            assert wire.send(GET).is_closed()
        assert logged(caplog) == [type(error)]

    def test_after_the_end_changes_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.end("done")
            oops()

        with connected(listener) as wire:
            assert wire.ask().body == wire.ask().body == b"done"
        assert logged(caplog) == [HandlerError, HandlerError]

    @pytest.mark.parametrize("event", ["data", "end", "readable"])
    def test_of_a_body(self, event: Any, caplog: pytest.LogCaptureFixture) -> None:
        def listener(request: IncomingMessage, _: ServerResponse) -> None:
            request.on(event, oops).resume()
            if event == "readable":
                request.pause()._flowing = None

        with connected(listener) as wire:
            assert wire.ask(post("body")).status == 500
            assert wire.ask(post("body")).status == 500
        assert logged(caplog) == [HandlerError, HandlerError]

    @pytest.mark.parametrize("event", ["connect", "upgrade"])
    def test_of_a_tunnel(self, event: Any, caplog: pytest.LogCaptureFixture) -> None:
        text = UPGRADE if event == "upgrade" else "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
        with serving(ok) as server:
            server.on(event, oops)
            with Wire(server) as wire:
                assert wire.ask(text, body=False).status == 500
                assert wire.is_closed()
        assert logged(caplog) == [HandlerError]

    def test_of_a_tunnel_that_has_begun(self, caplog: pytest.LogCaptureFixture) -> None:
        def upgrade(_: IncomingMessage, socket: nhttp.net.Socket, __: bytes) -> None:
            socket.write("begun")
            socket.on("data", oops)

        def early(_: IncomingMessage, socket: nhttp.net.Socket, __: bytes) -> None:
            socket.write("begun")
            oops()

        for listener in (upgrade, early):
            with serving(ok) as server:
                server.on("upgrade", listener)
                with Wire(server) as wire:
                    assert wire.send(UPGRADE).exactly(5) == b"begun"
                    assert wire.send("x").is_closed()
        assert logged(caplog) == [HandlerError, HandlerError]

    @pytest.mark.parametrize("event", ["connection", "clientError"])
    def test_of_a_connection(self, event: Any, caplog: pytest.LogCaptureFixture) -> None:
        with serving(ok) as server:
            server.once(event, oops)
            with Wire(server) as wire:
                assert wire.send("nonsense\r\n\r\n").is_closed()
            with Wire(server) as wire:
                assert wire.ask().status == 200
        assert logged(caplog) == [HandlerError]

    def test_of_a_timeout(self, caplog: pytest.LogCaptureFixture) -> None:
        with serving(ok, timeout=0.05) as server:
            server.on("timeout", oops)
            with Wire(server) as wire:
                assert wire.is_closed()
        assert logged(caplog) == [HandlerError]

    def test_of_the_end_of_a_request(self, caplog: pytest.LogCaptureFixture) -> None:
        """Logged, and the others are told all the same."""
        asked, told = Signal(), Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("aborted", oops)
            response.on("close", told)
            asked.set()
            told.happens()
            response.destroy()

        with serving(listener) as server:
            with Wire(server) as wire:
                wire.send(GET)
                assert asked.happens()
            assert told.happens()
        assert HandlerError in [record.exc_info[0] for record in caplog.records if record.exc_info]

    def test_of_a_client_error_at_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        with serving(lambda request, response: response.destroy(HandlerError())) as server:
            server.on("clientError", oops)
            with Wire(server) as wire:
                assert wire.send(GET).is_closed()
        assert logged(caplog) == [HandlerError]

    @pytest.mark.parametrize("where", ["finish", "callback"])
    def test_of_finish_on_another_thread_keeps_nobody_waiting(self, where: str) -> None:
        raised = Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            def work() -> None:
                try:
                    if where == "finish":
                        response.on("finish", oops).end("done")
                    else:
                        response.cork()
                        response.write("done", oops)
                        response.end()
                except HandlerError:
                    raised.set()

            threading.Thread(target=work).start()

        with connected(listener) as wire:
            assert wire.ask().body == b"done"
            assert wire.ask().body == b"done"
        assert raised.happens()


class TestHandleError:
    def test_may_be_overridden(self, caplog: pytest.LogCaptureFixture) -> None:
        seen: list[Exception] = []

        class Kind(nhttp.Server):
            def handle_error(
                self, error: Exception, request: IncomingMessage, response: ServerResponse
            ) -> None:
                seen.append(error)
                response.write_head(503).end("sorry")

        with Kind(oops).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.ask().body == b"sorry"
        assert [type(error) for error in seen] == [HandlerError]
        assert not caplog.records

    def test_what_it_leaves_open_is_closed(self) -> None:
        class Kind(nhttp.Server):
            def handle_error(self, error: object, request: object, response: object) -> None:
                pass

        with Kind(oops).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.send(GET).is_closed()

    def test_an_answer_that_another_thread_is_just_sending_is_left_alone(self) -> None:
        dealt_with = threading.Event()
        writers: list[in_thread] = []

        class Kind(nhttp.Server):
            def handle_error(self, error: Any, request: Any, response: Any) -> None:
                super().handle_error(error, request, response)
                dealt_with.set()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def hold() -> None:
                with response._write_lock:
                    held.set()
                    assert dealt_with.wait(SECONDS)

            held = threading.Event()
            writers.append(in_thread(hold))
            assert held.wait(SECONDS)
            writers.append(in_thread(response.end, "from elsewhere"))
            eventually(lambda: response.writable_ended, "the other thread has begun")
            oops()

        with Kind(listener).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.ask().body == b"from elsewhere"
            assert wire.ask().body == b"from elsewhere"
        for writer in writers:
            writer.result()

    @pytest.mark.parametrize("elsewhere", [False, True])
    @pytest.mark.parametrize("raised", [KeyError, KeyboardInterrupt])
    def test_an_answer_that_breaks_off_while_it_is_sent_is_waited_for_by_nobody(
        self, elsewhere: bool, raised: type[BaseException]
    ) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def broken(body_size: int | None) -> bytes:
                raise raised

            def end() -> None:
                with pytest.raises(raised):
                    response.end("never")
                oops()

            response._render_head = broken  # type: ignore[method-assign]
            if elsewhere:
                writers.append(in_thread(end))
            else:
                end()

        writers: list[in_thread] = []
        with nhttp.create_server(listener).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.send(GET).is_closed()
        for writer in writers:
            with pytest.raises(HandlerError):
                writer.result()

    def test_what_it_raises_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        class Kind(nhttp.Server):
            def handle_error(self, error: object, request: object, response: object) -> None:
                raise KeyError

        with Kind(oops).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.send(GET).is_closed()
        assert logged(caplog) == [KeyError]

    def test_what_it_raises_behind_its_answer_closes_the_connection(self) -> None:
        class Kind(nhttp.Server):
            def handle_error(self, error: object, request: object, response: Any) -> None:
                response.end("sorry")
                raise KeyError

        with (
            Kind(oops, keep_alive_timeout=0).listen(0, "127.0.0.1") as server,
            Wire(server) as wire,
        ):
            assert wire.ask().body == b"sorry"
            assert wire.is_closed()

    def test_losing_the_client_meanwhile_is_nobodys_mistake(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Kind(nhttp.Server):
            def handle_error(
                self, error: Exception, request: IncomingMessage, response: ServerResponse
            ) -> None:
                request.socket.destroy()
                response.end()

        with Kind(oops).listen(0, "127.0.0.1") as server, Wire(server) as wire:
            assert wire.send(GET).is_closed()
        assert not caplog.records


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_system_exit_in_a_handler_ends_its_connection_alone() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/exit":
            raise SystemExit
        response.end("fine")

    with serving(listener) as server:
        with Wire(server) as wire:
            assert wire.send("GET /exit HTTP/1.1\r\nHost: a\r\n\r\n").is_closed()
        with Wire(server) as wire:
            assert wire.ask().body == b"fine"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_system_exit_in_the_listener_of_a_tunnel_ends_that() -> None:
    def listener(*_arguments: object) -> None:
        raise SystemExit

    with serving(ok) as server:
        server.on("upgrade", listener)
        with Wire(server) as wire:
            assert wire.send(UPGRADE).is_closed()
