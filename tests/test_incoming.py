"""Requests as handlers see them: heads, and bodies in every way of reading them."""

from __future__ import annotations

import io
import json
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from wire import GET, Signal, chunked, connected, post

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

    @pytest.mark.parametrize("text", [post("the body"), chunked("the", " ", "body")])
    def test_so_many_octets(self, text: str) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            sizes = (0, 3, 1, 0, 100, 5, None)
            assert [request.read(size) for size in sizes] == [
                b"",
                b"the",
                b" ",
                b"",
                b"body",
                b"",
                b"",
            ]
            response.end()

        with connected(listener) as wire:
            assert wire.ask(text).status == 200

    @pytest.mark.parametrize("size", [-1, -2, None])
    def test_all_of_it(self, size: int | None) -> None:
        with connected(lambda request, response: response.end(request.read(size))) as wire:
            assert wire.ask(post("the body")).body == b"the body"

    @pytest.mark.parametrize("text", [post("the body"), chunked("the", " ", "body")])
    @pytest.mark.parametrize("heard", [False, True])
    def test_the_rest_of_it_ends_it(self, text: str, heard: bool) -> None:
        ends: list[bool] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            if heard:
                request.on("end", lambda: ends.append(request.readable_ended))
            assert request.read(3) == b"the"
            before = request.readable_ended
            assert (request.read(), request.read()) == (b" body", b"")
            assert (before, request.readable_ended) == (False, True)
            assert ends == [True] * heard
            response.end()

        with connected(listener) as wire:
            assert wire.ask(text).status == 200

    @pytest.mark.parametrize("size", [8, 9])
    def test_as_many_octets_as_it_has_end_it(self, size: int) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            assert request.read(size) == b"the body"
            assert request.readable_ended
            response.end()

        with connected(listener) as wire:
            assert wire.ask(post("the body")).status == 200

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
            asked.set()
            request.read(6)
            seen.append(request.complete)
            response.end()

        asked = Signal()
        with connected(listener) as wire:
            wire.send(UPLOAD)
            assert asked.happens()
            wire.ask("body!!")
            wire.ask(UPLOAD + "body!!")
            wire.ask()
        assert seen == [False, True, True, True, True, True]

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

    def test_goes_on_behind_the_response_for_who_listens(self) -> None:
        parts: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.on("data", parts.append)
            response.end()

        with connected(listener) as wire:
            for _ in range(2):
                assert wire.ask(chunked("the", " ", "body")).status == 200
        assert b"".join(parts) == b"the body" * 2

    def test_does_not_go_on_behind_the_response_when_it_is_paused(self) -> None:
        parts: list[bytes] = []

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def on_data(block: bytes) -> None:
                parts.append(block)
                request.pause()
                response.end("enough")

            request.on("data", on_data)

        with connected(listener) as wire:
            for _ in range(2):
                assert wire.ask(chunked("one", "two")).body == b"enough"
        assert parts == [b"one", b"one"]

    def test_does_not_go_on_behind_the_response_when_nobody_listens(self) -> None:
        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            request.resume()
            response.end("early")

        with connected(listener) as wire:
            answer = wire.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            assert (answer.body, answer["connection"]) == (b"early", "close")
            assert wire.is_closed()

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
        assert max(sizes) <= 256 * 1024


def test_repr() -> None:
    with connected(lambda request, response: response.end(repr(request))) as wire:
        assert wire.ask("GET /a HTTP/1.0\r\n\r\n").body == b"<IncomingMessage GET /a HTTP/1.0>"


def test_trailers_in_every_form() -> None:
    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        assert request.trailers == request.trailers_distinct == {}
        assert request.raw_trailers == []
        request.read()
        assert request.trailers == {"x": "1, 2"}
        assert request.trailers_distinct == {"x": ["1", "2"]}
        assert request.raw_trailers == ["X", "1", "x", "2"]
        assert request.headers is request.headers
        response.end("fine")

    with connected(listener) as wire:
        assert wire.ask(chunked("a", trailers=("X: 1", "x: 2"))).body == b"fine"
