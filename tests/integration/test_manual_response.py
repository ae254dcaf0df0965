"""The manual's chapter on http.ServerResponse, sentence by sentence (v6.17.1 and v0.11.12)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from wire import GET, LAST, Signal, Wire, answered, connected, serving

import nhttp
from nhttp import IncomingMessage as Request
from nhttp import ServerResponse as Response
from nhttp.events import EventEmitter
from nhttp.outgoing import OutgoingMessage


def test_response__created_by_the_server_and_passed_to_request() -> None:
    seen: list[object] = []
    answered(lambda response: response.end(lambda: seen.append(response)))
    assert isinstance(seen[0], Response)


def test_response__implements_the_writable_stream_and_is_an_emitter() -> None:
    assert issubclass(Response, OutgoingMessage)
    assert issubclass(Response, EventEmitter)
    for name in ("write", "end", "cork", "uncork", "set_default_encoding", "writable"):
        assert callable(getattr(Response, name))


# Events


def test_close__the_connection_was_terminated_before_end_was_called() -> None:
    closed, asked = Signal(), Signal()
    finished = Signal()

    def listener(_: Request, response: Response) -> None:
        response.on("close", closed).on("finish", finished)
        asked.set()
        closed.happens()
        response.destroy()

    with serving(listener) as server:
        with Wire(server) as wire:
            wire.send(GET)
            assert asked.happens()
        assert closed.happens()
    assert not finished.is_set()


def test_close__or_before_it_was_able_to_flush() -> None:
    asked, closed, finished = Signal(), Signal(), Signal()
    failures: list[OSError] = []

    def listener(_: Request, response: Response) -> None:
        response.on("close", closed).on("finish", finished)
        asked.set()
        try:
            response.end(bytes(64 * 1024 * 1024))  # more than the client lets the kernel take
        except OSError as error:
            failures.append(error)

    with serving(listener) as server:
        wire = Wire(server).send(GET)
        assert asked.happens()
        wire.reset()
        assert closed.happens()
    assert not finished.is_set()
    assert len(failures) == 1


def test_finish__emitted_when_the_last_segment_was_handed_to_the_operating_system() -> None:
    written: list[int] = []

    def write(response: Response) -> None:
        socket = response.socket
        assert socket is not None
        response.on("finish", lambda: written.append(socket.bytes_written))
        response.write("a")
        assert not written
        response.end("b")
        written.append(socket.bytes_written)

    answered(write)
    assert written[0] == written[1] > 0


def test_finish__does_not_imply_that_the_client_has_received_anything() -> None:
    finished = Signal()
    with connected(lambda _, response: response.on("finish", finished).end("x")) as wire:
        wire.send(LAST)
        assert finished.happens()
        assert wire.answer().body == b"x"


def test_finish__after_it_no_more_events_are_emitted_on_the_response() -> None:
    """Although the client goes at once, and may be noticed before `end` has returned."""
    events: list[str] = []

    def write(response: Response) -> None:
        response.on("finish", lambda: events.append("finish"))
        response.on("close", lambda: events.append("close"))
        response.on("error", lambda _: events.append("error"))
        response.end("x")

    answered(write, LAST)
    assert events == ["finish"]


# Trailers


def test_add_trailers__sent_at_the_end_of_the_message() -> None:
    """The manual's example, with the Trailer header that HTTP wants."""

    def write(response: Response) -> None:
        response.write_head(200, {"Content-Type": "text/plain", "Trailer": "Content-MD5"})
        response.write("data")
        response.add_trailers({"Content-MD5": "7895bf4b8828b55ceaf47747b4bca667"})
        response.end()

    answer = answered(write)
    assert answer.body == b"data"
    assert answer.trailers == [("Content-MD5", "7895bf4b8828b55ceaf47747b4bca667")]


