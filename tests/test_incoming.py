"""Requests as handlers see them: heads, and bodies in every way of reading them."""

from __future__ import annotations

import io
import json
import math
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from wire import GET, Signal, Wire, chunked, connected, ok, post, serving

from nhttp.errors import SocketTimeout, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage, ServerResponse

UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


def read_all(request: IncomingMessage) -> bytes:
    return request.read()


def read_sizes(request: IncomingMessage) -> bytes:
    return request.read(2) + request.read(0) + request.read(100) + request.read()


def iterate(request: IncomingMessage) -> bytes:
    return b"".join(request)


def copy(request: IncomingMessage) -> bytes:
    target = io.BytesIO()
    shutil.copyfileobj(request, target)
    return target.getvalue()


def read_into(request: IncomingMessage) -> bytes:
    buffer = bytearray(100)
    size, taken = 0, 1
    while taken:
        taken = request.readinto(memoryview(buffer)[size:])
        size += taken
    return bytes(buffer[:size])


def wrap(request: IncomingMessage) -> bytes:
    """A text wrapper closes what it wraps when it goes: that must not hurt the connection."""
    with io.TextIOWrapper(request, "utf-8") as text:  # type: ignore[type-var]
        return text.read().encode()


class TestReading:
    @pytest.mark.parametrize("read", [read_all, read_sizes, iterate, copy, read_into, wrap])
    @pytest.mark.parametrize("text", [post("the body"), chunked("the", " ", "body")])
    def test_on_the_handlers_thread(
        self, read: Callable[[IncomingMessage], bytes], text: str
    ) -> None:
        with connected(lambda request, response: response.end(read(request))) as wire:
            assert wire.ask(text).body == b"the body"
            assert wire.ask(text).body == b"the body"

    @pytest.mark.parametrize("text", [GET, post(""), chunked()])
    def test_nothing(self, text: str) -> None:
        ends: list[bool] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("end", lambda: ends.append(request.complete))
            response.end(request.read() + request.read())

        with connected(listener) as wire:
            assert wire.ask(text).body == b""
        assert ends == [True]

    def test_json(self) -> None:
        with connected(lambda q, response: response.end(json.dumps(json.load(q)))) as wire:
            assert wire.ask(post('{"a": [1]}')).body == b'{"a": [1]}'

    def test_lines(self) -> None:
        lines: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            lines.extend(iter(request.readline, b""))
            response.end()

        with connected(listener) as wire:
            wire.ask(chunked("one\ntw", "o\n", "three"))
        assert lines == [b"one\n", b"two\n", b"three"]

    def test_complete_tells_whether_everything_arrived(self) -> None:
        seen: list[bool] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            seen.append(request.complete)
            request.read(4)
            seen.append(request.complete)
            response.end()

        with connected(listener) as wire:
            wire.ask(post("body"))
            wire.ask()
        assert seen == [False, True, True, True]

    def test_by_another_thread_that_answers_later(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def work() -> None:
                response.end(request.read().upper())

            threading.Thread(target=work).start()

        with connected(listener) as wire:
            assert wire.ask(post("one")).body == b"ONE"
            assert wire.ask(chunked("two")).body == b"TWO"

    def test_a_with_block_does_not_close_the_connection(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            with request as body:
                response.end(body.read())

        with connected(listener) as wire:
            assert wire.ask(post("one")).body == b"one"
            assert wire.ask(post("two")).body == b"two"


class TestFlowing:
    @pytest.mark.parametrize("text", [post("the body"), chunked("the", " ", "body")])
    def test_once_the_handler_has_returned(self, text: str) -> None:
        parts: list[bytes] = []
        returned: list[int] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("data", parts.append)
            request.on("end", lambda: response.end(b"".join(parts)))
            returned.append(len(parts))

        with connected(listener) as wire:
            assert wire.ask(text).body == b"the body"
        assert returned == [0]

    def test_set_encoding_delivers_text_and_cuts_no_character(self) -> None:
        parts: list[str] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.set_encoding("utf8")
            request.on("data", parts.append)
            request.on("end", lambda: response.end("".join(parts)))

        text = chunked(*(each for each in "h\xc3\xa9llo"))
        with connected(listener) as wire:
            assert wire.ask(text).body == b"h\xc3\xa9llo"
        assert "".join(parts) == "h\xe9llo"
        assert all(isinstance(part, str) for part in parts)

    def test_readable(self) -> None:
        parts: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def on_readable() -> None:
                while block := request.read1():
                    parts.append(block)

            request.on("readable", on_readable)
            request.on("end", lambda: response.end(b"".join(parts)))

        with connected(listener) as wire:
            assert wire.ask(chunked("the", " ", "body")).body == b"the body"

    @pytest.mark.parametrize("method", ["read", "read1", "readline"])
    def test_end_comes_when_a_readable_listener_has_the_last(self, method: str) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            pull: Callable[[], bytes] = getattr(request, method)
            request.on("readable", lambda: response.write(pull()))
            request.on("end", response.end)

        with connected(listener) as wire:
            assert wire.ask(post("the body")).body == b"the body"

    def test_pause_and_resume_from_another_thread(self) -> None:
        parts: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def on_data(block: bytes) -> None:
                parts.append(block)
                request.pause()
                threading.Thread(target=request.resume).start()

            request.on("data", on_data)
            request.on("end", lambda: response.end(b"".join(parts)))

        with connected(listener) as wire:
            assert wire.ask(chunked(*"paused")).body == b"paused"

    def test_pipe_to_the_response(self) -> None:
        with connected(lambda request, response: request.pipe(response)) as wire:
            assert wire.ask(post("echo")).body == b"echo"
            assert wire.ask(chunked("e", "ch", "o")).body == b"echo"
            assert wire.ask().body == b""

    def test_pipe_to_the_response_for_a_client_that_has_ended_its_side(self) -> None:
        """Which the response is told by 'close', to which the pipe listens."""

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            told = Signal()
            response.on("close", told)
            told.happens()
            request.pipe(response)

        with connected(listener) as wire:
            assert wire.send(GET).end().answer().status == 200

    def test_a_listener_that_another_thread_adds_later(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def work() -> None:
                request.on("data", response.write).on("end", response.end)

            threading.Thread(target=work).start()

        with connected(listener) as wire:
            assert wire.ask(post("later")).body == b"later"

    def test_memory_stays_flat(self) -> None:
        sizes: list[int] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("data", lambda block: sizes.append(len(block)))
            request.on("end", lambda: response.end(str(sum(sizes))))

        size = 8 * 1024 * 1024
        with connected(listener) as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
            assert wire.ask(b"x" * size).body == str(size).encode()
        assert max(sizes) <= 128 * 1024


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


def test_repr() -> None:
    with connected(lambda request, response: response.end(repr(request))) as wire:
        assert wire.ask("GET /a HTTP/1.0\r\n\r\n").body == b"<IncomingMessage GET /a HTTP/1.0>"


def test_trailers_in_every_form() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        request.read()
        assert request.trailers == {"x": "1, 2"}
        assert request.trailers_distinct == {"x": ["1", "2"]}
        assert request.raw_trailers == ["X", "1", "x", "2"]
        assert request.headers is request.headers
        response.end("fine")

    with connected(listener) as wire:
        assert wire.ask(chunked("a", trailers=("X: 1", "x: 2"))).body == b"fine"
