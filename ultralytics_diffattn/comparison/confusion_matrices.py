# Ultralytics DiffAttn - AGPL-3.0 License
"""The confusion matrix of each model, and the confusions in which the models differ most, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.facet_differences import RESAMPLES, paired_differences
from ultralytics_diffattn.comparison.schema import ConfusionResult, FacetResult, RunKey
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.confusion import Confusions, confusions, of_classes
from ultralytics_diffattn.evaluation.image_scores import ImageScores
from ultralytics_diffattn.evaluation.predictions import UPRIGHT, Predictions
from ultralytics_diffattn.evaluation.recording import Recorded

LARGEST = 20  # differences that are listed
BACKGROUND = "background"


def confusion_result(recorded: Mapping[RunKey, Recorded], task: str) -> ConfusionResult | None:
    """Return the confusion matrices of the models, and how they differ.

    Args:
        recorded (Mapping[RunKey, Recorded]): What was recorded of the runs, on the same images.
        task (str): One of `TASKS`.

    Returns:
        (ConfusionResult | None): None for a task without upright boxes, but for classification.
    """
    if task != "classify" and task not in UPRIGHT:
        return None
    if any(isinstance(p, ImageScores) and p.predicted is None for p in recorded.values()):
        return None  # a run of a version that did not record it
    found = {key: confusions(p) if isinstance(p, Predictions) else of_classes(p) for key, p in recorded.items()}
    first = next(iter(recorded.values()))
    classes = [*first.names, *([BACKGROUND] if isinstance(first, Predictions) else [])]
    by_run = {key: c.matrix(len(classes)) for key, c in found.items()}
    models = {
        m: np.mean([matrix for key, matrix in by_run.items() if key.model == m], 0)
        for m in dict.fromkeys(key.model for key in by_run)
    }
    return ConfusionResult(
        classes=classes,
        models={m: [[float(count) for count in row] for row in matrix.round(4)] for m, matrix in models.items()},
        largest=_largest(models, found, by_run, classes, len(first.files)),
    )


def _largest(
    models: Mapping[str, NDArray[np.float64]],
    found: Mapping[RunKey, Confusions],
    by_run: Mapping[RunKey, NDArray[np.int64]],
    classes: list[str],
    images: int,
) -> FacetResult:
    """Return the confusions whose number differs most between the first model and any other."""
    first, *others = models.values()
    gap = np.max([abs(other - first) for other in others], 0) if others else np.zeros_like(first)
    np.fill_diagonal(gap, 0)  # what is right is no confusion
    cells = np.argsort(-gap, axis=None, kind="stable")[:LARGEST]
    cells = cells[gap.ravel()[cells] > 0]
    place = np.full(gap.size, -1)
    place[cells] = np.arange(len(cells))
    samples = bootstrap.resample(
        [_measure(c, place, len(classes), len(cells)) for c in found.values()], images, RESAMPLES
    )
    names = [_in_words(classes, *divmod(int(cell), len(classes))) for cell in cells]
    return FacetResult(
        title="Confusions",
        note=f"Mean number of each confusion; those in which the models differ most, {LARGEST} at most.",
        names=names,
        models={m: [float(count) for count in matrix.ravel()[cells]] for m, matrix in models.items()},
        pairs=paired_differences(
            {key: matrix.ravel()[cells].astype(float) for key, matrix in by_run.items()},
            {key: samples[:, i] for i, key in enumerate(found)},
            images,
        ),
    )


def _in_words(classes: list[str], true: int, predicted: int) -> str:
    """Return what a confusion is called."""
    if classes[true] == BACKGROUND:
        return f"{classes[predicted]} where nothing is"
    if classes[predicted] == BACKGROUND:
        return f"{classes[true]} missed"
    return f"{classes[true]} taken for {classes[predicted]}"


def _measure(found: Confusions, place: NDArray[np.int64], size: int, cells: int) -> bootstrap.Measure:
    """Return a function that counts the chosen confusions of a run."""
    cell = place[found.true * size + found.predicted]
    chosen = cell >= 0
    return bootstrap.counter(cell[chosen], found.image[chosen], cells)
