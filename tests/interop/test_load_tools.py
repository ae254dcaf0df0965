"""wrk and ab against our server: not how fast it is, but that nothing goes wrong under load.

How fast it is, is the business of ``python -m benchmarks server``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from interop_support import Origin, program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


@pytest.mark.parametrize("path", ["/", "/drip?n=3&size=100"])
def test_wrk(origin: Origin, path: str) -> None:
    output = run([program("wrk"), "-t1", "-c40", "-d1s", origin.url(path)]).stdout.decode()
    assert "Socket errors" not in output
    assert "Non-2xx" not in output
    requests = re.search(r"(\d+) requests in", output)
    assert requests is not None
    assert int(requests[1]) > 40
    assert origin.connections == 40 + 1  # wrk makes one more, to see whether anybody is there


@pytest.mark.parametrize("options", [["-k"], []], ids=["keep-alive", "close"])
@pytest.mark.parametrize("path", ["/", "/drip?n=2&size=3000"])
def test_ab(origin: Origin, options: list[str], path: str) -> None:
    # ab speaks HTTP/1.0, and closes first where the answer has no length.
    output = run(
        [program("ab"), "-q", "-n1000", "-c20", *options, origin.url(path)]
    ).stdout.decode()
    assert figure("Complete requests", output) == 1000
    assert figure("Failed requests", output) == 0
    assert "Non-2xx" not in output
    kept = figure("Keep-Alive requests", output) if options else 0
    assert kept == (1000 if options and path == "/" else 0)


def test_ab_posts(origin: Origin, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"z" * 10_000)
    arguments = ["-q", "-k", "-n500", "-c10", "-p", str(body), "-T", "text/plain"]
    output = run([program("ab"), *arguments, origin.url("/echo")]).stdout.decode()
    assert figure("Complete requests", output) == 500
    assert figure("Failed requests", output) == 0
    assert figure("HTML transferred", output) == 5_000_000


def figure(name: str, output: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", output, re.MULTILINE)
    assert found is not None, output
    return int(found[1])
