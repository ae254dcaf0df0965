"""What the manuals say of a server's times: for silence, for heads, and for idle connections."""

from __future__ import annotations

import queue
import threading

from support import in_thread
from wire import GET, LAST, SECONDS, Signal, Wire, connected, ok, post, serving

import nhttp


def test_timeout__2_minutes_and_sockets_are_destroyed_when_they_time_out() -> None:
    assert nhttp.create_server().timeout == 120.0
    with connected(ok, timeout=0.05) as wire:
        assert wire.is_closed()


def test_timeout__0_disables_it_and_a_change_is_for_new_connections_only() -> None:
    with serving(ok, timeout=0.05) as server:
        accepted = Signal()
        server.on("connection", accepted)
        with Wire(server) as old:
            assert accepted.happens()
            server.timeout = 0
            with Wire(server) as new:
                assert old.is_closed(), "set up on connection"
                assert new.ask(LAST).status == 200


def test_set_timeout__the_listener_is_called_with_the_socket_and_is_responsible() -> None:
    sockets: list[nhttp.net.Socket] = []
    told = Signal()

    def on_timeout(socket: nhttp.net.Socket) -> None:
        sockets.append(socket)
        told.set()

    with serving(ok) as server:
        assert server.set_timeout(0.05, on_timeout) is server
        with Wire(server) as wire:
            assert told.happens()
            assert wire.ask(LAST).status == 200, "nobody closed it"
    assert isinstance(sockets[0], nhttp.net.Socket)


def test_headers_timeout__40_seconds_by_default() -> None:
    assert nhttp.create_server().headers_timeout == 40.0


def test_headers_timeout__a_head_that_comes_slowly_is_given_up() -> None:
    """However often an octet comes: inactivity alone would allow one every 2 minutes."""
    with connected(ok, headers_timeout=0.2) as wire:
        answer = trickle(wire)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_headers_timeout__in_case_of_inactivity_the_rules_of_timeout_apply() -> None:
    silent: list[nhttp.net.Socket] = []

    def on_timeout(socket: nhttp.net.Socket) -> None:
        silent.append(socket)
        socket.end("silent")

    with serving(ok, timeout=0.05) as server, Wire(server) as wire:
        assert wire.send("GET / HTTP/1.1\r\nHo").is_closed()
    with serving(ok, timeout=0.05) as server:
        server.on("timeout", on_timeout)
        with Wire(server) as wire:
            assert wire.send("GET / HTTP/1.1\r\nHo").rest() == b"silent"
    assert len(silent) == 1


def test_headers_timeout__emits_timeout_on_the_server_whose_listener_is_responsible() -> None:
    def on_timeout(socket: nhttp.net.Socket) -> None:
        socket.end("too slow")

    with serving(ok, headers_timeout=0.1) as server:
        server.on("timeout", on_timeout)
        with Wire(server) as wire:
            assert trickle(wire) == b"too slow"


def test_headers_timeout__a_listener_for_timeout_may_end_it_later() -> None:
    sockets: queue.Queue[nhttp.net.Socket] = queue.Queue()
    with serving(ok, headers_timeout=0.05) as server:
        server.on("timeout", sockets.put)
        with Wire(server) as wire:
            wire.send(GET[:10])
            sockets.get(timeout=SECONDS).end("too slow")
            assert wire.rest() == b"too slow"


def test_headers_timeout__a_listener_for_timeout_is_waited_for_while_it_ends_it() -> None:
    told: queue.Queue[tuple[nhttp.net.Socket, in_thread]] = queue.Queue()

    def on_timeout(sock: nhttp.net.Socket) -> None:
        sock._write_lock.acquire()
        ending = in_thread(sock.end, "too slow")
        while not sock.writable_ended:
            pass
        told.put((sock, ending))

    with serving(ok, headers_timeout=0.05) as server:
        server.on("timeout", on_timeout)
        with Wire(server) as wire:
            wire.send(GET[:10])
            sock, ending = told.get(timeout=SECONDS)
            while sock._changed is None and not sock.destroyed:
                pass  # until its thread waits, or does not
            sock._write_lock.release()
            ending.result()
            assert wire.rest() == b"too slow"


def trickle(wire: Wire) -> bytes:
    """Send a head without an end, octet by octet, until there is an answer."""
    done = threading.Event()

    def send() -> None:
        wire.send("GET / HTTP/1.1\r\nX: ")
        while not done.wait(0.01):
            try:
                wire.send("x")
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return wire.rest()
    finally:
        done.set()
        sender.join()


def test_keep_alive_timeout__5_seconds_by_default() -> None:
    assert nhttp.create_server().keep_alive_timeout == 5.0
    with connected(ok) as wire:
        assert wire.ask()["keep-alive"] == "timeout=5"


def test_keep_alive_timeout__after_the_last_response_the_socket_is_destroyed() -> None:
    with connected(ok, keep_alive_timeout=0.05) as wire:
        assert wire.ask().status == 200
        assert wire.is_closed()


def test_keep_alive_timeout__new_data_resets_the_regular_timeout() -> None:
    """Once a request has begun, its head may take longer than the keep-alive timeout."""
    waiting = Signal()
    with serving(ok, keep_alive_timeout=0.3) as server, Wire(server) as wire:
        wire.ask()
        wire.send("GET / HTTP/1.1\r\n")
        assert not waiting.wait(0.5)
        assert wire.ask("Host: a\r\n\r\n").status == 200


def test_keep_alive_timeout__0_disables_it() -> None:
    with connected(ok, keep_alive_timeout=0, timeout=0.1) as wire:
        answer = wire.ask()
        assert answer["connection"] == "keep-alive"
        assert answer["keep-alive"] is None
        assert wire.is_closed(), "the regular timeout counts"


def test_keep_alive_timeout__0_disables_it_and_what_a_handler_set_counts_no_more() -> None:
    def listener(_: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.set_timeout(0)
        response.end()

    with connected(listener, keep_alive_timeout=0, timeout=0.1) as wire:
        assert wire.ask().status == 200
        assert wire.is_closed()


def test_keep_alive_timeout__counts_behind_a_request_that_took_longer_to_arrive() -> None:
    asked = Signal()

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        asked.set()
        response.end(request.read())

    with connected(listener, keep_alive_timeout=0.1) as wire:
        wire.ask()
        asked.clear()
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        assert asked.happens()
        assert wire.ask("late").body == b"late"
        assert wire.is_closed()


def test_keep_alive_timeout__a_blank_line_behind_a_request_begins_no_other() -> None:
    with connected(ok, keep_alive_timeout=0.1) as wire:
        wire.ask(post("old browsers send one"))
        for octet in "\r\n":
            wire.send(octet)
        assert wire.is_closed()


def test_keep_alive_timeout__a_change_is_for_new_connections_only() -> None:
    with serving(ok, keep_alive_timeout=5) as server, Wire(server) as old:
        assert old.ask()["keep-alive"] == "timeout=5"
        server.keep_alive_timeout = 7
        assert old.ask()["keep-alive"] == "timeout=5"
        with Wire(server) as new:
            assert new.ask(GET)["keep-alive"] == "timeout=7"
