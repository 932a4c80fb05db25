# Ultralytics DiffAttn - AGPL-3.0 License
"""The error of a difference that has two sources of chance, seeds and images, and the seeds that it takes to see it.

Of models that are only evaluated, images are the only source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ultralytics_diffattn.evaluation.intervals import LEAST_IMAGES, LEAST_SEEDS, LEVEL
from ultralytics_diffattn.evaluation.student import Student

POWER = 0.8  # share of experiments in which a difference is to be found


class Estimate(NamedTuple):
    """A difference between two models with what chance adds to it.

    Attributes:
        difference (float): The mean over seeds.
        of_seed (float): Variance of one seed's difference, in the square of the same unit.
        of_images (float): Variance that the images add to all seeds alike.
        of_both (float): Variance that the images add to one seed by itself.
        seeds (int | None): Number of seeds; None for models as they are, which have none.
        images (int): Number of validation images.
    """

    difference: float
    of_seed: float
    of_images: float
    of_both: float
    seeds: int | None
    images: int

    @property
    def student(self) -> Student:
        """Return the difference with its standard error, degrees of freedom by Satterthwaite; of images one less."""
        if self.seeds is None:
            return Student(self.difference, self.of_images**0.5, float(self.images - 1))
        return Student(self.difference, float(_error(self, self.seeds)), float(_df(self, self.seeds)))

    @property
    def suffices(self) -> bool:
        """Return whether there are images enough for a verdict, and seeds, where there are any."""
        return self.images >= LEAST_IMAGES and (self.seeds is None or self.seeds >= LEAST_SEEDS)

    def seeds_needed(self, tests: int = 1, most: int = 1000) -> int | None:
        """Return the number of seeds that would find a difference so large in 80 % of experiments.

        The images stay those that there are. The spread of a few seeds is itself uncertain, and so is this number.

        Args:
            tests (int): Number of tests that it is one of; the strictest of Holm's levels is meant.
            most (int): The largest number to consider.

        Returns:
            (int | None): At least `LEAST_SEEDS`; None if `most` would not suffice, as with too few images none does,
                and for models as they are.

        Examples:
            >>> Estimate(0.02, of_seed=0.0001, of_images=0.0, of_both=0.0, seeds=3, images=1000).seeds_needed()
            5
        """
        from scipy.stats import nct, t

        if self.seeds is None:
            return None
        if self.student.error == 0:
            return LEAST_SEEDS if self.difference else None
        seeds = np.arange(LEAST_SEEDS, most + 1)
        df = _df(self, seeds)
        power = nct.sf(t.isf((1 - LEVEL) / 2 / tests, df), df, abs(self.difference) / _error(self, seeds))
        enough = power >= POWER
        return int(seeds[enough.argmax()]) if enough.any() else None


def estimate(per_seed: Sequence[float], resamples: np.ndarray, images: int) -> Estimate | None:
    """Return the estimate of a difference from its two sources of chance.

    The variances of the mean over seeds and over resampled images are added, as if independent, though both hold what
    a seed makes of each image: to count that once was measured, too, and errs more often. Degrees of freedom are
    Satterthwaite's. `scripts/comparison_rule.py` measures how often the interval holds the truth.

    Args:
        per_seed (Sequence[float]): The difference for each of S seeds.
        resamples (np.ndarray): (resamples, S), the same on resampled images, which are the same for all seeds.
        images (int): Number of validation images.

    Returns:
        (Estimate | None): None for fewer than two seeds or images, as one has no spread.

    Examples:
        >>> resamples = np.array([[0.009, 0.019, 0.029], [0.010, 0.020, 0.030], [0.011, 0.021, 0.031]])
        >>> [round(x, 3) for x in estimate([0.01, 0.02, 0.03], resamples, images=100).student.interval()]
        [-0.004, 0.044]
    """
    seeds = len(per_seed)
    if seeds < 2 or images < 2 or len(resamples) < 2:
        return None
    of_seed, of_mean = float(np.var(per_seed, ddof=1)), float(np.var(resamples.mean(1), ddof=1))
    of_both = max(float(np.var(resamples, axis=0, ddof=1).mean()) - of_mean, 0.0) * seeds / (seeds - 1)
    of_images = max(of_mean - of_both / seeds, 0.0)
    return Estimate(float(np.mean(per_seed)), of_seed, of_images, seeds * (of_mean - of_images), seeds, images)


def estimate_of_weights(difference: float, resamples: np.ndarray, images: int) -> Estimate | None:
    """Return the estimate of a difference between two models as they are, of which only images are a source of chance.

    It says nothing of another training of the same models: `scripts/comparison_rule.py` measures that, too.

    Args:
        difference (float): The observed one.
        resamples (np.ndarray): (resamples,), the same on resampled images.
        images (int): Number of validation images.

    Returns:
        (Estimate | None): None for fewer than two images, as one has no spread.

    Examples:
        >>> found = estimate_of_weights(0.02, np.array([0.015, 0.02, 0.025]), images=100)
        >>> [round(x, 3) for x in found.student.interval()]
        [0.01, 0.03]

    References:
        Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015, section 3.2.
    """
    if images < 2 or len(resamples) < 2:
        return None
    # Resamples of N images have (N - 1) / N of the variance of samples of N: for a mean, this is Student's own test.
    of_images = float(np.var(resamples, ddof=1)) * images / (images - 1)
    return Estimate(difference, 0.0, of_images, 0.0, None, images)


def _error(found: Estimate, seeds: Any) -> Any:
    """Return the standard error with that many seeds."""
    return (found.of_seed / seeds + _of_mean(found, seeds)) ** 0.5


def _of_mean(found: Estimate, seeds: Any) -> Any:
    """Return the variance of the mean over that many seeds on resampled images."""
    return found.of_images + found.of_both / seeds


def _df(found: Estimate, seeds: Any) -> Any:
    """Return Satterthwaite's degrees of freedom with that many seeds; infinite without any spread."""
    parts = (found.of_seed / seeds) ** 2 / (seeds - 1) + _of_mean(found, seeds) ** 2 / (found.images - 1)
    with np.errstate(divide="ignore"):
        return np.where(parts > 0, _error(found, seeds) ** 4 / np.where(parts > 0, parts, 1.0), np.inf)
