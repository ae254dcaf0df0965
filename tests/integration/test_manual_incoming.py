"""The manual's chapter on http.IncomingMessage, as far as servers go, sentence by sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from wire import GET, LAST, Signal, Wire, chunked, connected, post, serving

import nhttp
from nhttp import IncomingMessage as Request
from nhttp import ServerResponse as Response
from nhttp.errors import InvalidArgument
from nhttp.streams import Readable

if TYPE_CHECKING:
    from collections.abc import Callable


def given(request_text: str, look: Callable[[Request], object]) -> None:
    """Have a handler look at a request; what it asserts fails the test."""
    failed: list[BaseException] = []
    seen = Signal()

    def listener(request: Request, response: Response) -> None:
        try:
            look(request)
        except BaseException as error:
            failed.append(error)
        seen.set()
        response.end()

    with connected(listener) as wire:
        wire.ask(request_text)
        assert seen.happens()
    if failed:
        raise failed[0]


def test_message__implements_the_readable_stream() -> None:
    assert issubclass(Request, Readable)


def test_aborted__the_request_was_aborted_and_close__occurs_only_once() -> None:
    events: list[str] = []
    asked, gone = Signal(), Signal()

    def listener(request: Request, response: Response) -> None:
        request.on("aborted", lambda: events.append("aborted"))
        request.on("close", lambda: events.append("close")).on("close", gone)
        asked.set()
        gone.happens()
        assert request.aborted
        response.destroy()

    with serving(listener) as server:
        with Wire(server) as wire:
            wire.send(GET)
            assert asked.happens()
        assert gone.happens()
    assert events == ["aborted", "close"]


def test_destroy__calls_destroy_on_the_socket_and_emits_error_with_the_argument() -> None:
    errors: list[Exception] = []
    reason = RuntimeError("no more")
    destroyed: list[bool] = []

    def listener(request: Request, response: Response) -> None:
        request.on("error", errors.append)
        request.destroy(reason)
        destroyed.append(request.socket.destroyed)

    with connected(listener) as wire:
        assert wire.send(GET).is_closed()
    assert errors == [reason]
    assert destroyed == [True]


def test_destroy__without_an_error_emits_none() -> None:
    errors: list[Exception] = []
    with connected(lambda request, _: request.on("error", errors.append).destroy()) as wire:
        assert wire.send(GET).is_closed()
    assert errors == []


def test_headers__names_are_lower_cased_values_are_not_modified() -> None:
    """The manual's example."""

    def look(request: Request) -> None:
        assert request.headers == {
            "user-agent": "curl/7.22.0",
            "host": "127.0.0.1:8000",
            "accept": "*/*",
        }

    given(
        "GET / HTTP/1.1\r\nUser-Agent: curl/7.22.0\r\nHOST: 127.0.0.1:8000\r\naccept: */*\r\n\r\n",
        look,
    )


def test_headers__duplicates_are_handled_by_name() -> None:
    def look(request: Request) -> None:
        headers = request.headers
        assert headers["user-agent"] == "first", "duplicates of these are discarded"
        assert headers["set-cookie"] == ["a=1", "b=2"], "always an array"
        assert headers["x-other"] == "1, 2", "joined"
        assert headers["cookie"] == "c=3; d=4"
        assert request.headers_distinct["user-agent"] == ["first", "second"]
        assert request.headers_distinct["x-other"] == ["1", "2"]

    given(
        "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: first\r\nuser-agent: second\r\n"
        "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Other: 1\r\nx-other: 2\r\n"
        "Cookie: c=3\r\nCookie: d=4\r\n\r\n",
        look,
    )


def test_http_version__what_the_client_sent_with_its_two_integers() -> None:
    def modern(request: Request) -> None:
        parts = request.http_version, request.http_version_major, request.http_version_minor
        assert parts == ("1.1", 1, 1)

    def old(request: Request) -> None:
        parts = request.http_version, request.http_version_major, request.http_version_minor
        assert parts == ("1.0", 1, 0)

    given(GET, modern)
    given("GET / HTTP/1.0\r\n\r\n", old)


