"""Sessions: resumed with the same server and options, and with nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import Recorder
from tls_support import CA, echo_server, served

from nhttp import tls

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = ["TLSv1.2", "TLSv1.3"]


@pytest.fixture
def port() -> Iterator[int]:
    with served(echo_server()) as port:
        yield port


def exchange(
    port: int, host: str = "localhost", **options: Any
) -> tuple[tls.TLSSession | None, bool]:
    """The session behind an exchange, and whether an earlier one was resumed."""
    keywords: dict[str, Any] = {"ca": CA, **options}
    with tls.connect(port, host, **keywords) as stream:
        stream.write(b"x")
        assert stream.read(1) == b"x"
        return stream.get_session(), stream.is_session_reused()


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed(port: int, version: Any) -> None:
    session, reused = exchange(port, max_version=version)
    assert not reused
    assert session is not None
    assert session.is_resumable
    assert session.servername == "localhost"
    assert "localhost" in repr(session)
    session, reused = exchange(port, max_version=version, session=session)
    assert reused
    assert exchange(port, max_version=version, session=session)[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_connection_knows_its_peer(port: int, version: Any) -> None:
    session, _ = exchange(port, max_version=version)
    with tls.connect(port, "localhost", ca=CA, max_version=version, session=session) as stream:
        stream.write(b"x")
        described = stream.get_peer_certificate()
        assert stream.is_session_reused()
        assert stream.authorized
        assert described is not None
        assert "DNS:localhost" in described["subjectaltname"]


def test_not_for_another_name(port: int) -> None:
    session, _ = exchange(port)
    assert not exchange(port, "127.0.0.1", session=session)[1]


def test_not_with_other_options(port: int) -> None:
    session, _ = exchange(port, reject_unauthorized=False)
    assert not exchange(port, session=session)[1]


def test_not_with_another_server(port: int) -> None:
    session, _ = exchange(port)
    with served(echo_server(ciphers="ECDHE+AESGCM")) as other:
        assert not exchange(other, session=session)[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_event(port: int, version: Any) -> None:
    with tls.connect(port, "localhost", ca=CA, max_version=version) as stream:
        recorder = Recorder(stream, "session")
        stream.write(b"x")
        assert stream.read(1) == b"x"
        (session,) = recorder.wait("session")
        assert session.is_resumable
        assert Recorder(stream, "session").noted == recorder.noted
    assert exchange(port, max_version=version, session=session)[1]


def test_the_event_for_whoever_comes_later(port: int) -> None:
    with tls.connect(port, "localhost", ca=CA) as stream:
        stream.write(b"x")
        assert stream.read(1) == b"x"
        assert Recorder(stream, "session").names == ["session"]


def test_a_server_has_none() -> None:
    server = echo_server()
    recorder = Recorder(server, "secureConnection")
    with served(server) as port:
        exchange(port)
        (stream,) = recorder.wait("secureConnection")
        assert stream.get_session() is None
