"""The models' confusion matrices, and where they differ most."""

import numpy as np
import pytest

from tests.comparison.samples import with_boxes
from tests.evaluation.test_tide import drawn
from tests.samples import random_predictions
from ultralytics_diffattn.comparison.confusion_matrices import confusion_result
from ultralytics_diffattn.comparison.facet_differences import RESAMPLES
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation.confusion import confusions
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.image_scores import ImageScores, Ratio

WORDS = {f"{a} taken for {b}": (a, b) for a in range(3) for b in range(3) if a != b}
WORDS |= {f"{a} missed": (a, 3) for a in range(3)} | {f"{b} where nothing is": (3, b) for b in range(3)}


def same_images(p, seed):
    """Return predictions with other scores and, at random, of another class."""
    rng = np.random.default_rng(seed)
    return p._replace(conf=rng.random(len(p.conf)), cls=np.where(rng.random(len(p.cls)) < 0.3, 0, p.cls))


RECORDED = {RunKey(m, s): same_images(drawn(0), s + 10 * (m == "ours")) for s in range(3) for m in ("stock", "ours")}


def counted(key, weight):
    """Return the matrix of a run on images that are taken several times, image by image."""
    found, matrix = confusions(RECORDED[key]), np.zeros((4, 4))
    for true, predicted, image in zip(*found, strict=True):
        matrix[true, predicted] += weight[image]
    return matrix


def test_means_over_the_seeds():
    result = confusion_result(RECORDED, "detect")
    assert result.classes == ["0", "1", "2", "background"]
    for model in ("stock", "ours"):
        expected = np.mean([counted(RunKey(model, s), np.ones(40)) for s in range(3)], 0)
        assert np.array(result.models[model]) == pytest.approx(expected, abs=1e-4)


def test_the_largest_differences_with_their_intervals():
    result = confusion_result(RECORDED, "detect")
    gap = np.subtract(result.models["ours"], result.models["stock"])
    np.fill_diagonal(gap, 0)
    largest = result.largest
    assert [abs(d) for d in largest.pairs[0].differences] == pytest.approx(sorted(abs(gap[gap != 0]))[::-1], abs=1e-3)
    draws = [np.random.default_rng([0, n]).integers(0, 40, 40) for n in range(RESAMPLES)]
    weights = [np.ones(40, int), *(np.bincount(draw, minlength=40) for draw in draws)]
    for n in (0, -1):
        true, predicted = WORDS[largest.names[n]]
        by_model = {
            m: np.array([[counted(RunKey(m, s), w)[true, predicted] for s in range(3)] for w in weights])
            for m in ("stock", "ours")
        }
        assert largest.models["ours"][n] == pytest.approx(by_model["ours"][0].mean())
        change = by_model["ours"] - by_model["stock"]
        assert largest.pairs[0].intervals[n] == pytest.approx(
            estimate(change[0].tolist(), change[1:], 40).student.interval()
        )


def test_models_that_are_alike_have_none():
    result = confusion_result({RunKey("a", 0): drawn(0), RunKey("b", 0): drawn(0)}, "segment")
    assert result.models["a"] == result.models["b"]
    assert (result.largest.names, result.largest.pairs[0].differences) == ([], [])


def test_images_of_a_classifier():
    hit = Ratio(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1)))
    scores = ImageScores(
        ["cat", "dog"], [*"wxyz"], {"top-1": hit}, None, np.array([0, 1, 1, 1]), np.array([0, 0, 1, 0])
    )
    better = scores._replace(predicted=np.array([0, 0, 1, 1]))
    result = confusion_result({RunKey("a", 0): scores, RunKey("b", 0): better}, "classify")
    assert result.classes == ["cat", "dog"]
    assert result.models == {"a": [[1.0, 2.0], [0.0, 1.0]], "b": [[2.0, 1.0], [0.0, 1.0]]}
    assert (result.largest.names, result.largest.pairs[0].differences) == (["cat taken for dog"], [-1.0])


@pytest.mark.parametrize("task", ["obb", "semantic", "depth"])
def test_tasks_without_upright_boxes_have_none(task):
    assert confusion_result({RunKey("a", 0): with_boxes(random_predictions(0))}, task) is None
