"""Every form of `listen`, and those that are none."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest
from support import Recorder, listening, port_of

from nhttp import net
from nhttp.errors import InvalidArgument, LookupFailed, SocketError
from nhttp.net import Address, Server
from nhttp.net._listen import BACKLOG, ListenRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Server:
    return net.create_server()


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket() as handle:
        handle.bind(("127.0.0.1", 0))
        yield handle


def dial(server: Server) -> None:
    """Connect to wherever a server listens, and be gone again."""
    address = server.address()
    if isinstance(address, str):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
    elif address is not None:
        host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(address.address, address.address)
        socket.create_connection((host, address.port)).close()


class TestSorting:
    """The arguments alone; nothing is opened."""

    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            ((), (0, None, None, BACKLOG)),
            ((None,), (0, None, None, BACKLOG)),
            ((80,), (80, None, None, BACKLOG)),
            (("80",), (80, None, None, BACKLOG)),
            ((80, "host"), (80, "host", None, BACKLOG)),
            ((80, None, 5), (80, None, None, 5)),
            ((80, "host", 5), (80, "host", None, 5)),
            ((80, 5), (80, None, None, 5)),
            (("/path",), (0, None, "/path", BACKLOG)),
            (("/path", 5), (0, None, "/path", 5)),
            ((PurePath("/path"),), (0, None, "/path", BACKLOG)),
            ((PurePath("/path"), 5), (0, None, "/path", 5)),
        ],
    )
    @pytest.mark.parametrize("trailing", [False, True])
    def test_positional(self, args: tuple[Any, ...], expected: Any, trailing: bool) -> None:
        request = ListenRequest((*args, print) if trailing else args, {})
        assert (request.port, request.host, request.path, request.backlog) == expected
        assert request.callback is (print if trailing else None)

    def test_keywords(self) -> None:
        options = {"port": "80", "host": "h", "backlog": None, "callback": print, "fd": 5}
        request = ListenRequest((), {**options, "reuse_port": True, "ipv6_only": True})
        assert (request.port, request.host, request.backlog) == (80, "h", BACKLOG)
        assert (request.callback, request.fd) == (print, 5)
        assert request.reuse_port
        assert request.ipv6_only

    @pytest.mark.parametrize("name", ["nothing", "_check", "open"])
    def test_unknown_keywords(self, name: str) -> None:
        with pytest.raises(TypeError, match=name):
            ListenRequest((), {name: 1})

    @pytest.mark.parametrize(
        ("args", "options", "code"),
        [
            ((65536,), {}, "ERR_SOCKET_BAD_PORT"),
            ((-1,), {}, "ERR_SOCKET_BAD_PORT"),
            ((True,), {}, "ERR_SOCKET_BAD_PORT"),
            ((False,), {}, "ERR_SOCKET_BAD_PORT"),
            ((), {"port": 1.5}, "ERR_SOCKET_BAD_PORT"),
            ((), {"port": "http"}, "ERR_SOCKET_BAD_PORT"),
            (("",), {}, "ERR_INVALID_ARG_VALUE"),
            ((), {"path": ""}, "ERR_INVALID_ARG_VALUE"),
            ((80, 5, 6), {}, "ERR_INVALID_ARG_VALUE"),
            ((80, "host", "other"), {}, "ERR_INVALID_ARG_VALUE"),
            ((dict[str, int](),), {}, "ERR_INVALID_ARG_VALUE"),
            (({"fd": "5"},), {}, "ERR_INVALID_ARG_VALUE"),
            (({"fd": True},), {}, "ERR_INVALID_ARG_VALUE"),
            ((), {"fd": -1}, "ERR_INVALID_ARG_VALUE"),
            (("/a\0b",), {}, "ERR_INVALID_ARG_VALUE"),
            (("127.0.0.1", 80), {}, "ERR_INVALID_ARG_VALUE"),
            (("::1",), {}, "ERR_INVALID_ARG_VALUE"),
            (("localhost", 80), {}, "ERR_INVALID_ARG_VALUE"),
            ((), {"path": b"/path"}, "ERR_INVALID_ARG_TYPE"),
        ],
    )
    def test_refused(self, args: Any, options: dict[str, Any], code: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            ListenRequest(args, options)
        assert caught.value.code == code

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            ((80,), "[::]:80"),
            ((80, "127.0.0.1"), "127.0.0.1:80"),
            (("/path",), "/path"),
            (({"fd": 5},), "on a handle"),
        ],
    )
    def test_describe(self, args: Any, text: str) -> None:
        assert ListenRequest(args, {}).describe() == text

    def test_wants(self) -> None:
        tcp = Address("::", 80, "IPv6")
        assert ListenRequest((80,), {}).wants(tcp)
        assert not ListenRequest((81,), {}).wants(tcp)
        assert not ListenRequest(("/p",), {}).wants(tcp)
        assert ListenRequest(("/p",), {}).wants("/p")
        assert not ListenRequest((80,), {}).wants("/p")
        assert not ListenRequest(({"fd": 5},), {}).wants(tcp)


class TestOpening:
    def test_a_port_and_a_host(self, server: Server) -> None:
        with listening(server, 0, "127.0.0.1"):
            address = server.address()
            assert isinstance(address, Address)
            assert (address.address, address.family) == ("127.0.0.1", "IPv4")
            assert server.listening
            assert server.fileno() >= 0
            dial(server)
        assert server.address() is None
        assert server.fileno() == -1
        assert not server.listening

    @pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
    @pytest.mark.parametrize("host", [(), ("",)])
    def test_everywhere_is_both_kinds_of_address(self, server: Server, host: Any) -> None:
        with listening(server, 0, *host):
            recorder = Recorder(server, "connection")
            for host in ("127.0.0.1", "::1"):
                socket.create_connection((host, port_of(server))).close()
            recorder.wait("connection", 2)
            assert server.address() == Address("::", port_of(server), "IPv6")

    @pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
    def test_ipv6_only(self, server: Server) -> None:
        with listening(server, port=0, host="::", ipv6_only=True):
            socket.create_connection(("::1", port_of(server))).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port_of(server)))

    @pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, 0])
    def test_everywhere_without_ipv6(
        self, server: Server, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if code:
            original = ListenRequest._tcp

            def tcp(self: ListenRequest, family: int) -> socket.socket:
                if family == socket.AF_INET6:
                    raise OSError(code, "no IPv6")
                return original(self, family)

            monkeypatch.setattr(ListenRequest, "_tcp", tcp)
        else:
            monkeypatch.setattr(socket, "has_ipv6", False)
        with listening(server, 0):
            assert server.address() == Address("0.0.0.0", port_of(server), "IPv4")

    @pytest.mark.parametrize("kind", [str, PurePath])
    def test_unix(self, server: Server, tmp_path: Path, kind: Any) -> None:
        path = tmp_path / "s"
        with listening(server, kind(path)):
            assert server.address() == str(path)
            with net.connect(path=kind(path)) as client:
                client.write("hello")
            dial(server)
        assert not path.exists()

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux has these names")
    def test_unix_without_a_file(self, server: Server) -> None:
        name = f"\0nhttp-test-{os.getpid()}"
        with listening(server, name):
            assert server.address() == name
            dial(server)
            with pytest.raises(OSError, match="EADDRINUSE"):
                net.create_server().listen(name)
        with listening(server, name):
            dial(server)

    def test_a_path_that_is_too_long(self, server: Server, tmp_path: Path) -> None:
        path = str(tmp_path / ("é" * 100))
        size = len(os.fsencode(path))
        with pytest.raises(SocketError, match=rf"at most \d+ octets, not {size}") as caught:
            server.listen(path)
        assert (caught.value.code, caught.value.syscall) == ("EINVAL", "listen")
        assert caught.value.errno == errno.EINVAL
        with net.connect(path) as client, pytest.raises(SocketError, match=f"not {size}") as caught:
            client.read()
        assert (caught.value.code, caught.value.syscall) == ("EINVAL", "connect")

    @pytest.mark.skipif(sys.platform != "linux", reason="the limit is another one")
    @pytest.mark.parametrize(("begin", "longest"), [("", 107), ("\0", 108)])
    def test_how_long_a_path_may_be(
        self, server: Server, tmp_path: Path, begin: str, longest: int
    ) -> None:
        path = (begin or f"{tmp_path}/").ljust(longest, "x")
        with listening(server, path):
            dial(server)
        with pytest.raises(SocketError, match=f"at most {longest} octets, not {longest + 1}"):
            server.listen(path + "x")

    def test_the_file_of_another_server_stays(self, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "s"
        other = net.create_server()
        with listening(server, str(path)):
            path.unlink()
            with listening(other, path=str(path)):
                server.close()
                assert path.exists()
                dial(other)

    def test_a_path_is_free_once_close_has_returned(self, server: Server, tmp_path: Path) -> None:
        for _ in range(3):
            with listening(net.create_server(), str(tmp_path / "s")) as each:
                each.close()
                server.listen(str(tmp_path / "s")).close()
        server.wait_closed()

    def test_a_file_that_was_removed_meanwhile(self, server: Server, tmp_path: Path) -> None:
        with listening(server, str(tmp_path / "s")):
            (tmp_path / "s").unlink()

    def test_reuse_port(self, server: Server) -> None:
        with (
            listening(server, port=0, host="127.0.0.1", reuse_port=True),
            listening(
                net.create_server(), port=port_of(server), host="127.0.0.1", reuse_port=True
            ) as other,
        ):
            assert other.address() == server.address()

    def test_a_socket(self, server: Server, bound: socket.socket) -> None:
        bound.settimeout(0.001)
        with listening(server, bound):
            assert port_of(server) == bound.getsockname()[1]
            dial(server)
        assert bound.fileno() == -1  # it was taken over

    @pytest.mark.parametrize("keyword", [True, False])
    def test_a_descriptor(self, server: Server, bound: socket.socket, keyword: bool) -> None:
        descriptor = bound.detach()
        arguments: tuple[Any, ...] = () if keyword else ({"fd": descriptor},)
        options = {"fd": descriptor} if keyword else {}
        with listening(server, *arguments, **options):
            dial(server)

    def test_another_server(self, server: Server) -> None:
        with listening(net.create_server()) as other, listening(server, other):
            assert server.address() == other.address()
            other.close()
            dial(server)

    def test_another_server_that_is_closed_meanwhile(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = ListenRequest.open

        def open_and_close(request: ListenRequest) -> Any:
            opened = original(request)
            other.close()
            return opened

        recorder = Recorder(server, "connection")
        with listening(net.create_server()) as other:
            port = port_of(other)
            monkeypatch.setattr(ListenRequest, "open", open_and_close)
            with listening(server, other):
                socket.create_connection(("127.0.0.1", port)).close()
                recorder.wait("connection")

    def test_what_is_no_handle(self, server: Server) -> None:
        with pytest.raises(InvalidArgument, match="a port, a path or a handle"):
            server.listen(object())  # type: ignore[call-overload]
        with pytest.raises(InvalidArgument, match="not open"):
            server.listen(net.create_server())

    def test_a_connected_socket_stays_its_owner_s(self, server: Server) -> None:
        near, far = socket.socketpair()
        with near, far:
            for handle in (near, {"fd": near.fileno()}, net.Socket(fd=socket.dup(near.fileno()))):
                with pytest.raises(OSError, match="listen") as caught:
                    server.listen(handle)
                assert caught.value.code in ("EINVAL", "EISCONN")  # type: ignore[attr-defined]
                if isinstance(handle, net.Socket):
                    handle.unref()
                    handle._open_handle().close()
                    handle.destroy()
            assert near.fileno() >= 0
            assert not server.listening

    def test_a_descriptor_that_is_no_socket(self, server: Server, tmp_path: Path) -> None:
        with (tmp_path / "f").open("wb") as file:
            with pytest.raises(OSError, match="ENOTSOCK"):
                server.listen({"fd": file.fileno()})
            file.write(b"still open")

    @pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 100 + ".invalid", ".."])
    def test_an_unknown_host(self, server: Server, host: str) -> None:
        with pytest.raises(LookupFailed) as caught:
            server.listen(0, host)
        assert f"{host}:0" in str(caught.value)

    def test_accepted_sockets_send_at_once(self, server: Server) -> None:
        recorder = Recorder(server, "connection")
        with listening(server):
            dial(server)
            (connection,) = recorder.wait("connection")
            with connection:
                handle = connection._handle
                assert handle is None or handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
