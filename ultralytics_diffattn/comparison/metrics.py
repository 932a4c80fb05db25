# Ultralytics DiffAttn - AGPL-3.0 License
"""The metrics of one run: ultralytics' mAP, precision and recall, COCO's AP by size, and the curve of precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ultralytics_diffattn.evaluation.ap_by_size import ap_by_size, as_coco
from ultralytics_diffattn.evaluation.predictions import Predictions

METRICS = ("mAP50-95", "mAP50", "AP small", "AP medium", "AP large", "precision", "recall")
RECALLS = np.linspace(0, 1, 101)  # of the curve


@dataclass(frozen=True)
class Scores:
    """The metrics of one run.

    Attributes:
        metrics (dict[str, float | None]): Those of `METRICS`; None for the AP of a size that no object has.
        per_class (dict[str, float]): AP50-95 of each class that has a box, whatever was predicted.
        pr_curve (list[float]): Mean precision over the classes at `RECALLS` and IoU 0.5.
    """

    metrics: dict[str, float | None]
    per_class: dict[str, float]
    pr_curve: list[float]


def scores(predictions: Predictions) -> Scores:
    """Return the metrics of one run.

    Args:
        predictions (Predictions): Of the final model on the validation images.

    Returns:
        (Scores): The metrics; the classes of `per_class` depend on the validation images alone.

    References:
        ultralytics/utils/metrics.py, `ap_per_class`.
    """
    from ultralytics.utils.metrics import ap_per_class

    p = predictions
    if not len(p.conf):
        per_class = {p.names[c]: 0.0 for c in np.unique(p.target_cls)}
        return Scores(_metrics(p, 0.0, 0.0, 0.0, 0.0), per_class, [0.0] * len(RECALLS))
    _, _, precision, recall, _, ap, classes, *_, curves = ap_per_class(p.tp, p.conf, p.cls, p.target_cls)
    mean_curve = np.interp(RECALLS, np.linspace(0, 1, curves.shape[1]), curves.mean(0))  # curves: (classes, 1000)
    return Scores(
        _metrics(p, ap.mean(), ap[:, 0].mean(), precision.mean(), recall.mean()),  # ap: (classes, 10)
        {p.names[c]: float(value) for c, value in zip(classes, ap.mean(1), strict=True)},
        [float(value) for value in mean_curve.round(4)],
    )


def _metrics(
    predictions: Predictions, map50_95: float, map50: float, precision: float, recall: float
) -> dict[str, float | None]:
    """Return the metrics by name in the order of `METRICS`."""
    sizes = ap_by_size(*as_coco(predictions))
    values = (map50_95, map50, sizes["small"], sizes["medium"], sizes["large"], precision, recall)
    return {name: None if value is None else float(value) for name, value in zip(METRICS, values, strict=True)}
