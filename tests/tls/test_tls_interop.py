"""Other implementations at the other end: openssl's own tools, and Node's tls."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support import SECONDS, Recorder
from tls_support import CA, echo_server, identity, served

from nhttp import tls

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    Process = subprocess.Popen[bytes]

VERSIONS = [("TLSv1.2", "-tls1_2"), ("TLSv1.3", "-tls1_3")]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(*command: str, cwd: Path) -> Generator[Process]:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: Process, pattern: bytes) -> re.Match[bytes]:
    """Wait for a line that matches."""
    assert process.stdout is not None
    seen: list[bytes] = []
    for line in process.stdout:
        seen.append(line)
        match = re.search(pattern, line)
        if match is not None:
            return match
    pytest.fail(f"no {pattern!r} in {b''.join(seen)!r}")


def say(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(CA)
    for name, pem in identity().items():
        (tmp_path / f"{name}.pem").write_bytes(pem)
    return tmp_path


@pytest.fixture
def openssl() -> str:
    return program("openssl")


@pytest.mark.parametrize(("version", "option"), VERSIONS)
class TestOpenSSLClient:
    @pytest.fixture
    def client(self, openssl: str, option: str, files: Path) -> Iterator[tuple[Process, Recorder]]:
        server = echo_server()
        recorder = Recorder(server, "secureConnection")
        with (
            served(server) as port,
            running(
                *(openssl, "s_client", "-connect", f"127.0.0.1:{port}", option),
                *("-CAfile", "ca.pem", "-verify_return_error", "-servername", "localhost"),
                cwd=files,
            ) as process,
        ):
            yield process, recorder

    def test_echo(self, client: tuple[Process, Recorder], version: str) -> None:
        process, recorder = client
        (stream,) = recorder.wait("secureConnection")
        assert stream.get_protocol() == version
        assert stream.servername == "localhost"
        say(process, b"hello there\n")
        line_of(process, b"^hello there")

    def test_its_end(self, client: tuple[Process, Recorder], version: str) -> None:
        process, recorder = client
        (stream,) = recorder.wait("secureConnection")
        ends = Recorder(stream, "end", "error", "close")
        say(process, b"Q\n")
        ends.wait("close")
        assert ends.names == ["end", "close"]

    def test_new_keys(self, client: tuple[Process, Recorder], version: str) -> None:
        if version == "TLSv1.2":
            pytest.skip("of TLS 1.3 alone")
        process, recorder = client
        recorder.wait("secureConnection")
        for command in (b"k\n", b"K\n"):  # new keys for one side, then for both
            say(process, command)
            line_of(process, b"^KEYUPDATE")
            say(process, b"still here\n")
            line_of(process, b"^still here")


@pytest.mark.parametrize(("version", "option"), VERSIONS)
class TestOpenSSLServer:
    @pytest.fixture
    def stream(
        self, openssl: str, option: str, files: Path
    ) -> Iterator[tuple[tls.TLSSocket, Process]]:
        with running(
            *(openssl, "s_server", "-accept", "127.0.0.1:0", option, "-naccept", "1"),
            *("-cert", "cert.pem", "-key", "key.pem"),
            cwd=files,
        ) as process:
            port = int(line_of(process, rb"^ACCEPT 127\.0\.0\.1:(\d+)")[1])
            with tls.connect(port, "127.0.0.1", ca=CA, allow_half_open=True) as stream:
                yield stream, process

    def test_both_ways(self, stream: tuple[tls.TLSSocket, Process], version: str) -> None:
        near, process = stream
        near.write(b"hello there\n")
        assert near.get_protocol() == version
        line_of(process, b"^hello there")
        say(process, b"hello back\n")
        assert near.read(11) == b"hello back\n"

    def test_it_goes_without_a_word(
        self, stream: tuple[tls.TLSSocket, Process], version: str
    ) -> None:
        near, process = stream
        near.write(b"hello\n")
        line_of(process, b"^hello")
        say(process, b"Q\n")  # closes the connection, and says no close_notify
        with pytest.raises(ConnectionResetError):
            near.read()

    def test_ours(self, stream: tuple[tls.TLSSocket, Process], version: str) -> None:
        near, process = stream
        near.end(b"hello\n")
        line_of(process, b"^hello")
        line_of(process, b"^DONE|CONNECTION CLOSED")

    def test_new_keys(self, stream: tuple[tls.TLSSocket, Process], version: str) -> None:
        if version == "TLSv1.2":
            pytest.skip("of TLS 1.3 alone")
        near, process = stream
        for command in (b"k\n", b"K\n"):
            say(process, command)
            near.write(b"done\n")  # it looks at what it is told first
            line_of(process, b"^done")
            say(process, b"behind\n")
            assert near.read(7) == b"behind\n"

    def test_another_handshake_is_refused(
        self, stream: tuple[tls.TLSSocket, Process], version: str
    ) -> None:
        if version == "TLSv1.3":
            pytest.skip("of TLS 1.2 alone")
        near, process = stream
        near.write(b"ready\n")
        line_of(process, b"^ready")
        say(process, b"r\n")
        near.on("error", lambda error: None)
        with contextlib.suppress(OSError):
            near.read()
        assert near.destroyed or near.readable_ended


NODE_SERVER = """
const tls = require('tls'), fs = require('fs');
const read = (name) => fs.readFileSync(name);
const server = tls.createServer(
  {key: read('key.pem'), cert: read('cert.pem'), ca: read('ca.pem'), requestCert: true,
   ALPNProtocols: ['x', 'http/1.1'], allowHalfOpen: true},
  (socket) => {
    socket.write(JSON.stringify({
      authorized: socket.authorized, alpn: socket.alpnProtocol, servername: socket.servername,
      protocol: socket.getProtocol(), reused: socket.isSessionReused(),
      subject: socket.getPeerCertificate().subjectaltname}) + '\\n');
    socket.pipe(socket);
  });
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""

