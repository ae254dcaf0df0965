"""Closing a server: idle connections at once, running requests in peace, the rest by force."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from support import NO_THREADS_AT_EXIT, in_serve_forever, in_thread
from wire import GET, SECONDS, Signal, Wire, ok, serving

import nhttp
from nhttp._closing import LINGER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Generator

    from nhttp import IncomingMessage, ServerResponse


def test_close_closes_idle_connections_and_those_that_never_asked() -> None:
    with serving(ok) as server, Wire(server) as idle, Wire(server) as silent:
        idle.ask()
        server.close()
        assert idle.is_closed()
        assert silent.is_closed()
        assert server.wait_closed(SECONDS)


def test_close_lets_running_requests_finish_and_says_that_they_are_the_last() -> None:
    asked, closed = Signal(), Signal()

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        asked.set()
        closing.happens()
        response.end("done")

    closing = Signal()
    with serving(listener) as server, Wire(server) as wire:
        wire.send(GET)
        assert asked.happens()
        server.close(closed)
        assert not closed.is_set()
        closing.set()
        answer = wire.answer()
        assert (answer.body, answer["connection"], answer["keep-alive"]) == (b"done", "close", None)
        assert wire.is_closed()
        assert closed.happens()


def test_close_may_be_called_by_a_handler() -> None:
    with serving(lambda _, response: (server.close(), response.end("bye"))) as server:
        with Wire(server) as wire:
            answer = wire.ask()
            assert (answer.body, answer["connection"]) == (b"bye", "close")
        assert server.wait_closed(SECONDS)


def test_close_when_the_answer_that_is_being_sent_said_something_else() -> None:
    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        response.write("kept")
        server.close()
        response.end()

    with serving(listener, keep_alive_timeout=0) as server, Wire(server) as wire:
        answer = wire.ask()
        assert (answer.body, answer["connection"]) == (b"kept", "keep-alive")
        assert wire.is_closed()


def test_close_serves_a_request_that_was_on_its_way() -> None:
    """Accepted, but its thread has not looked yet: what is in the kernel is answered."""
    accepted, closing = Signal(), Signal()

    def on_connection(_: nhttp.net.Socket) -> None:
        accepted.set()
        closing.happens()

    with serving(ok) as server:
        server.on("connection", on_connection)
        with Wire(server) as wire, Wire(server) as silent:
            wire.send(GET)
            assert accepted.happens()
            server.close()
            closing.set()
            assert wire.answer()["connection"] == "close"
            assert wire.is_closed()
            assert silent.is_closed()


@pytest.mark.parametrize("moment", ["before", "after", "after, to begin a tunnel"])
def test_close_and_a_request_of_which_only_the_head_was_on_its_way(moment: str) -> None:
    """The rest is waited for where that can be; it is no mistake of the client's otherwise."""
    accepted, closing, asked = Signal(), Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        asked.set()
        ok(request, response)

    def on_connection(_: nhttp.net.Socket) -> None:
        accepted.set()
        closing.happens()

    head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    tunnel = "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"
    with serving(listener) as server:
        server.on("connection", on_connection)
        server.on("connect", asked)
        with Wire(server) as wire:
            assert accepted.happens()
            if moment == "before":
                wire.send(head)
                server.close()
                closing.set()
                assert asked.happens()
                answer = wire.ask("body")
                assert (answer.body, answer["connection"]) == (b"body", "close")
            else:
                server.close()
                wire.send(head if moment == "after" else tunnel)
                closing.set()
            assert wire.is_closed()
    assert asked.is_set() == (moment == "before")


def test_close_of_this_side_is_not_taken_for_the_clients() -> None:
    accepted, closing, gone = Signal(), Signal(), Signal()

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        response.on("close", gone)
        assert not gone.wait(0.05)
        response.end("done")

    def on_connection(_: nhttp.net.Socket) -> None:
        accepted.set()
        closing.happens()

    with serving(listener) as server:
        server.on("connection", on_connection)
        with Wire(server) as wire:
            assert accepted.happens()
            server.close_idle_connections()
            wire.send(GET)
            closing.set()
            answer = wire.answer()
            assert (answer.body, answer["connection"]) == (b"done", "close")


def test_close_twice_and_calling_back_when_it_is_closed_already() -> None:
    called = Signal()
    with serving(ok) as server:
        server.close()
        assert server.wait_closed(SECONDS)
        server.close(called)
        assert called.is_set()


def test_close_idle_connections_leaves_the_others_and_the_server() -> None:
    asked, release = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        if request.url == "/slow":
            asked.set()
            release.happens()
        response.end("ok")

    with serving(listener) as server, Wire(server) as idle, Wire(server) as busy:
        idle.ask()
        busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked.happens()
        closed = in_thread(idle.is_closed)
        while closed.thread.is_alive():  # it is idle a moment after its client has the answer
            server.close_idle_connections()
            closed.thread.join(0.001)
        assert closed.result()
        release.set()
        assert busy.answer()["connection"] == "keep-alive"
        with Wire(server) as wire:
            assert wire.ask().status == 200


