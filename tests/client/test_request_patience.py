"""How long a thread waits for an answer that it asks for, and what it is told when none comes."""

from __future__ import annotations

from typing import Any

import pytest
from client_support import scripted, stalling

from nhttp.client import ClientRequest, request
from nhttp.errors import InvalidArgument

CALLS = pytest.mark.parametrize("call", ["get_response", "wait_continue", "get_tunnel"])


def ask(req: ClientRequest, call: str, timeout: float) -> object:
    return getattr(req, call)(timeout=timeout)


def test_who_has_forgotten_the_end_is_told_so() -> None:
    with scripted(stalling(b"")) as server:
        req = request(server.url, method="POST")
        req.flush_headers()
        with pytest.raises(TimeoutError) as caught:
            req.get_response(timeout=0.01)
        assert "not ended" in caught.value.__notes__[0]
        with pytest.raises(TimeoutError) as caught:
            req.wait_continue(timeout=0.01)
        assert not hasattr(caught.value, "__notes__")
        req.set_timeout(0.01)
        with pytest.raises(TimeoutError, match="no progress") as caught:
            req.get_response()
        assert "not ended" in caught.value.__notes__[0]


@CALLS
@pytest.mark.parametrize("timeout", ["5", float("nan"), (1, 2)])
def test_a_timeout_that_is_none(call: str, timeout: Any) -> None:
    req = request("http://127.0.0.1/")
    with pytest.raises(InvalidArgument, match="timeout"):
        ask(req, call, timeout)
    assert req.socket is None


def test_a_deadline_that_has_passed_is_no_time_at_all() -> None:
    with scripted(stalling(b"")) as server:
        req = request(server.url).end()
        with pytest.raises(TimeoutError, match="no answer came in time"):
            req.get_response(timeout=-1)
        req.abort()
