"""Every wire-level vector: whole, octet by octet, split at random, and with more behind it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from parser_cases import Json, Outcome, Vector, load, replay_request, replay_response

REQUESTS = load("requests")
RESPONSES = load("responses")


def ids(vector: Vector) -> str:
    return vector.id


def octets(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def pieces(data: bytes, seed: str) -> list[bytes]:
    """Split `data` at random places, the same ones each time."""
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 8))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def without(message: Json, *keys: str) -> Json:
    return {key: value for key, value in message.items() if key not in keys}


def readings(expect: Json) -> list[list[Json]]:
    """The lists of messages that a vector allows, in the terms of an `Outcome`."""
    return [
        [without(message, "complete", "complete_at") for message in expect[key]]
        for key in ("messages", "alt_messages")
        if key in expect
    ]


def accepted(outcome: Outcome) -> bool:
    return outcome.error is None and not outcome.refused


def check(vector: Vector, outcome: Outcome) -> None:
    expect = vector.expect
    verdict: str = expect["verdict"]
    if verdict == "accept" or (verdict == "either" and accepted(outcome)):
        assert outcome.error is None
        assert not outcome.refused
        assert outcome.messages in readings(expect)
        assert not outcome.partial
        if expect.get("reusable") is not None:
            assert outcome.reusable == expect["reusable"]
        return
    # What was refused: nothing may complete but what stands in front of it.
    assert not accepted(outcome)
    stage: str = expect["stage"]
    if verdict == "reject":
        assert outcome.messages == readings(expect)[0]
    else:
        assert outcome.messages == readings(expect)[0][: len(outcome.messages)]
    if stage == "head":
        assert not outcome.partial
    if outcome.error is not None:
        assert outcome.error_at == "data" or (stage == "eof" and not expect["closed"])
        if "status" in expect:
            assert outcome.error.status in expect["status"]
    if stage != "head" and outcome.partial and expect.get("partial"):
        (began,) = outcome.partial
        (whole,) = expect["partial"]
        assert without(began, "body") == without(whole, "body", "trailers")
        assert whole["body"].startswith(began["body"])
        if outcome.error_at == "eof":
            assert began["body"] == whole["body"]


def check_all_ways(vector: Vector, replay: Any) -> None:
    whole = replay(vector, [vector.bytes])
    check(vector, whole)
    for seed in range(3):
        assert replay(vector, pieces(vector.bytes, f"{vector.id} {seed}")) == whole
    if vector.split:
        assert replay(vector, octets(vector.bytes)) == whole


@pytest.mark.parametrize("vector", REQUESTS, ids=ids)
def test_request(vector: Vector) -> None:
    check_all_ways(vector, replay_request)


@pytest.mark.parametrize("vector", RESPONSES, ids=ids)
def test_response(vector: Vector) -> None:
    check_all_ways(vector, replay_response)


@pytest.mark.parametrize(
    "vector", [one for one in REQUESTS if one.expect["verdict"] == "accept"], ids=ids
)
def test_request_with_another_behind_it(vector: Vector) -> None:
    alone = replay_request(vector, [vector.bytes])
    both = replay_request(
        vector, [vector.bytes + b"GET /trailing HTTP/1.1\r\nHost: trailing.example\r\n\r\n"]
    )
    assert both.error is None
    *before, last = both.messages
    if "tunnel" in last:
        assert last["tunnel"].startswith(alone.messages[-1]["tunnel"] + "GET /trailing")
        assert before == alone.messages[:-1]
    elif len(both.messages) > len(alone.messages):
        assert before == alone.messages
        assert last["url"] == "/trailing"
    else:  # the message had said that it was the last one
        assert both.messages == alone.messages
        assert vector.expect["closed"] or vector.expect["closed"] is None


@pytest.mark.parametrize(
    "vector", [one for one in RESPONSES if one.expect["verdict"] == "accept"], ids=ids
)
def test_response_with_another_behind_it(vector: Vector) -> None:
    alone = replay_response(vector, [vector.bytes])
    trailing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    both = replay_response(vector, [vector.bytes + trailing.encode()])
    assert both.error is None
    assert not both.reusable
    (message,) = both.messages
    (expected,) = alone.messages
    if "tunnel" in message:
        assert message == {**expected, "tunnel": expected["tunnel"] + trailing}
    elif message != expected:  # the body runs to the end of the connection
        assert message == {**expected, "body": expected["body"] + trailing}
        assert not alone.reusable
