"""ultralytics_diffattn/evaluation/estimates.py beside SciPy's tests."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.evaluation.estimates import Estimate, estimate, estimate_of_weights

STILL = np.zeros((10, 4))  # resamples without any spread: chance is of the seeds alone
SEEDS = [0.01, 0.03, 0.02, 0.05]


def test_of_seeds_alone_it_is_students():
    found, test = estimate(SEEDS, STILL, 100), stats.ttest_1samp(SEEDS, 0)
    assert found.student.interval() == pytest.approx(intervals.over_seeds(SEEDS))
    assert found.student.p_different() == pytest.approx(test.pvalue)


def test_of_images_alone_it_is_the_resamples_spread():
    resamples = np.random.default_rng(0).normal(0.02, 0.01, 10_000)
    low, high = estimate([0.02, 0.02], np.stack([resamples] * 2, 1), 1_000_000).student.interval()
    assert (low, high) == pytest.approx(intervals.over_resamples(resamples), abs=3e-4)


def test_the_parts_of_the_spread_are_told_apart():
    """Differences of seed, image and both, drawn with variances that are known."""
    rng, seeds, images = np.random.default_rng(0), 6, 400
    found = []
    for _ in range(300):
        by_image = rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.3, images) + rng.normal(0, 0.6, (seeds, images))
        counts = rng.multinomial(images, np.full(images, 1 / images), 100)
        resamples = counts @ by_image.T / images  # (resamples, S)
        found.append(estimate(by_image.mean(1), resamples, images))
        added = np.var(by_image.mean(1), ddof=1) / seeds + np.var(resamples.mean(1), ddof=1)
        assert found[-1].student.error == pytest.approx(added**0.5)
    assert np.mean([e.of_images for e in found]) == pytest.approx(0.3**2 / images, rel=0.1)
    assert np.mean([e.of_both for e in found]) == pytest.approx(0.6**2 / images, rel=0.1)
    assert np.mean([e.of_seed for e in found]) == pytest.approx(0.02**2 + 0.6**2 / images, rel=0.1)


@pytest.mark.parametrize("margin", [0.001, 0.02, 0.06])
def test_equivalence_is_two_one_sided_tests(margin):
    lower = stats.ttest_1samp(SEEDS, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(SEEDS, margin, alternative="less").pvalue
    assert estimate(SEEDS, STILL, 100).student.p_unequal(margin) == pytest.approx(max(lower, upper))


def test_degrees_of_freedom_are_welchs():
    """Welch's test adds the variances of two means in the same way."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 5), rng.normal(0, 3, 40)
    spread = np.array([-1.0, 1.0]) * stats.sem(b) / np.sqrt(2)  # whose variance is that of b's mean
    resamples = np.repeat(spread[:, None], len(a), 1)  # to the seeds all images are alike
    welch = stats.ttest_ind(a, b, equal_var=False)
    found = estimate(a, resamples, len(b))
    assert (found.student.df, found.student.error) == pytest.approx(
        (welch.df, abs((a.mean() - b.mean()) / welch.statistic))
    )


@pytest.mark.parametrize(
    ("per_seed", "resamples", "images"),
    [([0.1], np.ones((2, 1)), 100), ([0.1, 0.2], np.empty((0, 2)), 1), ([0.1, 0.2], np.ones((2, 2)), 1)],
    ids=["one seed", "one image, no resamples", "one image"],
)
def test_none_of_one(per_seed, resamples, images):
    assert estimate(per_seed, resamples, images) is None


@pytest.mark.parametrize(("difference", "different", "unequal"), [(0.0, 1.0, 0.0), (0.01, 0.0, 1.0), (0.005, 0.0, 0.5)])
def test_without_any_spread(difference, different, unequal):
    found = estimate([difference] * 3, np.full((5, 3), difference), 100)
    assert found.student == (difference, 0.0, np.inf)
    assert found.seeds_needed() == (3 if difference else None)
    assert (found.student.p_different(), found.student.p_unequal(0.005)) == (different, unequal)


@pytest.mark.parametrize(("difference", "sd"), [(0.02, 0.01), (0.01, 0.02), (-0.03, 0.03)])
def test_seeds_needed_without_images_is_that_of_the_t_test(difference, sd):
    n = Estimate(difference, sd**2, 0.0, 0.0, 3, 100).seeds_needed()
    before, at = (TTestPower().power(abs(difference) / sd, seeds, 0.025, alternative="larger") for seeds in (n - 1, n))
    assert before < 0.8 <= at


def test_of_several_tests_each_takes_more_seeds():
    found = Estimate(0.02, 4e-4, 0.0, 0.0, 3, 100)
    counts = [found.seeds_needed(tests) for tests in (1, 2, 6)]
    assert counts == sorted(set(counts))
    for tests, n in zip((1, 2, 6), counts, strict=True):
        power = [TTestPower().power(1.0, k, 0.025 / tests, alternative="larger") for k in (n - 1, n)]
        assert power[0] < 0.8 <= power[1]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Estimate(0.0, 1e-4, 1e-5, 0.0, 3, 100), None),  # nothing to find
        (Estimate(0.01, 1e-4, 1e-4, 0.0, 3, 100), None),  # the images alone hide it
        (Estimate(1e-6, 1e-4, 0.0, 0.0, 3, 100), None),  # more than 1,000
    ],
)
def test_no_number_of_seeds(found, expected):
    assert found.seeds_needed() is expected


def test_of_weights_it_is_students_of_the_images():
    """Of a mean of images, whose resamples' spread is that of the mean."""
    by_image = np.random.default_rng(2).normal(0.01, 0.1, 60)
    counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), 20_000)
    found, test = estimate_of_weights(by_image.mean(), counts @ by_image / 60, 60), stats.ttest_1samp(by_image, 0)
    assert found.student.df == test.df
    assert found.student.interval() == pytest.approx(tuple(test.confidence_interval()), abs=1e-3)
    assert found.student.p_different() == pytest.approx(test.pvalue, abs=0.01)
    assert found.seeds_needed() is None


def test_of_weights_that_are_alike_everything_is_known():
    found = estimate_of_weights(0.0, np.zeros(1000), 20)
    assert (found.student.interval(), found.student.p_different(), found.student.p_unequal(0.005)) == ((0, 0), 1, 0)
    assert estimate_of_weights(0.1, np.empty(0), 1) is None
