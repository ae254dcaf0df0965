"""wrk: the load that servers are under."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from benchmarks.processes import output_of

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Load", "body_script", "wrk"]

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@attrs.frozen
class Load:
    """What wrk found.

    Attributes:
        requests: How many were answered.
        rate: Requests per second.
        p99: Milliseconds that the slowest hundredth of them took at least.
    """

    requests: int
    rate: float
    p99: float


def wrk(
    url: str,
    *,
    connections: int,
    seconds: int,
    cpu: int | None = None,
    headers: tuple[str, ...] = (),
    script: str | None = None,
) -> Load:
    """Put a server under load.

    Args:
        url: What to ask for.
        connections: How many, all the time.
        seconds: How long.
        cpu: The one CPU that wrk may use. Default: all.
        headers: Lines for every request.
        script: A file in Lua. Default: GETs.

    Raises:
        RuntimeError: A connection failed, or an answer was no success.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for line in headers:
        command += ["-H", line]
    if script is not None:
        command += ["-s", script]
    output = output_of([*command, url], seconds + 30, cpu)
    trouble = re.search(r"Socket errors:.*|Non-2xx.*", output)
    if trouble is not None:
        raise RuntimeError(trouble[0])
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", output)
    total = re.search(r"(\d+) requests in", output)
    if rate is None or p99 is None or total is None or not int(total[1]):
        raise RuntimeError("nothing was answered")
    return Load(int(total[1]), float(rate[1]), float(p99[1]) * _UNITS[p99[2]])


@contextmanager
def body_script(kind: str, body: str) -> Generator[str]:
    """Give the name of a script that has wrk POST a body."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{kind}"\n'
            f"wrk.body = [==[{body}]==]\n"
        )
        file.flush()
        yield file.name
