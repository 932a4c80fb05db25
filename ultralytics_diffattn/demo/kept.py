# Ultralytics DiffAttn - AGPL-3.0 License
"""What the server keeps for its users: a bounded number of things, each under a name that nobody can guess."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class GoneError(KeyError):
    """A name under which nothing is kept any more; the page then sends again what it has."""


class Kept(Generic[T]):
    """Things by name, of which the longest unused goes when there are too many.

    Args:
        limit (int): How many are kept.

    Examples:
        >>> kept = Kept(limit=2)
        >>> first, second = kept.add("a"), kept.add("b")
        >>> kept.get(first), kept.get(kept.add("c"))
        ('a', 'c')
        >>> kept.get(second)
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.demo.kept.GoneError: ...
    """

    def __init__(self, limit: int):
        """Keep nothing yet."""
        self._limit = limit
        self._things: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def add(self, thing: T, instead_of: str = "") -> str:
        """Keep a thing and return its name.

        Args:
            thing (T): The thing.
            instead_of (str): Name of one that is not needed any more, such as the previous frame of a video.

        Returns:
            (str): 128 random bits.
        """
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._things.pop(instead_of, None)
            self._things[name] = thing
            while len(self._things) > self._limit:
                self._things.popitem(last=False)
        return name

    def get(self, name: str) -> T:
        """Return the thing of a name.

        Args:
            name (str): From `add`.

        Returns:
            (T): The thing.

        Raises:
            GoneError: If it is not kept any more, or never was.
        """
        with self._lock:
            if name not in self._things:
                raise GoneError(name)
            self._things.move_to_end(name)
            return self._things[name]

    def __len__(self) -> int:
        """Return how many things are kept."""
        return len(self._things)
