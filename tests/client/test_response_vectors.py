"""Every response vector, sent to a real request over a real socket, in both styles.

The parser's own tests say what each octet means; these say what a user of the client sees: the
response and its body, or an error, and whether the connection was used again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nhttp import net
from nhttp._agent.agent import Agent
from nhttp.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nhttp._agent.options import RequestOptions
    from nhttp.client import ClientRequest, Information
    from nhttp.incoming import IncomingMessage

Json = dict[str, Any]

VECTORS: list[Json] = json.loads(
    (Path(__file__).parent.parent / "data" / "responses.json").read_text(encoding="utf-8")
)
DEADLINE = 10.0  # seconds after which a wait in here has failed
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


class CountingSocket(net.Socket):
    """Tells how many octets it has taken, so that a server can wait for that."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Condition()

    def _receive(self, size: int) -> bytes:
        data = super()._receive(size)
        with self.taken:
            self.taken.notify_all()
        return data


class CountingAgent(Agent):
    def __init__(self) -> None:
        super().__init__(keep_alive=True)
        self.made: list[CountingSocket] = []

    def create_connection(
        self,
        options: RequestOptions,
        callback: Callable[[Exception | None, net.Socket | None], object] | None = None,
    ) -> net.Socket:
        made = CountingSocket()
        self.made.append(made)
        return made.connect(int(options.port or 0), options.target_host)


