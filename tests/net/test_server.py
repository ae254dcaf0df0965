"""Server: its life, its connections, and an accept loop that nothing stops but `close`."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import SECONDS, Recorder, in_thread, listening, port_of

from nhttp import _threads, net
from nhttp.errors import StateError
from nhttp.net import Address, Server, Socket
from nhttp.net import _accept as accept_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=SECONDS)


class Faulty(socket.socket):
    """A listening socket whose `accept` first fails as it was told."""

    def __init__(self, *faults: OSError) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.faults = list(faults)
        self.failed = threading.Semaphore(0)

    def accept(self) -> Any:
        if self.faults:
            self.failed.release()
            raise self.faults.pop(0)
        return super().accept()


def fault(code: int) -> OSError:
    return OSError(code, "injected")


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


class TestClosing:
    def test_close_comes_after_the_last_connection_s(self) -> None:
        server = net.create_server()
        order = Recorder(server, "close")
        accepted = Recorder(server, "connection")
        with listening(server):
            with dial(server):
                (connection,) = accepted.wait("connection")
                connection.on("close", lambda: order.note("connection closed"))
                connection.resume()
                server.close()
                assert not server.listening
                assert order.names == []
            order.wait("close")
        assert order.names == ["connection closed", "close"]

    def test_close_is_idempotent_and_calls_back(self) -> None:
        called: list[int] = []
        server = net.create_server()
        server.close(lambda: called.append(0))  # it never was open
        with listening(server):
            assert server.close(lambda: called.append(1)) is server
            server.close(lambda: called.append(2))
            assert server.wait_closed(SECONDS)
            server.close(lambda: called.append(3))
        assert called == [0, 1, 2, 3]
        assert Recorder(server, "close").names == ["close"]

    def test_close_in_a_listener(self) -> None:
        server = net.create_server()
        server.on("connection", lambda each: (server.close(), each.end()))
        with listening(server):
            with dial(server) as client:
                assert client.recv(1) == b""
            assert server.wait_closed(SECONDS)

    def test_nobody_is_accepted_after_close(self) -> None:
        server = net.create_server()
        with listening(server):
            address = server.address()
            server.close()
            assert isinstance(address, Address)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address.address, address.port))

    def test_a_port_is_free_once_close_has_returned(self) -> None:
        server = net.create_server()
        with listening(server):
            port = port_of(server)
            server.close()
            with listening(net.create_server(), port, "127.0.0.1") as other:
                dial(other).close()

    def test_wait_closed(self) -> None:
        server = net.create_server()
        assert server.wait_closed(0)
        with listening(server):
            assert not server.wait_closed(0)
            waiting = in_thread(server.wait_closed)
            server.close()
            assert waiting.result()

    def test_a_connection_s_thread_counts(self) -> None:
        go, inside = threading.Event(), threading.Event()

        def listener(each: Socket) -> None:
            each.destroy()
            inside.set()
            assert go.wait(SECONDS)

        server = net.create_server(listener)
        with listening(server), dial(server):
            assert inside.wait(SECONDS)
            server.close()
            assert not server.wait_closed(0)
            assert server.get_connections() in (0, 1)
            go.set()

    def test_a_connection_that_was_given_away_counts(self) -> None:
        kept: list[Socket] = []
        server = net.create_server(allow_half_open=True)
        recorder = Recorder(server, "connection")
        server.on("connection", lambda each: kept.append(each.on("end", lambda: None)))
        with listening(server), dial(server) as client:
            client.shutdown(socket.SHUT_WR)
            (connection,) = recorder.wait("connection")
            assert connection.read() == b""
            server.close()
            assert not server.wait_closed(0)
            connection.end("bye")
            assert client.recv(3) == b"bye"
            assert server.wait_closed(SECONDS)

    def test_context_manager_lets_running_work_finish(self) -> None:
        started, leaving = threading.Event(), threading.Event()

        def listener(each: Socket) -> None:
            started.set()
            each.end(each.read(1))

        def work() -> bytes:
            with client:
                assert leaving.wait(SECONDS)
                client.sendall(b"x")
                return client.recv(1)

        with net.create_server(listener) as server:
            server.listen(0, "127.0.0.1")
            client = dial(server)
            working = in_thread(work)
            assert started.wait(SECONDS)
            leaving.set()
        assert working.result() == b"x"
        assert server.wait_closed(0)

    def test_context_manager_destroys_what_does_not_finish(self) -> None:
        server = net.create_server(lambda each: each.resume())
        server.grace = 0.01
        recorder = Recorder(server, "connection")
        with server.listen(0, "127.0.0.1"):
            client = dial(server)
            recorder.wait("connection")
        with client:
            assert client.recv(1) == b""
        assert server.wait_closed(0)

    def test_stops_at_once(self) -> None:
        def once() -> float:
            with net.create_server(lambda each: each.end()) as server:
                server.listen(0, "127.0.0.1")
                dial(server).close()
                began = time.monotonic()
            return time.monotonic() - began

        # The best of a few: how long another process had the processor is not the question.
        assert min(once() for _ in range(5)) < 0.05

    def test_serve_forever(self) -> None:
        server = net.create_server()
        with pytest.raises(StateError) as caught:
            server.serve_forever()
        assert caught.value.code == "ERR_SERVER_NOT_RUNNING"
        with listening(server):
            serving = in_thread(server.serve_forever)
            server.close()
            serving.result()


class TestAccepting:
    @pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EINTR])
    def test_a_connection_that_was_gone_is_nothing(self, code: int) -> None:
        server = net.create_server(lambda each: each.end("fine"))
        with listening(server, Faulty(*[fault(code)] * 3)), dial(server) as client:
            assert client.recv(4) == b"fine"

    @pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
    def test_a_shortage_passes(
        self, code: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accept_module, "_RETRY_SECONDS", 0.001)
        server = net.create_server(lambda each: each.end("fine"))
        with listening(server, Faulty(*[fault(code)] * 3)), dial(server) as client:
            assert client.recv(4) == b"fine"
        assert caplog.text.count("cannot accept for now") == 3

    def test_close_ends_the_wait_for_better_times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(accept_module, "_RETRY_SECONDS", 10 * SECONDS)
        handle = Faulty(fault(errno.EMFILE))
        server = net.create_server()
        with listening(server, handle):
            assert handle.failed.acquire(timeout=SECONDS)
            server.close()
            assert server.wait_closed(SECONDS)

    @pytest.mark.parametrize("heard", ["by nobody", "by somebody", "by somebody who raises"])
    def test_what_is_unknown_ends_it(self, heard: str, caplog: pytest.LogCaptureFixture) -> None:
        server = net.create_server()
        recorder = Recorder(server, "close")

        def listener(error: Exception) -> None:
            recorder.note("error", error)
            if heard == "by somebody who raises":
                raise ValueError("a bug")

        if heard != "by nobody":
            server.on("error", listener)
        server.listen(Faulty(fault(errno.EBADF)))
        recorder.wait("close")
        assert not server.listening
        assert server.wait_closed(SECONDS)
        assert "cannot accept any more" in caplog.text
        if heard == "by nobody":
            assert recorder.names == ["close"]
        else:
            assert recorder.names == ["error", "close"]
            assert recorder.noted[0][1][0].code == "EBADF"
        assert ("a bug" in caplog.text) == (heard == "by somebody who raises")

    def test_a_failure_of_a_listener_that_was_replaced(self) -> None:
        handle = Faulty()
        server = net.create_server()
        with listening(server, handle):
            old = server._listening
            assert old is not None
            server.listen(0, "127.0.0.1")
            old.stopping.clear()
            assert not old._survive(fault(errno.EBADF))
            assert server.listening

    def test_a_connection_that_comes_with_the_close(self) -> None:
        closing: list[Callable[[], object]] = []

        class Late(Faulty):
            def accept(self) -> Any:
                accepted = super().accept()
                closing[0]()
                return accepted

        server = net.create_server()
        closing.append(server.close)
        recorder = Recorder(server, "connection")
        with listening(server, Late()), dial(server) as client:
            assert client.recv(1) == b""
        assert recorder.names == []

    def test_where_a_listening_socket_cannot_be_shut_down(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(handle: socket.socket, how: int) -> None:
            raise OSError(errno.ENOTCONN, "as on macOS")

        server = net.create_server()
        with listening(server), monkeypatch.context() as patch:
            Recorder(server, "listening").wait("listening")
            patch.setattr(socket.socket, "shutdown", refuse)
            server.close()
            assert server.wait_closed(SECONDS)


class TestKeepingTheProcessAlive:
    def test_ref_and_unref(self) -> None:
        server = net.create_server()
        server.unref().ref()
        with listening(server):
            current: Any = server._listening
            assert current.referenced
            server.unref()
            assert not current.referenced
            server.unref()
            server.ref().ref()
            assert current.referenced
        assert not current.referenced
        current.ref()
        assert not current.referenced
        current.stop()
        with listening(server.unref()):
            current = server._listening
            assert not current.referenced


def test_a_connection_that_was_accepted_before_close_is_destroyed_with_the_others() -> None:
    """It comes to the server when `close_all_connections` has looked already."""
    server = net.create_server()
    server.listen(0, "127.0.0.1")
    near, far = socket.socketpair()
    with far:
        server.close()
        server.close_all_connections()
        server._adopt(near, "")
        assert far.recv(1) == b""
    assert server.wait_closed(SECONDS)
    again = Recorder(server, "connection")
    with listening(server), dial(server):  # listening again, it takes them
        again.wait("connection")
