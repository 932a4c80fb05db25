# Ultralytics DiffAttn - AGPL-3.0 License
"""What the results of several data sets say together: each model against the first, by data set and on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev

from ultralytics_diffattn.comparison.schema import Across, AcrossModel, AcrossSet, PairResult, Results
from ultralytics_diffattn.comparison.verdicts import Verdict, adjusted
from ultralytics_diffattn.evaluation.intervals import NO_VERDICT
from ultralytics_diffattn.evaluation.student import Student, average


def compare_across(results: Mapping[str, Results], folders: Mapping[str, str], margin: float) -> Across:
    """Return how each model differs from the first in the task's first metric, by data set and on average.

    Verdicts by data set are adjusted for all data sets and models together, those of the averages for all models.

    Args:
        results (Mapping[str, Results]): By the name of the data set; of models with the same labels.
        folders (Mapping[str, str]): Of each data set's comparison, as the report links to it.
        margin (float): Difference that does not matter.

    Returns:
        (Across): What `across.json` holds.
    """
    first_result = next(iter(results.values()))
    fullest = max(results.values(), key=lambda found: len(found.models))  # of one set a model may be missing
    first, *others = dict.fromkeys([*fullest.models, *(m for found in results.values() for m in found.models)])
    pairs = {other: {name: _pair(found, first, other) for name, found in results.items()} for other in others}
    said = iter(adjusted([_tested(pair) for by_set in pairs.values() for pair in by_set.values()], margin))
    by_set = {other: {name: (pair, next(said)) for name, pair in pairs[other].items()} for other in others}
    means = {other: _average([pair for pair, _ in by_set[other].values()]) for other in others}
    verdicts = adjusted([*means.values()], margin)
    return Across(
        schema=first_result.schema,
        metric=first_result.main,
        margin=margin,
        first=first,
        folders={name: Path(folder).as_posix() for name, folder in folders.items()},
        models=[_model(other, by_set[other], means[other], v) for other, v in zip(others, verdicts, strict=True)],
    )


def _pair(results: Results, first: str, second: str) -> PairResult | None:
    """Return how two models differ on a data set in the task's first metric; None if they have no seed in common."""
    found = ((p.first, p.second, p.metric, p) for p in results.pairs)
    return next((p for *names, p in found if names == [first, second, results.main]), None)


def _tested(pair: PairResult | None) -> Student | None:
    """Return a difference that gets a verdict."""
    if pair is None or pair.verdict == NO_VERDICT or pair.error is None:
        return None
    return Student(pair.difference, pair.error, float("inf") if pair.df is None else pair.df)


def _average(pairs: Sequence[PairResult | None]) -> Student | None:
    """Return the average over the data sets; None unless there is a verdict for each."""
    found = [_tested(pair) for pair in pairs]
    known = [f for f in found if f]
    return average(known) if len(known) == len(found) else None


def _model(
    label: str, by_set: Mapping[str, tuple[PairResult | None, Verdict]], mean: Student | None, verdict: Verdict
) -> AcrossModel:
    """Return how one model differs from the first."""
    differences = [pair.difference for pair, _ in by_set.values() if pair]
    return AcrossModel(
        model=label,
        difference=mean.difference if mean else None,
        interval=mean.interval() if mean else None,
        p_different=verdict.p_different,
        p_unequal=verdict.p_unequal,
        verdict=verdict.word,
        spread=stdev(differences) if len(differences) > 1 else None,
        sets={name: _set(pair, said) for name, (pair, said) in by_set.items() if pair},
    )


def _set(pair: PairResult, said: Verdict) -> AcrossSet:
    """Return how it differs on one data set."""
    return AcrossSet(
        difference=pair.difference,
        interval=pair.interval,
        seeds=pair.seeds,
        p_different=said.p_different,
        p_unequal=said.p_unequal,
        verdict=said.word,
    )
