"""Pool: which request gets which socket. It decides, and does nothing itself.

A pure object: no lock, no socket, no thread, no clock. The agent calls it with its lock held and
carries out, without the lock, what it returns: give a socket to a request, let a request dial a new
one, close a socket. Sockets and requests are opaque here; names say which sockets serve which
requests.

The life of a socket: dialled -> busy -> free -> busy -> ... -> gone. A request waits in the queue
of its name, first in, first out, while there are as many sockets as there may be. A slot that
becomes free goes to the head of that queue before anybody else can ask for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

__all__ = ["Action", "Assign", "Close", "Dial", "Offer", "Pool"]

S = TypeVar("S", bound=Hashable)  # a socket
W = TypeVar("W", bound=Hashable)  # a waiting request


@dataclass(slots=True)
class Assign(Generic[S, W]):
    """Give `socket`, which was used before, to `waiter`."""

    waiter: W
    socket: S


@dataclass(slots=True)
class Dial(Generic[W]):
    """Let `waiter` make a connection of its own: a slot is reserved for it."""

    waiter: W


@dataclass(slots=True)
class Offer(Generic[S]):
    """Nobody wants `socket` now: ask whether it may be kept, and `release` it again."""

    socket: S


@dataclass(slots=True)
class Close(Generic[S]):
    """`socket` is not the pool's any more: close it."""

    socket: S


Action: TypeAlias = Assign[S, W] | Dial[W] | Offer[S] | Close[S]


class _Origin(Generic[S, W]):
    """The sockets and the queue of one name."""

    def __init__(self) -> None:
        self.busy: dict[S, None] = {}  # in the order in which they came; None says nothing
        self.free: deque[S] = deque()  # the longest idle first; none while anybody waits
        self.dialling = 0  # slots of connections that are being made
        self.queue: deque[tuple[int, W]] = deque()  # with the number of their arrival

    @property
    def size(self) -> int:
        return len(self.busy) + len(self.free) + self.dialling

    @property
    def unused(self) -> bool:
        return not self.size and not self.queue


