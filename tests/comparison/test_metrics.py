"""From predictions to the metrics of a run."""

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class

from tests.comparison.samples import with_boxes
from tests.samples import random_predictions
from ultralytics_diffattn.comparison.metrics import scores
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