def test_add_trailers__only_if_chunked_silently_discarded_otherwise() -> None:
    def with_length(response: Response) -> None:
        response.set_header("Content-Length", 4)
        response.add_trailers({"X": "1"})
        response.end("data")

    assert answered(with_length).body == b"data"

    def to_old_client(response: Response) -> None:
        response.write("da")
        response.add_trailers({"X": "1"})
        response.end("ta")

    assert answered(to_old_client, "GET / HTTP/1.0\r\n\r\n").body == b"data"


@pytest.mark.parametrize("bad", [{"a b": "1"}, {"a": "1\r\nb: 2"}])
def test_add_trailers__invalid_characters_raise_a_type_error(bad: dict[str, str]) -> None:
    def write(response: Response) -> None:
        with pytest.raises(TypeError):
            response.add_trailers(bad)
        response.write("x")
        response.end()

    assert answered(write).trailers == []


# end


def test_end__signals_that_the_message_is_complete() -> None:
    with connected(lambda _, response: response.end()) as wire:
        assert wire.ask().status == 200
        assert wire.ask().status == 200


def test_end__if_data_is_specified_it_is_equivalent_to_write_then_end() -> None:
    one = answered(lambda response: response.end("h\xe9", "latin1"))
    two = answered(lambda response: (response.write("h\xe9", "latin1"), response.end()))
    assert one.body == two.body == b"h\xe9"


def test_end__the_callback_is_called_when_the_response_is_finished() -> None:
    order: list[Any] = []

    def write(response: Response) -> None:
        response.on("finish", lambda: order.append("finish"))
        response.end("x", "utf8", lambda: order.append(response.writable_finished))

    answered(write)
    assert order == ["finish", True]


@pytest.mark.parametrize("arguments", [(), ("x",)])
def test_end__the_callback_may_stand_in_the_place_of_what_is_left_out(
    arguments: tuple[Any, ...],
) -> None:
    done = Signal()

    def write(response: Any) -> None:
        response.end(*arguments, done)

    answered(write)
    assert done.is_set()


# Attributes


def test_finished__false_at_first_true_after_end() -> None:
    seen: list[bool] = []

    def write(response: Response) -> None:
        seen.append(response.finished)
        response.write("x")
        seen.append(response.finished)
        response.end()
        seen.append(response.finished)
        assert response.writable_ended

    answered(write)
    assert seen == [False, False, True]


def test_headers_sent__true_if_headers_were_sent_and_read_only() -> None:
    seen: list[bool] = []

    def write(response: Any) -> None:
        seen.append(response.headers_sent)
        response.write("x")
        seen.append(response.headers_sent)
        with pytest.raises(AttributeError):
            response.headers_sent = False
        response.end()

    answered(write)
    assert seen == [False, True]


def test_get_header__reads_out_what_is_queued_in_any_case() -> None:
    def write(response: Response) -> None:
        response.set_header("Content-Type", "text/html").set_header("Set-Cookie", ["a=1", "b=2"])
        assert response.get_header("content-type") == "text/html"
        assert response.get_header("CONTENT-TYPE") == "text/html"
        assert response.get_header("set-cookie") == ["a=1", "b=2"]
        assert response.get_header("other") is None
        response.end()

    assert answered(write).status == 200


def test_remove_header__removes_what_is_queued_for_implicit_sending() -> None:
    def write(response: Response) -> None:
        response.set_header("Content-Encoding", "gzip")
        response.remove_header("content-encoding")
        response.remove_header("never-set")
        response.end()

    assert answered(write)["content-encoding"] is None


def test_send_date__true_by_default_generates_date_if_it_is_not_there() -> None:
    answer = answered(lambda response: response.end(str(response.send_date)))
    assert answer.body == b"True"
    date = answer["date"]
    assert date is not None
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert parsedate_to_datetime(date).tzinfo is not None


def test_send_date__not_over_one_that_was_set_and_not_when_it_is_off() -> None:
    assert answered(lambda response: response.set_header("date", "x").end())["date"] == "x"

    def without(response: Response) -> None:
        response.send_date = False
        response.end()

    assert answered(without)["date"] is None


