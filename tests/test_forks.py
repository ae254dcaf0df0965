"""What a process has open stays its own when a child, made by fork, does something with it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING

import pytest
from support import SECONDS, eventually, in_thread, port_of, socket_pair
from wire import Wire, serving

import nhttp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def ok(_: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end("ok")


def in_a_child(does: Callable[[], object]) -> None:
    """Fork, have the child do something, and wait for it."""
    child = os.fork()
    if not child:
        try:
            does()
        except BaseException:  # or the child would go on with the rest of the tests
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def closes_for_all(made: nhttp.net.Socket, peer: socket.socket) -> bool:
    """Whether destroying a connection ends it, whoever else has the descriptor open."""
    copy = os.dup(made._open_handle().fileno())
    made.destroy()
    try:
        peer.settimeout(SECONDS)
        return peer.recv(10) == b""
    finally:
        os.close(copy)


@pytest.mark.parametrize("close", [nhttp.Server.close, nhttp.Server.close_all_connections])
def test_a_server_serves_on_that_a_child_closes(close: Callable[[nhttp.Server], object]) -> None:
    with serving(ok) as server, Wire(server) as wire:
        assert wire.ask().body == b"ok"
        in_a_child(lambda: close(server))
        assert wire.ask().body == b"ok"
        with Wire(server) as another:
            assert another.ask().body == b"ok"
        assert server.listening


def test_the_file_of_a_unix_socket_stays_when_a_child_closes_the_server(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with nhttp.create_server(ok).listen(path) as server:
        in_a_child(server.close)
        with nhttp.get(socket_path=path) as response:
            assert response.read() == b"ok"
    assert not path.exists()


def test_an_idle_connection_of_an_agent_is_not_used_by_a_child() -> None:
    with serving(ok) as server, nhttp.Agent(keep_alive=True) as agent:
        url = f"http://127.0.0.1:{port_of(server)}/"
        assert agent.get(url).get_response().read() == b"ok"

        def ask() -> None:
            first, second = agent.get(url), agent.get(url)
            for request in (first, second):
                assert request.get_response().read() == b"ok"
            assert not first.reused_socket

        in_a_child(ask)
        again = agent.get(url)
        assert again.get_response().read() == b"ok"
        assert again.reused_socket


def test_an_agent_that_a_child_destroys_keeps_its_connections() -> None:
    with serving(ok) as server, nhttp.Agent(keep_alive=True) as agent:
        url = f"http://127.0.0.1:{port_of(server)}/"
        assert agent.get(url).get_response().read() == b"ok"
        in_a_child(agent.destroy)
        again = agent.get(url)
        assert again.get_response().read() == b"ok"
        assert again.reused_socket


def test_a_child_waits_for_no_slot_that_the_parent_has_in_use() -> None:
    answer = threading.Event()

    def listener(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        if request.url == "/slow":
            answer.wait(SECONDS)
        response.end("ok")

    with serving(listener) as server, nhttp.Agent(keep_alive=True, max_sockets=1) as agent:
        url = f"http://127.0.0.1:{port_of(server)}/"
        slow = agent.get(url + "slow")
        waiting = in_thread(lambda: agent.get(url, timeout=SECONDS).get_response().read())
        eventually(lambda: bool(agent.requests), "the second one waits for the slot")

        def ask() -> None:
            assert agent.get(url, timeout=SECONDS).get_response().read() == b"ok"

        in_a_child(ask)
        answer.set()
        assert slow.get_response().read() == b"ok"
        assert waiting.result() == b"ok"


def test_a_child_is_not_kept_waiting_by_who_was_asking_the_agent() -> None:
    with serving(ok) as server, nhttp.Agent(keep_alive=True) as agent:
        url = f"http://127.0.0.1:{port_of(server)}/"

        def ask() -> None:
            assert agent.get(url).get_response().read() == b"ok"

        with agent._lock:  # as another thread may have it at that moment
            in_a_child(ask)
        ask()


def test_a_connection_stays_the_parents_when_a_child_lets_it_flow() -> None:
    with socket_pair() as (near, far):

        def read_and_destroy() -> None:
            came = threading.Event()
            near.on("data", lambda _: came.set())
            assert came.wait(SECONDS)
            near.destroy()

        far.sendall(b"for the child")
        in_a_child(read_and_destroy)
        far.sendall(b"for the parent")
        assert near.read(14) == b"for the parent"
        near.write("answer")
        assert far.recv(10) == b"answer"


def test_a_connection_that_a_child_has_made_is_its_own() -> None:
    with serving(ok) as server:

        def ask() -> None:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                made = nhttp.net.connect(listener.getsockname()[1], "127.0.0.1")
                made.write("x")
                peer, _ = listener.accept()
                with peer:
                    assert peer.recv(10) == b"x"
                    assert closes_for_all(made, peer)

        in_a_child(ask)
        with Wire(server) as wire:
            assert wire.ask().body == b"ok"


def test_a_socket_of_the_parent_may_get_its_connection_in_a_child() -> None:
    made = nhttp.net.Socket()

    def connect() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            made.connect(listener.getsockname()[1], "127.0.0.1")
            peer, _ = listener.accept()
            with peer:
                assert closes_for_all(made, peer)

    in_a_child(connect)
    made.destroy()


def test_a_connection_that_a_child_takes_over_is_its_own() -> None:
    def take() -> None:
        with socket_pair() as (near, far):
            assert closes_for_all(near, far)

    in_a_child(take)
