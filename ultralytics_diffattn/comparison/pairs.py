# Ultralytics DiffAttn - AGPL-3.0 License
"""How two models differ: the mean difference of runs with the same seed, its intervals and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.metrics import Scores, measure
from ultralytics_diffattn.comparison.schema import ClassDifference, PairResult, RunKey
from ultralytics_diffattn.comparison.verdicts import Verdict, verdicts
from ultralytics_diffattn.evaluation import bootstrap, intervals
from ultralytics_diffattn.evaluation.estimates import Estimate, estimate, estimate_of_weights
from ultralytics_diffattn.evaluation.recording import Recorded
from ultralytics_diffattn.evaluation.tasks import TASKS

NOTHING = 0.01  # a metric below shows that nothing was learned
Resampled: TypeAlias = Mapping[RunKey, NDArray[Any]]  # for each run (resamples, metrics that are compared)


class Difference(NamedTuple):
    """The difference of two models in one metric, seed by seed and over resampled images."""

    first: str
    second: str
    metric: str
    seeds: list[int | None]  # None for models that are only evaluated
    per_seed: list[float]
    resamples: NDArray[Any]  # (resamples, seeds)


def resample_metrics(recorded: Mapping[RunKey, Recorded], task: str) -> Resampled:
    """Return the metrics that are compared, of each run on the same resampled images.

    Args:
        recorded (Mapping[RunKey, Recorded]): What was recorded of the runs, on the same images.
        task (str): One of `TASKS`.

    Returns:
        (Resampled): For each run (resamples, metrics).
    """
    images = len(next(iter(recorded.values())).files)
    samples = bootstrap.resample([measure(r, task) for r in recorded.values()], images)  # (resamples, runs, metrics)
    return {key: samples[:, i] for i, key in enumerate(recorded)}


def compare_pairs(
    scores: Mapping[RunKey, Scores], resampled: Resampled, images: int, task: str, margin: float
) -> list[PairResult]:
    """Return how the second of each pair of models differs from the first.

    Args:
        scores (Mapping[RunKey, Scores]): Metrics of each run, in the order of the models.
        resampled (Resampled): The metrics that are compared, of each run on the same resampled images.
        images (int): Number of images.
        task (str): One of `TASKS`.
        margin (float): Difference that does not matter.

    Returns:
        (list[PairResult]): For each pair that has a seed in common, one for each metric that the task compares.
    """
    differences = [
        _difference(first, second, metric, seeds, scores, resampled, task)
        for first, second, seeds in paired_models(scores)
        for metric in TASKS[task].compared
    ]
    estimates = [estimate_difference(d.seeds, d.per_seed, d.resamples, images) for d in differences]
    learned = [_has_learned(scores, d) for d in differences]
    said = verdicts([e if ok else None for e, ok in zip(estimates, learned, strict=True)], margin)
    return [_result(*parts, scores, task, len(differences)) for parts in zip(differences, estimates, said, strict=True)]


def estimate_difference(
    seeds: Sequence[int | None], per_seed: Sequence[float], resamples: NDArray[Any], images: int
) -> Estimate | None:
    """Return the estimate of a difference, by images alone for models that are only evaluated.

    Args:
        seeds (Sequence[int | None]): The S seeds that two models have in common, or None alone.
        per_seed (Sequence[float]): (S,) the difference for each.
        resamples (np.ndarray): (resamples, S), the same on resampled images.
        images (int): Number of images.

    Returns:
        (Estimate | None): None where there is no spread to see.
    """
    if None in seeds:
        return estimate_of_weights(per_seed[0], resamples[:, 0], images)
    return estimate(per_seed, resamples, images)


def paired_models(runs: Mapping[RunKey, object]) -> Iterator[tuple[str, str, list[int | None]]]:
    """Yield each pair of models that have a seed in common.

    Args:
        runs (Mapping[RunKey, object]): All runs, in the order of the models.

    Yields:
        (tuple[str, str, list[int | None]]): Both labels, and the seeds.
    """
    for first, second in combinations(dict.fromkeys(key.model for key in runs), 2):
        if seeds := common_seeds(runs, first, second):
            yield first, second, seeds


def common_seeds(runs: Mapping[RunKey, object], first: str, second: str) -> list[int | None]:
    """Return the seeds that two models have in common.

    Args:
        runs (Mapping[RunKey, object]): All runs.
        first (str): Label of a model.
        second (str): Label of another.

    Returns:
        (list[int | None]): In the order of the first model's runs; None alone for models that are only evaluated.

    Examples:
        >>> runs = dict.fromkeys([RunKey("a", 0), RunKey("a", 1), RunKey("b", 1)])
        >>> common_seeds(runs, "a", "b")
        [1]
    """
    return [seed for label, seed in runs if label == first and (second, seed) in runs]


def _difference(
    first: str,
    second: str,
    metric: str,
    seeds: list[int | None],
    scores: Mapping[RunKey, Scores],
    resampled: Resampled,
    task: str,
) -> Difference:
    """Return the difference of one pair in one metric."""
    per_seed = [_value(scores[RunKey(second, s)], metric) - _value(scores[RunKey(first, s)], metric) for s in seeds]
    n = TASKS[task].compared.index(metric)
    by_seed = [resampled[RunKey(second, s)][:, n] - resampled[RunKey(first, s)][:, n] for s in seeds]
    return Difference(first, second, metric, seeds, per_seed, np.stack(by_seed, 1))


def _result(
    difference: Difference,
    found: Estimate | None,
    verdict: Verdict,
    scores: Mapping[RunKey, Scores],
    task: str,
    tests: int,
) -> PairResult:
    """Return the result of one pair in one metric."""
    first, second, metric, seeds, per_seed, resamples = difference
    by_class = metric == TASKS[task].main
    return PairResult(
        first=first,
        second=second,
        metric=metric,
        seeds=[seed for seed in seeds if seed is not None],
        difference=float(np.mean(per_seed)),
        per_seed=per_seed,
        interval=found.student.interval() if found else None,
        error=found.student.error if found else None,
        df=found.student.df if found and np.isfinite(found.student.df) else None,
        over_seeds=intervals.over_seeds(per_seed),
        over_images=intervals.over_resamples(resamples.mean(1)),
        p_different=verdict.p_different,
        p_unequal=verdict.p_unequal,
        verdict=verdict.word,
        seeds_needed=found.seeds_needed(tests) if found else None,
        per_class=_per_class([(scores[RunKey(first, s)], scores[RunKey(second, s)]) for s in seeds])
        if by_class
        else None,
    )


def _has_learned(scores: Mapping[RunKey, Scores], difference: Difference) -> bool:
    """Return whether a model of the pair has learned something; else both are equal, and it means nothing."""
    first, second, metric, seeds, *_ = difference
    return any(np.mean([_value(scores[RunKey(m, s)], metric) for s in seeds]) >= NOTHING for m in (first, second))


def _value(scores: Scores, metric: str) -> float:
    """Return a metric that is compared, which every run has."""
    value = scores.metrics[metric]
    assert value is not None
    return value


def _per_class(pairs: Sequence[tuple[Scores, Scores]]) -> dict[str, ClassDifference]:
    """Return how the first metric differs in each class."""
    differences = {}
    for name in pairs[0][0].per_class:
        per_seed = [b.per_class[name] - a.per_class[name] for a, b in pairs]
        differences[name] = ClassDifference(float(np.mean(per_seed)), intervals.over_seeds(per_seed))
    return differences
