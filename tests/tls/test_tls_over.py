"""TLS over another socket: in a tunnel, and in TLS."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from support import Recorder, in_thread, listening, port_of, raw_pair
from tls_support import CA, Peer, client_context, echo_server, identity

from nhttp import net, tls
from nhttp.errors import ConnectionReset, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024


def test_tls_in_tls() -> None:
    """To a server that is reached through a tunnel, which is TLS itself."""
    with (
        listening(echo_server()) as inner,
        listening(
            tls.create_server(_tunnel_to(port_of(inner)), allow_half_open=True, **identity())
        ) as outer,
    ):
        below = tls.connect(port_of(outer), "localhost", ca=CA)
        with tls.connect(socket=below, ca=CA, servername="127.0.0.1") as stream:
            stream.write(b"+")
            assert stream.read(1) == b"+"
            assert stream.authorized
            assert stream.remote_port == port_of(outer)
            data = os.urandom(2 * MIB)
            writer = in_thread(stream.end, data)
            assert stream.read() == data
            writer.result()
    assert below.destroyed


def test_over_one_that_cannot_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stream = tls.connect(socket=net.connect(port, "127.0.0.1"), ca=CA)
    with pytest.raises(ConnectionRefusedError):
        stream.read()


def test_over_one_that_has_failed() -> None:
    below = net.Socket().destroy(ConnectionReset("gone", "ECONNRESET"))
    with pytest.raises(ConnectionReset, match="gone"):
        tls.connect(socket=below, ca=CA).read()
    with pytest.raises(ConnectionReset, match="given up"):
        tls.connect(socket=net.Socket().destroy(), ca=CA).read()
    with pytest.raises(ConnectionReset, match="given up: because"):
        tls.connect(socket=net.Socket().destroy(ValueError("because")), ca=CA).read()


def write(stream: tls.TLSSocket) -> object:
    return stream.write("x")


@pytest.mark.parametrize("use", [tls.TLSSocket.read, write])
def test_over_one_that_is_destroyed_for_whatever_reason(
    use: Callable[[tls.TLSSocket], object],
) -> None:
    with listening(echo_server()) as server:
        below = net.connect(port_of(server), "localhost")
        with tls.connect(socket=below, ca=CA) as stream:
            stream.write("x")
            below.destroy(ValueError("because"))
            with pytest.raises(ConnectionReset, match="given up: because"):
                use(stream)
            assert stream.destroyed


def test_what_was_read_ahead_comes_first() -> None:
    near, far = raw_pair(socket.AF_INET)
    with far:
        peer = Peer(far, client_context(), server_side=False)
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.object.do_handshake()
        far.sendall(b"+" + peer.outgoing.read())
        below = net.Socket(near)
        assert below.read(1) == b"+"
        hello = below.read1()
        below.unshift(hello)
        stream = tls.connect(socket=below, ca=CA)
        with pytest.raises(OSError, match=r"unexpected message"):
            stream.read()  # it is a client's hello, and so is ours: but it was read


def test_destroying_either_destroys_both() -> None:
    for which in (0, 1):
        with listening(echo_server()) as server:
            below = net.connect(port_of(server), "localhost")
            stream = tls.connect(socket=below, ca=CA)
            stream.write(b"x")
            assert stream.read(1) == b"x"
            recorder = Recorder(stream, "close"), Recorder(below, "close")
            reader = in_thread(stream.read)
            (stream, below)[which].destroy()
            with pytest.raises((OSError, RuntimeError)):
                reader.result()
            stream.destroy()
            for each in recorder:
                each.wait("close")


def test_destroy_while_the_one_below_connects() -> None:
    below = net.Socket()
    below._connecting = True  # and never will
    stream = tls.connect(socket=below, ca=CA)
    recorders = Recorder(stream, "close"), Recorder(below, "close")
    stream.destroy()
    for recorder in recorders:
        recorder.wait("close")


def test_what_cannot_be_below() -> None:
    with pytest.raises(InvalidArgument, match=r"net\.Socket"):
        tls.connect(socket="x")  # type: ignore[arg-type]
    text = net.Socket().set_encoding("utf8")
    with pytest.raises(InvalidArgument, match="text"):
        tls.connect(socket=text)


def _tunnel_to(port: int) -> Callable[[tls.TLSSocket], None]:
    def tunnel(near: tls.TLSSocket) -> None:
        far = net.connect(port, "127.0.0.1", allow_half_open=True)
        near.pipe(far)
        far.pipe(near)

    return tunnel
