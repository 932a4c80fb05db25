"""What may be said of the differences of a report."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ultralytics_diffattn.comparison.verdicts import adjusted, verdicts
from ultralytics_diffattn.evaluation.estimates import Estimate
from ultralytics_diffattn.evaluation.student import Student

MARGIN = 0.005
SURE = Estimate(0.02, of_seed=1e-6, of_images=1e-6, of_both=0.0, seeds=3, images=500)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (SURE, "better"),
        (SURE._replace(difference=-0.02), "worse"),
        (SURE._replace(difference=0.0), "equal"),
        (SURE._replace(difference=0.004, of_seed=1e-8, of_images=1e-8), "better"),  # though less than the margin
        (SURE._replace(of_seed=1e-3), "not distinguishable"),
        (SURE._replace(of_images=1e-3), "not distinguishable"),
        (SURE._replace(difference=0.0, of_images=1e-3), "not distinguishable"),  # equal, but nobody knows
        (SURE._replace(seeds=2), "no verdict"),
        (SURE._replace(images=9), "no verdict"),
        (SURE._replace(images=10), "better"),
        (SURE._replace(seeds=None, of_seed=0.0), "better"),  # of models as they are
        (SURE._replace(seeds=None, of_seed=0.0, images=9), "no verdict"),
        (None, "no verdict"),
    ],
)
def test_verdict(found, word):
    (verdict,) = verdicts([found], MARGIN)
    assert verdict.word == word
    if word == "no verdict":
        assert (verdict.p_different, verdict.p_unequal) == (None, None)
    else:
        alone = found.student
        assert (verdict.p_different, verdict.p_unequal) == (alone.p_different(), alone.p_unequal(MARGIN))


def test_a_report_of_many_differences_is_stricter():
    """What is distinguishable from zero by itself is not, as one of many that are not."""
    doubtful = SURE._replace(difference=0.0065, of_seed=1e-5)
    assert verdicts([doubtful], MARGIN)[0].word == "better"
    others = [SURE._replace(difference=d, of_images=1e-3) for d in (0.0, 0.001, 0.002, 0.003)]
    said = verdicts([*others, doubtful, None], MARGIN)
    assert [verdict.word for verdict in said] == ["not distinguishable"] * 5 + ["no verdict"]
    for n, p_value in ((1, lambda e: e.student.p_different()), (2, lambda e: e.student.p_unequal(MARGIN))):
        adjusted = multipletests([p_value(e) for e in [*others, doubtful]], method="holm")[1]
        assert [verdict[n] for verdict in said[:-1]] == pytest.approx(list(adjusted))


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_as_statsmodels_does(seed):
    differences = np.random.default_rng(seed).normal(0, 0.01, 20).tolist()
    differences += [*differences[:4], 0.0, 1.0]  # ties, the largest and the smallest p-value
    found = [Student(d, 0.005, 4) for d in differences]
    said = adjusted(found, MARGIN)
    for n, p_values in ((1, [f.p_different() for f in found]), (2, [f.p_unequal(MARGIN) for f in found])):
        assert [verdict[n] for verdict in said] == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_nothing_to_say():
    assert verdicts([], MARGIN) == []
