"""Every request vector, sent to a real server over a real socket.

The parser's own tests say what each octet means; these say what a client sees: which handlers ran,
what was answered, and who closed first. The handler reads the whole body and answers 200 ``ok``.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nhttp

if TYPE_CHECKING:
    from nhttp.net import Socket

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "requests.json").read_text(encoding="utf-8")
)
DEADLINE = 10.0  # seconds after which a read in here has failed


class Recorder:
    """A server that notes what reached its listeners."""

    def __init__(self, listeners: list[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self.partial: list[dict[str, Any]] = []
        self.tunnelled = threading.Event()
        self.server = nhttp.create_server(self.on_request)
        for event in listeners:
            if event in ("connect", "upgrade"):
                self.server.on("connect" if event == "connect" else "upgrade", self.tunnel(event))
            elif event == "checkContinue":
                self.server.on("checkContinue", self.on_check_continue)

    def note(self, event: str, request: nhttp.IncomingMessage) -> dict[str, Any]:
        raw = request.raw_headers
        return {
            "event": event,
            "method": request.method,
            "url": request.url,
            "http_version": request.http_version,
            "raw_headers": [list(pair) for pair in zip(raw[::2], raw[1::2], strict=True)],
        }

    def on_request(self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        note = self.note("request", request)
        body = b""
        try:
            while block := request.read1():
                body += block
        except (OSError, nhttp.errors.ParseError):
            self.partial.append({**note, "body": body.decode("latin-1")})
            raise
        trailers = request.raw_trailers
        note["body"] = body.decode("latin-1")
        note["trailers"] = [list(p) for p in zip(trailers[::2], trailers[1::2], strict=True)]
        self.messages.append(note)
        response.end("ok")

    def on_check_continue(
        self, request: nhttp.IncomingMessage, response: nhttp.ServerResponse
    ) -> None:
        response.write_continue()
        self.on_request(request, response)

    def tunnel(self, event: str) -> Any:
        def listener(request: nhttp.IncomingMessage, sock: Socket, head: bytes) -> None:
            note = self.note(event, request)
            line = "101 Switching Protocols" if event == "upgrade" else "200 OK"
            sock.write(f"HTTP/1.1 {line}\r\n\r\n")
            note["tunnel"] = (head + sock.read()).decode("latin-1")
            self.messages.append(note)
            self.tunnelled.set()
            sock.end()

        return listener


STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


def statuses(received: bytes) -> list[int]:
    """The status codes of the answers; bodies here never look like a status line."""
    return [int(code) for code in STATUS_LINE.findall(received)]


def exchange(
    port: int, pieces: list[bytes], *, answers: int, half_close: bool
) -> tuple[bytes, bool]:
    """Send, take the answers, half-close where the server need not close; give all that came."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        closed = False
        try:
            for piece in pieces:
                client.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            closed = True
        try:
            while half_close and not closed and complete_answers(received) < answers:
                block = client.recv(65536)
                closed = not block
                received += block
            if half_close and not closed:
                client.shutdown(socket.SHUT_WR)
            while block := client.recv(65536):
                received += block
        except ConnectionResetError:
            closed = True
    return received, closed


def complete_answers(received: bytes) -> int:
    """How many final answers have come in whole: each ends in ``ok``, or has no body."""
    final = [code for code in statuses(received) if code >= 200 or code == 101]
    whole = received.endswith((b"ok", b"\r\n\r\n"))
    return len(final) if whole or not final else len(final) - 1


def check(vector: dict[str, Any], pieces: list[bytes]) -> None:
    expect = vector["expect"]
    recorder = Recorder(vector["listeners"])
    with recorder.server.listen(0, "127.0.0.1") as server:
        address = server.address()
        assert isinstance(address, nhttp.net.Address)
        half_close = not expect["closed"]
        answers = len(expect["messages"])
        received, _ = exchange(address.port, pieces, answers=answers, half_close=half_close)
    codes = [code for code in statuses(received) if code >= 200 or code == 101]
    verdict = expect["verdict"]
    accepted = verdict == "accept" or (verdict == "either" and is_served(recorder, expect))
    wanted = [strip(message) for message in expect["messages"]]
    if accepted:
        assert [strip(message) for message in recorder.messages] == wanted
        assert codes == expect["responses"]
        return
    # For an "either" that is refused, the messages before the refused one are not listed.
    if verdict == "reject":
        assert [strip(message) for message in recorder.messages] == wanted
    final = codes[len(recorder.messages) :]
    assert all(code in expect["status"] for code in final), (codes, expect["status"])
    assert len(final) <= 1
    if expect["stage"] == "head":
        assert not recorder.partial
    if not vector["bytes"].startswith("CONNECT") or vector["listeners"]:
        assert final, "a refusal says so"


def is_served(recorder: Recorder, expect: dict[str, Any]) -> bool:
    return len(recorder.messages) == len(expect["messages"])


def strip(message: dict[str, Any]) -> dict[str, Any]:
    """Drop what a listener for a tunnel is not given."""
    if "tunnel" in message:
        return {key: message[key] for key in ("event", "method", "url", "tunnel", "raw_headers")}
    return message


def pieces_of(vector: dict[str, Any]) -> list[bytes]:
    octets = vector["bytes"].encode("latin-1")
    offsets = [0, *vector.get("cuts", ()), len(octets)]
    return [octets[a:b] for a, b in pairwise(offsets) if a < b]


def ids() -> list[Any]:
    return [pytest.param(vector, id=vector["id"]) for vector in VECTORS]


@pytest.mark.parametrize("vector", ids())
def test_whole(vector: dict[str, Any]) -> None:
    check(vector, pieces_of(vector))


@pytest.mark.parametrize(
    "vector", [v for v in ids() if v.values[0]["split"] and len(v.values[0]["bytes"]) < 300]
)
def test_octet_by_octet(vector: dict[str, Any]) -> None:
    octets = vector["bytes"].encode("latin-1")
    check(vector, [octets[i : i + 1] for i in range(len(octets))])
