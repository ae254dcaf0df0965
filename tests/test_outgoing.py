"""Heads and framing: what goes on the wire for what a handler says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import in_thread
from wire import GET, LAST, Signal, Wire, answered, connected, ok, serving

from nhttp.errors import InvalidArgument, StateError
from nhttp.net import Socket
from nhttp.outgoing import BodyRule, OutgoingMessage, date_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage, ServerResponse

OLD = "GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"


def two_writes(response: ServerResponse) -> None:
    response.write("ab")
    response.write("c")
    response.end()


class TestFraming:
    def test_content_length_when_the_whole_body_is_known_at_the_first_flush(self) -> None:
        def in_pieces(response: ServerResponse) -> None:
            response.cork()
            response.write("abc")
            response.end()

        for answer in (answered(lambda response: response.end("abc")), answered(in_pieces)):
            assert answer["content-length"] == "3"
            assert answer["transfer-encoding"] is None
            assert answer.body == b"abc"
        assert answered(lambda response: response.end())["content-length"] == "0"

    def test_chunked_otherwise(self) -> None:
        answer = answered(two_writes)
        assert answer["transfer-encoding"] == "chunked"
        assert answer["content-length"] is None
        assert answer.body == b"abc"

    @pytest.mark.parametrize("request_text", [OLD, OLD_KEPT])
    def test_by_the_end_of_the_connection_for_http_1_0(self, request_text: str) -> None:
        answer = answered(two_writes, request_text)
        assert answer["transfer-encoding"] is None
        assert answer["content-length"] is None
        assert answer["connection"] == "close"
        assert answer.body == b"abc"

    def test_http_1_0_is_kept_alive_when_it_asks_and_the_length_is_known(self) -> None:
        with connected(ok) as wire:
            answer = wire.ask(OLD_KEPT)
            assert (answer.version, answer["connection"]) == ("HTTP/1.1", "keep-alive")
            assert answer["keep-alive"] == "timeout=5"
            assert wire.ask(OLD)["connection"] == "close"
            assert wire.is_closed()

    def test_http_1_0_is_never_sent_chunks(self) -> None:
        """RFC 9112, 6.1, whatever the handler sets."""

        def write(response: ServerResponse) -> None:
            response.set_header("Transfer-Encoding", "chunked")
            two_writes(response)

        answer = answered(write, OLD)
        assert answer["transfer-encoding"] is None
        assert answer.body == b"abc"
        assert answered(write)["transfer-encoding"] == "chunked"

    def test_a_coding_that_does_not_frame_ends_with_the_connection(self) -> None:
        def write(response: ServerResponse) -> None:
            response.set_header("Transfer-Encoding", ["gzip", "unchunked"])
            response.end("abc")

        with connected(lambda _, response: write(response)) as wire:
            assert wire.send(GET).head()["connection"] == "close"
            assert wire.rest() == b"abc"

    def test_several_codings_of_which_the_last_frames(self) -> None:
        answer = answered(
            lambda response: response.set_header("Transfer-Encoding", "gzip, Chunked").end("abc")
        )
        assert answer.body == b"abc"

    def test_a_length_that_was_set_is_kept(self) -> None:
        with connected(lambda _, r: two_writes(r.set_header("content-length", 3))) as wire:
            for _ in range(2):  # on the same connection
                answer = wire.ask()
                assert answer["content-length"] == "3"
                assert answer.body == b"abc"

    @pytest.mark.parametrize("code", [100, 101, 204])
    @pytest.mark.parametrize(
        ("name", "value"), [("Content-Length", "3"), ("Transfer-Encoding", "chunked")]
    )
    def test_neither_length_nor_coding_where_they_must_not_be(
        self, code: int, name: str, value: str
    ) -> None:
        with connected(lambda _, r: r.write_head(code, {name: value}).end("abc")) as wire:
            head = wire.send(GET).head()
            assert head[name] is None
            # Behind an interim answer the client waits for the final one: none will come.
            assert head["connection"] == ("keep-alive" if code == 204 else "close")

    def test_304_may_say_what_a_200_would(self) -> None:
        answer = answered(lambda r: r.write_head(304, {"Content-Length": 99}).end())
        assert answer["content-length"] == "99"

    def test_head_says_what_a_get_would(self) -> None:
        assert answered(lambda r: r.end("abc"), HEAD)["content-length"] == "3"
        assert answered(two_writes, HEAD)["transfer-encoding"] is None
        assert answered(lambda r: r.end(), HEAD)["content-length"] is None
        answer = answered(lambda r: r.set_header("Content-Length", 9).end(), HEAD)
        assert answer["content-length"] == "9"

    def test_head_says_no_length_where_a_get_would_not(self) -> None:
        def coded(response: ServerResponse) -> None:
            response.set_header("Transfer-Encoding", "chunked").end("abc")

        def without(response: ServerResponse) -> None:
            response.remove_header("Content-Length")
            response.end("abc")

        for write in (coded, without):
            assert answered(write)["transfer-encoding"] == "chunked"
            assert answered(write, HEAD)["content-length"] is None

    def test_an_empty_chunk_is_not_the_last(self) -> None:
        def write(response: ServerResponse) -> None:
            response.write("")
            response.write("a")
            response.write(b"")
            response.end("b")

        assert answered(write).body == b"ab"

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Length": "3", "Transfer-Encoding": "chunked"},
            {"Content-Length": "three"},
            {"Content-Length": -3},
            {"Content-Length": "1" * 5000},
            {"Content-Length": ["3", "3"]},
            {"Content-Length": "\xb3"},
        ],
    )
    def test_what_two_receivers_could_read_in_two_ways_is_refused(
        self, headers: dict[str, Any]
    ) -> None:
        def write(response: ServerResponse) -> None:
            with pytest.raises(InvalidArgument):
                response.write_head(200, headers)
            assert not response.headers_sent, "nothing has changed"
            assert response.get_headers() == {}
            for name, value in headers.items():
                response.set_header(name, value)
            for attempt in (response.end, response.flush_headers, lambda: response.write("x")):
                with pytest.raises(InvalidArgument):
                    attempt()
            response.remove_header("Content-Length")
            response.end("abc")

        assert answered(write).body == b"abc"

    @pytest.mark.parametrize("coding", ["chunked, gzip", ["chunked", "Chunked"]])
    def test_a_coding_behind_chunked_is_refused(self, coding: str | list[str]) -> None:
        def write(response: ServerResponse) -> None:
            with pytest.raises(InvalidArgument, match="as the last coding"):
                response.write_head(200, {"Transfer-Encoding": coding})
            assert not response.headers_sent, "nothing has changed"
            response.set_header("Transfer-Encoding", coding)
            for attempt in (response.end, response.flush_headers, lambda: response.write("x")):
                with pytest.raises(InvalidArgument, match="as the last coding"):
                    attempt()
            response.set_header("Transfer-Encoding", "gzip, chunked")
            response.end("abc")

        assert answered(write).body == b"abc"


def test_headers_in_the_place_of_the_message_and_again_are_refused() -> None:
    def write(response: ServerResponse) -> None:
        message: Any = {"X-A": "1"}
        with pytest.raises(InvalidArgument, match="status message"):
            response.write_head(200, message, {"X-B": "2"})
        response.end("abc")

    assert answered(write).body == b"abc"


class TestWhatIsRemovedBeforeItWasSet:
    @pytest.mark.parametrize("name", ["Date", "Connection", "Content-Length"])
    def test_is_not_sent_by_itself(self, name: str) -> None:
        def handler(_: IncomingMessage, response: ServerResponse) -> None:
            response.remove_header(name)
            response.end("abc")

        with connected(handler) as wire:
            for _ in range(2):
                answer = wire.ask()
                assert answer[name] is None
                assert answer.body == b"abc"

    def test_is_sent_when_it_is_set_again(self) -> None:
        def write(response: ServerResponse) -> None:
            for name, value in (("Date", "now"), ("Connection", "close"), ("Content-Length", 3)):
                response.remove_header(name)
                response.set_header(name, value)
            response.end("abc")

        answer = answered(write)
        assert [answer[name] for name in ("date", "connection")] == ["now", "close"]
        assert (answer["content-length"], answer["transfer-encoding"]) == ("3", None)

    @pytest.mark.parametrize("whole", [False, True])
    def test_without_any_framing_the_end_of_the_connection_is_the_end(self, whole: bool) -> None:
        def handler(_: IncomingMessage, response: ServerResponse) -> None:
            response.remove_header("Transfer-Encoding")
            if whole:
                response.remove_header("Content-Length")
            else:
                response.write("ab")
            response.end("c" if not whole else "abc")

        with connected(handler) as wire:
            answer = wire.ask()
            assert answer.body == b"abc"
            assert (answer["content-length"], answer["transfer-encoding"]) == (None, None)
            assert answer["connection"] == "close"
            assert wire.is_closed()

    def test_a_client_of_http_1_0_that_is_not_told_is_not_kept(self) -> None:
        def handler(_: IncomingMessage, response: ServerResponse) -> None:
            response.remove_header("Connection")
            response.end("abc")

        with connected(handler) as wire:
            answer = wire.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (answer["connection"], answer.body) == (None, b"abc")
            assert wire.is_closed()


class TestTheConnectionField:
    def test_as_node_says_it(self) -> None:
        with connected(ok, keep_alive_timeout=7.9) as wire:
            answer = wire.ask()
            assert (answer["connection"], answer["keep-alive"]) == ("keep-alive", "timeout=7")
            answer = wire.ask(LAST)
            assert (answer["connection"], answer["keep-alive"]) == ("close", None)
            assert wire.is_closed()

    def test_close_that_the_handler_says(self) -> None:
        with connected(lambda _, r: r.set_header("Connection", "x, CLOSE").end()) as wire:
            assert wire.ask()["connection"] == "x, CLOSE"
            assert wire.is_closed()

    @pytest.mark.parametrize("value", ["enclosed", "close-ish", ["keep-alive", "disclose"]])
    def test_words_that_contain_close_do_not_say_it(self, value: str | list[str]) -> None:
        with connected(lambda _, r: r.set_header("Connection", value).end()) as wire:
            assert wire.send(GET).answer().status == 200
            assert wire.send(GET).answer().status == 200

    def test_keep_alive_that_the_handler_says_and_an_endless_one(self) -> None:
        with connected(lambda _, r: r.set_header("Keep-Alive", "max=5").end()) as wire:
            assert wire.ask().all("keep-alive") == ["max=5"]
        with connected(ok, keep_alive_timeout=float("inf")) as wire:
            assert wire.ask()["keep-alive"] is None

    def test_should_keep_alive_turned_off(self) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.should_keep_alive = False
            response.end()

        with connected(listener) as wire:
            assert wire.ask()["connection"] == "close"
            assert wire.is_closed()


class TestHeaders:
    def test_case_is_kept_on_the_wire_and_ignored_in_look_ups(self) -> None:
        def write(response: ServerResponse) -> None:
            response.set_header("X-ABC-def", "1")
            assert response.has_header("x-abc-DEF")
            assert not response.has_header("other")
            assert response.get_header_names() == ["x-abc-def"]
            assert response.get_raw_header_names() == ["X-ABC-def"]
            assert response.get_headers() == {"x-abc-def": "1"}
            response.end()

        assert ("X-ABC-def", "1") in answered(write).fields

    def test_nothing_set(self) -> None:
        def write(response: ServerResponse) -> None:
            assert response.get_headers() == {}
            assert response.get_header_names() == response.get_raw_header_names() == []
            assert response.get_header("a") is None
            assert not response.has_header("a")
            response.end()

        assert answered(write).status == 200

    def test_append_header(self) -> None:
        def write(response: ServerResponse) -> None:
            response.append_header("A", "10").append_header("a", ["2", "3"]).append_header("A", 4)
            assert response.get_header("a") == ["10", "2", "3", "4"]
            response.end()

        assert answered(write).all("a") == ["10", "2", "3", "4"]

    def test_trailers_as_pairs_and_several_of_a_name(self) -> None:
        def write(response: ServerResponse) -> None:
            response.add_trailers([("A", "1"), ("a", ["2", "3"])])
            response.add_trailers({"B": 4})
            response.end("x")

        answer = answered(write)
        assert answer["transfer-encoding"] == "chunked", "a known length would lose them"
        assert answer.trailers == [("A", "1"), ("a", "2"), ("a", "3"), ("B", "4")]

    def test_trailers_that_are_announced_and_do_not_come(self) -> None:
        answer = answered(lambda response: response.set_header("Trailer", "A").end("x"))
        assert (answer["transfer-encoding"], answer.trailers) == ("chunked", [])

    def test_trailers_are_not_for_http_1_0(self) -> None:
        def write(response: ServerResponse) -> None:
            response.add_trailers({"A": "1"})
            response.end("x")

        answer = answered(write, OLD)
        assert (answer["content-length"], answer.body) == ("1", b"x")

    def test_changes_after_the_head_are_refused(self) -> None:
        def write(response: ServerResponse) -> None:
            response.flush_headers()
            for change in (
                lambda: response.set_header("a", "1"),
                lambda: response.append_header("a", "1"),
                lambda: response.remove_header("a"),
                lambda: response.write_head(200),
            ):
                with pytest.raises(StateError) as caught:
                    change()
                assert caught.value.code == "ERR_HTTP_HEADERS_SENT"
            response.end()

        assert answered(write).status == 200

    @pytest.mark.parametrize(
        "evil", ["1\r\nSet-Cookie: x=1", "1\n\nbody", "1\rX: 1", "\u010d\u010a"]
    )
    def test_responses_cannot_be_split(self, evil: str) -> None:
        def write(response: ServerResponse) -> None:
            attempts: list[Callable[[], object]] = [
                lambda: response.set_header("A", evil),
                lambda: response.set_header(evil, "1"),
                lambda: response.set_header("A", ["1", evil]),
                lambda: response.append_header("A", evil),
                lambda: response.write_head(200, evil),
                lambda: response.write_head(200, {"A": evil}),
                lambda: response.add_trailers({"A": evil}),
                lambda: response.write_early_hints({"Link": evil}),
            ]
            for attempt in attempts:
                for kind in (TypeError, ValueError):
                    with pytest.raises(kind):
                        attempt()
            response.status_message = evil
            with pytest.raises(InvalidArgument):
                response.end("no")
            response.status_message = None
            response.end("yes")

        answer = answered(write)
        assert (answer.body, answer.trailers, answer["a"]) == (b"yes", [], None)

    def test_date_is_rendered_once_a_second(self) -> None:
        assert date_line() is date_line() or date_line() is date_line()


class TestWriting:
    def test_write_after_end(self) -> None:
        def write(response: ServerResponse) -> None:
            response.end("x")
            for attempt in (lambda: response.write("y"), lambda: response.end("y")):
                with pytest.raises(StateError) as caught:
                    attempt()
                assert caught.value.code == "ERR_STREAM_WRITE_AFTER_END"

        assert answered(write).body == b"x"

    def test_end_twice(self) -> None:
        done: list[int] = []

        def write(response: ServerResponse) -> None:
            response.end("x", lambda: done.append(1))
            response.end()
            response.end(lambda: done.append(2))
            response.flush_headers()

        assert answered(write).body == b"x"
        assert done == [1, 2]

    def test_callbacks_in_every_place(self) -> None:
        called: list[int] = []

        def write(response: ServerResponse) -> None:
            response.write("a", lambda: called.append(1))
            response.write("b", "latin1", lambda: called.append(2))
            response.write("c", callback=lambda: called.append(3))
            response.end("d", callback=lambda: called.append(4))

        assert answered(write).body == b"abcd"
        assert answered(lambda r: r.end("e", lambda: called.append(5))).body == b"e"
        assert answered(lambda r: r.end("66", "hex", lambda: called.append(6))).body == b"f"
        assert called == [1, 2, 3, 4, 5, 6]

    def test_flush_headers(self) -> None:
        seen = Signal()

        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            response.set_header("A", "1").flush_headers()
            response.flush_headers()
            seen.happens()
            response.end("body")

        with connected(listener) as wire:
            assert wire.send(GET).head()["a"] == "1"
            seen.set()
            assert wire.until(b"0\r\n\r\n") == b"4\r\nbody\r\n"

    def test_cork_and_uncork(self) -> None:
        sizes: list[int] = []
        called: list[int] = []

        def write(response: ServerResponse) -> None:
            socket = response.connection
            assert socket is not None
            response.cork()
            response.write("a", lambda: called.append(1))
            response.write("b", lambda: called.append(2))
            sizes.append(socket.bytes_written)
            assert response.writable_length == 2
            assert called == []
            response.uncork()
            sizes.append(socket.bytes_written)
            response.end()

        assert answered(write).body == b"ab"
        assert sizes[0] == 0 < sizes[1]
        assert called == [1, 2]

    def test_end_undoes_the_corking(self) -> None:
        def write(response: ServerResponse) -> None:
            response.cork()
            response.write("a")
            response.end("b")
            assert response.writable_corked == 0

        assert answered(write).body == b"ab"

    def test_what_is_set_when_the_head_is_out_is_not_looked_at(self) -> None:
        def write(response: ServerResponse) -> None:
            response.write("a")
            response.status_code, response.status_message = 7, "\n"
            response.end("b")

        assert answered(write).body == b"ab"

    def test_whoever_writes_keeps_the_socket_from_being_closed_meanwhile(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original, holders = Socket._writev, list[int]()

        def noted(socket: Any, chunks: Any) -> None:
            holders.append(socket._holders)
            original(socket, chunks)

        monkeypatch.setattr(Socket, "_writev", noted)

        def write(response: ServerResponse) -> None:
            for write in (response.flush_headers, lambda: response.write("a"), response.end):
                in_thread(write).result()

        assert answered(write).body == b"a"
        assert holders == [2, 2, 2]  # beside the connection's own thread
        holders.clear()
        assert answered(lambda response: response.end("b")).body == b"b"
        assert holders == [1]

    def test_set_default_encoding(self) -> None:
        assert answered(lambda r: r.set_default_encoding("hex").end("6869")).body == b"hi"

    def test_an_encoding_that_is_none_is_refused_and_changes_nothing(self) -> None:
        def write(response: ServerResponse) -> None:
            with pytest.raises(InvalidArgument):
                response.end("x", "klingon")
            with pytest.raises(InvalidArgument):
                response.write(5)  # type: ignore[arg-type]
            response.end("y")

        assert answered(write).body == b"y"

    def test_from_several_threads_keeps_chunks_whole(self) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            def work(letter: str) -> None:
                for _ in range(50):
                    response.write(letter * 10)

            threads = [threading.Thread(target=work, args=[letter]) for letter in "abcd"]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            response.end()

        with connected(listener) as wire:
            body = wire.ask().body
        assert sorted(body[at : at + 10] for at in range(0, len(body), 10)) == sorted(
            letter.encode() * 10 for letter in "abcd" * 50
        )

    def test_as_a_context_manager_and_a_file(self) -> None:
        def listener(_: IncomingMessage, response: ServerResponse) -> None:
            with response:
                response.writelines(["a", b"b"])

        with connected(listener) as wire:
            assert wire.ask().body == b"ab"

    def test_when_the_server_closes_meanwhile(self) -> None:
        with serving(ok) as server, Wire(server) as wire:
            server.on("request", lambda _request, _response: server.close())
            wire.ask()
            assert wire.is_closed()


def test_what_a_subclass_gives() -> None:
    message = OutgoingMessage()
    with pytest.raises(NotImplementedError):
        message._start_line()
    assert message._body_rule() is BodyRule.ALLOWED
    assert message._connection_lines() == ""
    assert message.connection is None
    with pytest.raises(StateError):
        message.write("x")
    message.set_timeout(5)
