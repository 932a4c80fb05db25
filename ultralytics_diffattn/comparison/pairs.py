# Ultralytics DiffAttn - AGPL-3.0 License
"""How two models differ: the mean difference of runs with the same seed, its intervals and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.metrics import Scores
from ultralytics_diffattn.comparison.schema import ClassDifference, PairResult, RunKey
from ultralytics_diffattn.comparison.verdicts import Verdict, verdicts
from ultralytics_diffattn.evaluation import bootstrap, intervals
from ultralytics_diffattn.evaluation.estimates import Estimate, estimate
from ultralytics_diffattn.evaluation.predictions import Predictions

COMPARED_METRICS = ("mAP50-95", "mAP50")  # the metrics that are resampled, in the order of bootstrap.mean_ap

Resampled: TypeAlias = Mapping[RunKey, NDArray[Any]]  # for each run (resamples, COMPARED_METRICS)


class Difference(NamedTuple):
    """The difference of two models in one metric, seed by seed and over resampled images."""

    first: str
    second: str
    metric: str
    seeds: list[int]
    per_seed: list[float]
    resamples: NDArray[Any]  # (resamples,), the mean over the seeds


def compare_pairs(
    scores: Mapping[RunKey, Scores], predictions: Mapping[RunKey, Predictions], margin: float
) -> list[PairResult]:
    """Return how the second of each pair of models differs from the first.

    Args:
        scores (Mapping[RunKey, Scores]): Metrics of each run, in the order of the models.
        predictions (Mapping[RunKey, Predictions]): Predictions of the same runs on the same images.
        margin (float): Difference that does not matter.

    Returns:
        (list[PairResult]): For each pair that has a seed in common, one for each metric of `COMPARED_METRICS`.

    Raises:
        ValueError: If the runs were validated on different numbers of images.
    """
    resampled = _resample(predictions)
    images = len(next(iter(predictions.values())).files)
    pairs = combinations(dict.fromkeys(label for label, _ in scores), 2)
    differences = [
        _difference(first, second, metric, seeds, scores, resampled)
        for first, second in pairs
        for metric in COMPARED_METRICS
        if (seeds := common_seeds(scores, first, second))
    ]
    estimates = [estimate(d.per_seed, d.resamples, images) for d in differences]
    said = verdicts(estimates, margin)
    return [_result(*parts, scores) for parts in zip(differences, estimates, said, strict=True)]


def common_seeds(runs: Mapping[RunKey, object], first: str, second: str) -> list[int]:
    """Return the seeds that two models have in common.

    Args:
        runs (Mapping[RunKey, object]): All runs.
        first (str): Label of a model.
        second (str): Label of another.

    Returns:
        (list[int]): In the order of the first model's runs.

    Examples:
        >>> runs = dict.fromkeys([RunKey("a", 0), RunKey("a", 1), RunKey("b", 1)])
        >>> common_seeds(runs, "a", "b")
        [1]
    """
    return [seed for label, seed in runs if label == first and (second, seed) in runs]


def _resample(predictions: Mapping[RunKey, Predictions]) -> Resampled:
    """Return mAP50-95 and mAP50 of each run on resampled images, which are the same for all runs."""
    samples = bootstrap.resample([bootstrap.prepare(p) for p in predictions.values()])  # (resamples, runs, 2)
    return {key: samples[:, i] for i, key in enumerate(predictions)}


def _difference(
    first: str,
    second: str,
    metric: str,
    seeds: list[int],
    scores: Mapping[RunKey, Scores],
    resampled: Resampled,
) -> Difference:
    """Return the difference of one pair in one metric."""
    per_seed = [_value(scores[RunKey(second, s)], metric) - _value(scores[RunKey(first, s)], metric) for s in seeds]
    n = COMPARED_METRICS.index(metric)
    by_seed = [resampled[RunKey(second, s)][:, n] - resampled[RunKey(first, s)][:, n] for s in seeds]
    return Difference(first, second, metric, seeds, per_seed, np.mean(by_seed, 0))


def _result(
    difference: Difference, found: Estimate | None, verdict: Verdict, scores: Mapping[RunKey, Scores]
) -> PairResult:
    """Return the result of one pair in one metric."""
    first, second, metric, seeds, per_seed, resamples = difference
    by_class = metric == "mAP50-95"
    return PairResult(
        first=first,
        second=second,
        metric=metric,
        seeds=seeds,
        difference=float(np.mean(per_seed)),
        per_seed=per_seed,
        interval=found.interval() if found else None,
        over_seeds=intervals.over_seeds(per_seed),
        over_images=intervals.over_resamples(resamples),
        p_different=verdict.p_different,
        p_unequal=verdict.p_unequal,
        verdict=verdict.word,
        seeds_needed=found.seeds_needed() if found else None,
        per_class=_per_class([(scores[RunKey(first, s)], scores[RunKey(second, s)]) for s in seeds])
        if by_class
        else None,
    )


def _value(scores: Scores, metric: str) -> float:
    """Return a metric of `COMPARED_METRICS`, which every run has."""
    value = scores.metrics[metric]
    assert value is not None
    return value


def _per_class(pairs: Sequence[tuple[Scores, Scores]]) -> dict[str, ClassDifference]:
    """Return how AP50-95 differs in each class."""
    differences = {}
    for name in pairs[0][0].per_class:
        per_seed = [b.per_class[name] - a.per_class[name] for a, b in pairs]
        differences[name] = ClassDifference(float(np.mean(per_seed)), intervals.over_seeds(per_seed))
    return differences
