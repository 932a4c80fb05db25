# Ultralytics DiffAttn - AGPL-3.0 License
"""The same for several things at a time, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the function's result for each item, in their order; NumPy frees the other threads in its long passes.

    Args:
        function (Callable): Of one item; it writes into nothing that another call reads.
        items (Iterable): What it is called with.

    Returns:
        (list): One result for each item.

    Examples:
        >>> in_threads(abs, [-1, 2])
        [1, 2]
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))
