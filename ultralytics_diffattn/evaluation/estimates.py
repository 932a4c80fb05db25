# Ultralytics DiffAttn - AGPL-3.0 License
"""One interval for a difference that has two sources of chance, seeds and images, and tests of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ultralytics_diffattn.evaluation.intervals import LEVEL


class Estimate(NamedTuple):
    """A difference between two models with what chance adds to it.

    Attributes:
        difference (float): The mean over seeds.
        error (float): Its standard error, in the same unit.
        df (float): Degrees of freedom of Student's t.
    """

    difference: float
    error: float
    df: float

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval."""
        from scipy.stats import t

        reach = self.error * float(t.ppf((1 + LEVEL) / 2, self.df))
        return self.difference - reach, self.difference + reach

    def p_different(self) -> float:
        """Return the p-value of Student's two-sided test that the models are alike."""
        from scipy.stats import t

        return 2 * float(t.sf(_in_errors(abs(self.difference), self.error), self.df))

    def p_unequal(self, margin: float) -> float:
        """Return the p-value of two one-sided tests that the models differ by `margin` or more (Schuirmann 1987)."""
        from scipy.stats import t

        return float(t.sf(_in_errors(margin - abs(self.difference), self.error), self.df))


def estimate(per_seed: Sequence[float], resamples: np.ndarray, images: int) -> Estimate | None:
    """Return the estimate of a difference from its two sources of chance.

    The variances of the mean over seeds and over resampled images are added, as if independent; the degrees of freedom
    are Satterthwaite's. `scripts/comparison_rule.py` measures how often the interval holds the truth.

    Args:
        per_seed (Sequence[float]): The difference for each seed.
        resamples (np.ndarray): (resamples,), the mean over seeds for resampled images, the same for both models.
        images (int): Number of validation images.

    Returns:
        (Estimate | None): None for fewer than two seeds or images, as one has no spread.

    Examples:
        >>> found = estimate([0.01, 0.02, 0.03], np.array([0.019, 0.020, 0.021]), images=100)
        >>> [round(x, 3) for x in found.interval()]
        [-0.004, 0.044]
    """
    if len(per_seed) < 2 or images < 2 or len(resamples) < 2:
        return None
    by_seed = float(np.var(per_seed, ddof=1)) / len(per_seed)
    by_image = float(np.var(resamples, ddof=1))
    total = by_seed + by_image
    parts = by_seed**2 / (len(per_seed) - 1) + by_image**2 / (images - 1)
    return Estimate(float(np.mean(per_seed)), total**0.5, total**2 / parts if parts else np.inf)


def _in_errors(distance: float, error: float) -> float:
    """Return a distance in standard errors; of no error, infinity with the distance's sign."""
    if error == 0:
        return float(np.copysign(np.inf, distance)) if distance else 0.0
    return distance / error
