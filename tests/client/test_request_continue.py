"""Expect: 100-continue from the client's side: when the head goes out, and what a 100 ends."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from client_support import OK, Followed, Peer, answer, ignore, scripted
from support import SECONDS, Recorder, in_thread

from nhttp.client import request
from nhttp.errors import StateError

if TYPE_CHECKING:
    from nhttp.headers import HeaderInput

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
EXPECT: HeaderInput = {"Expect": "100-continue"}


@pytest.mark.parametrize(
    ("event", "headers", "sends"),
    [("continue", EXPECT, True), ("continue", {}, False), ("response", EXPECT, False)],
)
def test_only_who_waits_to_continue_has_the_head_sent(
    event: Any, headers: HeaderInput, sends: bool
) -> None:
    with scripted(answer(OK)) as server:
        req = request(server.url, method="POST", headers=headers).on(event, ignore)
        assert req.headers_sent == sends
        assert req.end().get_response(SECONDS).read() == b"ok"


def test_an_answer_is_not_the_100_before_it() -> None:
    with scripted(answer(CONTINUE + OK)) as server:
        req = request(server.url, headers=EXPECT).end()
        assert req.get_response().read() == b"ok"
        assert req.wait_continue()


def test_early_hints_are_no_leave_to_continue() -> None:
    refusal = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"
    with scripted(answer(HINTS + refusal)) as server:
        req = request(server.url, method="POST", headers=EXPECT)
        assert not req.wait_continue()
        with req as response:
            assert response.status_code == 417


def test_who_waits_to_continue_is_woken_by_the_thread_that_reads() -> None:
    waiting, continued = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        assert waiting.wait(SECONDS)
        peer.send(CONTINUE)
        assert continued.wait(SECONDS)
        peer.send(OK)

    class Watched(Followed):
        def _wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            return super()._wait(timeout)

    with scripted(script) as server:
        req = Watched(server.url, headers=EXPECT)
        recorder = Recorder(req, "response")
        req.flush_headers()
        assert in_thread(req.wait_continue).result()
        continued.set()
        assert recorder.wait("response")[0].read() == b"ok"
        req.end()
        assert req.done.wait(SECONDS)


@pytest.mark.parametrize("when", ["before", "after", "blocking"])
def test_continue(when: str) -> None:
    def script(peer: Peer) -> None:
        assert b"Expect: 100-continue" in peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(4) == b"body"
        peer.send(OK)
        peer.read_all()

    headers: HeaderInput = {"Expect": "100-continue", "Content-Length": 4}
    with scripted(script) as server:
        req = request(server.url, method="POST", headers=headers)
        if when == "blocking":
            assert req.wait_continue(SECONDS)
            assert req.wait_continue()
            req.end("body")
        else:
            if when == "after":
                req.flush_headers()
            req.on("continue", lambda: req.end("body"))
        assert req.get_response(SECONDS).read() == b"ok"


@pytest.mark.parametrize("seconds", [10 * 365 * 86400, math.inf])
def test_a_wait_may_be_longer_than_the_system_can_count(seconds: float) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(4) == b"body"
        peer.send(OK)
        peer.read_all()

    headers: HeaderInput = {"Expect": "100-continue", "Content-Length": 4}
    with scripted(script) as server:
        req = request(server.url, method="POST", headers=headers)
        assert req.wait_continue(seconds)
        req.end("body")
        assert req.get_response(seconds).read() == b"ok"


def test_wait_continue_when_a_final_answer_comes_instead() -> None:
    refusal = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"
    with scripted(answer(refusal)) as server:
        req = request(server.url, method="POST", headers={"Expect": "100-continue"})
        assert not req.wait_continue(SECONDS)
        assert not req.wait_continue()
        with req as response:
            assert (response.status_code, response.read()) == (417, b"no")


def test_wait_continue_in_vain() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        assert peer.read(9) == b"4\r\nbody\r\n"
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server:
        req = request(server.url, method="POST", headers={"Expect": "100-continue"})
        with pytest.raises(TimeoutError):
            req.wait_continue(0.01)
        req.end("body")
        with pytest.raises(StateError):
            req.write("more")
        assert req.get_response().read() == b"ok"


def test_wait_continue_fails_with_the_connection() -> None:
    with scripted(Peer.read_head) as server:
        req = request(server.url, method="POST", headers={"Expect": "100-continue"})
        with pytest.raises(ConnectionResetError):
            req.wait_continue()
