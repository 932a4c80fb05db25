"""From predictions to the metrics of a run."""

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class

from tests.comparison.samples import with_boxes
from tests.samples import random_predictions
from ultralytics_diffattn.comparison.metrics import measure, scores
from ultralytics_diffattn.evaluation.tasks import TASKS

METRICS = TASKS["detect"].metrics


def test_scores_are_ultralytics():
    p = with_boxes(random_predictions(0))
    result = scores(p, "detect")
    _, _, precision, recall, _, ap, _, *curves, x, _ = ap_per_class(p.tp, p.conf, p.cls, p.target_cls)
    assert list(result.metrics) == list(METRICS)
    assert (result.metrics["mAP50-95"], result.metrics["mAP50"]) == (ap.mean(), ap[:, 0].mean())
    assert (result.metrics["precision"], result.metrics["recall"]) == (precision.mean(), recall.mean())
    assert result.per_class == dict(zip(p.names, ap.mean(1), strict=True))
    assert np.diff(result.pr_curve).max() <= 0
    assert len(result.pr_curve) == 101
    for curve, (name, own) in zip(curves, result.by_confidence.items(), strict=True):
        assert np.interp(np.linspace(0, 1, 101), x, curve.mean(0)) == pytest.approx(own, abs=1e-4), name


def test_what_is_compared_of_masks_is_ultralytics():
    """mAP50-95 and mAP50 of masks, and mAP50-95 of their boxes; of each image once, and of the first half twice."""
    p = with_boxes(random_predictions(0))
    p = p._replace(tp_task=p.tp & (np.random.default_rng(0).random((len(p.tp), 1)) < 0.7))
    weights = np.ones((2, len(p.files)), int)
    weights[1] = 2 * (np.arange(len(p.files)) < len(p.files) // 2)
    expected = []
    for weight in weights:
        rows, truths = (np.repeat(np.arange(len(x)), weight[x]) for x in (p.image, p.target_image))
        masks, boxes = (
            ap_per_class(tp[rows], p.conf[rows], p.cls[rows], p.target_cls[truths])[5] for tp in (p.tp_task, p.tp)
        )
        expected.append([masks.mean(), masks[:, 0].mean(), boxes.mean()])
    assert measure(p, "segment")(weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_a_model_that_predicts_nothing():
    p = with_boxes(random_predictions(0, predicted=0))
    result = scores(p, "detect")
    assert list(result.metrics) == list(METRICS)
    assert result.metrics["mAP50-95"] == result.metrics["recall"] == 0
    assert result.per_class == dict.fromkeys(p.names, 0.0)
    assert result.pr_curve == [0.0] * 101
    assert result.by_confidence == dict.fromkeys(("precision", "recall", "F1"), [0.0] * 101)


@pytest.mark.parametrize("predicted", [0, 5])
def test_scores_are_of_the_classes_that_have_a_box_whatever_is_predicted(predicted):
    p = with_boxes(random_predictions(0, predicted=predicted))
    assert list(scores(p._replace(names=[*p.names, "in train only"]), "detect").per_class) == p.names
