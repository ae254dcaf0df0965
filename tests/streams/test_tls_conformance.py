"""The suite of all streams on TLS sockets: a client's, a server's, and one over another socket."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
from typing import TYPE_CHECKING

from conformance import Conformance
from support import SECONDS, listening, port_of, raw_pair
from tls_support import CA, Peer, accepting, client_context, identity, server_context

from nhttp import tls
from nhttp.net import Socket

if TYPE_CHECKING:
    from collections.abc import Generator

    from conformance import Far

    from nhttp.streams import Duplex


def shaken(plain: socket.socket, context: ssl.SSLContext, *, server_side: bool = True) -> Peer:
    peer = Peer(plain, context, server_side=server_side)
    peer.shake()
    return peer


class OfClients(Conformance):
    version: ssl.TLSVersion

    @contextlib.contextmanager
    def open(self) -> Generator[tuple[Duplex, Far]]:
        with accepting() as (port, accept):
            stream = tls.connect(port, "localhost", family=4, ca=CA, allow_half_open=True)
            try:
                yield stream, shaken(accept(), server_context(self.version))
            finally:
                stream.destroy()


class TestClient(OfClients):
    version = ssl.TLSVersion.TLSv1_3


class TestClientWithTLSv12(OfClients):
    version = ssl.TLSVersion.TLSv1_2


class TestServer(Conformance):
    @contextlib.contextmanager
    def open(self) -> Generator[tuple[Duplex, Far]]:
        accepted: queue.Queue[Socket] = queue.Queue()
        server = tls.create_server(accepted.put, allow_half_open=True, **identity())
        with (
            listening(server),
            socket.create_connection(("127.0.0.1", port_of(server))) as plain,
        ):
            plain.settimeout(SECONDS)
            peer = shaken(plain, client_context(), server_side=False)
            yield accepted.get(timeout=SECONDS), peer


class TestOverAnotherSocket(Conformance):
    @contextlib.contextmanager
    def open(self) -> Generator[tuple[Duplex, Far]]:
        near, plain = raw_pair(socket.AF_INET)
        stream = tls.connect(socket=Socket(near), ca=CA, allow_half_open=True)
        try:
            with plain:
                yield stream, shaken(plain, server_context())
        finally:
            stream.destroy()
