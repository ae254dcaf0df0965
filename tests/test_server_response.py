"""What only answers have: status lines, interim answers, files, and being destroyed."""

from __future__ import annotations

import bz2
import io
import os
import queue
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from wire import GET, LAST, SECONDS, Signal, Wire, answered, connected, ok, serving

from nhttp import net
from nhttp.errors import InvalidArgument, StateError

if TYPE_CHECKING:
    from pathlib import Path

    from nhttp import IncomingMessage, ServerResponse

OLD = "GET / HTTP/1.0\r\n\r\n"
HEAD = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


def not_by_the_kernel(*_: object) -> None:
    """In the place of `Socket._sendfile`: this file cannot be sent by it."""


class TestTheStatusLine:
    @pytest.mark.parametrize("code", [0, 99, 1000, -200, "200", None, 200.0])
    def test_codes_that_are_none(self, code: Any) -> None:
        def write(response: ServerResponse) -> None:
            with pytest.raises(InvalidArgument) as caught:
                response.write_head(code)
            assert caught.value.code == "ERR_HTTP_INVALID_STATUS_CODE"
            response.status_code = code
            with pytest.raises(InvalidArgument):
                response.end()
            assert not response.headers_sent
            assert not response.finished
            response.status_code = 200
            response.end()

        assert answered(write).status == 200

    def test_a_code_left_wrong_is_a_500(self) -> None:
        def write(response: ServerResponse) -> None:
            response.status_code = 7
            response.end()

        assert answered(write).status == 500

    def test_codes_nobody_has_heard_of_and_pythons_own(self) -> None:
        answer = answered(lambda r: r.write_head(599).end())
        assert (answer.status, answer.reason) == (599, "unknown")
        assert answered(lambda r: r.write_head(HTTPStatus.NOT_FOUND).end()).status == 404

    def test_an_empty_message_and_one_in_latin1(self) -> None:
        assert answered(lambda r: r.write_head(200, "").end()).reason == ""
        assert answered(lambda r: r.write_head(200, "na\xefve").end()).reason == "na\xefve"

    def test_a_message_that_is_left_out(self) -> None:
        answer = answered(lambda r: r.write_head(404, None, {"A": "1"}).end())
        assert (answer.reason, answer["a"]) == ("Not Found", "1")

        def write(response: ServerResponse) -> None:
            response.status_message = "set before"
            response.write_head(404, {"A": "1"}).end()

        answer = answered(write)
        assert (answer.reason, answer["a"]) == ("set before", "1")

    def test_a_message_that_is_no_text(self) -> None:
        def write(response: ServerResponse) -> None:
            message: Any = 5
            response.status_message = message
            with pytest.raises(InvalidArgument):
                response.end()
            response.status_message = "fine"
            response.end()

        assert answered(write).reason == "fine"

    def test_headers_as_pairs_where_a_name_comes_twice(self) -> None:
        def write(response: ServerResponse) -> None:
            response.set_header("A", "0")
            response.write_head(200, [("A", "1"), ("a", ["2", "3"]), ("B", 4), ("a", 5)])
            response.end()

        answer = answered(write)
        assert answer.all("a") == ["1", "2", "3", "5"]
        assert answer["b"] == "4"


