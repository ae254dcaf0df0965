"""The life of connections: order, reuse, upgrades, threads, expectations, memory."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from support import listening
from wire import GET, LAST, Signal, Wire, chunked, connected, ok, post, serving

import nhttp

if TYPE_CHECKING:
    from nhttp import IncomingMessage, ServerResponse
    from nhttp._parser import EndOfMessage

EXPECT = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def upgrade(protocol: str, *fields: str, method: str = "GET") -> str:
    lines = [f"{method} / HTTP/1.1", "Host: a", "Connection: Upgrade", f"Upgrade: {protocol}"]
    return "\r\n".join([*lines, *fields]) + "\r\n\r\n"


class TestPipelining:
    def test_is_answered_in_order_although_later_answers_are_ready_sooner(self) -> None:
        """One after the other: the second handler starts when the first answer is out."""
        order: list[str] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            order.append(f"asked {request.url}")

            def work() -> None:
                order.append(f"answer {request.url}")
                response.end(request.url)

            threading.Thread(target=work).start()

        with connected(listener) as wire:
            wire.send("".join(f"GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(5)))
            assert [wire.answer().body for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        assert order == [f"{what} /{n}" for n in range(5) for what in ("asked", "answer")]

    def test_with_bodies_and_octet_by_octet(self) -> None:
        text = post("one") + chunked("two", "three") + "\r\n" + post("") + LAST
        with connected(ok) as wire:
            for octet in text:
                wire.send(octet)
            assert [wire.answer().body for _ in range(4)] == [b"one", b"twothree", b"", b""]
            assert wire.is_closed()

    def test_what_follows_the_last_request_is_not_served(self) -> None:
        asked: list[str] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            asked.append(request.url)
            response.end("last")

        with connected(listener) as wire:
            assert wire.ask(LAST + GET).body == b"last"
            assert wire.is_closed()
        assert asked == ["/"]

    def test_a_client_that_has_ended_its_side_still_gets_its_answers(self) -> None:
        with connected(ok) as wire:
            wire.send(post("one") + post("two")).end()
            assert wire.answer().body == b"one"
            assert wire.answer().body == b"two"
            assert wire.is_closed()


class TestUnreadBodies:
    def test_a_small_one_is_dropped_and_the_connection_used_again(self) -> None:
        with connected(lambda _, response: response.end("no")) as wire:
            assert wire.ask(post("x" * 1000)).body == b"no"
            assert wire.ask(chunked("x" * 1000, "y")).body == b"no"
            assert wire.ask()["connection"] == "keep-alive"

    def test_one_that_is_still_coming_is_waited_for(self) -> None:
        with connected(lambda _, response: response.end("no")) as wire:
            assert wire.ask(post("x" * 1000)[:-500]).body == b"no"
            assert wire.ask("x" * 500 + GET).body == b"no"

    def test_a_big_one_closes_the_connection_and_the_answer_arrives(self) -> None:
        with connected(lambda _, response: response.end("too big")) as wire:
            size = 5 * 1024 * 1024
            wire.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
            wire.send(b"x" * size)
            answer = wire.answer()
            assert (answer.body, answer["connection"]) == (b"too big", "close")
            assert wire.is_closed()

    def test_a_slow_one_closes_the_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nhttp._connection.DISCARD_SECONDS", 0.05)
        monkeypatch.setattr("nhttp._receiving.LINGER_SECONDS", 0.05)
        with connected(lambda _, response: response.end("no")) as wire:
            assert wire.ask(post("x" * 1000)[:-500]).body == b"no"
            assert wire.is_closed()

    def test_a_slow_one_that_goes_on_is_lingered_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nhttp._connection.DISCARD_SECONDS", 0.05)
        with connected(lambda _, response: response.end("no")) as wire:
            assert wire.ask(post("x" * 1000)[:-500]).body == b"no"
            late = threading.Event()
            assert not late.wait(0.2)
            wire.send("x").send("x")
            assert wire.receive() == b""

    @pytest.mark.parametrize("rest", ["bad chunk\r\n", "5\r\nab"])
    def test_a_broken_one_closes_the_connection(self, rest: str) -> None:
        with connected(lambda _, response: response.end("no")) as wire:
            assert wire.ask(chunked()[:-5] + rest).body == b"no"
            assert wire.end().is_closed()

    def test_one_that_flows_is_delivered_although_the_answer_is_out(self) -> None:
        """As in Node: what is consumed is not thrown away."""
        parts: list[bytes] = []
        ended = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            response.end("early")
            request.on("data", parts.append).on("end", ended)

        with connected(listener) as wire:
            assert wire.ask(post("abcdef")[:-3]).body == b"early"
            wire.send("def")
            assert ended.happens()
            assert wire.ask().status == 200
        assert b"".join(parts) == b"abcdef"

    def test_end_is_told_although_the_answer_is_out(self) -> None:
        ended = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            response.end()
            request.on("end", ended).resume()

        with connected(listener) as wire:
            assert wire.ask().status == 200
            assert ended.happens()

    def test_reading_on_another_thread_when_it_was_dropped_raises(self) -> None:
        kept: list[IncomingMessage] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            kept.append(request)
            response.end()

        with connected(listener) as wire:
            wire.ask(post("abc"))
            wire.ask()
            with pytest.raises(nhttp.errors.StateError, match="dropped"):
                kept[0].read()

    def test_a_reader_on_another_thread_is_waited_for(self) -> None:
        """Two threads are never in the parser at once."""
        blocks: list[bytes] = []
        ended = Signal()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def work() -> None:
                blocks.append(request.read1())
                body.read_body = enter  # type: ignore[method-assign]
                blocks.append(request.read1())
                ended.set()

            def enter() -> bytes | EndOfMessage:
                reading.set()
                return read_body()

            body, reading = request._body, Signal()
            read_body = body.read_body
            threading.Thread(target=work).start()
            reading.happens()
            response.end("early")

        with connected(listener) as wire:
            assert wire.ask(post("abcdef")[:-3]).body == b"early"
            wire.send("def")
            assert ended.happens()
        assert blocks == [b"abc", b"def"]


def test_a_timeout_may_be_set_without_a_listener() -> None:
    server = nhttp.create_server().set_timeout(7)
    assert (server.timeout, server.listener_count("timeout")) == (7, 0)


class TestExpectations:
    @pytest.mark.parametrize("expectation", ["100-continue", "tea"])
    def test_http_1_0_expects_nothing(self, expectation: str) -> None:
        with connected(ok) as wire:
            text = EXPECT.replace("HTTP/1.1", "HTTP/1.0").replace("100-continue", expectation)
            text += "hello"
            assert wire.ask(text).body == b"hello"

    def test_a_refusal_closes_the_connection_as_the_body_may_come_or_not(self) -> None:
        with serving(ok) as server:
            server.on("checkContinue", lambda _, response: response.write_head(403).end("no"))
            with Wire(server) as wire:
                answer = wire.ask(EXPECT + "hello" + GET)
                assert (answer.status, answer["connection"]) == (403, "close")
                assert wire.is_closed()

    def test_other_expectations_with_a_body_close_the_connection_too(self) -> None:
        with connected(ok) as wire:
            answer = wire.ask(EXPECT.replace("100-continue", "tea"))
            assert (answer.status, answer["connection"]) == (417, "close")
            assert wire.is_closed()

    @pytest.mark.parametrize(
        "value", ["100-Continue", "100-continue, 100-continue", "100-continue,", ", 100-continue"]
    )
    def test_a_list_of_nothing_but_100_continue_is_that(self, value: str) -> None:
        with connected(ok) as wire:
            assert wire.ask(EXPECT.replace("100-continue", value) + "hello").status == 100
            assert wire.answer().body == b"hello"

    @pytest.mark.parametrize(
        "value", ["100-continue, tea", "100-continue\r\nExpect: tea", "tea\r\nExpect: 100-continue"]
    )
    def test_a_list_with_anything_else_is_another_expectation(self, value: str) -> None:
        with serving(ok) as server:
            server.on("checkContinue", lambda _, response: response.end("continue"))
            server.on("checkExpectation", lambda _, response: response.end("expectation"))
            with Wire(server) as wire:
                answer = wire.ask(EXPECT.replace("100-continue", value))
                assert answer.body == b"expectation"

    def test_a_body_that_was_asked_for_and_is_not_read_keeps_it_open(self) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.write_continue()
            response.end("enough")

        with serving(ok) as server:
            server.on("checkContinue", listener)
            with Wire(server) as wire:
                assert wire.ask(EXPECT).status == 100
                answer = wire.answer()
                assert (answer.body, answer["connection"]) == (b"enough", "keep-alive")
                assert wire.ask("hello" + GET).status == 200

    def test_a_body_that_was_read_without_being_asked_for_keeps_it_open(self) -> None:
        with serving(ok) as server:
            server.on("checkContinue", ok)
            with Wire(server) as wire:
                assert wire.ask(EXPECT + "hello").body == b"hello"
                assert wire.ask().status == 200


class TestUpgrades:
    def test_h2c_is_ignored_without_a_listener(self) -> None:
        with connected(ok) as wire:
            text = upgrade("h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
            assert wire.ask(text).status == 200
            assert wire.ask().status == 200

    def test_h2c_is_a_listeners(self) -> None:
        with serving(ok) as server:
            server.on("upgrade", lambda _, socket, __: socket.end("mine").resume())
            with Wire(server) as wire:
                assert wire.send(upgrade("h2c")).rest() == b"mine"

    def test_with_a_body_it_is_an_ordinary_request_without_a_listener(self) -> None:
        text = upgrade("echo", "Content-Length: 4", method="POST") + "body"
        with connected(ok) as wire:
            assert wire.ask(text).body == b"body"
            assert wire.ask().status == 200

    def test_with_a_body_and_a_listener_it_is_refused(self) -> None:
        told = Signal()
        with serving(ok) as server:
            server.on("upgrade", told)
            with Wire(server) as wire:
                text = upgrade("echo", "Content-Length: 4", method="POST") + "body"
                assert wire.ask(text, body=False).status == 400
                assert wire.is_closed()
        assert not told.is_set()

    def test_a_listener_that_goes_away_at_this_moment_closes_the_connection(self) -> None:
        class Server(nhttp.Server):
            def listener_count(self, event: str, /) -> int:
                count = super().listener_count(event)
                self.remove_all_listeners(event)
                return count

        server = Server().on("connect", lambda _, socket, __: socket.end("mine"))
        with listening(server), Wire(server) as wire:
            assert wire.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").is_closed()

    def test_a_tunnel_lives_on_without_its_thread(self) -> None:
        """Its socket belongs to the listener: here to a thread that reads and writes it."""

        def listener(request: IncomingMessage, socket: nhttp.net.Socket, head: bytes) -> None:
            assert request.read() == b""
            assert request.complete

            def work() -> None:
                socket.write("ready")
                socket.end(socket.read())

            threading.Thread(target=work).start()

        with serving() as server:
            server.on("connect", listener)
            with Wire(server) as wire:
                wire.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
                assert wire.exactly(5) == b"ready"
                assert wire.send("payload").end().rest() == b"payload"

    def test_no_bound_on_the_head_is_left(self) -> None:
        limits: list[float] = []

        def listener(_: IncomingMessage, socket: nhttp.net.Socket, __: bytes) -> None:
            limits.append(socket._limit)
            socket.end("bye")

        with serving(ok) as server:
            server.on("upgrade", listener)
            with Wire(server) as wire:
                text = upgrade("echo")
                wire.ask(GET + text[:10])  # so that it is certain that more is waited for
                assert wire.send(text[10:]).rest() == b"bye"
        assert limits == [math.inf]

    @pytest.mark.parametrize("heard", [False, True])
    def test_a_silent_tunnel_times_out(self, heard: bool) -> None:
        sockets: list[nhttp.net.Socket] = []
        with serving(timeout=0.05) as server:
            server.on("upgrade", lambda _, socket, __: socket.write("begun"))
            if heard:
                server.on("timeout", sockets.append)
                server.on("timeout", lambda socket: socket.destroy())
            with Wire(server) as wire:
                assert wire.send(upgrade("echo")).exactly(5) == b"begun"
                assert wire.is_closed()
        assert len(sockets) == heard


def test_threads__a_connections_events_are_all_on_its_own_thread() -> None:
    threads: dict[str, int] = {}

    def note(event: str) -> None:
        threads[event] = threading.get_ident()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        note("request")
        request.on("data", lambda _: note("data"))
        request.on("end", lambda: note("end")).on("end", response.end)
        response.on("finish", lambda: note("finish"))

    server = nhttp.create_server(listener)
    server.on("listening", lambda: note("listening"))
    server.on("connection", lambda _: note("connection"))
    server.on("clientError", lambda _error, _socket: note("clientError"))
    server.on("clientError", lambda _, socket: socket.end())
    server.on("close", lambda: note("close"))
    with server.listen(0, "127.0.0.1"), Wire(server) as wire:
        wire.ask(post("body"))
        assert wire.send("nonsense\r\n\r\n").is_closed()
    accepting = threads.pop("listening")
    assert threads.pop("close") == accepting
    (serving_it,) = set(threads.values())
    assert len({accepting, serving_it, threading.get_ident()}) == 3


def test_memory__messages_go_as_soon_as_their_exchange_is_over() -> None:
    """By reference count: a server must not leave its requests to the garbage collector."""
    references: list[weakref.ref[Any]] = []

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        references.extend([weakref.ref(request), weakref.ref(response)])
        request.on("data", lambda _: None)
        request.on("end", lambda: None)
        response.on("close", lambda: None)
        response.on("finish", lambda: None)
        response.set_timeout(5, lambda: None)
        response.end("x")

    gc.collect()
    gc.disable()
    try:
        with connected(listener) as wire:
            for text in (GET, post("body"), GET, LAST):
                wire.ask(text)
            assert wire.is_closed()
        assert [reference() for reference in references] == [None] * 8
    finally:
        gc.enable()


def test_memory__a_connection_goes_as_soon_as_it_is_closed() -> None:
    sockets: list[weakref.ref[nhttp.net.Socket]] = []
    gc.collect()
    gc.disable()
    try:
        with serving(ok) as server:
            server.on("connection", lambda socket: sockets.append(weakref.ref(socket)))
            with Wire(server) as wire:
                wire.ask()
        assert [each() for each in sockets] == [None]
    finally:
        gc.enable()


def test_memory__a_tunnel_does_not_keep_what_served_its_request() -> None:
    kept: list[nhttp.net.Socket] = []
    references: list[weakref.ref[Any]] = []

    def listener(_: IncomingMessage, socket: nhttp.net.Socket, __: bytes) -> None:
        kept.append(socket)
        references.extend(map(weakref.ref, server._connections.values()))
        socket.end("bye")

    gc.collect()
    gc.disable()
    try:
        with serving() as server:
            server.on("upgrade", listener)
            with Wire(server) as wire:
                assert wire.send(upgrade("echo")).rest() == b"bye"
        assert [each() for each in references] == [None]
        assert kept[0]._owner == 0, "its thread serves others"
    finally:
        gc.enable()


def test_get_connections_and_max_connections() -> None:
    with serving(ok) as server:
        counts: list[int] = []
        with Wire(server) as wire:
            wire.ask()
            assert server.get_connections(lambda _, count: counts.append(count)) == 1
            server.max_connections = 1
            dropped = Signal()
            server.on("drop", dropped)
            with Wire(server) as second:
                assert second.is_closed()
            assert dropped.happens()
        assert counts == [1]
