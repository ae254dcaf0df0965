"""A listener of 'upgrade' or 'connect' that blocks on its socket, when the connection is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from wire import Signal, Wire, ok, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from nhttp import IncomingMessage
    from nhttp.net import Socket

UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
CONNECT = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"


def read(socket: Socket) -> None:
    while socket.read(1):
        pass


def write(socket: Socket) -> None:
    while True:
        socket.write(bytes(100_000))


@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize(("event", "text"), [("upgrade", UPGRADE), ("connect", CONNECT)])
class TestLosingATunnel:
    def test_to_a_client_that_goes_away_raises_and_is_not_logged(
        self,
        event: Any,
        text: str,
        use: Callable[[Socket], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failed = Signal()

        def listener(_: IncomingMessage, socket: Socket, __: bytes) -> None:
            socket.write("begun")
            try:
                use(socket)
            except OSError:
                failed.set()
                raise

        with serving(ok) as server:
            server.on(event, listener)
            wire = Wire(server).send(text)
            assert wire.exactly(5) == b"begun"
            wire.reset()
            assert failed.happens()
        assert not caplog.records

    def test_to_a_server_that_closes_all_connections_is_not_logged(
        self,
        event: Any,
        text: str,
        use: Callable[[Socket], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def listener(_: IncomingMessage, socket: Socket, __: bytes) -> None:
            socket.write("begun")
            use(socket)

        with serving(ok) as server:
            server.on(event, listener)
            with Wire(server).send(text) as wire:
                assert wire.exactly(5) == b"begun"
                server.close_all_connections()
        assert not caplog.records

    def test_does_not_hide_what_else_a_listener_raises(
        self,
        event: Any,
        text: str,
        use: Callable[[Socket], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def listener(_: IncomingMessage, socket: Socket, __: bytes) -> None:
            socket.destroy()
            try:
                use(socket)
            except Exception as error:
                raise KeyError from error

        with serving(ok) as server:
            server.on(event, listener)
            with Wire(server).send(text) as wire:
                assert wire.is_closed()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