class Pool(Generic[S, W]):
    """The sockets of an agent, by the name of their origin.

    Args:
        max_sockets: Sockets for one name. Default: any number.
        max_free_sockets: Idle sockets kept for one name. Default: 256.
        max_total_sockets: Sockets for all names. Default: any number.
        scheduling: Which idle socket is used first: the one used last (``"lifo"``), which lets the
            others go stale and be closed, or the one idle longest (``"fifo"``).
    """

    def __init__(
        self,
        *,
        max_sockets: float = math.inf,
        max_free_sockets: float = 256,
        max_total_sockets: float = math.inf,
        scheduling: Literal["lifo", "fifo"] = "lifo",
    ) -> None:
        self.max_sockets = max_sockets
        self.max_free_sockets = max_free_sockets
        self.max_total_sockets = max_total_sockets
        self.scheduling = scheduling
        self._origins: dict[str, _Origin[S, W]] = {}
        self._arrivals = 0
        self._total = 0

    # What the agent shows.

    @property
    def sockets(self) -> dict[str, list[S]]:
        """The sockets in use, by name."""
        return {name: list(each.busy) for name, each in self._origins.items() if each.busy}

    @property
    def free_sockets(self) -> dict[str, list[S]]:
        """The idle sockets, by name; the longest idle first."""
        return {name: list(each.free) for name, each in self._origins.items() if each.free}

    @property
    def requests(self) -> dict[str, list[W]]:
        """The waiting requests, by name; the first to be served first."""
        return {
            name: [waiter for _, waiter in each.queue]
            for name, each in self._origins.items()
            if each.queue
        }

    @property
    def total(self) -> int:
        """Sockets of all names, with those that are being made."""
        return self._total

    # What happens to requests.

    def request(self, name: str, waiter: W) -> list[Action[S, W]]:
        """A request wants a socket. An empty list: it waits in the queue."""
        origin = self._origin(name)
        if not origin.queue:
            if origin.free:
                return [Assign(waiter, self._use(origin))]
            if origin.size < self.max_sockets:
                if self._total < self.max_total_sockets:
                    return [self._reserve(origin, waiter)]
                evicted = self._evict()
                if evicted is not None:
                    return [Close(evicted), self._reserve(self._origin(name), waiter)]
        self._arrivals += 1
        origin.queue.append((self._arrivals, waiter))
        return []

    def take(self, name: str) -> S | None:
        """Give an idle socket at once, if there is one."""
        origin = self._origins.get(name)
        if origin is None or not origin.free:
            return None
        return self._use(origin)

    def cancel(self, name: str, waiter: W) -> None:
        """A request does not wait any more. Nothing happens if it was not in the queue."""
        origin = self._origins.get(name)
        if origin is not None:
            origin.queue = deque(entry for entry in origin.queue if entry[1] != waiter)
            self._tidy(name, origin)

    def admit(self) -> list[Action[S, W]]:
        """The limits may have been raised: let those dial who need wait no longer."""
        actions: list[Action[S, W]] = []
        while (origin := self._longest_waiting()) is not None:
            if self._total < self.max_total_sockets:
                actions.append(self._reserve(origin, origin.queue.popleft()[1]))
            elif (evicted := self._evict()) is not None:
                actions.append(Close(evicted))
            else:
                break
        return actions

    # What happens to sockets.

    def dialled(self, name: str, socket: S) -> None:
        """The connection for which a slot was reserved stands; its request has it."""
        origin = self._origins[name]
        origin.dialling -= 1
        origin.busy[socket] = None

    def dial_failed(self, name: str) -> list[Action[S, W]]:
        """The connection for which a slot was reserved came to nothing."""
        origin = self._origins[name]
        origin.dialling -= 1
        self._total -= 1
        return self._slot_freed(name, origin)

    def spare(self, name: str) -> bool:
        """Whether nobody waits for a socket of this name, and there is room to keep one more.

        May be asked without the lock, to learn what `release` is likely to need: it looks again.
        """
        origin = self._origins.get(name)
        return origin is not None and not origin.queue and not self._is_full(origin)

    def release(self, name: str, socket: S, *, keep: bool | None = None) -> list[Action[S, W]]:
        """A request is done with a socket that can be used again. An empty list: it is kept.

        Args:
            name: The socket's.
            socket: In use so far.
            keep: Whether it may be kept, should nobody want it; False closes it in any case. None:
                nobody was asked yet.
        """
        origin = self._origins.get(name)
        if origin is None or socket not in origin.busy:
            return [Close(socket)]  # taken out meanwhile, or the agent was destroyed
        if keep is False:
            return [Close(socket), *self.remove(name, socket)]
        if origin.queue:
            return [Assign(origin.queue.popleft()[1], socket)]
        if self._is_full(origin):
            return [Close(socket), *self.remove(name, socket)]
        if keep is None:
            return [Offer(socket)]
        del origin.busy[socket]
        origin.free.append(socket)
        return []

    def remove(self, name: str, socket: S) -> list[Action[S, W]]:
        """A socket is gone, or is to be the pool's no longer; its slot goes to who waits."""
        origin = self._origins.get(name)
        if origin is None:
            return []
        if socket in origin.busy:
            del origin.busy[socket]
        elif socket in origin.free:
            origin.free.remove(socket)
        else:
            return []
        self._total -= 1
        return self._slot_freed(name, origin)

    def replace(
        self, name: str, socket: S, waiter: W, *, fresh: bool = False
    ) -> list[Action[S, W]]:
        """A socket that `waiter` has is dead: it gets another one, before others do.

        Args:
            name: The name of both.
            socket: The dead one.
            waiter: Who had it.
            fresh: Whether it is to be a new one: what one idle socket met, the others may have met
                as well.
        """
        origin = self._origins.get(name)
        if origin is None or socket not in origin.busy:
            return self.request(name, waiter)
        del origin.busy[socket]
        self._total -= 1
        if origin.free and not fresh:
            return [Assign(waiter, self._use(origin))]
        return [self._reserve(origin, waiter)]

    def destroy(self) -> tuple[list[S], list[W]]:
        """Forget everything.

        Returns:
            All sockets, to be closed, and all waiting requests, to be told.
        """
        sockets = [s for each in self._origins.values() for s in (*each.busy, *each.free)]
        waiters = [w for each in self._origins.values() for _, w in each.queue]
        for name, origin in list(self._origins.items()):
            self._total -= len(origin.busy) + len(origin.free)
            origin.busy.clear()
            origin.free.clear()
            origin.queue.clear()
            self._tidy(name, origin)
        return sockets, waiters

    def abandon(self) -> None:
        """Forget who uses a socket, makes one or waits for one, and keep those that are idle."""
        self._origins = {name: each for name, each in self._origins.items() if each.free}
        for origin in self._origins.values():
            origin.busy.clear()
            origin.dialling = 0
        self._total = sum(len(each.free) for each in self._origins.values())

    # How.

    def _origin(self, name: str) -> _Origin[S, W]:
        origin = self._origins.get(name)
        if origin is None:
            origin = self._origins[name] = _Origin()
        return origin

    def _use(self, origin: _Origin[S, W]) -> S:
        socket = origin.free.pop() if self.scheduling == "lifo" else origin.free.popleft()
        origin.busy[socket] = None
        return socket

    def _reserve(self, origin: _Origin[S, W], waiter: W) -> Dial[W]:
        origin.dialling += 1
        self._total += 1
        return Dial(waiter)

    def _evict(self) -> S | None:
        """Take an idle socket of any name out, to make room under the total."""
        for name, origin in self._origins.items():
            if origin.free:
                socket = origin.free.popleft()
                self._total -= 1
                self._tidy(name, origin)
                return socket
        return None

    def _slot_freed(self, name: str, origin: _Origin[S, W]) -> list[Action[S, W]]:
        """Give a slot to the first who waits for this name, or else for any."""
        chosen = origin if origin.queue and origin.size < self.max_sockets else None
        if chosen is None:
            chosen = self._longest_waiting()
        actions: list[Action[S, W]] = []
        if chosen is not None and self._total < self.max_total_sockets:
            actions.append(self._reserve(chosen, chosen.queue.popleft()[1]))
        self._tidy(name, origin)
        return actions

    def _is_full(self, origin: _Origin[S, W]) -> bool:
        """Whether no more idle sockets can be kept, or somebody waits for a slot of any name."""
        if len(origin.free) >= self.max_free_sockets:
            return True
        return self._total >= self.max_total_sockets and bool(self._waiting())

    def _longest_waiting(self) -> _Origin[S, W] | None:
        return min(self._waiting(), key=lambda each: each.queue[0][0], default=None)

    def _waiting(self) -> list[_Origin[S, W]]:
        """The origins where somebody waits, and not for a socket of the same origin."""
        origins = list(self._origins.values())  # in one step, for `spare`
        return [each for each in origins if each.queue and each.size < self.max_sockets]

    def _tidy(self, name: str, origin: _Origin[S, W]) -> None:
        if origin.unused:
            self._origins.pop(name, None)

    def __repr__(self) -> str:
        parts = [
            f"{name}: {len(each.busy)} busy, {len(each.free)} free, {each.dialling} dialling, "
            f"{len(each.queue)} waiting"
            for name, each in sorted(self._origins.items())
        ]
        return f"<Pool {'; '.join(parts) or 'empty'}>"
