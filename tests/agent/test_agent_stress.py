"""One `Agent`, 64 threads, and a server that misbehaves in every way: nothing is lost or left."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from agent_support import OK, Peer, RawServer
from support import eventually, in_thread

from nhttp._agent.agent import Agent

if TYPE_CHECKING:
    from nhttp.incoming import IncomingMessage

SECONDS = 20.0
THREADS = 64
REQUESTS = 12  # of each thread

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def misbehave(peer: Peer, seed: int) -> None:
    """Answer well most of the time; otherwise, do something that no server should."""
    chance = random.Random(seed * 100_003 + peer.number)
    while peer.request() is not None:
        way = chance.choice(["well"] * 6 + list(WAYS))
        if way == "well":
            peer.send(OK)
        elif not WAYS[way](peer):
            return


def stall(peer: Peer) -> bool:
    peer.send(OK[:20])
    threading.Event().wait(0.002)
    peer.send(OK[20:])
    return True


def sends(data: bytes, *, goes_on: bool = False) -> Any:
    def act(peer: Peer) -> bool:
        peer.send(data)
        if not goes_on:
            peer.close()
        return goes_on

    return act


WAYS: dict[str, Any] = {
    "chunked": sends(CHUNKED + b"2\r\nok\r\n0\r\n\r\n", goes_on=True),
    "close": Peer.close,
    "reset": Peer.reset,
    "answer and close": sends(OK),
    "answer, close said": sends(CLOSING),
    "until close": sends(b"HTTP/1.0 200 OK\r\n\r\nok"),
    "cut head": sends(OK[:20]),
    "cut body": sends(OK[:-1]),
    "cut chunk": sends(CHUNKED + b"5\r\nok"),
    "garbage": sends(b"\x16\x03\x01 is no HTTP\r\n\r\n"),
    "garbage in the body": sends(CHUNKED + b"zz\r\nok"),
    "extra bytes": sends(OK + b"more", goes_on=True),
    "a second answer": sends(OK + OK, goes_on=True),
    "interim": sends(b"HTTP/1.1 102 Processing\r\n\r\n" + OK, goes_on=True),
    "stall": stall,
}


class Ledger:
    """How each request ended: once, and in one way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ends: dict[int, list[str]] = {}
        self.kinds: Counter[str] = Counter()

    def enter(self, number: int) -> None:
        with self._lock:
            self.ends[number] = []

    def over(self, number: int, how: str, kind: str = "") -> None:
        with self._lock:
            self.ends[number].append(how)
            self.kinds[kind or how] += 1


def ask_blocking(agent: Agent, url: str, number: int, ledger: Ledger) -> None:
    try:
        body = agent.get(url).get_response().read()
    except (OSError, ValueError) as error:
        ledger.over(number, "error", type(error).__name__)
    else:
        assert body == b"ok"
        ledger.over(number, "complete")


def ask_by_callback(
    agent: Agent, url: str, number: int, ledger: Ledger, *, abort: bool = False
) -> None:
    closed = threading.Event()

    def on_response(response: IncomingMessage) -> None:
        def on_close() -> None:
            if not response.complete:
                ledger.over(number, "error", "cut short")

        response.resume()
        response.on("end", lambda: ledger.over(number, "complete"))
        response.on("close", on_close)

    asked = agent.get(url, on_response)
    asked.on("error", lambda error: ledger.over(number, "error", type(error).__name__))
    asked.on("close", closed.set)
    if abort:
        asked.abort()
    assert closed.wait(SECONDS), f"{asked} does not close"


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limit", [4, 1000])
def test_every_request_ends_once_and_nothing_is_left(seed: int, limit: int) -> None:
    begun = time.monotonic()
    ledger = Ledger()
    with RawServer(lambda peer: misbehave(peer, seed)) as server:
        agent = Agent(keep_alive=True, max_sockets=limit, max_free_sockets=8)

        def work(thread: int) -> None:
            chance = random.Random(seed * 1_000 + thread)
            for each in range(REQUESTS):
                number = thread * REQUESTS + each
                ledger.enter(number)
                style = chance.choice(["blocking", "callback", "abort"])
                if style == "blocking":
                    ask_blocking(agent, server.url, number, ledger)
                else:
                    ask_by_callback(agent, server.url, number, ledger, abort=style == "abort")

        running = [in_thread(work, thread) for thread in range(THREADS)]
        for each in running:
            each.result()
        # An aborted request says 'close' at once; its thread may still be on its way out.
        eventually(lambda: not agent._waiters, "somebody waits")
        assert agent.requests == {}
        eventually(lambda: not agent.sockets, f"still in use: {agent}")
        agent.destroy()
        assert agent._pool.total == 0
        assert repr(agent) == "<Agent <Pool empty>>"
    wrong = {number: ends for number, ends in ledger.ends.items() if len(ends) != 1}
    assert not wrong, (wrong, ledger.kinds)
    assert len(ledger.ends) == THREADS * REQUESTS
    assert ledger.kinds["complete"] > THREADS * REQUESTS / 4, ledger.kinds
    assert time.monotonic() - begun < SECONDS
