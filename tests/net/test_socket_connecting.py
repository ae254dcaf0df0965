"""Socket: connecting, and taking over what is connected already."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import errno
import gc
import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support import (
    SECONDS,
    Recorder,
    accept_into,
    in_thread,
    socket_pair,
)

from nhttp import _threads, net
from nhttp.errors import InvalidArgument, LookupFailed, SocketError, StateError
from nhttp.net import Address, Socket
from nhttp.net import _dial as dial_module

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


@contextlib.contextmanager
def full() -> Generator[tuple[str, int]]:
    """An address at which nobody accepts, and the queue is full: connecting goes on and on."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        contextlib.ExitStack() as stack,
    ):
        address = listener.getsockname()
        stack.enter_context(socket.create_connection(address))
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


@contextlib.contextmanager
def connecting() -> Generator[Socket]:
    """A socket that goes on connecting."""
    with full() as (host, port), net.connect(port, host) as stuck:
        while stuck._handle is None:  # until it is in the kernel, or about to be
            pass
        yield stuck


def test_a_socket_that_is_destroyed_just_before_it_connects_does_not_wait() -> None:
    class Overtaken(Socket):
        def _take_handle(self, handle: socket.socket) -> bool:
            wanted = super()._take_handle(handle)
            self.destroy()  # nothing is in the kernel yet that this could wake
            return wanted

    with full() as (host, port), pytest.raises(StateError, match="destroyed"):
        in_thread(Overtaken()._connect_here, port, host).result()


