"""How long a client's process lives: as long as something is done for a request, and no longer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from client_support import OK, Peer, answer, scripted
from support import NO_THREADS_AT_EXIT, SECONDS

BEGIN = """
import sys
import nhttp

url = sys.argv[1]
"""


def run(program: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "program",
    [
        "request = nhttp.get(url)",
        "response = nhttp.get(url).get_response()",
        "request = nhttp.request(url, method='POST'); request.write('a')",
        "request = nhttp.get(url); request.on('upgrade', print)",
        "request = nhttp.get(url, lambda response: print(response.status_code))",
    ],
)
def test_what_nobody_reads_does_not_keep_the_process_alive(program: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK)
        peer.read_all()

    with scripted(script) as server:
        assert run(program, server.url) in ("", "200\n")


@NO_THREADS_AT_EXIT
@pytest.mark.parametrize("agent", ["nhttp.global_agent", "nhttp.Agent(keep_alive=True)"])
@pytest.mark.parametrize(
    "program",
    [
        "request = nhttp.get(url, agent=agent); request.on('response', listen)",
        "listen(nhttp.get(url, agent=agent).get_response())",
        "nhttp.get(url, listen, agent=agent)",
    ],
)
def test_what_flows_keeps_the_process_alive(program: str, agent: str) -> None:
    program = f"""
def listen(response):
    response.on("data", print).on("end", lambda: print("end"))

agent = {agent}
{program}
"""
    with scripted(answer(OK[:-1], OK[-1:])) as server:
        assert run(program, server.url).endswith("end\n")


@NO_THREADS_AT_EXIT
def test_a_tunnel_keeps_the_process_alive() -> None:
    program = """
def upgraded(response, socket, head):
    socket.on("data", print).on("end", lambda: print("end"))

nhttp.get(url, headers={"Connection": "Upgrade", "Upgrade": "x"}).on("upgrade", upgraded)
"""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        peer.end()
        peer.read_all()

    with scripted(script) as server:
        assert run(program, server.url) == "end\n"