def test_close_idle_connections_leaves_a_body_that_is_still_coming() -> None:
    asked = Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        asked.set()
        ok(request, response)

    with serving(listener) as server, Wire(server) as wire:
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        assert asked.happens()
        server.close_idle_connections()
        assert wire.ask("body").body == b"body"


def test_close_all_connections_destroys_running_requests() -> None:
    asked, gone = Signal(), Signal()

    def listener(request: IncomingMessage, response: ServerResponse) -> None:
        response.on("close", gone)
        asked.set()

    with serving(listener) as server, Wire(server) as wire:
        wire.send(GET)
        assert asked.happens()
        server.close_all_connections()
        assert wire.is_closed()
        assert gone.happens()


def test_leaving_the_block_gives_running_requests_the_grace_and_destroys_them_then() -> None:
    asked, gone = Signal(), Signal()

    def listener(_: IncomingMessage, response: ServerResponse) -> None:
        response.on("close", gone)
        asked.set()

    with nhttp.create_server(listener).listen(0, "127.0.0.1") as server, ExitStack() as stack:
        server.grace = 0.05
        wire = stack.enter_context(Wire(server))
        wire.send(GET)
        assert asked.happens()
        kept = stack.pop_all()
    with kept:
        assert gone.happens()
        assert wire.is_closed()


def test_leaving_the_block_is_quick_however_many_connections_are_idle() -> None:
    """50 ms are promised; the bound here is wide, as the machine may be busy."""
    with ExitStack() as stack:
        server = stack.enter_context(nhttp.create_server(ok).listen(0, "127.0.0.1"))
        wires = [stack.enter_context(Wire(server)) for _ in range(200)]
        for wire in wires:
            wire.ask()
        before = time.monotonic()
        server.__exit__(None, None, None)
        taken = time.monotonic() - before
        assert server.wait_closed(0)
        assert server.get_connections() == 0
        assert all(wire.is_closed() for wire in wires)
    assert taken < LINGER_SECONDS / 2, "nobody waited for a bound"


def test_serve_forever_returns_when_the_server_is_closed() -> None:
    with serving(ok) as server:
        waiting = in_serve_forever(server)
        server.close()
        waiting.result()
        assert not server.listening
        with pytest.raises(nhttp.errors.StateError, match="not listening"):
            server.serve_forever()


@contextmanager
def run(program: str) -> Generator[subprocess.Popen[str]]:
    """Start a program that prints its server's port, and see to it that it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_serve_forever_ends_with_ctrl_c() -> None:
    program = """
        import nhttp
        server = nhttp.create_server(lambda q, r: r.end("ok")).listen(0, "127.0.0.1")
        try:
            with server:
                print(server.address().port, flush=True)
                server.serve_forever()
        except KeyboardInterrupt:
            print("interrupted")
        print("closed", server.wait_closed(0))
    """
    with run(program) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=SECONDS)
    assert (output, errors, process.returncode) == ("interrupted\nclosed True\n", "", 0)


def test_serve_forever_notices_an_interrupt_that_did_not_wake_it() -> None:
    program = """
        import _thread, nhttp, threading
        def interrupt():
            while not server._closed._cond._waiters:
                pass
            _thread.interrupt_main()
        try:
            with nhttp.create_server().listen(0, "127.0.0.1") as server:
                threading.Thread(target=interrupt).start()
                server.serve_forever()
        except KeyboardInterrupt:
            print("interrupted")
    """
    with run(program) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)


def test_unref_lets_the_process_end_and_ref_does_not() -> None:
    program = """
        import nhttp, sys
        server = nhttp.create_server(lambda q, r: (r.end("ok"), server.close()))
        server.unref()
        server.listen(0, "127.0.0.1")
        if sys.argv[1:]:
            server.ref()
        print(server.address().port, flush=True)
    """
    with run(program) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert output.strip().isdigit()
    assert (errors, process.returncode) == ("", 0)


@NO_THREADS_AT_EXIT
def test_a_listening_server_keeps_the_process_alive() -> None:
    program = """
        import nhttp
        server = nhttp.create_server(lambda q, r: (r.end("ok"), server.close()))
        server.listen(0, "127.0.0.1")
        print(server.address().port, flush=True)
    """
    with run(program) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        class Remote(nhttp.net.Server):
            def address(self) -> nhttp.net.Address:
                return nhttp.net.Address("127.0.0.1", port, "IPv4")

        with Wire(Remote()) as wire:
            assert wire.ask().body == b"ok"
        _, errors = process.communicate(timeout=SECONDS)
    assert (errors, process.returncode) == ("", 0)
