# Ultralytics DiffAttn - AGPL-3.0 License
"""Did you mean ...? The known names that are nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, known: Iterable[object], count: int = 1) -> str:
    """Return a sentence that suggests the nearest known names, or nothing if none is near.

    Args:
        name (object): What was given.
        known (Iterable[object]): What there is.
        count (int): How many to suggest at most.

    Returns:
        (str): With a space before it, to stand behind another sentence.

    Examples:
        >>> did_you_mean("fgo", ["fog", "snow"]), did_you_mean("rain", ["fog", "snow"])
        (' Did you mean fog?', '')
    """
    by_lower = {str(k).lower(): str(k) for k in known}
    near = [by_lower[match] for match in get_close_matches(str(name).lower(), by_lower, n=count)]
    return f" Did you mean {' or '.join(near)}?" if near else ""
