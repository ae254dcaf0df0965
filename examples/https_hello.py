"""A server over HTTPS that says whom it speaks to, if that one shows a certificate.

python https_hello.py cert.pem key.pem [ca.pem]
curl --cacert ca.pem https://localhost:8443/
"""

from __future__ import annotations

import sys
from pathlib import Path

import nhttp
from nhttp import https, tls


def hello(request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    socket = request.socket
    assert isinstance(socket, tls.TLSSocket)
    name = "whoever you are"
    if socket.authorized:  # the certificate that was shown is one of an authority we know
        certificate = socket.get_peer_certificate()
        assert certificate is not None
        name = str(certificate.get("subject", {}).get("CN", "somebody with a certificate"))
    response.set_header("Content-Type", "text/plain; charset=utf-8")
    response.end(f"Hello, {name}, over {socket.get_protocol()}\n")


def create_server(cert: Path, key: Path, ca: Path | None = None) -> https.Server:
    if ca is None:
        return https.create_server(hello, cert=cert, key=key)
    # Asked for, and welcome without.
    return https.create_server(
        hello, cert=cert, key=key, ca=ca, request_cert=True, reject_unauthorized=False
    )


if __name__ == "__main__":
    with create_server(*map(Path, sys.argv[1:])).listen(8443, "127.0.0.1") as server:
        server.serve_forever()
