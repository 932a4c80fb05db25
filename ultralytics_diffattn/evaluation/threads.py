# Ultralytics DiffAttn - AGPL-3.0 License
"""The same for several things at a time, on all cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
SHORT = 0.02  # seconds; for less, threads wait for each other longer than they gain


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the function's result for each item, in their order; NumPy lets other threads run in its long passes.

    If the first item is quick, the others follow in this thread.

    Args:
        function (Callable): Of one item; it writes into nothing that another call reads.
        items (Iterable): What it is called with.

    Returns:
        (list): One result for each item.

    Examples:
        >>> in_threads(abs, [-1, 2])
        [1, 2]
    """
    rest, start = iter(items), time.perf_counter()
    done = [function(item) for item in islice(rest, 1)]
    if time.perf_counter() - start < SHORT:
        return [*done, *map(function, rest)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [*done, *pool.map(function, rest)]
