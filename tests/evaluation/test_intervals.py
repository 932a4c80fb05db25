"""Intervals against scipy, against simulation, and at their edges."""

import sys

import numpy as np
import pytest
from scipy import stats

from ultralytics_diffattn.errors import MissingPackageError
from ultralytics_diffattn.evaluation import intervals


@pytest.mark.parametrize("differences", [[0.01, 0.02, 0.03], [-0.1, 0.1], list(np.linspace(-1, 3, 9) ** 3)])
def test_over_seeds_is_students(differences):
    test = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert intervals.over_seeds(differences) == pytest.approx((test.low, test.high), rel=1e-12)


def test_over_seeds_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low <= 0.3 <= high for low, high in map(intervals.over_seeds, rng.normal(0.3, 1, (2000, 3)))]
    assert abs(np.mean(covered) - 0.95) < 0.015  # three standard errors


@pytest.mark.parametrize(("differences", "expected"), [([0.1], None), ([], None), ([0.2, 0.2, 0.2], (0.2, 0.2))])
def test_over_seeds_edges(differences, expected):
    interval = intervals.over_seeds(differences)
    assert interval == (expected if expected is None else pytest.approx(expected))


def test_over_resamples():
    assert intervals.over_resamples(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize(
    ("difference", "interval", "expected"),
    [
        (0.02, (0.001, 0.04), "better"),
        (-0.02, (-0.04, -0.001), "worse"),
        (0.02, (-0.001, 0.04), "not distinguishable"),
        (0.02, None, "not distinguishable"),
        (0.0, (0.0, 0.0), "not distinguishable"),  # the same model twice
    ],
)
def test_verdict(difference, interval, expected):
    assert intervals.verdict(difference, interval, intervals.LEAST_IMAGES) == expected
    assert intervals.verdict(difference, interval, intervals.LEAST_IMAGES - 1) == "no verdict"


def test_no_interval_without_resamples():
    assert intervals.over_resamples(np.empty(0)) is None


def test_without_scipy(monkeypatch):
    intervals.check_scipy("compare")
    monkeypatch.setitem(sys.modules, "scipy", None)  # as if it were not installed
    with pytest.raises(MissingPackageError, match=r"^compare needs SciPy, which is not installed: pip install scipy$"):
        intervals.check_scipy("compare")
