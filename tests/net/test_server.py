"""Server: listening, and the connections that come."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import math
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from net_support import dial
from support import SECONDS, Recorder, in_thread, listening, port_of

from nhttp import _threads, net
from nhttp.errors import InvalidArgument
from nhttp.net import Address, Server, Socket

if TYPE_CHECKING:
    from pathlib import Path


class TestListening:
    def test_listening_on_the_accept_thread_and_latched(self) -> None:
        server = net.create_server()
        recorder = Recorder(server, "listening")
        called: list[threading.Thread] = []
        server.listen(0, "127.0.0.1", lambda: called.append(threading.current_thread()))
        with listening_already(server):
            recorder.wait("listening")
            assert recorder.threads[0] is not threading.current_thread()
            assert Recorder(server, "listening").names == ["listening"]
            assert called == recorder.threads

    def test_in_use_raises(self) -> None:
        with listening(net.create_server()) as first:
            second = net.create_server()
            with pytest.raises(OSError, match="listen EADDRINUSE 127") as caught:
                second.listen(port_of(first), "127.0.0.1", lambda: None)
            assert caught.value.code == "EADDRINUSE"  # type: ignore[attr-defined]
            assert caught.value.errno == errno.EADDRINUSE
            assert not second.listening
            assert second.wait_closed(0)
            assert second.listener_count("listening") == 0

    def test_the_end_may_be_waited_for_without_a_limit(self) -> None:
        with listening(net.create_server()) as server:
            waiting = in_thread(server.wait_closed, math.inf)
            server.close()
            assert waiting.result()

    def test_in_use_emitted_and_tried_again(self) -> None:
        with listening(net.create_server()) as first:
            second = net.create_server()
            recorder = Recorder(second, "error")
            called = threading.Event()

            def again(error: Exception) -> None:
                second.close()
                second.listen(0, "127.0.0.1")

            second.once("error", again)
            assert second.listen(port_of(first), "127.0.0.1", called.set) is second
            with listening_already(second):
                assert called.wait(SECONDS)  # the callback of the first attempt
            assert recorder.names == ["error"]

    def test_again_after_close_has_fresh_latches(self) -> None:
        server = net.create_server()
        recorder = Recorder(server, "listening", "close")
        for count in (1, 2, 3):
            with listening(server):
                recorder.wait("listening", count)
            recorder.wait("close", count)
        assert recorder.names == ["listening", "close"] * 3

    def test_again_before_the_close_is_told(self) -> None:
        server = net.create_server()
        recorder = Recorder(server, "listening", "close")
        gone: list[int] = []
        accepted = Recorder(server, "connection")
        server.on("connection", lambda each: each.resume())
        with listening(server), dial(server):
            recorder.wait("listening")
            accepted.wait("connection")
            server.close(lambda: gone.append(1))
            with listening(server):
                recorder.wait("listening", 2)
                assert not server.wait_closed(0)
                assert recorder.names == ["listening", "listening"]
        recorder.wait("close")
        assert recorder.names == ["listening", "listening", "close"]
        assert gone == [1]

    def test_reopened_while_listening(self) -> None:
        server = net.create_server(lambda each: each.pipe(each))
        with listening(server):
            first = port_of(server)
            with dial(server) as client:
                client.sendall(b"a")
                assert client.recv(1) == b"a"
                server.listen(0, "127.0.0.1")
                assert port_of(server) != first
                client.sendall(b"b")
                assert client.recv(1) == b"b"  # its connections live on
                dial(server).close()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", first))

    def test_reopened_at_the_same_port(self) -> None:
        with listening(net.create_server()) as server:
            before = server.address()
            server.listen(port_of(server), "127.0.0.1")
            assert server.address() == before
            dial(server).close()

    def test_reopened_at_the_same_path(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with listening(net.create_server(), path) as server:
            server.listen(path)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)

    def test_a_reopening_that_fails_changes_nothing(self) -> None:
        with listening(net.create_server()) as server, listening(net.create_server()) as other:
            with pytest.raises(OSError, match="EADDRINUSE"):
                server.listen(port_of(other), "127.0.0.1")
            dial(server).close()

    def test_a_reopening_that_fails_is_told(self) -> None:
        with listening(net.create_server()) as server, listening(net.create_server()) as other:
            recorder = Recorder(server, "error")
            server.listen(port_of(other), "127.0.0.1", lambda: None)
            assert recorder.names == ["error"]
            dial(server).close()

    def test_close_and_listen_by_many_threads(self) -> None:
        server = net.create_server()

        def work() -> None:
            for _ in range(20):
                server.listen(0, "127.0.0.1")
                server.close()

        for each in [in_thread(work) for _ in range(3)]:
            each.result()
        assert server.wait_closed(SECONDS)
        with listening(server):
            assert not server.wait_closed(0)
            dial(server).close()

    def test_no_thread_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(*args: Any, **options: Any) -> None:
            raise RuntimeError("can't start new thread")

        server = net.create_server()
        with monkeypatch.context() as patch:
            patch.setattr(_threads, "run", run)
            with pytest.raises(RuntimeError, match="new thread"):
                server.listen(0, "127.0.0.1")
        assert server.wait_closed(0)
        assert not server.listening

    def test_a_callback_that_cannot_be_called_leaves_nothing_open(self) -> None:
        server = net.create_server()
        callback: Any = 5
        with pytest.raises(InvalidArgument, match="callable"):
            server.listen(port=0, host="127.0.0.1", callback=callback)
        assert server.wait_closed(0)
        assert not server.listening


class listening_already:  # noqa: N801 - used like a function
    """Closes at the end what somebody else has opened."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        self.server.close().close_all_connections()
        assert self.server.wait_closed(SECONDS)


