# Ultralytics DiffAttn - AGPL-3.0 License
"""Intervals round a difference, and what may be said of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def over_seeds(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval round the mean of seed-paired differences.

    Args:
        differences (Sequence[float]): One for each seed, of two models trained with it.

    Returns:
        (tuple[float, float] | None): Low and high; None for a single seed, which says nothing about their spread.

    Examples:
        >>> [round(x, 3) for x in over_seeds([0.01, 0.02, 0.03])]
        [-0.005, 0.045]
    """
    from scipy.stats import t

    n = len(differences)
    if n < 2:
        return None
    half = t.ppf((1 + LEVEL) / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n)
    mean = np.mean(differences)
    return float(mean - half), float(mean + half)


def over_resamples(differences: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval of bootstrapped differences.

    Args:
        differences (np.ndarray): (resamples,).

    Returns:
        (tuple[float, float]): The 2.5th and the 97.5th percentile.
    """
    low, high = np.percentile(differences, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def seeds_needed(differences: Sequence[float], most: int = 1000) -> int | None:
    """Return how many seeds would take zero out of `over_seeds`, if mean and spread stay as they were seen.

    Args:
        differences (Sequence[float]): One for each seed.
        most (int): Where to stop looking.

    Returns:
        (int | None): At least 2; None for a single seed, or if `most` would not do.

    Examples:
        >>> seeds_needed([0.01, 0.02, 0.03])
        4
    """
    from scipy.stats import t

    if len(differences) < 2 or np.mean(differences) == 0:
        return None
    ratio = np.std(differences, ddof=1) / abs(np.mean(differences))
    sizes = np.arange(2, most + 1)
    enough = t.ppf((1 + LEVEL) / 2, sizes - 1) * ratio < np.sqrt(sizes)
    return int(sizes[enough.argmax()]) if enough.any() else None


def verdict(difference: float, *intervals: tuple[float, float] | None) -> str:
    """Say what the intervals allow.

    Args:
        difference (float): The difference seen.
        *intervals (tuple[float, float] | None): Those round it; None where there is none.

    Returns:
        (str): "better" or "worse" if every interval lies on one side of zero; else "not distinguishable".

    Examples:
        >>> verdict(0.02, (0.01, 0.03), (-0.001, 0.04))
        'not distinguishable'
    """
    if any(i is None or i[0] <= 0 <= i[1] for i in intervals):
        return "not distinguishable"
    return "better" if difference > 0 else "worse"