class TestInterimAnswers:
    def test_go_out_at_once_in_front_of_the_final_one(self) -> None:
        def write(response: ServerResponse) -> None:
            response.write_processing()
            response.write_early_hints({"Link": ["</a.css>; rel=preload", "</b.js>"], "X": 1})
            response.write_continue()
            response.end("final")

        with connected(lambda _, response: write(response)) as wire:
            wire.send(GET)
            assert wire.head().status == 102
            hints = wire.head()
            assert (hints.status, hints.reason, hints["x"]) == (103, "Early Hints", "1")
            assert hints.all("link") == ["</a.css>; rel=preload", "</b.js>"]
            assert wire.head().status == 100
            assert wire.answer().body == b"final"

    def test_cannot_follow_the_final_one(self) -> None:
        def write(response: ServerResponse) -> None:
            response.write("x")
            with pytest.raises(StateError):
                response.write_processing()
            response.end()

        assert answered(write).body == b"x"

    def test_cannot_follow_a_final_one_that_another_thread_was_faster_with(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write(response: ServerResponse) -> None:
            original = response._writing

            def writing() -> Any:
                monkeypatch.undo()
                response.end("x")
                return original()

            monkeypatch.setattr(response, "_writing", writing)
            with pytest.raises(StateError):
                response.write_processing()

        with connected(lambda _, response: write(response)) as wire:
            assert wire.send(LAST).answer().body == b"x"
            assert wire.rest() == b""

    def test_are_not_for_http_1_0(self) -> None:
        def write(response: ServerResponse) -> None:
            response.write_continue()
            response.write_processing()
            response.write_early_hints({})
            response.end("x")

        assert answered(write, OLD).status == 200


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "digits"
        path.write_bytes(b"0123456789" * 1000)
        return path

    @pytest.mark.parametrize("kind", ["path", "str", "file", "memory"])
    @pytest.mark.parametrize("request_text", [GET, OLD, HEAD])
    @pytest.mark.parametrize(
        "piece", [(), (10,), (5, 20), (9_990, 10), (0, 0), (10_000,), (20_000,)]
    )
    def test_a_piece_of_one(
        self, path: Path, kind: str, request_text: str, piece: tuple[int, ...]
    ) -> None:
        sizes: list[int] = []

        def write(response: ServerResponse) -> None:
            with path.open("rb") as opened:
                opened.seek(3)
                memory = io.BytesIO(path.read_bytes())
                memory.seek(3)
                sources: dict[str, Any] = {
                    "path": path,
                    "str": str(path),
                    "file": opened,
                    "memory": memory,
                }
                sizes.append(response.write_file(sources[kind], *piece))
                assert opened.tell() == memory.tell() == 3
            response.end()

        offset = piece[0] if piece else 0
        end = offset + piece[1] if piece[1:] else 10_000
        expected = path.read_bytes()[offset:end]
        assert answered(write, request_text).body == (b"" if request_text == HEAD else expected)
        assert sizes == [len(expected)]

    def test_with_a_length_and_between_other_octets(self, path: Path) -> None:
        def write(response: ServerResponse) -> None:
            response.set_header("Content-Length", 12)
            response.write("<")
            response.write_file(path, 0, 10)
            response.end(">")

        assert answered(write).body == b"<0123456789>"

    def test_behind_what_was_corked(self, path: Path) -> None:
        def write(response: ServerResponse) -> None:
            response.cork()
            response.write("<")
            response.write_file(path, 0, 3)
            response.end(">")

        assert answered(write).body == b"<012>"

    @pytest.mark.parametrize("kind", ["path", "memory"])
    @pytest.mark.parametrize("begun", [False, True])
    def test_one_that_is_shorter_than_promised(self, path: Path, kind: str, begun: bool) -> None:
        """Before the head that is a 500; afterwards it can only be broken off."""

        def write(response: ServerResponse) -> None:
            if begun:
                response.write("begun")
            source = path if kind == "path" else io.BytesIO(path.read_bytes())
            response.write_file(source, 0, 10_001)

        with connected(lambda _, response: write(response)) as wire:
            answer = wire.send(GET).head()
            broken = begun or kind == "memory"
            assert answer.status == (200 if broken else 500)
            if broken:
                assert b"\r\n0\r\n\r\n" not in wire.rest()

    def test_one_that_is_truncated_while_it_is_sent(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = net.Socket._sendfile

        def truncating(socket: net.Socket, descriptor: int, *rest: int) -> int | None:
            os.truncate(path, 100)
            return original(socket, descriptor, *rest)

        monkeypatch.setattr(net.Socket, "_sendfile", truncating)
        failed = Signal()

        def write(response: ServerResponse) -> None:
            with pytest.raises(StateError) as caught:
                response.write_file(path)
            assert caught.value.code == "ERR_STREAM_PREMATURE_CLOSE"
            failed.set()

        with connected(lambda _, response: write(response)) as wire:
            assert wire.send(GET).head().status == 200
            assert wire.rest() == b"2710\r\n" + b"0123456789" * 10
        assert failed.happens()

    def test_where_the_kernel_does_not_send_files(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(net.Socket, "_sendfile", not_by_the_kernel)
        answer = answered(lambda r: (r.write_file(path, 5), r.end()))
        assert answer.body == path.read_bytes()[5:]

    @pytest.mark.parametrize("buffering", [0, -1])
    def test_one_that_python_has_opened_is_sent_by_the_kernel(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, buffering: int
    ) -> None:
        original, sent = net.Socket._sendfile, list[int | None]()

        def noted(socket: net.Socket, *rest: int) -> int | None:
            sent.append(original(socket, *rest))
            return sent[-1]

        monkeypatch.setattr(net.Socket, "_sendfile", noted)

        def write(response: ServerResponse) -> None:
            with path.open("rb", buffering) as file:
                response.write_file(file, 0, 5)
            response.end()

        assert answered(write).body == b"01234"
        assert sent == [5]

    @pytest.mark.parametrize("kind", ["path", "memory"])
    def test_is_sent_in_blocks(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """A slow client shows between two of them that it is there."""
        blocks: list[int] = []

        class Noting(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                blocks.append(size or 0)
                return super().read(size)

        def noted(_: net.Socket, descriptor: int, offset: int, count: int) -> None:
            blocks.append(count)

        monkeypatch.setattr("nhttp.response._FILE_BLOCK", 4)
        monkeypatch.setattr(net.Socket, "_sendfile", noted)

        def write(response: ServerResponse) -> None:
            source = path if kind == "path" else Noting(path.read_bytes())
            assert response.write_file(source, 0, 10) == 10
            response.end()

        assert answered(write).body == b"0123456789"
        assert blocks == [4, 4, 2]

    def test_one_that_holds_other_octets_than_its_descriptor(self, tmp_path: Path) -> None:
        path = tmp_path / "packed"
        path.write_bytes(bz2.compress(b"0123456789"))

        def write(response: ServerResponse) -> None:
            with bz2.open(path) as file:
                response.write_file(file, 2, 5)
            response.end()

        assert answered(write).body == b"23456"

    def test_one_without_a_size(self) -> None:
        assert answered(lambda r: (r.write_file("/dev/zero", 0, 9), r.end())).body == bytes(9)

    def test_a_sparse_giant_costs_no_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "giant"
        size = 64 * 1024 * 1024
        with path.open("wb") as file:
            file.truncate(size)
        written: list[int] = []

        def write(response: ServerResponse) -> None:
            response.set_header("Content-Length", size)
            written.append(response.write_file(path))
            response.end()

        with connected(lambda _, response: write(response)) as wire:
            wire.send(LAST).head()
            received = len(wire.buffer)
            while data := wire.receive():
                received += len(data)
        assert written == [received] == [size]

    @pytest.mark.parametrize("piece", [(-1,), (0, -1), (1.5,), (True,), ("0",)])
    def test_pieces_that_are_none(self, path: Path, piece: tuple[Any, ...]) -> None:
        def write(response: ServerResponse) -> None:
            with pytest.raises(InvalidArgument):
                response.write_file(path, *piece)
            response.end("fine")

        assert answered(write).body == b"fine"

    def test_one_that_is_missing_is_the_handlers_mistake(self, tmp_path: Path) -> None:
        assert answered(lambda r: r.write_file(tmp_path / "missing")).status == 500

    def test_the_end_comes_in_between(self, path: Path) -> None:
        def write(response: ServerResponse) -> None:
            class Slow(io.BufferedReader):
                def fileno(self) -> int:
                    response.end("over")
                    return super().fileno()

            with Slow(io.FileIO(path)) as file, pytest.raises(StateError) as caught:
                response.write_file(file)
            assert caught.value.code == "ERR_STREAM_WRITE_AFTER_END"

        with connected(lambda _, response: write(response)) as wire:
            assert wire.send(LAST).answer().body == b"over"
            assert wire.rest() == b""

    def test_after_the_end(self, path: Path) -> None:
        def write(response: ServerResponse) -> None:
            response.end()
            for source in (path, io.BytesIO()):
                with pytest.raises(StateError):
                    response.write_file(source)

        assert answered(write).status == 200


class TestDestroying:
    def test_closes_the_connection_and_tells(self) -> None:
        closed, reached = Signal(), Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.on("close", closed)
            response.write("half")
            response.destroy()
            assert response.destroyed
            for late in (response.write, response.end):
                with pytest.raises(StateError):
                    late("more")
            response.end()  # which is no mistake
            reached.set()
            assert not response.finished

        with connected(listener) as wire:
            assert wire.send(GET).head().status == 200
            assert wire.rest() == b"4\r\nhalf\r\n"
        assert reached.is_set()
        assert closed.happens()

    def test_before_anything_was_sent(self) -> None:
        failures: list[BaseException] = []

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.destroy()
            for attempt in (response.flush_headers, response.write_processing):
                with pytest.raises(StateError) as caught:
                    attempt()
                failures.append(caught.value)
            assert not response.headers_sent

        with connected(listener) as wire:
            assert wire.send(GET).is_closed()
        assert len(failures) == 2

    def test_when_the_head_is_out_there_is_nothing_to_flush(self) -> None:
        reached = Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.flush_headers()
            response.destroy()
            response.flush_headers()
            reached.set()

        with connected(listener) as wire:
            assert wire.send(GET).head().status == 200
        assert reached.is_set()

    def test_a_response_that_is_out_leaves_the_connection_alone(self) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.end("out")
            response.destroy()

        with connected(listener) as wire:
            assert wire.ask().body == b"out"
            assert wire.ask().body == b"out"

    def test_ending_the_socket_ends_the_exchange(self) -> None:
        closed = Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.on("close", closed)
            response.socket.end("HTTP/1.1 200 OK\r\n\r\nby hand")  # type: ignore[union-attr]

        with connected(listener, timeout=0) as wire:
            assert wire.send(GET + GET).answer().body == b"by hand"
            wire.end()
            assert closed.happens()

    @pytest.mark.parametrize("what", ["response", "socket"])
    def test_while_the_connection_waits_for_another_thread_to_finish_it(self, what: str) -> None:
        given: queue.Queue[ServerResponse] = queue.Queue()
        why = OSError("because")
        with connected(lambda _, response: given.put(response)) as wire:
            wire.send(GET)
            response = given.get(timeout=SECONDS)
            closed = Signal()
            response.on("close", closed)
            target = response if what == "response" else response.socket
            assert target is not None
            target.destroy(why)
            assert closed.happens()
            assert response.errored is why
            assert wire.is_closed()
        with pytest.raises(OSError, match="because"):
            response.write("too late")

    def test_by_a_client_that_is_gone(self) -> None:
        given: queue.Queue[ServerResponse] = queue.Queue()
        with serving(lambda _, response: given.put(response)) as server:
            wire = Wire(server).send(GET)
            response = given.get(timeout=SECONDS)
            closed = Signal()
            response.on("close", lambda: closed.set() if response.destroyed else None)
            wire.reset()
            assert closed.happens()

    def test_the_socket_when_the_response_is_out_breaks_nothing_of_it(self) -> None:
        kept: list[ServerResponse] = []
        told = Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            kept.append(response.on("close", told))
            response.end("out")
            response.socket.destroy()  # type: ignore[union-attr]

        with connected(listener) as wire:
            assert wire.send(GET).answer().body == b"out"
            assert wire.is_closed()
        assert not told.is_set()
        assert not kept[0].destroyed

    def test_while_the_connection_waits_for_that_and_the_request_was_read(self) -> None:
        waiting: queue.Queue[ServerResponse] = queue.Queue()

        def listener(request: IncomingMessage, response: ServerResponse) -> None:
            def noted(timeout: float | None = None) -> bool:
                waiting.put(response)
                return wait(timeout)

            request.read()
            wait = response._wait
            response._wait = noted  # type: ignore[method-assign]

        with connected(listener) as wire:
            wire.send(GET)
            socket = waiting.get(timeout=SECONDS).socket
            assert socket is not None
            socket.destroy()
            assert wire.is_closed()


def test_on_a_unix_socket(tmp_path: Path) -> None:
    with serving(ok) as server:
        server.listen(str(tmp_path / "s"))
        with Wire(server) as wire:
            assert wire.ask().status == 200
