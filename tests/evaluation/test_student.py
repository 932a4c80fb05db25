"""Student's interval and tests of a difference, and the average of several, beside SciPy's on made-up samples."""

import numpy as np
import pytest
from scipy import stats

from ultralytics_diffattn.evaluation.student import Student, average

SAMPLE = np.array([0.01, 0.03, 0.02, -0.01, 0.04])


def student(sample):
    return Student(float(sample.mean()), float(stats.sem(sample)), len(sample) - 1)


def test_interval_and_p_value_are_scipys():
    test = stats.ttest_1samp(SAMPLE, 0)
    assert student(SAMPLE).interval() == pytest.approx(tuple(test.confidence_interval()))
    assert student(SAMPLE).p_different() == pytest.approx(test.pvalue)


@pytest.mark.parametrize("sizes", [(5, 5), (4, 9), (3, 3)], ids=str)
def test_the_average_of_two_is_half_of_welchs_difference(sizes):
    """The sum of two means is the difference from a sample with the other sign."""
    a, b = (np.random.default_rng(n).normal(0.02, 0.01 + 0.01 * n, size) for n, size in enumerate(sizes))
    welch, found = stats.ttest_ind(a, -b, equal_var=False), average([student(a), student(b)])
    assert found.p_different() == pytest.approx(welch.pvalue)
    assert found.df == pytest.approx(welch.df)
    assert found.interval() == pytest.approx(tuple(0.5 * end for end in welch.confidence_interval()))


def test_the_average_of_one_is_itself():
    assert average([student(SAMPLE)]) == pytest.approx(student(SAMPLE))


def test_without_any_spread():
    assert average([Student(0.01, 0.0, np.inf)] * 2) == (0.01, 0.0, np.inf)
    assert average([Student(0.0, 0.0, np.inf), Student(0.02, 0.004, 7)]) == pytest.approx((0.01, 0.002, 7))
