# Ultralytics DiffAttn - AGPL-3.0 License
"""Where the differences of a comparison come from: each facet of the models, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.pairs import estimate_difference, paired_models
from ultralytics_diffattn.comparison.schema import FacetDifference, FacetResult, RunKey
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.facets import FACETS, Facet
from ultralytics_diffattn.evaluation.predictions import UPRIGHT, Predictions
from ultralytics_diffattn.evaluation.recording import Recorded
from ultralytics_diffattn.evaluation.threads import in_threads

RESAMPLES = 200  # enough for a standard error, which is all that is read of them


def facet_results(recorded: Mapping[RunKey, Recorded], task: str) -> list[FacetResult]:
    """Return each facet of the models, and how they differ in it.

    Args:
        recorded (Mapping[RunKey, Recorded]): What was recorded of the runs, on the same images.
        task (str): One of `TASKS`.

    Returns:
        (list[FacetResult]): Errors first; of rotated boxes only what takes no overlap, which is not recorded of them;
            empty for a task without boxes.
    """
    boxes = {key: p for key, p in recorded.items() if isinstance(p, Predictions)}
    if not boxes:
        return []
    facets = [facet for facet in FACETS if task in UPRIGHT or not facet.upright]
    images = len(next(iter(boxes.values())).files)
    measures = dict(zip(boxes, in_threads(partial(_measure_all, facets), boxes.values()), strict=True))
    observed = {key: measure(np.ones(images, np.int64)) for key, measure in measures.items()}
    samples = bootstrap.resample(list(measures.values()), images, RESAMPLES)  # (resamples, runs, values)
    resampled = {key: samples[:, i] for i, key in enumerate(measures)}
    ends = np.cumsum([len(facet.names) for facet in facets])
    results = []
    for facet, end in zip(facets, ends, strict=True):
        columns = slice(int(end) - len(facet.names), int(end))
        values = {key: value[columns] for key, value in observed.items()}
        pairs = paired_differences(values, {key: value[:, columns] for key, value in resampled.items()}, images)
        models = dict.fromkeys(key.model for key in values)
        means = {m: _known(np.mean([v for key, v in values.items() if key.model == m], 0)) for m in models}
        results.append(FacetResult(facet.title, facet.note, [*facet.names], means, pairs))
    return results


def _measure_all(facets: Sequence[Facet], p: Predictions) -> bootstrap.Measure:
    """Return a function that gives the values of all facets, one after another."""
    measures = [facet.measure(p) for facet in facets]
    return lambda weight: np.concatenate([measure(weight) for measure in measures], -1)


def paired_differences(
    values: Mapping[RunKey, NDArray[np.float64]], resampled: Mapping[RunKey, NDArray[np.float64]], images: int
) -> list[FacetDifference]:
    """Return how the second of each pair of models differs from the first in each value.

    Args:
        values (Mapping[RunKey, np.ndarray]): For each run (V,).
        resampled (Mapping[RunKey, np.ndarray]): For each run (resamples, V), the same on resampled images.
        images (int): Number of images.

    Returns:
        (list[FacetDifference]): For each pair that has a seed in common.
    """
    differences = []
    for first, second, seeds in paired_models(values):
        per_seed = np.array([values[RunKey(second, s)] - values[RunKey(first, s)] for s in seeds])  # (S, values)
        by_seed = np.stack([resampled[RunKey(second, s)] - resampled[RunKey(first, s)] for s in seeds], 1)
        # by_seed: (resamples, S, values)
        values_of_pair = range(per_seed.shape[1])
        estimates = [
            estimate_difference(seeds, per_seed[:, v].tolist(), by_seed[:, :, v], images) for v in values_of_pair
        ]
        intervals = [
            e.student.interval() if e and e.suffices and np.isfinite(e.student.error) else None for e in estimates
        ]
        differences.append(FacetDifference(first, second, _known(per_seed.mean(0)), intervals))
    return differences


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """Return the values, None where a run has nothing to measure."""
    return [None if np.isnan(value) else float(value) for value in values]