class Replay:
    """A server that answers its first request with a vector, and every other with ``good``."""

    def __init__(self, vector: Json, pieces: list[bytes], agent: CountingAgent) -> None:
        self.pieces = pieces
        self.agent = agent
        expect = vector["expect"]
        stays = expect.get("reusable") or vector.get("second")
        self.half_close = not stays
        self.all_sent = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        first = True
        while True:
            peer, _ = self.listener.accept()
            if not self.port:
                peer.close()
                return
            thread = threading.Thread(target=self.serve, args=(peer, first), daemon=True)
            self.threads.append(thread)
            first = False
            thread.start()

    def serve(self, peer: socket.socket, first: bool) -> None:
        peer.settimeout(DEADLINE)
        with peer, contextlib.suppress(OSError):  # the client may have gone
            while read_head(peer):
                if first:
                    first = False
                    self.answer(peer)
                else:
                    peer.sendall(GOOD)

    def answer(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        reading = True
        try:
            for piece in self.pieces:
                reading = reading and self.wait_taken(sent)
                peer.sendall(piece)
                sent += len(piece)
            if self.half_close:
                peer.shutdown(socket.SHUT_WR)
        finally:
            self.all_sent.set()

    def wait_taken(self, octets: int) -> bool:
        """Wait until the client has taken what was sent: then it comes in pieces for it, too.

        False: it has got all that it wanted, so that there is nothing more to wait for.
        """
        if not octets:
            return True
        made = self.agent.made[0]
        with made.taken:
            return made.taken.wait_for(
                lambda: made.bytes_read >= octets or made.destroyed, timeout=0.05
            )

    def close(self) -> None:
        port, self.port = self.port, 0
        with socket.create_connection(("127.0.0.1", port)):
            self.threads[0].join(DEADLINE)
        self.listener.close()
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def read_head(peer: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        block = peer.recv(65536)
        if not block:
            return b""
        received += block
    return received


class Outcome:
    """What a user saw."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self.partial: list[Json] = []
        self.interim: list[int] = []
        self.error: Exception | None = None
        self.over = threading.Event()

    def note(self, event: str, response: IncomingMessage) -> Json:
        return {
            "event": event,
            "http_version": response.http_version,
            "status_code": response.status_code,
            "status_message": response.status_message,
            "raw_headers": paired(response.raw_headers),
        }

    def note_end(self, note: Json, body: bytes, response: IncomingMessage) -> None:
        note["body"] = body.decode("latin-1")
        if response.complete:
            note["trailers"] = paired(response.raw_trailers)
            self.messages.append(note)
        else:
            self.partial.append(note)

    def on_information(self, information: Information) -> None:
        self.interim.append(information.status_code)

    def tunnel(self, event: str) -> Any:
        def listener(response: IncomingMessage, sock: net.Socket, head: bytes) -> None:
            note = self.note(event, response)
            note["tunnel"] = (head + sock.read()).decode("latin-1")
            self.messages.append(note)
            sock.destroy()
            self.over.set()

        return listener


def paired(raw: list[str]) -> list[list[str]]:
    return [list(pair) for pair in zip(raw[::2], raw[1::2], strict=True)]


def make(vector: Json, agent: Agent, port: int) -> ClientRequest:
    asked = vector["request"]
    return agent.request(
        host="127.0.0.1",
        port=port,
        method=asked["method"],
        path=asked["path"],
        headers=asked["headers"],
    )


def blocking(vector: Json, request: ClientRequest) -> Outcome:
    outcome = Outcome()
    request.on("information", outcome.on_information)
    request.end()
    try:
        response = request.get_response()
    except (OSError, ParseError) as error:
        outcome.error = error
        return outcome
    note = outcome.note("response", response)
    body = b""
    try:
        body = response.read()
    except (OSError, ParseError) as error:
        outcome.error = error
        with contextlib.suppress(OSError, ParseError):
            while block := response.read1():
                body += block
    outcome.note_end(note, body, response)
    return outcome


def callbacks(vector: Json, request: ClientRequest) -> Outcome:
    outcome = Outcome()

    def on_response(response: IncomingMessage) -> None:
        note = outcome.note("response", response)
        blocks: list[bytes] = []
        response.on("data", blocks.append)

        def over() -> None:
            outcome.note_end(note, b"".join(blocks), response)
            outcome.over.set()

        def on_error(error: Exception) -> None:
            outcome.error = error

        response.on("error", on_error)
        response.on("end", over).on("aborted", over)

    def on_error(error: Exception) -> None:
        outcome.error = error
        outcome.over.set()

    request.on("information", outcome.on_information)
    request.on("response", on_response).on("error", on_error)
    if vector["listeners"]:
        request.on("connect", outcome.tunnel("connect"))
        request.on("upgrade", outcome.tunnel("upgrade"))
    request.end()
    assert outcome.over.wait(DEADLINE), "the request never ends"
    return outcome


@contextlib.contextmanager
def replaying(vector: Json, pieces: list[bytes]) -> Generator[tuple[CountingAgent, Replay]]:
    agent = CountingAgent()
    replay = Replay(vector, pieces, agent)
    try:
        yield agent, replay
    finally:
        agent.destroy()
        replay.close()


def check(vector: Json, pieces: list[bytes], drive: Any) -> None:
    expect = vector["expect"]
    with replaying(vector, pieces) as (agent, replay):
        outcome = drive(vector, make(vector, agent, replay.port))
        free = [each for some in agent.free_sockets.values() for each in some]
        check_outcome(expect, outcome)
        if (
            expect["verdict"] == "accept"
            and expect.get("reusable") is not None
            and pieces[1:] == []
        ):
            assert bool(free) == expect["reusable"]
        if outcome.error is not None:
            assert not free, "what has failed is not used again"
        if vector.get("second"):
            assert replay.all_sent.wait(DEADLINE)
            second = agent.get(host="127.0.0.1", port=replay.port, path="/second").get_response()
            assert (second.status_code, second.read()) == (200, b"good")


def check_outcome(expect: Json, outcome: Outcome) -> None:
    verdict = expect["verdict"]
    readings = [
        [without(message, "complete", "complete_at") for message in expect[key]]
        for key in ("messages", "alt_messages")
        if key in expect
    ]
    if verdict == "accept" or (verdict == "either" and outcome.error is None):
        assert outcome.error is None
        assert outcome.messages in readings
        assert not outcome.partial
        assert outcome.interim == [code for code in expect["interim"] if code != 100]
        return
    assert outcome.error is not None
    assert isinstance(outcome.error, (ParseError, ConnectionResetError))
    # An answer is the last that a request gets: nothing of a refused one is complete.
    assert outcome.messages == (readings[0] if verdict == "reject" else [])
    if expect["stage"] == "head":
        assert not outcome.partial
    elif outcome.partial and expect.get("partial"):
        (began,) = outcome.partial
        (whole,) = expect["partial"]
        assert without(began, "body") == without(whole, "body", "trailers")
        assert whole["body"].startswith(began["body"])
        if expect["stage"] == "eof":
            assert began["body"] == whole["body"]


def without(message: Json, *keys: str) -> Json:
    return {key: value for key, value in message.items() if key not in keys}


def pieces_of(vector: Json) -> list[bytes]:
    octets = vector["bytes"].encode("latin-1")
    offsets = [0, *vector.get("cuts", ()), len(octets)]
    return [octets[a:b] for a, b in pairwise(offsets) if a < b]


def params(*, tunnels: bool = True, short: bool = False) -> list[Any]:
    return [
        pytest.param(vector, id=vector["id"])
        for vector in VECTORS
        if (tunnels or not vector["listeners"])
        and (not short or (vector["split"] and len(vector["bytes"]) < 300))
    ]


@pytest.mark.parametrize("vector", params(tunnels=False))
def test_blocking(vector: Json) -> None:
    check(vector, pieces_of(vector), blocking)


@pytest.mark.parametrize("vector", params())
def test_callbacks(vector: Json) -> None:
    check(vector, pieces_of(vector), callbacks)


@pytest.mark.parametrize("vector", params(tunnels=False, short=True))
def test_blocking_octet_by_octet(vector: Json) -> None:
    octets = vector["bytes"].encode("latin-1")
    check(vector, [octets[i : i + 1] for i in range(len(octets))], blocking)


@pytest.mark.parametrize("vector", params(short=True)[::4])
def test_callbacks_octet_by_octet(vector: Json) -> None:
    octets = vector["bytes"].encode("latin-1")
    check(vector, [octets[i : i + 1] for i in range(len(octets))], callbacks)