def test_method__the_request_method_as_a_string() -> None:
    given("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", lambda request: check(request.method == "DELETE"))


def check(condition: bool) -> None:
    assert condition


def test_raw_headers__exactly_as_received_names_and_values_in_one_list() -> None:
    """The manual's example; not lower-cased, and not merged."""

    def look(request: Request) -> None:
        assert request.raw_headers == [
            "user-agent",
            "this is invalid because there can be only one",
            "User-Agent",
            "curl/7.22.0",
            "Host",
            "127.0.0.1:8000",
            "ACCEPT",
            "*/*",
        ]

    given(
        "GET / HTTP/1.1\r\nuser-agent: this is invalid because there can be only one\r\n"
        "User-Agent: curl/7.22.0\r\nHost: 127.0.0.1:8000\r\nACCEPT: */*\r\n\r\n",
        look,
    )


def test_trailers_and_raw_trailers__only_populated_at_end() -> None:
    seen: list[object] = []

    def listener(request: Request, response: Response) -> None:
        def note() -> None:
            seen.append((dict(request.trailers), request.raw_trailers))

        note()
        request.on("data", lambda _: note())
        request.on("end", note).on("end", response.end)

    with connected(listener) as wire:
        wire.ask(chunked("body", trailers=("X-Sum: 1", "x-sum: 2", "Y: 3")))
    nothing: tuple[dict[str, str], list[str]] = ({}, [])
    assert seen[:2] == [nothing, nothing]
    assert seen[2] == (
        {"x-sum": "1, 2", "y": "3"},
        ["X-Sum", "1", "x-sum", "2", "Y", "3"],
    )
    assert len(seen) == 3


def test_set_timeout__calls_the_connections_and_returns_the_message() -> None:
    told = Signal()

    def listener(request: Request, response: Response) -> None:
        assert request.set_timeout(0.05, told) is request
        assert request.socket.timeout == 0.05
        told.happens()
        response.end("late")

    with connected(listener) as wire:
        assert wire.ask().body == b"late"


def test_set_timeout__a_callback_that_cannot_be_called_is_refused() -> None:
    def listener(request: Request, response: Response) -> None:
        for message in (request, response):
            refused: Any = message
            with pytest.raises(InvalidArgument, match="callable, not str"):
                refused.set_timeout(1, "x")
            assert not message.listener_count("timeout")
        assert request.socket.timeout != 1
        response.end("served")

    with connected(listener) as wire:
        assert wire.ask().body == b"served"


def test_status_code_and_status_message__only_valid_for_responses() -> None:
    given(GET, lambda request: check((request.status_code, request.status_message) == (0, "")))


def test_socket__the_net_socket_of_the_connection() -> None:
    def look(request: Request) -> None:
        assert isinstance(request.socket, nhttp.net.Socket)
        assert request.connection is request.socket
        assert request.socket.remote_address == "127.0.0.1"

    given(GET, look)


def test_url__only_what_is_present_in_the_request() -> None:
    """The manual's examples, with Python's own parser in the place of Node's."""

    def look(request: Request) -> None:
        assert request.url == "/status?name=ryan"
        parsed = urlsplit(request.url)
        assert (parsed.path, parsed.query) == ("/status", "name=ryan")
        assert parse_qs(parsed.query) == {"name": ["ryan"]}

    given("GET /status?name=ryan HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n", look)


def test_streams__the_interface_never_buffers_entire_requests() -> None:
    """A body arrives in blocks, the first of them before the last was sent."""
    first = Signal()
    blocks: list[bytes] = []

    def listener(request: Request, response: Response) -> None:
        request.on("data", blocks.append).on("data", first)
        request.on("end", lambda: response.end(str(len(blocks))))

    with connected(listener) as wire:
        wire.send(post("x" * 10)[:-5])
        assert first.happens()
        assert int(wire.ask("x" * 5).body) >= 2
        assert b"".join(blocks) == b"x" * 10
        assert wire.ask(LAST).status == 200