NODE_CLIENT = """
const tls = require('tls'), fs = require('fs');
const socket = tls.connect(
  {port: +process.argv[1], host: '127.0.0.1', servername: 'localhost',
   ca: fs.readFileSync('ca.pem'), ALPNProtocols: ['y', 'http/1.1']},
  () => socket.end('x'.repeat(1000000)));
let count = 0;
socket.on('data', (chunk) => { count += chunk.length; });
socket.on('end', () => console.log(JSON.stringify(
  {count, authorized: socket.authorized, alpn: socket.alpnProtocol,
   certificate: socket.getPeerCertificate()})));
"""


class TestNode:
    @pytest.fixture
    def node(self) -> str:
        return program("node")

    def test_as_a_server(self, node: str, files: Path) -> None:
        import json

        with running(node, "-e", NODE_SERVER, cwd=files) as process:
            port = int(line_of(process, rb"^port (\d+)")[1])
            options: dict[str, Any] = {
                "ca": CA,
                "alpn_protocols": ["http/1.1"],
                "allow_half_open": True,
                **identity(),
            }
            session = None
            for reused in (False, True):
                with tls.connect(port, "localhost", session=session, **options) as stream:
                    said = json.loads(stream.readline())
                    data = b"y" * 500_000
                    stream.end(data)
                    assert stream.read() == data
                    session = stream.get_session()
                assert said == {
                    "authorized": True,
                    "alpn": "http/1.1",
                    "servername": "localhost",
                    "protocol": "TLSv1.3",
                    "reused": reused,
                    "subject": "DNS:localhost, IP Address:127.0.0.1",
                }

    def test_as_a_client_it_sees_the_certificate_as_we_do(self, node: str, files: Path) -> None:
        import json

        server = echo_server(alpn_protocols=["http/1.1"])
        with served(server) as port:
            told = subprocess.run(
                [node, "-e", NODE_CLIENT, str(port)],
                cwd=files,
                capture_output=True,
                timeout=SECONDS,
                check=True,
            )
            with tls.connect(port, "localhost", ca=CA) as stream:
                stream.write(b"x")
                ours = stream.get_peer_certificate()
        theirs = json.loads(told.stdout)
        assert (theirs["count"], theirs["authorized"], theirs["alpn"]) == (
            1_000_000,
            True,
            "http/1.1",
        )
        assert ours is not None
        certificate = theirs["certificate"]
        assert certificate["subject"] == ours["subject"]
        assert certificate["issuer"] == ours["issuer"]
        assert certificate["subjectaltname"] == ours["subjectaltname"]
        assert certificate["valid_from"] == ours["valid_from"]
        assert certificate["valid_to"] == ours["valid_to"]
        assert certificate["serialNumber"] == ours["serial_number"]
        assert certificate["fingerprint256"] == ours["fingerprint256"]
        assert certificate["fingerprint"] == ours["fingerprint"]
        assert certificate["ext_key_usage"] == ours["ext_key_usage"]
