# Ultralytics DiffAttn - AGPL-3.0 License
"""Puts a function of ours in the place of one of ultralytics', once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any


def replace(owner: ModuleType | type | None, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace a function of a module, or a method of a class, by what `make` returns for it.

    Nothing happens where it is missing, as in another version of ultralytics, or already ours.

    Args:
        owner (ModuleType | type | None): What defines it; None for nothing.
        name (str): Its name there.
        make (Callable): Returns ours, of which stock's is the attribute `stock`.

    Examples:
        >>> class Stock:
        ...     def one(self):
        ...         return 1
        >>> for _ in range(2):
        ...     replace(Stock, "one", lambda stock: lambda self: stock(self) + 1)
        >>> Stock().one()
        2
    """
    stock = vars(owner).get(name) if owner else None
    if stock is None or hasattr(stock, "stock"):
        return
    ours = functools.wraps(stock)(make(stock))
    vars(ours)["stock"] = stock  # the mark that it is ours
    setattr(owner, name, ours)
