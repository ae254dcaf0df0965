"""Sequential requests do not end and start the keeper thread around each of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agent_support import RawServer, eventually

from nhttp import _threads
from nhttp._agent import linger as linger_module
from nhttp._agent.agent import Agent

if TYPE_CHECKING:
    import pytest


def keepers() -> int:
    return sum(each.name == _threads.KEEPER_NAME for each in threading.enumerate())


def test_the_keeper_is_started_once_for_requests_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []
    start = _threads.Keeper._start

    def counted() -> threading.Lock:
        started.append(1)
        return start()

    with RawServer() as server, Agent(keep_alive=True) as agent:
        monkeypatch.setattr(_threads.Keeper, "_start", staticmethod(counted))
        monkeypatch.setattr(linger_module, "LINGER_SECONDS", 60.0)
        for _ in range(10):
            agent.get(server.url).get_response().read()
        linger_module.linger._over()
        assert started in ([], [1])


def test_it_lets_go_by_itself() -> None:
    with RawServer() as server, Agent(keep_alive=True) as agent:
        agent.get(server.url).get_response().read()
        assert agent.free_sockets
        eventually(lambda: keepers() == 0, "something keeps the process alive")
