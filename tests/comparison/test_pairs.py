"""How two models differ."""

import numpy as np
import pytest

from tests.comparison.samples import with_boxes
from tests.samples import random_predictions
from ultralytics_diffattn.comparison.metrics import scores_of_runs
from ultralytics_diffattn.comparison.pairs import compare_pairs, resample_metrics
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation.predictions import Predictions

MARGIN = 0.005


def compare(predictions):
    """Return what is said of the models of these runs."""
    images = len(next(iter(predictions.values())).files)
    resampled = resample_metrics(predictions, "detect")
    return compare_pairs(scores_of_runs(predictions, "detect"), resampled, images, "detect", MARGIN)


@pytest.mark.parametrize("silent", ["stock", "ours"])
def test_a_model_that_predicts_nothing_is_paired(silent):
    """A class without a box in val is in no model's scores, so either model may be the first."""
    predictions = {}
    for label in ("stock", "ours"):
        p = with_boxes(random_predictions(0, predicted=0 if label == silent else 5))
        predictions[RunKey(label, 0)] = p._replace(names=[*p.names, "in train only"])
    assert list(compare(predictions)[0].per_class) == p.names


def better(p: Predictions) -> Predictions:
    """Return predictions in which what is right at IoU 0.5 is right at each."""
    return p._replace(tp=np.repeat(p.tp[:, :1], 10, 1))


def alike(p: Predictions) -> Predictions:
    """Return predictions of the same boxes with other scores, as another training would give."""
    rng = np.random.default_rng(len(p.conf))
    return p._replace(conf=(p.conf + rng.normal(0, 0.05, p.conf.shape).astype(p.conf.dtype)).clip(0, 1))


@pytest.mark.parametrize(
    ("change", "seeds", "verdict"),
    [
        (lambda p: p, 3, "equal"),  # the same model
        (alike, 3, "not distinguishable"),
        (better, 3, "better"),
        (lambda p: p._replace(tp=p.tp & False), 3, "worse"),
        (better, 2, "no verdict"),
        (better, 1, "no verdict"),
    ],
)
def test_pairs(change, seeds, verdict):
    predictions = {}
    for seed in range(seeds):
        p = with_boxes(random_predictions(seed, images=60))._replace(shape=np.full((60, 2), 640))
        predictions[RunKey("stock", seed)] = p
        predictions[RunKey("ours", seed)] = change(p)
    pair, other = compare(predictions)
    assert (pair.first, pair.second, pair.metric, pair.verdict) == ("stock", "ours", "mAP50-95", verdict)
    assert (other.metric, other.per_class) == ("mAP50", None)
    values = {key: result.metrics["mAP50-95"] for key, result in scores_of_runs(predictions, "detect").items()}
    expected = [values["ours", seed] - values["stock", seed] for seed in range(seeds)]
    assert pair.per_seed == expected
    assert pair.difference == pytest.approx(np.mean(expected))
    for low, high in filter(None, (pair.interval, pair.over_seeds, pair.over_images)):
        assert low <= pair.difference <= high
    assert (pair.interval is None) == (pair.over_seeds is None) == (seeds == 1)


@pytest.mark.parametrize(
    ("images", "verdict"), [(1, "no verdict"), (2, "no verdict"), (9, "no verdict"), (10, "better")]
)
def test_a_verdict_needs_ten_images(images, verdict):
    """Stock finds nothing, so each image speaks for ours."""
    predictions = {}
    for seed in range(3):
        p = with_boxes(random_predictions(0, images=images))._replace(shape=np.full((images, 2), 640))
        predictions[RunKey("stock", seed)] = p._replace(tp=np.zeros_like(p.tp))
        predictions[RunKey("ours", seed)] = p
    pair, _ = compare(predictions)
    assert pair.verdict == verdict
    assert (pair.over_images is None) == (images == 1)


def test_models_that_have_learned_nothing_are_not_called_equal():
    predictions = {}
    for label in ("stock", "ours"):
        for seed in range(3):
            p = with_boxes(random_predictions(seed, images=60))._replace(shape=np.full((60, 2), 640))
            predictions[RunKey(label, seed)] = p._replace(tp=np.zeros_like(p.tp))
    assert {pair.verdict for pair in compare(predictions)} == {"no verdict"}


def test_only_seeds_that_both_have_are_paired():
    keys = [RunKey("a", 0), RunKey("a", 1), RunKey("b", 1), RunKey("b", 2)]
    predictions = {key: with_boxes(random_predictions(key.seed)) for key in keys}
    assert [pair.seeds for pair in compare(predictions)] == [[1], [1]]
