# Ultralytics DiffAttn - AGPL-3.0 License
"""The metrics of one run, as ultralytics defines them, from what was recorded of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.ap_by_size import ap_of_sizes
from ultralytics_diffattn.evaluation.image_scores import ImageScores
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.evaluation.recording import Recorded
from ultralytics_diffattn.evaluation.tasks import BOX_AP, RATES, SIZES, TASKS
from ultralytics_diffattn.evaluation.threads import in_threads

GRID = np.linspace(0, 1, 101)  # recalls and confidences of the curves
CONFIDENCE_CURVES = "precision", "recall", "F1"


@dataclass(frozen=True)
class Scores:
    """The metrics of one run.

    Attributes:
        metrics (dict[str, float | None]): Those of the task; None for the AP of a size that no object has.
        per_class (dict[str, float]): The task's first metric for each class that the images have.
        pr_curve (list[float]): Mean precision over the classes at the recalls `GRID` and IoU 0.5; empty for a task
            without.
        by_confidence (dict[str, list[float]]): Precision, recall and F1 of the predictions from each confidence of
            `GRID` on, means over the classes at IoU 0.5; empty for a task without.
    """

    metrics: dict[str, float | None]
    per_class: dict[str, float]
    pr_curve: list[float]
    by_confidence: dict[str, list[float]]


def scores(recorded: Recorded, task: str) -> Scores:
    """Return the metrics of one run.

    Args:
        recorded (Predictions | ImageScores): Of the final model on the validation images.
        task (str): One of `TASKS`.

    Returns:
        (Scores): The metrics; the classes of `per_class` depend on the validation images alone.
    """
    return _box_scores(recorded, task) if isinstance(recorded, Predictions) else _image_scores(recorded)


def scores_of_runs(recorded: Mapping[RunKey, Recorded], task: str) -> dict[RunKey, Scores]:
    """Return the metrics of each run.

    Args:
        recorded (Mapping[RunKey, Recorded]): What was recorded of the runs, on the same images.
        task (str): One of `TASKS`.

    Returns:
        (dict[RunKey, Scores]): In the same order.
    """
    return dict(zip(recorded, in_threads(partial(scores, task=task), recorded.values()), strict=True))


def measure(recorded: Recorded, task: str) -> bootstrap.Measure:
    """Return a function of how often each image is taken, which returns the metrics that are compared.

    Args:
        recorded (Predictions | ImageScores): Of the final model on the validation images.
        task (str): One of `TASKS`.

    Returns:
        (Measure): For `bootstrap.resample`; in the order of the task's `compared`.
    """
    compared = TASKS[task].compared
    if isinstance(recorded, ImageScores):
        ratios = [recorded.metrics[name] for name in compared]
        return lambda weight: np.stack([ratio.mean(weight) for ratio in ratios], -1)
    main = bootstrap.prepare(recorded, recorded.right)
    if recorded.tp_task is None:
        return lambda weight: bootstrap.mean_ap(main, weight)
    boxes = bootstrap.prepare(recorded)
    return lambda weight: np.concatenate(
        [bootstrap.mean_ap(main, weight), bootstrap.mean_ap(boxes, weight)[..., :1]], -1
    )


def _image_scores(recorded: ImageScores) -> Scores:
    """Return the metrics of a task whose result is one for the whole image."""
    by_class = recorded.per_class.by_class() if recorded.per_class else np.empty(0)
    return Scores(
        {name: float(ratio.mean()) for name, ratio in recorded.metrics.items()},
        {name: float(v) for name, v in zip(recorded.names, by_class, strict=True) if not np.isnan(v)},
        [],
        {},
    )


def _box_scores(recorded: Predictions, task: str) -> Scores:
    """Return the metrics of a task that finds objects."""
    p = recorded
    values, per_class, pr_curve, by_confidence = _average_precision(p, p.right)
    named: dict[str, float | None] = dict(zip((*TASKS[task].compared[:2], *RATES), values, strict=True))
    if p.tp_task is not None:
        named |= dict(zip(BOX_AP, _average_precision(p, p.tp)[0], strict=False))
    elif task == "detect":
        named |= dict(zip(SIZES, ap_of_sizes(p).values(), strict=True))
    return Scores({name: named[name] for name in TASKS[task].metrics}, per_class, pr_curve, by_confidence)


def _average_precision(
    p: Predictions, right: NDArray[np.bool_]
) -> tuple[list[float], dict[str, float], list[float], dict[str, list[float]]]:
    """Return mAP50-95, mAP50, precision and recall, the first by class, and the curves over recall and confidence.

    References:
        ultralytics/utils/metrics.py, `ap_per_class`.
    """
    from ultralytics.utils.metrics import ap_per_class

    if not len(p.conf):
        nothing = [0.0] * len(GRID)
        per_class = {p.names[c]: 0.0 for c in np.unique(p.target_cls)}
        return [0.0] * 4, per_class, nothing, dict.fromkeys(CONFIDENCE_CURVES, nothing)
    _, _, precision, recall, _, ap, classes, *curves, _, pr_curves = ap_per_class(right, p.conf, p.cls, p.target_cls)
    means = ap.mean(), ap[:, 0].mean(), precision.mean(), recall.mean()  # ap: (classes, 10)
    return (
        [float(value) for value in means],
        {p.names[c]: float(value) for c, value in zip(classes, ap.mean(1), strict=True)},
        _mean_curve(pr_curves),
        {name: _mean_curve(curve) for name, curve in zip(CONFIDENCE_CURVES, curves, strict=True)},
    )


def _mean_curve(curves: NDArray[np.float64]) -> list[float]:
    """Return the mean over the classes of (classes, 1000) values between 0 and 1, at `GRID`."""
    mean: Any = np.interp(GRID, np.linspace(0, 1, curves.shape[1]), curves.mean(0))
    return [float(value) for value in mean.round(4)]
