"""Loading the wire-level vectors, and driving a parser as a server or a client would."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nhttp._parser import (
    Closed,
    EndOfMessage,
    Invalid,
    NeedData,
    Paused,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nhttp._parser import Event

Json: TypeAlias = dict[str, Any]

DATA = Path(__file__).parent.parent / "data"

COMPILED = not str(request.__file__).endswith(".py")
"""Whether nhttp was installed with NHTTP_COMPILE=1."""


@dataclass
class Vector:
    """One case: what a peer sends, and what should come of it."""

    id: str
    bytes: bytes
    split: bool
    listeners: list[str]
    request: Json
    expect: Json


@dataclass
class Outcome:
    """What came of it, in the terms of a vector's `expect`."""

    messages: list[Json] = field(default_factory=list[Json])
    partial: list[Json] = field(default_factory=list[Json])
    interim: list[int] = field(default_factory=list[int])
    error: Invalid | None = None
    error_at: str = ""  # "data" or "eof"
    refused: bool = False  # by the owner, though the parser sees nothing wrong
    reusable: bool = True


def load(name: str) -> list[Vector]:
    return [
        Vector(
            case["id"],
            case["bytes"].encode("latin-1"),
            case["split"],
            case["listeners"],
            case.get("request", {}),
            case["expect"],
        )
        for case in json.loads((DATA / f"{name}.json").read_text())
    ]


def pairs(fields: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [list(one) for one in fields]


def replay_request(vector: Vector, blocks: Iterable[bytes]) -> Outcome:
    """Do what a server does with `vector.listeners`."""
    parser = RequestParser()
    outcome = Outcome()
    tunnel = False

    def step() -> bool:
        nonlocal tunnel
        event = parser.next_event()
        if isinstance(event, RequestHead):
            message = {
                "event": "request",
                "method": event.method,
                "url": event.target,
                "http_version": f"1.{event.minor_version}",
                "raw_headers": pairs(event.fields),
                "body": "",
            }
            kind = "connect" if event.method == "CONNECT" else "upgrade"
            if event.method == "CONNECT" or event.upgrade:
                if kind in vector.listeners and not event.has_body:
                    tunnel = True
                    message = {**message, "event": kind, "tunnel": ""}
                    del message["body"]
                    outcome.messages.append(message)
                    return True
                if kind == "connect" or kind in vector.listeners:
                    # Nobody takes the tunnel, or what is body and what is tunnel is unclear.
                    outcome.refused = True
                    return False
                parser.resume()
            outcome.partial.append(message)
            return True
        return settle(outcome, event)

    drive(parser, blocks, step, outcome)
    if tunnel:
        outcome.messages[-1]["tunnel"] = parser.take_rest().decode("latin-1")
    return outcome


def replay_response(vector: Vector, blocks: Iterable[bytes]) -> Outcome:
    """Do what a client does that has sent `vector.request`."""
    parser = ResponseParser()
    method: str = vector.request["method"]
    parser.expect(method, upgrade="Upgrade" in vector.request["headers"])
    outcome = Outcome()
    tunnel = False

    def step() -> bool:
        nonlocal tunnel
        event = parser.next_event()
        if isinstance(event, ResponseHead):
            if event.interim:
                outcome.interim.append(event.status)
                return True
            message = {
                "event": "response",
                "http_version": f"1.{event.minor_version}",
                "status_code": event.status,
                "status_message": event.reason,
                "raw_headers": pairs(event.fields),
                "body": "",
            }
            outcome.reusable = event.keep_alive
            kind = "upgrade" if event.status == 101 else "connect"
            if event.status == 101 or (method == "CONNECT" and event.status // 100 == 2):
                outcome.reusable = False
                if kind not in vector.listeners:
                    outcome.refused = True
                    return False
                tunnel = True
                message = {**message, "event": kind, "tunnel": ""}
                del message["body"]
                outcome.messages.append(message)
            else:
                outcome.partial.append(message)
            return True
        return settle(outcome, event)

    drive(parser, blocks, step, outcome)
    if tunnel:
        outcome.messages[-1]["tunnel"] = parser.take_rest().decode("latin-1")
    outcome.reusable &= not parser.buffered and not outcome.error
    return outcome


def settle(outcome: Outcome, event: Event) -> bool:
    """Take an event that is no head; say whether another one can follow."""
    if isinstance(event, bytes):
        outcome.partial[-1]["body"] += event.decode("latin-1")
        return True
    if isinstance(event, EndOfMessage):
        message = outcome.partial.pop()
        message["trailers"] = pairs(event.trailers)
        outcome.messages.append(message)
        return True
    if isinstance(event, Invalid):
        outcome.error = event
    return False


def drive(
    parser: RequestParser | ResponseParser,
    blocks: Iterable[bytes],
    step: Any,
    outcome: Outcome,
) -> None:
    for block in blocks:
        parser.feed(block)
        while step():
            pass
        if outcome.error is not None:
            outcome.error_at = "data"
            return
        if outcome.refused:
            return
    parser.feed_eof()
    while step():
        pass
    if outcome.error is not None:
        outcome.error_at = "eof"


def events_of(
    parser: RequestParser | ResponseParser, *blocks: bytes, eof: bool = True
) -> list[Event]:
    """Feed `blocks`, and return all events but those that say that nothing happens."""
    events: list[Event] = []

    def collect() -> None:
        while not isinstance(event := parser.next_event(), NeedData | Paused | Closed):
            events.append(event)
            if isinstance(event, Invalid):
                break

    for block in blocks:
        parser.feed(block)
        collect()
        if events and isinstance(events[-1], Invalid):
            return events
    if eof:
        parser.feed_eof()
        collect()
    return events


def joined(events: Iterable[Event]) -> list[Event]:
    """Return `events` with neighbouring blocks of body joined, which may be split anyhow."""
    result: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += event
        else:
            result.append(event)
    return result


def invalid(events: list[Event]) -> Invalid:
    last = events[-1]
    assert isinstance(last, Invalid)
    return last
