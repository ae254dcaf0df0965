"""The manual on http.ServerResponse: write, writeContinue and writeHead, sentence by sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from wire import GET, Signal, answered, connected

from nhttp.errors import StateError

if TYPE_CHECKING:
    from nhttp import IncomingMessage as Request
    from nhttp import ServerResponse as Response

# write


def test_write__without_write_head_flushes_the_implicit_headers() -> None:
    seen = Signal()

    def write(response: Response) -> None:
        response.set_header("X", "1").write("first")
        seen.happens()
        response.end()

    with connected(lambda _, response: write(response)) as wire:
        assert wire.send(GET).head()["x"] == "1"
        assert wire.exactly(10) == b"5\r\nfirst\r\n"
        seen.set()


def test_write__called_several_times_sends_successive_parts() -> None:
    def write(response: Response) -> None:
        for part in ("one ", "two ", "three"):
            assert response.write(part) is True, "everything is with the kernel"
        response.end()

    assert answered(write).body == b"one two three"


def test_write__false_if_it_was_queued_and_drain_when_the_buffer_is_free_again() -> None:
    """It queues where it is told to: `cork`."""
    events: list[str] = []

    def write(response: Response) -> None:
        response.on("drain", lambda: events.append("drain"))
        response.cork()
        assert response.write(bytes(response.writable_high_water_mark)) is False
        assert events == []
        response.uncork()
        events.append("uncorked")
        response.end()

    assert set(answered(write).body) == {0}
    assert events == ["drain", "uncorked"]


@pytest.mark.parametrize(
    ("method", "code"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)]
)
def test_write__the_body_is_omitted_for_head_204_and_304(method: str, code: int) -> None:
    def listener(_: Request, response: Response) -> None:
        response.write_head(code)
        response.write("not sent")
        response.end("either")

    with connected(listener) as wire:
        request = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n"
        for _ in range(2):  # the next answer follows right behind the head
            assert wire.ask(request, body=False).status == code


@pytest.mark.parametrize(
    ("chunk", "encoding", "octets"),
    [
        ("h\xe9", None, b"h\xc3\xa9"),
        ("h\xe9", "utf8", b"h\xc3\xa9"),
        ("h\xe9", "latin1", b"h\xe9"),
        ("68e9", "hex", b"h\xe9"),
        ("aOk=", "base64", b"h\xe9"),
        (b"h\xe9", None, b"h\xe9"),
        (bytearray(b"h\xe9"), None, b"h\xe9"),
        (memoryview(b"h\xe9"), "utf8", b"h\xe9"),
    ],
)
def test_write__a_string_is_encoded_utf8_by_default_a_buffer_is_not(
    chunk: Any, encoding: str | None, octets: bytes
) -> None:
    assert answered(lambda r: (r.write(chunk, encoding), r.end())).body == octets
    assert answered(lambda r: r.end(chunk, encoding)).body == octets


def test_write__the_callback_is_called_when_the_chunk_is_flushed() -> None:
    seen: list[int] = []

    def write(response: Response) -> None:
        response.write("x", lambda: seen.append(1))
        response.write("y", "utf8", lambda: seen.append(2))
        response.end()

    answered(write)
    assert seen == [1, 2]


def test_write__head_and_first_chunk_leave_together_the_second_separately() -> None:
    sizes: list[int] = []

    def write(response: Response) -> None:
        socket = response.socket
        assert socket is not None
        response.write_head(200)
        sizes.append(socket.bytes_written)
        response.write("first")
        sizes.append(socket.bytes_written)
        response.write("second")
        sizes.append(socket.bytes_written)
        response.end()

    answered(write)
    assert sizes[0] == 0, "the head waits for the first chunk"
    assert sizes[1] > len("first")
    assert sizes[2] - sizes[1] == len("6\r\nsecond\r\n")


# writeContinue, writeHead


def test_write_continue__sends_100_continue() -> None:
    def listener(_: Request, response: Response) -> None:
        response.write_continue()
        response.end()

    with connected(listener) as wire:
        assert wire.send(GET).until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        assert wire.answer().status == 200


def test_write_head__code_message_and_headers() -> None:
    answer = answered(lambda r: r.write_head(404, "Nothing Here", {"X-A": "1"}).end("no"))
    assert (answer.status, answer.reason, answer["x-a"]) == (404, "Nothing Here", "1")
    answer = answered(lambda r: r.write_head(404, {"X-A": "2"}).end())
    assert (answer.status, answer.reason, answer["x-a"]) == (404, "Not Found", "2")


def test_write_head__with_the_length_in_bytes() -> None:
    body = "hello w\xf6rld"
    answer = answered(
        lambda r: r.write_head(
            200, {"Content-Length": len(body.encode()), "Content-Type": "text/plain"}
        ).end(body)
    )
    assert answer["content-length"] == "12"
    assert answer["transfer-encoding"] is None
    assert answer.body == body.encode()


def test_write_head__must_only_be_called_once_and_before_end() -> None:
    codes: list[str] = []

    def write(response: Response) -> None:
        response.write_head(200)
        with pytest.raises(StateError) as again:
            response.write_head(201)
        response.end()
        with pytest.raises(StateError) as late:
            response.write_head(202)
        codes.extend([again.value.code, late.value.code])

    assert answered(write).status == 200
    assert codes == ["ERR_HTTP_HEADERS_SENT"] * 2


def test_write_head__write_and_end_call_it_with_the_implicit_headers() -> None:
    def write(response: Response) -> None:
        response.status_code = 202
        response.set_header("X", "implicit")
        response.write("x")
        assert response.headers_sent
        response.end()

    answer = answered(write)
    assert (answer.status, answer["x"]) == (202, "implicit")


@pytest.mark.parametrize(("length", "sent"), [(9, b"short"), (3, b"long")])
def test_write_head__nobody_checks_whether_content_length_is_right(
    length: int, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As in Node; but the connection is not used for another answer then, and the log tells."""

    def write(response: Response) -> None:
        response.write_head(200, {"Content-Length": length})
        response.end(sent)

    with connected(lambda _, response: write(response)) as wire:
        head = wire.send(GET).head()
        assert head["content-length"] == str(length)
        assert wire.rest() == sent
    (record,) = caplog.records
    assert record.name == "nhttp.server"
    said = f"<ServerResponse 200 to GET /> said Content-Length: {length}"
    assert record.getMessage() == f"{said}, and its body had {len(sent)} octets"


@pytest.mark.parametrize("bad", [{"a b": "1"}, {"": "1"}, {"a": "1\r\nb: 2"}, {"a": "\u20ac"}])
def test_write_head__invalid_characters_raise_a_type_error(bad: dict[str, str]) -> None:
    def write(response: Response) -> None:
        with pytest.raises(TypeError):
            response.write_head(200, bad)
        assert not response.headers_sent
        response.end("fine")

    answer = answered(write)
    assert answer.body == b"fine"
    assert answer["a"] is None


@pytest.mark.parametrize("code", [99, 1000, 0, "abc"])
def test_write_head__a_status_code_that_has_not_3_digits_is_refused(code: Any) -> None:
    def write(response: Response) -> None:
        with pytest.raises((ValueError, TypeError)):
            response.write_head(code)
        response.end("fine")

    assert answered(write).status == 200
