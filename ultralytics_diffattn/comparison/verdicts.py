# Ultralytics DiffAttn - AGPL-3.0 License
"""What may be said of each difference of a report: better, worse, equal within a margin, or nothing.

The rule was chosen by simulation: `scripts/comparison_rule.py`, docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ultralytics_diffattn.evaluation.estimates import Estimate
from ultralytics_diffattn.evaluation.intervals import LEVEL, NO_VERDICT
from ultralytics_diffattn.evaluation.student import Student


class Verdict(NamedTuple):
    """What may be said of a difference.

    Attributes:
        word (str): "better", "worse", "equal", "not distinguishable" or "no verdict".
        p_different (float | None): p-value of the models being alike, adjusted; None without a verdict.
        p_unequal (float | None): p-value of the models differing by the margin or more, adjusted; None likewise.
    """

    word: str
    p_different: float | None
    p_unequal: float | None


def verdicts(estimates: Sequence[Estimate | None], margin: float) -> list[Verdict]:
    """Return what may be said of each difference of a report.

    Each is tested twice, whether there is a difference and whether it is smaller than the margin. Each of the two
    questions is adjusted by Holm's method, so that 95 % hold for all its answers in a report together.

    Args:
        estimates (Sequence[Estimate | None]): The differences; None for one that has no interval.
        margin (float): Difference that does not matter, in the unit of the estimates.

    Returns:
        (list[Verdict]): One for each. A difference that is told from zero is better or worse however small it is; of
            fewer than 3 seeds or 10 images there is none; models as they are have no seeds, and need none.

    Examples:
        >>> found = Estimate(0.02, of_seed=1e-6, of_images=1e-6, of_both=0.0, seeds=3, images=500)
        >>> [verdict.word for verdict in verdicts([found, found._replace(difference=0.0), None], margin=0.005)]
        ['better', 'equal', 'no verdict']
    """
    return adjusted([e.student if e and e.suffices else None for e in estimates], margin)


def adjusted(differences: Sequence[Student | None], margin: float) -> list[Verdict]:
    """Return what may be said of differences that are asked together.

    Args:
        differences (Sequence[Student | None]): Each with its error; None for one that is not tested.
        margin (float): Difference that does not matter, in the same unit.

    Returns:
        (list[Verdict]): One for each.

    Examples:
        >>> [verdict.word for verdict in adjusted([Student(0.02, 0.001, 9), None], margin=0.005)]
        ['better', 'no verdict']
    """
    tested = {i: found for i, found in enumerate(differences) if found}
    different = _holm([found.p_different() for found in tested.values()])
    unequal = _holm([found.p_unequal(margin) for found in tested.values()])
    said = [Verdict(NO_VERDICT, None, None)] * len(differences)
    for (i, found), *p_values in zip(tested.items(), different, unequal, strict=True):
        said[i] = Verdict(_word(found, *p_values), *p_values)
    return said


def _holm(p_values: list[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979); statsmodels has it, too, and would bring 160 MB."""
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(np.sort(p_values) * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(raised, 1)
    return [float(p) for p in adjusted]


def _word(found: Student, p_different: float, p_unequal: float) -> str:
    """Return the verdict that two adjusted p-values allow."""
    if p_different < 1 - LEVEL:
        return "better" if found.difference > 0 else "worse"
    return "equal" if p_unequal < 1 - LEVEL else "not distinguishable"
