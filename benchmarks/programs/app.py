"""What all servers answer, and how they say that they are ready."""

from __future__ import annotations

import json
import socket
import sys

__all__ = ["BLOCK", "BODY", "echo", "free_port", "ready", "stopped", "wait_for_stop"]

BODY = b"hello world"
BLOCK = bytes(64 * 1024)


def ready(port: int) -> None:
    """Tell whoever started this process."""
    print(f"port {port}", flush=True)


def wait_for_stop() -> None:
    """Return when whoever started this process wants to see it stop."""
    sys.stdin.readline()


def stopped(seconds: float) -> None:
    """Tell how long it took."""
    print(f"stopped {seconds:.6f}", flush=True)


def free_port() -> int:
    """Give a port that is free, for servers that cannot say which they took."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def echo(body: bytes) -> bytes:
    """Decode and encode JSON."""
    return json.dumps(json.loads(body)).encode()
