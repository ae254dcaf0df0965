"""Recent: a mapping that is bounded by forgetting what was used longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """What was used lately. Any thread.

    Args:
        limit: How many values are kept at the most; 0: none.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        # Guarded by `_lock`:
        self._limit = limit
        self._kept: OrderedDict[K, V] = OrderedDict()

    @property
    def limit(self) -> int:
        """How many values are kept at the most. What is beyond a lower one is forgotten at once."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._shrink()

    def get(self, key: K) -> V | None:
        """Give the value of a key, if there is one."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value, in the place of an older one."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            self._shrink()

    def drop(self, key: K) -> None:
        """Forget a value."""
        with self._lock:
            self._kept.pop(key, None)

    def _shrink(self) -> None:
        """Forget what is too much; `_lock` is held."""
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
