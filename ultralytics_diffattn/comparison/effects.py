# Ultralytics DiffAttn - AGPL-3.0 License
"""Models with and without a teacher: what the model changes, what the teacher changes, and whether they add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.metrics import Scores
from ultralytics_diffattn.comparison.pairs import NOTHING, Resampled
from ultralytics_diffattn.comparison.schema import EffectResult, RunKey
from ultralytics_diffattn.comparison.teachers import Taught
from ultralytics_diffattn.comparison.verdicts import verdicts
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.tasks import TASKS


class Contrast(NamedTuple):
    """A sum of models, each with a weight; the weights sum to zero."""

    kind: str
    model: str
    teacher: str
    weights: dict[Taught, float]


def contrasts(taught: list[Taught]) -> list[Contrast]:
    """Return the main effects of models and teachers, and their interactions.

    Args:
        taught (list[Taught]): Every model with every teacher, in the order of both.

    Returns:
        (list[Contrast]): Each model minus the first, mean over the teachers; each teacher minus the first, mean over
            the models; how much more each model gains from each teacher than the first does.

    Examples:
        >>> pairs = [Taught(m, t) for t in ("none", "l") for m in ("a", "b")]
        >>> [(c.kind, *c.weights.values()) for c in contrasts(pairs)]
        [('model', -0.5, 0.5, -0.5, 0.5), ('teacher', -0.5, -0.5, 0.5, 0.5), ('interaction', 1.0, -1.0, -1.0, 1.0)]
    """
    models, teachers = (list(dict.fromkeys(t[i] for t in taught)) for i in (0, 1))

    def step(names: list[str], name: str) -> dict[str, float]:
        return {n: float(n == name) - float(n == names[0]) for n in names}

    def mean(names: list[str]) -> dict[str, float]:
        return dict.fromkeys(names, 1 / len(names))

    def weights(of_model: dict[str, float], of_teacher: dict[str, float]) -> dict[Taught, float]:
        return {t: of_model[t.model] * of_teacher[t.teacher] for t in taught}

    return [
        *(Contrast("model", m, "", weights(step(models, m), mean(teachers))) for m in models[1:]),
        *(Contrast("teacher", "", t, weights(mean(models), step(teachers, t))) for t in teachers[1:]),
        *(
            Contrast("interaction", m, t, weights(step(models, m), step(teachers, t)))
            for m in models[1:]
            for t in teachers[1:]
        ),
    ]


def compare_effects(
    taught: list[Taught], scores: Mapping[RunKey, Scores], resampled: Resampled, images: int, task: str, margin: float
) -> list[EffectResult]:
    """Return the effects in the task's first metric.

    Args:
        taught (list[Taught]): Every model with every teacher.
        scores (Mapping[RunKey, Scores]): Metrics of each run.
        resampled (Resampled): The metrics that are compared, of each run on the same resampled images.
        images (int): Number of images.
        task (str): One of `TASKS`.
        margin (float): Difference that does not matter.

    Returns:
        (list[EffectResult]): Empty where all have the same teacher, or a model has no finished run with one of them.
    """
    models, teachers = ({t[i] for t in taught} for i in (0, 1))
    if len(teachers) < 2 or len(taught) < len(models) * len(teachers):  # of one that is not finished, results say so
        return []
    values = {key: score.metrics[TASKS[task].main] or 0.0 for key, score in scores.items()}
    return effects(taught, values, {key: metrics[:, 0] for key, metrics in resampled.items()}, images, margin)


def effects(
    taught: list[Taught],
    values: Mapping[RunKey, float],
    resampled: Mapping[RunKey, NDArray[np.float64]],
    images: int,
    margin: float,
) -> list[EffectResult]:
    """Return the effects in one metric, over the seeds that every model has with every teacher.

    Args:
        taught (list[Taught]): Every model with every teacher.
        values (Mapping[RunKey, float]): The metric of each run.
        resampled (Mapping[RunKey, np.ndarray]): (resamples,), the same on resampled images.
        images (int): Number of images.
        margin (float): Difference that does not matter.

    Returns:
        (list[EffectResult]): With verdicts that are adjusted for all effects together; empty without a common seed.
    """
    seeds = list(_common_seeds([t.label for t in taught], values))
    if not seeds:
        return []
    asked = contrasts(taught)
    per_seed = [[sum(w * values[RunKey(t.label, s)] for t, w in c.weights.items()) for s in seeds] for c in asked]
    samples = [
        np.stack([sum(w * resampled[RunKey(t.label, s)] for t, w in c.weights.items()) for s in seeds], 1)  # (R, S)
        for c in asked
    ]
    found = [estimate(p, r, images) for p, r in zip(per_seed, samples, strict=True)]
    learned = any(np.mean([values[RunKey(t.label, s)] for s in seeds]) >= NOTHING for t in taught)
    said = verdicts(found if learned else [None] * len(found), margin)
    return [
        EffectResult(
            kind=c.kind,
            model=c.model or None,
            teacher=c.teacher or None,
            seeds=seeds,
            difference=float(np.mean(p)),
            per_seed=p,
            interval=f.student.interval() if f else None,
            p_different=v.p_different,
            p_unequal=v.p_unequal,
            verdict=v.word,
        )
        for c, p, f, v in zip(asked, per_seed, found, said, strict=True)
    ]


def _common_seeds(labels: list[str], values: Mapping[RunKey, float]) -> Iterator[int]:
    """Yield the seeds that all have."""
    of_first = (s for label, s in values if label == labels[0] and s is not None)
    yield from (s for s in of_first if all((other, s) in values for other in labels))