def test_set_header__replaces_what_was_set() -> None:
    def write(response: Response) -> None:
        response.set_header("Content-Type", "text/html")
        response.set_header("content-type", "text/plain")
        response.end()

    assert answered(write).all("content-type") == ["text/plain"]


def test_set_header__an_array_sends_several_with_the_same_name() -> None:
    answer = answered(
        lambda r: r.set_header("Set-Cookie", ["type=ninja", "language=javascript"]).end()
    )
    assert answer.all("set-cookie") == ["type=ninja", "language=javascript"]


@pytest.mark.parametrize(("name", "value"), [("a b", "1"), ("a", "1\n"), ("a", "€"), ("", "1")])
def test_set_header__invalid_characters_raise_a_type_error(name: str, value: str) -> None:
    def write(response: Response) -> None:
        with pytest.raises(TypeError):
            response.set_header(name, value)
        with pytest.raises(ValueError, match="header"):
            response.write_head(200, {name: value})
        response.end()

    assert answered(write).status == 200


def test_set_header__merged_with_those_of_write_head_which_win() -> None:
    """The manual's example returns content-type = text/plain."""

    def write(response: Response) -> None:
        response.set_header("Content-Type", "text/html")
        response.set_header("X-Foo", "bar")
        response.write_head(200, {"Content-Type": "text/plain"})
        response.end("ok")

    answer = answered(write)
    assert answer.all("content-type") == ["text/plain"]
    assert answer["x-foo"] == "bar"


# setTimeout


def test_set_timeout__the_callback_listens_for_timeout_on_the_response() -> None:
    told = Signal()

    def write(response: Response) -> None:
        assert response.set_timeout(0.05, told) is response
        assert response.listener_count("timeout") == 1
        told.happens()
        response.end("late")

    assert answered(write).body == b"late", "who listens is responsible: nobody closed it"


def test_set_timeout__without_a_listener_sockets_are_destroyed_when_they_time_out() -> None:
    gone = Signal()

    def write(response: Response) -> None:
        response.on("close", gone)
        response.set_timeout(0.05)

    with connected(lambda _, response: write(response)) as wire:
        assert wire.send(GET).is_closed()
        assert gone.happens()


@pytest.mark.parametrize("where", ["request", "response", "server"])
def test_set_timeout__a_listener_on_request_response_or_server_is_responsible(where: str) -> None:
    sockets: list[nhttp.net.Socket] = []

    def listener(request: Request, response: Response) -> None:
        told = Signal()
        emitter = {"request": request, "response": response, "server": server}[where]
        emitter.on("timeout", sockets.append).on("timeout", told)
        request.socket.set_timeout(0.05)
        told.happens()
        response.end("late")

    with serving(listener) as server, Wire(server) as wire:
        assert wire.ask().body == b"late"
    assert isinstance(sockets[0], nhttp.net.Socket)


# statusCode, statusMessage


def test_status_code__is_sent_when_headers_are_implicit_and_tells_what_was_sent() -> None:
    seen: list[Any] = []

    def write(response: Response) -> None:
        assert response.status_code == 200
        response.status_code = 404
        response.end()
        seen.append((response.status_code, response.status_message))

    answer = answered(write)
    assert (answer.status, answer.reason) == (404, "Not Found")
    assert seen == [(404, "Not Found")]


def test_status_code__and_message_control_implicit_headers_only() -> None:
    seen: list[Any] = []

    def write(response: Response) -> None:
        response.status_message = "before"
        response.write_head(304)
        response.status_code, response.status_message = 200, "behind"
        response.end("no body")
        seen.append((response.status_code, response.status_message))

    answer = answered(write)
    assert (answer.status, answer.reason) == (304, "before")
    assert seen == [(304, "before")]


def test_status_message__is_sent_or_the_standard_one_when_left_alone() -> None:
    def write(response: Response) -> None:
        assert response.status_message is None
        response.status_code = 404
        response.status_message = "Not found"
        response.end()

    assert answered(write).reason == "Not found"
    assert answered(lambda response: response.write_head(201).end()).reason == "Created"