class TestConnect:
    def test_every_form(self, tmp_path: Path) -> None:
        called: list[int] = []
        forms: list[Callable[[int], Socket]] = [
            lambda port: net.connect(port, "127.0.0.1", lambda: called.append(1)),
            lambda port: net.connect(port, lambda: called.append(2), family=4),
            lambda port: net.connect(str(port), "127.0.0.1", lambda: called.append(3)),
            lambda port: net.connect(
                port=port, host="127.0.0.1", listener=lambda: called.append(4)
            ),
            lambda port: Socket().connect(port, "127.0.0.1", lambda: called.append(5)),
            lambda port: net.create_connection(port, "127.0.0.1").on(
                "connect", lambda: called.append(6)
            ),
        ]
        with accept_into() as ((_, port), accept):
            for count, form in enumerate(forms, 1):
                with form(port) as client:
                    Recorder(client, "connect").wait("connect")
                    accept()
                    Recorder(client, "ready").wait("ready")
                    assert called[-1] == count

    @pytest.mark.parametrize("keyword", [True, False])
    def test_unix(self, tmp_path: Path, keyword: bool) -> None:
        path = tmp_path / "s"
        with accept_into(path) as (_, accept):
            client = net.connect(path=str(path)) if keyword else net.connect(str(path))
            with client:
                far = accept()
                far.sendall(b"x")
                assert client.read(1) == b"x"
                remote = (client.remote_address, client.remote_port, client.remote_family)
                assert remote == (None, None, None)
                assert (client.local_address, client.local_port) == (None, None)
                assert client.address() == ""

    def test_the_state_on_the_way(self) -> None:
        client: Any = Socket()  # states change where no type checker sees it
        assert client.pending
        assert not client.connecting
        assert client.ready_state == "closed"
        assert client.address() is None
        assert (client.remote_address, client.local_port) == (None, None)
        assert client.fileno() == -1
        assert repr(client) == "<Socket closed>"
        gate = threading.Event()
        states: list[object] = []

        def on_connect() -> None:
            states.extend((client.connecting, client.pending, client.ready_state))
            gate.set()

        with accept_into() as (address, accept):
            client.connect(address[1], address[0], on_connect)
            assert gate.wait(SECONDS)
            assert states == [False, False, "open"]
            far = accept()
            host, port = far.getpeername()
            assert client.address() == Address(host, port, "IPv4")
            assert client.local_address == "127.0.0.1"
            assert client.local_port == far.getpeername()[1]
            assert (client.remote_address, client.remote_port) == address
            assert client.remote_family == "IPv4"
            assert repr(client) == f"<Socket 127.0.0.1:{address[1]} open>"
            assert client.fileno() >= 0
            client.end()
            assert client.ready_state == "readOnly"
            client.destroy()
            assert client.ready_state == "closed"
            assert not client.pending
            assert client.fileno() == -1
            assert client.address() is None

    def test_opening(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving, go = threading.Event(), threading.Event()

        def resolve(*args: Any) -> Any:
            resolving.set()
            assert go.wait(SECONDS)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        client = net.connect(80, "host.invalid")
        recorder = Recorder(client, "close", "error")
        assert resolving.wait(SECONDS)
        assert client.connecting
        assert client.pending
        assert client.ready_state == "opening"
        assert [client._refs, client.unref()._refs, client.ref()._refs] == [1, 0, 1]
        reader = in_thread(client.read)
        client.destroy()
        with pytest.raises(StateError):
            reader.result()
        go.set()
        recorder.wait("close")
        assert recorder.names == ["close"]
        assert not client.connecting

    def test_what_is_called_before_the_connection_stands_waits_for_it(self) -> None:
        with accept_into() as (address, accept), Socket() as client:
            client.connect(address[1], address[0])
            client.write("hello")
            far = accept()
            assert far.recv(5) == b"hello"

    def test_connect_is_latched(self) -> None:
        with accept_into() as (address, accept), net.connect(address[1], address[0]) as client:
            accept()
            client.write("x")
            assert Recorder(client, "connect", "ready").wait("ready") == ()

    def test_not_twice(self) -> None:
        with accept_into() as (address, _), net.connect(address[1], address[0]) as client:
            with pytest.raises(StateError) as caught:
                client.connect(address[1])
            assert caught.value.code == "EISCONN"
        with pytest.raises(StateError):
            client.connect(address[1])

    def test_not_when_it_was_given_a_connection(self) -> None:
        with accept_into() as (address, _), socket_pair() as (near, far):
            with pytest.raises(StateError, match="connected already"):
                near.connect(address[1])
            near.write("x")
            assert far.recv(10) == b"x"

    def test_a_thread_that_connects_and_waits_is_not_kept_by_what_comes(self) -> None:
        with accept_into() as (address, accept), Socket() as client:
            came = Recorder(client, "data")
            assert in_thread(client._connect_here, address[1], address[0]).result() is client
            accept().sendall(b"x")
            came.wait("data")

    def test_what_comes_is_told_by_the_thread_that_connects_when_that_was_told(self) -> None:
        entered, leave = threading.Event(), threading.Event()

        def on_connect() -> None:
            entered.set()
            assert leave.wait(SECONDS)

        with accept_into() as (address, accept), Socket() as client:
            told = Recorder(client, "connect")
            client.connect(address[1], address[0], on_connect)
            accept().sendall(b"x")
            assert entered.wait(SECONDS)
            came = Recorder(client, "data")
            leave.set()
            came.wait("data")
            assert came.threads == told.threads

    def test_refused(self, unused_port: int) -> None:
        client = net.connect(unused_port, "127.0.0.1")
        recorder = Recorder(client, "connect", "error", "close")
        recorder.wait("close")
        assert recorder.names == ["error", "close"]
        ((error,),) = recorder.all("error")
        assert isinstance(error, ConnectionRefusedError)
        assert f"connect ECONNREFUSED 127.0.0.1:{unused_port}" in str(error)
        with pytest.raises(ConnectionRefusedError):
            client.write("x")
        with pytest.raises(ConnectionRefusedError):
            client.read()

    def test_refused_by_unix(self, tmp_path: Path) -> None:
        client = net.connect(str(tmp_path / "nobody"))
        (error,) = Recorder(client, "error").wait("error")
        assert error.code == "ENOENT"

    def test_a_full_unix_queue_is_an_error(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(path)
            listener.listen(0)
            codes: list[str] = []
            for _ in range(4):
                recorder = Recorder(stack.enter_context(net.connect(path)), "connect", "error")
                recorder.wait_until(lambda noted=recorder.noted: bool(noted))  # type: ignore[misc]
                codes.extend(error.code for (error,) in recorder.all("error"))
            assert set(codes) == {"EAGAIN"}

    @pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 100 + ".invalid"])
    def test_unresolvable(self, host: str) -> None:
        client = net.connect(80, host)
        (error,) = Recorder(client, "error").wait("error")
        assert isinstance(error, LookupFailed)
        assert error.code in ("ENOTFOUND", "EAI_AGAIN")
        assert f"{host}:80" in str(error)

    def test_every_address_of_a_name_is_tried(
        self, unused_port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with accept_into() as (address, accept):
            found = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", unused_port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", address),
            ]
            asked: list[Any] = []

            def resolve(*args: Any) -> Any:
                asked.append(args[:4])
                return found

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            with net.connect(1, "two.invalid", family=4) as client:
                Recorder(client, "connect").wait("connect")
                accept()
                assert client.remote_port == address[1]
            assert asked == [("two.invalid", 1, socket.AF_INET, socket.SOCK_STREAM)]
            found[1] = found[0]
            (error,) = Recorder(net.connect(1, "two.invalid"), "error").wait("error")
            assert error.code == "ECONNREFUSED"

    def test_when_there_are_no_more_descriptors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none_left(*_: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        client = Socket()
        recorder = Recorder(client, "error")
        with monkeypatch.context() as patch:
            patch.setattr(
                dial_module, "socket", SimpleNamespace(**{**vars(socket), "socket": none_left})
            )
            with pytest.raises(SocketError, match=r"connect EMFILE 127\.0\.0\.1:9"):
                client._connect_here(9, "127.0.0.1")
        (error,) = recorder.wait("error")
        assert error.code == "EMFILE"

    def test_local_address(self) -> None:
        with (
            accept_into() as (address, accept),
            net.connect(address[1], address[0], local_address="127.0.0.2") as client,
        ):
            assert accept().getpeername()[0] == "127.0.0.2"
            Recorder(client, "connect").wait("connect")
            assert client.local_address == "127.0.0.2"

    def test_local_port(self, unused_port: int) -> None:
        with accept_into() as (address, _):
            client = net.connect(address[1], address[0], local_port=unused_port)
            (error,) = Recorder(client, "error").wait("error")
            assert error.code == "EADDRINUSE"

    @pytest.mark.parametrize(
        ("local", "told"),
        [
            ("192.0.2.1", "bind EADDRNOTAVAIL 192.0.2.1"),
            ("no.invalid", "bind ENOTFOUND no.invalid"),
        ],
    )
    def test_a_local_address_that_is_not_ours(self, local: str, told: str) -> None:
        with accept_into() as (address, _):
            client = net.connect(address[1], address[0], local_address=local)
            (error,) = Recorder(client, "error").wait("error")
            assert error.syscall == "bind"
            assert str(error).startswith(told)

    @pytest.mark.parametrize(
        ("arguments", "options"),
        [
            ((), {}),
            ((70000,), {}),
            ((-1,), {}),
            ((True,), {}),
            (("",), {}),
            ((80,), {"family": 5}),
            ((80,), {"local_port": 70000}),
            ((80, 5), {}),
            ((80,), {"local_address": 5}),
            ((), {"path": 5}),
            (("/a\0b",), {}),
        ],
    )
    def test_bad_arguments(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        client = Socket()
        with pytest.raises(InvalidArgument):
            client.connect(*arguments, **options)
        assert client.pending

    def test_destroy_while_connecting(self) -> None:
        with connecting() as stuck:
            recorder = Recorder(stuck, "error", "close", "connect")
            writer = in_thread(stuck.write, b"x")
            stuck.destroy()
            with pytest.raises((StateError, OSError)):
                writer.result()
            recorder.wait("close")
            assert "error" not in recorder.names

    def test_what_does_not_wait_for_the_connection(self) -> None:
        with connecting() as stuck:
            assert stuck.address() is None
            assert stuck.remote_port is None
            assert stuck.set_no_delay().set_keep_alive(True) is stuck
            assert [stuck.unref()._refs, stuck.ref()._refs] == [0, 1]
            assert stuck.connecting

    def test_destroyed_between_two_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        client = Socket()

        def resolve(*args: Any) -> Any:
            client.destroy()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        recorder = Recorder(client, "error", "close", "connect")
        client.connect(9, "x.invalid")
        recorder.wait("close")
        assert recorder.names == ["close"]

    def test_that_it_failed_after_a_destroy_need_be_told_to_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Socket()

        def resolve(*args: Any) -> Any:
            client.destroy()
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        recorder = Recorder(client, "error", "close")
        client.connect(9, "x.invalid")
        recorder.wait("close")
        assert recorder.names == ["close"]
        assert not client._unseen

    def test_a_connect_listener_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        def listener() -> None:
            raise ValueError("a bug")

        with accept_into() as (address, _):
            client = net.connect(address[1], address[0], listener)
            recorder = Recorder(client, "close")
            recorder.wait("close")
            assert isinstance(client.errored, ValueError)
            assert "a bug" in caplog.text

    def test_no_thread_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(*args: Any, **options: Any) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(_threads, "run", run)
        client = Socket()
        with pytest.raises(RuntimeError, match="new thread"):
            client.connect(80, "127.0.0.1")
        assert client.destroyed
        assert not client.connecting
        assert Recorder(client, "close").names == ["close"]

    @pytest.mark.parametrize("moment", range(8))
    def test_resume_at_any_moment_of_connecting_gives_one_driver(self, moment: int) -> None:
        with accept_into() as (address, accept):
            client = Socket()
            barrier = threading.Barrier(2)
            order = Recorder(client, "connect")

            def resume() -> None:
                barrier.wait(SECONDS)
                for _ in range(moment * 20):
                    pass
                client.on("data", lambda chunk: order.note("data", chunk))

            other = in_thread(resume)
            barrier.wait(SECONDS)
            client.connect(address[1], address[0])
            far = accept()
            far.sendall(b"one")
            order.wait("data")
            far.sendall(b"two")
            order.wait_until(lambda: b"".join(a[0] for a in order.all("data")) == b"onetwo")
            assert order.names[0] == "connect"
            other.result()
            client.destroy()

    def test_data_wanted_before_connect_is_called(self) -> None:
        client = Socket()
        recorder = Recorder(client, "end", "data")
        with accept_into() as (address, accept):
            client.connect(address[1], address[0])
            with accept() as far:
                far.sendall(b"x")
            recorder.wait("end")
            assert recorder.data() == b"x"

    def test_timeout_option(self) -> None:
        with (
            accept_into() as (address, accept),
            net.connect(address[1], address[0], timeout=0.01) as client,
        ):
            accept()
            recorder = Recorder(client, "timeout")
            client.write(b"x")  # the silence may have been too long already; another one begins
            assert recorder.wait("timeout") == ()


class TestTakenOver:
    def test_by_descriptor(self) -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        with far, Socket(fd=near.detach()) as stream:
            reader = in_thread(stream.read, 1)  # it blocks again
            far.send(b"x")
            assert reader.result() == b"x"

    def test_what_is_no_socket(self, tmp_path: Path) -> None:
        with (tmp_path / "f").open("wb") as file, pytest.raises(OSError, match="non-socket"):
            Socket(fd=file.fileno())

    def test_wrong_arguments_leave_nothing(self) -> None:
        with pytest.raises(TypeError):
            Socket(nothing=1)  # type: ignore[call-arg]
        gc.collect()

    def test_nothing_to_use(self) -> None:
        for call in (lambda: Socket().read(), lambda: Socket().write("x")):
            with pytest.raises(StateError) as caught:
                call()
            assert caught.value.code == "ENOTCONN"
