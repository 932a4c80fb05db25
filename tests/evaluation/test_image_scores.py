"""Scores of whole images: ratios by hand, resampled as images that really stand there several times."""

import numpy as np
import pytest

from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.image_scores import ImageScores, Ratio


def counts(*rows):
    return np.array(rows, dtype=float)


IOU = Ratio(  # three images, three classes; the third class is in no image, but predicted in the last
    above=counts([3, 0, 0], [1, 2, 0], [0, 0, 0]),
    below=counts([4, 1, 0], [2, 2, 0], [0, 5, 3]),
    counts=counts([4, 0, 0], [1, 2, 0], [0, 4, 0]),
)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (None, (4 / 6 + 2 / 8) / 2),
        ([1, 1, 1], (4 / 6 + 2 / 8) / 2),
        ([3, 0, 0], 9 / 12),  # the second class is predicted, but not there: it is in no mean
        ([0, 0, 2], 0.0),
        ([0, 2, 1], (2 / 4 + 4 / 9) / 2),
    ],
)
def test_mean_over_the_classes_that_there_are(weight, expected):
    assert IOU.mean(None if weight is None else np.array(weight)) == pytest.approx(expected)


def test_weights_are_repeated_images():
    rng = np.random.default_rng(0)
    ratio = Ratio(*(rng.integers(0, 5, (12, 4)).astype(float) for _ in range(3)))
    weight = rng.integers(0, 4, 12)
    repeated = Ratio(*(np.repeat(part, weight, 0) for part in ratio))
    assert ratio.mean(weight) == pytest.approx(repeated.mean())
    assert ratio.by_class(weight) == pytest.approx(repeated.by_class(), nan_ok=True)
    weights = np.stack([weight, np.zeros(12, int), np.ones(12, int)])
    assert ratio.mean(weights) == pytest.approx(np.array([repeated.mean(), 0, ratio.mean()]))


def test_of_no_image_it_is_zero():
    assert IOU.mean(np.zeros(3, int)) == 0


@pytest.mark.parametrize("per_class", [IOU, None])
def test_round_trip(per_class, tmp_path):
    scores = ImageScores(["a", "b"], ["x/1.jpg", "y/1.jpg"], {"top-1": IOU, "pixel accuracy": IOU}, per_class)
    recording.write(tmp_path / "p.npz", scores)
    again = recording.read(tmp_path / "p.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]
    assert (again.names, again.files, list(again.metrics)) == (scores.names, scores.files, list(scores.metrics))
    assert np.array_equal(again.metrics["top-1"], IOU)
    assert again.per_class is None if per_class is None else np.array_equal(again.per_class, IOU)
