"""Server: how it closes, and an accept loop that nothing stops but `close`."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from net_support import dial
from support import SECONDS, Recorder, in_serve_forever, in_thread, listening, port_of

from nhttp import net
from nhttp.errors import StateError
from nhttp.net import Address, Socket
from nhttp.net import _accept as accept_module

if TYPE_CHECKING:
    from collections.abc import Callable


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
        assert server.wait_closed(SECONDS)

    def test_stops_at_once(self) -> None:
        def once() -> float:
            with net.create_server(lambda each: each.end()) as server:
                server.listen(0, "127.0.0.1")
                dial(server).close()
                began = time.monotonic()
            return time.monotonic() - began

        # It takes a millisecond. The best of a few, and a wide bound: how long another process had
        # the processor is not the question, but whether a stop waits for a bound of its own.
        assert min(once() for _ in range(3)) < 0.5

    def test_serve_forever(self) -> None:
        server = net.create_server()
        with pytest.raises(StateError) as caught:
            server.serve_forever()
        assert caught.value.code == "ERR_SERVER_NOT_RUNNING"
        with listening(server):
            serving = in_serve_forever(server)
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
