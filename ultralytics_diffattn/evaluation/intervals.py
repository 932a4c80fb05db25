# Ultralytics DiffAttn - AGPL-3.0 License
"""Confidence intervals of a difference, and the verdict that they allow."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from ultralytics_diffattn.errors import MissingPackageError

LEVEL = 0.95
LEAST_SEEDS = 3  # two are too few for any rule, see docs/statistics.md
LEAST_IMAGES = 10  # below, a percentile interval over images is far too narrow for a verdict
NO_VERDICT = "no verdict"


def check_scipy(what: str) -> None:
    """Raise if SciPy is missing, which intervals over seeds need: before the hours of training, not after.

    Args:
        what (str): What needs it, for the message.

    Raises:
        MissingPackageError: If it is not installed.

    Examples:
        >>> check_scipy("compare")
    """
    if find_spec("scipy") is None:
        raise MissingPackageError(f"{what} needs SciPy, which is not installed: pip install scipy")


def over_seeds(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % confidence interval of the mean of seed-paired differences.

    Args:
        differences (Sequence[float]): One for each seed, of two models trained with it.

    Returns:
        (tuple[float, float] | None): Lower and upper bound; None for fewer than two seeds, which have no spread.

    Examples:
        >>> [round(x, 3) for x in over_seeds([0.01, 0.02, 0.03])]
        [-0.005, 0.045]
    """
    from scipy.stats import sem, t

    if len(differences) < 2:
        return None
    error = sem(differences)
    if error == 0:  # no spread: the interval is a point, where SciPy gives NaN
        return float(np.mean(differences)), float(np.mean(differences))
    low, high = t.interval(LEVEL, len(differences) - 1, loc=np.mean(differences), scale=error)
    return float(low), float(high)


def over_resamples(differences: np.ndarray) -> tuple[float, float] | None:
    """Return the percentile interval of bootstrapped differences.

    Args:
        differences (np.ndarray): (resamples,), of the same images for both models.

    Returns:
        (tuple[float, float] | None): The 2.5th and the 97.5th percentile; None without resamples, as of one image.
    """
    if not len(differences):
        return None
    low, high = np.percentile(differences, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def verdict(difference: float, interval: tuple[float, float] | None, images: int) -> str:
    """Return what one interval allows to say of a difference.

    Args:
        difference (float): The observed difference.
        interval (tuple[float, float] | None): Its confidence interval; None where there is none.
        images (int): Number of validation images.

    Returns:
        (str): "better" or "worse" if the interval lies on one side of zero, else "not distinguishable"; "no verdict"
            from fewer than `LEAST_IMAGES`.

    Examples:
        >>> verdict(0.02, (-0.001, 0.04), images=100)
        'not distinguishable'
    """
    if images < LEAST_IMAGES:
        return NO_VERDICT
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"


def in_words(first: str, verdict: str, second: str) -> str:
    """Return a verdict as the beginning of a sentence.

    Args:
        first (str): The model that the other is compared with.
        verdict (str): "better", "worse", "equal", "not distinguishable" or "no verdict".
        second (str): The other.

    Returns:
        (str): Such as "b is better than a".

    Examples:
        >>> in_words("a", "not distinguishable", "b"), in_words("a", "equal", "b")
        ('b is not distinguishable from a', 'b is equal to a')
    """
    if verdict == NO_VERDICT:
        return f"{second} gets no verdict against {first}"
    preposition = {"equal": "to", "not distinguishable": "from"}.get(verdict, "than")
    return f"{second} is {verdict} {preposition} {first}"


def too_few(images: int) -> str:
    """Return why there is no verdict, for a sentence.

    Args:
        images (int): Number of images that are scored, fewer than `LEAST_IMAGES`.

    Returns:
        (str): The reason.

    Examples:
        >>> too_few(2)
        'there are 2 images, and a verdict needs at least 10'
    """
    there = "is 1 image" if images == 1 else f"are {images} images"
    return f"there {there}, and a verdict needs at least {LEAST_IMAGES}"
