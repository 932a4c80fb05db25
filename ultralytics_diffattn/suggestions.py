# Ultralytics DiffAttn - AGPL-3.0 License
"""Did you mean ...? The known names nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, known: Iterable[object], count: int = 1) -> str:
    """Return a sentence that suggests the nearest known names, or nothing if none is near.

    Args:
        name (object): The unknown name.
        known (Iterable[object]): The names to choose from; upper and lower case are alike.
        count (int): The largest number of suggestions.

    Returns:
        (str): With a space before it, to follow another sentence; empty if no name is near.

    Examples:
        >>> did_you_mean("fgo", ["fog", "snow"]), did_you_mean("rain", ["fog", "snow"])
        (' Did you mean fog?', '')
    """
    by_lower = {str(k).lower(): str(k) for k in known}
    near = [by_lower[match] for match in get_close_matches(str(name).lower(), by_lower, n=count)]
    return f" Did you mean {' or '.join(near)}?" if near else ""
