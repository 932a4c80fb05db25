"""mAP of resampled images against ultralytics' own formula on images that really stand there several times."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.metrics import ap_per_class

from tests.samples import random_predictions
from ultralytics_diffattn.evaluation import bootstrap


def by_ultralytics(p, weight):
    rows, truths = np.repeat(np.arange(len(p.cls)), weight[p.image]), np.repeat(p.target_cls, weight[p.target_image])
    ap = ap_per_class(p.tp[rows], p.conf[rows], p.cls[rows], truths)[5]
    return (ap.mean(), ap[:, 0].mean()) if len(ap) else (0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 30),
    classes=st.integers(1, 6),
    predicted=st.integers(0, 25),
    true=st.integers(0, 8),
)
def test_any_resample_equals_ultralytics(seed, images, classes, predicted, true):
    p = random_predictions(seed, images, classes, predicted, true)
    prepared = bootstrap.prepare(p)
    weights = np.ones((3, images), int)
    weights[1] = np.bincount(np.random.default_rng(seed).integers(0, images, images), minlength=images)
    weights[2] = np.arange(images) == 0
    expected = [by_ultralytics(p, weight) for weight in weights]
    assert bootstrap.mean_ap(prepared, weights) == pytest.approx(np.array(expected), abs=1e-12)
    assert bootstrap.mean_ap(prepared, weights[1]) == pytest.approx(expected[1], abs=1e-12)


def test_by_default_each_image_counts_once():
    prepared = bootstrap.prepare(random_predictions(0))
    once = bootstrap.mean_ap(prepared)
    assert (once == bootstrap.mean_ap(prepared, np.ones(30, int))).all()
    assert (once > 0.05).all()


def test_recalls_that_meet_the_grid():
    """A class of 100 boxes reaches the recalls 0.01, 0.02, ... exactly, where one rounding moves a step."""
    p = random_predictions(1, images=25, classes=1, predicted=30, true=4)
    weight = np.ones(25, int)
    assert bootstrap.mean_ap(bootstrap.prepare(p), weight) == pytest.approx(by_ultralytics(p, weight), abs=1e-12)


def test_below_is_searchsorted():
    recall = np.concatenate([np.arange(n + 1) / n for n in (1, 3, 7, 10, 20, 25, 50, 100, 128, 200, 1000)])
    grid = np.linspace(0, 1, 101)
    around = np.concatenate([recall, np.nextafter(recall, 0), np.nextafter(recall[recall < 1], 1)])
    assert (bootstrap._below(around) == np.searchsorted(grid, around)).all()


def test_resamples_are_paired_and_repeatable():
    a, b = (partial(bootstrap.mean_ap, bootstrap.prepare(random_predictions(seed))) for seed in (0, 1))
    scores = bootstrap.resample([a, b, a], 30, 50)
    assert scores.shape == (50, 3, 2)
    assert (scores[:, 0] == scores[:, 2]).all()  # the same images for every run
    assert (scores == bootstrap.resample([a, b, a], 30, 50)).all()
    assert scores[:, 0, 0].std() > 0


@pytest.mark.parametrize("at_once", [1, 100, 10**6])  # one, four and all 50 resamples
def test_resamples_do_not_depend_on_how_many_are_measured_together(at_once, monkeypatch):
    measure = partial(bootstrap.mean_ap, bootstrap.prepare(random_predictions(0)))
    monkeypatch.setattr(bootstrap, "AT_ONCE", at_once)
    samples = bootstrap.resample([measure], 30, 50)
    weights = (np.random.default_rng([0, n]).integers(0, 30, 30) for n in range(50))
    expected = [measure(np.bincount(weight, minlength=30)) for weight in weights]
    assert samples[:, 0] == pytest.approx(np.array(expected), abs=1e-12)


def test_spread_of_resamples_is_that_of_new_images():
    """The bootstrap's standard error, against what fresh samples of images scatter by."""
    fresh = [bootstrap.mean_ap(bootstrap.prepare(random_predictions(seed, images=60)))[1] for seed in range(60)]
    measure = partial(bootstrap.mean_ap, bootstrap.prepare(random_predictions(100, images=60)))
    resampled = bootstrap.resample([measure], 60, 300)[:, 0, 1]
    assert 0.6 < resampled.std() / np.std(fresh) < 1.6


def test_tied_scores_fall_as_with_ultralytics():
    p = random_predictions(2, images=40, predicted=40)
    p = p._replace(conf=p.conf.round(1))
    weight = np.ones(40, int)
    assert bootstrap.mean_ap(bootstrap.prepare(p), weight) == pytest.approx(by_ultralytics(p, weight), abs=1e-12)


def test_no_resamples_of_one_image():
    p = random_predictions(0, images=1)
    assert bootstrap.resample([partial(bootstrap.mean_ap, bootstrap.prepare(p))], 1).shape == (0, 1, 2)
