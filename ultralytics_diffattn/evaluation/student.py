# Ultralytics DiffAttn - AGPL-3.0 License
"""A difference with its standard error: Student's interval and tests, and the average of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ultralytics_diffattn.evaluation.intervals import LEVEL


class Student(NamedTuple):
    """A difference whose error has Student's distribution.

    Attributes:
        difference (float): The observed difference.
        error (float): Its standard error, in the same unit.
        df (float): Degrees of freedom of the error; infinite where nothing varies.
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


def average(found: Sequence[Student]) -> Student:
    """Return the average of independent differences, each with the same weight.

    Args:
        found (Sequence[Student]): One or more.

    Returns:
        (Student): Its variance is that of a mean; its degrees of freedom are Satterthwaite's.

    Examples:
        >>> average([Student(0.01, 0.003, 8), Student(0.03, 0.004, 8)])
        Student(difference=0.02, error=0.0025, df=14.8...)
    """
    variances = np.square([f.error for f in found])
    spread = float((variances**2 / [f.df for f in found]).sum())
    return Student(
        float(np.mean([f.difference for f in found])),
        float(variances.sum() ** 0.5 / len(found)),
        float(variances.sum()) ** 2 / spread if spread else float("inf"),
    )


def _in_errors(distance: float, error: float) -> float:
    """Return a distance in standard errors; of no error, infinity with the distance's sign."""
    if error == 0:
        return float(np.copysign(np.inf, distance)) if distance else 0.0
    return distance / error