class TestConnections:
    def test_each_on_its_own_thread(self) -> None:
        recorder = Recorder(server := net.create_server(), "connection")
        with listening(server), dial(server) as first, dial(server) as second:
            recorder.wait("connection", 2)
            assert len({*recorder.threads}) == 2
            connections = [args[0] for args in recorder.all("connection")]
            assert {each.remote_port for each in connections} == {
                first.getsockname()[1],
                second.getsockname()[1],
            }
            assert connections[0].remote_family == "IPv4"

    def test_echo(self) -> None:
        server = net.create_server(lambda each: each.pipe(each))
        with listening(server), dial(server) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b"hello"
            assert client.recv(10) == b""

    def test_half_open(self) -> None:
        def late(each: Socket) -> None:
            assert each.read() == b"question"
            each.end("answer")

        server = net.create_server(late, allow_half_open=True)
        with listening(server), dial(server) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b"answer"

    def test_a_listener_that_raises_is_logged_and_the_server_lives_on(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bugs = [ValueError("a bug")]

        def listener(each: Socket) -> None:
            if bugs:
                raise bugs.pop()
            each.end("fine")

        with listening(net.create_server(listener)) as server:
            with dial(server) as client:
                assert client.recv(1) == b""
            with dial(server) as client:
                assert client.recv(4) == b"fine"
        assert "a bug" in caplog.text

    @pytest.mark.parametrize("event", ["listening", "close"])
    def test_of_the_server_s_own_events_too(
        self, event: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener() -> None:
            raise ValueError("a bug")

        called = threading.Event()
        server = net.create_server(lambda each: each.end())
        if event == "listening":
            server.on("listening", listener)
        else:
            server.on("close", listener)
        server.on("close", called.set)
        with listening(server), dial(server) as client:
            assert client.recv(1) == b""
        assert called.wait(SECONDS)
        assert "a bug" in caplog.text

    def test_a_client_that_leaves_is_noticed_though_nobody_reads(self) -> None:
        server = net.create_server(lambda each: each.end("bye"))
        with listening(server):
            with dial(server) as client:
                assert client.recv(3) == b"bye"
            server.close()
            assert server.wait_closed(SECONDS)

    def test_also_when_another_thread_ended_it(self) -> None:
        server = net.create_server()
        recorder = Recorder(server, "connection")
        with listening(server):
            with dial(server) as client:
                recorder.wait("connection")[0].end("bye")
                assert client.recv(3) == b"bye"
            server.close()
            assert server.wait_closed(SECONDS)

    def test_max_connections_and_drop(self, caplog: pytest.LogCaptureFixture) -> None:
        server = net.create_server(lambda each: each.resume())
        server.max_connections = 1
        recorder = Recorder(server, "connection", "drop")
        with listening(server):
            with dial(server), dial(server) as second:
                assert second.recv(1) == b""
                (address,) = recorder.wait("drop")
                host, port = second.getsockname()
                assert address == Address(host, port, "IPv4")
                assert server.get_connections() == 1

                def listener(address: object) -> None:
                    raise ValueError("a bug")

                server.on("drop", listener)
                with dial(server) as third:
                    assert third.recv(1) == b""
            recorder.wait("connection")
            assert recorder.names.count("connection") == 1
            server.max_connections = 2
            with dial(server):
                recorder.wait("connection", 2)
        assert "a bug" in caplog.text

    def test_get_connections(self) -> None:
        server = net.create_server()
        recorder = Recorder(server, "connection")
        counted: list[Any] = []
        assert server.get_connections(lambda error, count: counted.append((error, count))) == 0
        with listening(server), dial(server), dial(server):
            recorder.wait("connection", 2)
            assert server.get_connections(lambda error, count: counted.append((error, count))) == 2
        assert counted == [(None, 0), (None, 2)]

    def test_no_thread_for_a_connection(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = net.create_server(lambda each: each.end("fine"))
        original = _threads.run
        refused: list[str] = []

        def run(function: Any, *args: Any, name: str) -> None:
            if name == "nhttp-connection" and not refused:
                refused.append(name)
                raise RuntimeError("can't start new thread")
            original(function, *args, name=name)

        monkeypatch.setattr(_threads, "run", run)
        with listening(server):
            with dial(server) as client:
                assert client.recv(1) == b""
            with dial(server) as client:
                assert client.recv(4) == b"fine"
        assert "no thread for a connection" in caplog.text


def test_repr_says_where_it_listens(tmp_path: Path) -> None:
    server = Server()
    assert repr(server) == "<Server not listening>"
    with server.listen(0, "127.0.0.1"):
        assert repr(server) == f"<Server on 127.0.0.1:{port_of(server)}>"
    with Server().listen(path=tmp_path / "s") as other:
        assert repr(other) == f"<Server on {tmp_path / 's'}>"
