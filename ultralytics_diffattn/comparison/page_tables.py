# Ultralytics DiffAttn - AGPL-3.0 License
"""The rows of the table on a comparison's page: metrics and costs of each model, and the differences of each pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ultralytics_diffattn.comparison.pairs import common_seeds
from ultralytics_diffattn.comparison.schema import Interval, ModelResult, Results, RunKey
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.output.formatting import number


@dataclass(frozen=True)
class Cost:
    """A column of the table: how to get it from a model, and its digits after the point."""

    get: Callable[[ModelResult], float | None]
    digits: int


COSTS = {
    "parameters": Cost(lambda model: model.parameters, 0),
    "GFLOPs": Cost(lambda model: model.gflops, 2),
    "PyTorch ms": Cost(lambda model: model.latency_ms.pytorch, 1),
    "ONNX Runtime ms": Cost(lambda model: model.latency_ms.onnxruntime, 1),
    "s / epoch": Cost(lambda model: model.seconds_per_epoch, 1),
    "peak MB": Cost(lambda model: model.peak_memory_mb, 0),
}


@dataclass(frozen=True)
class ModelCell:
    """A value of a model: its text, its standard deviation, and whether it is better than that of every other model."""

    text: str
    sd: str | None = None
    best: bool = False


@dataclass(frozen=True)
class ModelRow:
    """A row of the table for a model; as many cells as there are metrics and costs."""

    label: str
    cells: list[ModelCell]


@dataclass(frozen=True)
class DifferenceCell:
    """A difference of two models, with its interval, and that over seeds and over images alone."""

    text: str
    both: Interval | None = None
    seeds: Interval | None = None
    images: Interval | None = None


@dataclass(frozen=True)
class DifferenceRow:
    """A row of the table for a pair of models; as many cells as there are metrics and costs."""

    first: str
    second: str
    cells: list[DifferenceCell]


def costs(results: Results) -> dict[str, Cost]:
    """Return the columns of what models cost.

    Args:
        results (Results): Of the comparison.

    Returns:
        (dict[str, Cost]): By name; of models that are only evaluated those in which one has a value, which leaves out
            what a training costs.
    """
    if not results.only_evaluated:
        return COSTS
    models = results.models.values()
    return {name: cost for name, cost in COSTS.items() if any(cost.get(model) is not None for model in models)}


def model_rows(results: Results) -> list[ModelRow]:
    """Return a row of the table for each model.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[ModelRow]): In the order of the models.
    """
    rows = []
    for label, model in results.models.items():
        metrics = [
            ModelCell(
                number(metric.mean, 3), None if metric.sd is None else f"{metric.sd:.3f}", best(results, name) == label
            )
            for name, metric in model.metrics.items()
        ]
        cost_cells = [ModelCell(number(cost.get(model), cost.digits)) for cost in costs(results).values()]
        rows.append(ModelRow(label, metrics + cost_cells))
    return rows


def best(results: Results, metric: str) -> str | None:
    """Return the model that is distinguishable from each other one, and better.

    Args:
        results (Results): Of the comparison.
        metric (str): One of the metrics of `pairs`; for any other the answer is None.

    Returns:
        (str | None): Its label; None if there is no such model.
    """
    pairs = [pair for pair in results.pairs if pair.metric == metric]
    winners = [{"better": pair.second, "worse": pair.first}.get(pair.verdict) for pair in pairs]
    return next((w for w in winners if w and winners.count(w) == len(results.models) - 1), None)


def difference_rows(results: Results) -> list[DifferenceRow]:
    """Return a row of the table for each pair of models, over the seeds that both have.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[DifferenceRow]): In the order of the pairs.
    """
    rows = []
    for first, second in dict.fromkeys((pair.first, pair.second) for pair in results.pairs):
        metrics = [_metric_difference(results, first, second, name) for name in results.models[first].metrics]
        models = results.models[first], results.models[second]
        rows.append(
            DifferenceRow(first, second, metrics + [_cost_difference(*models, c) for c in costs(results).values()])
        )
    return rows


def _metric_difference(results: Results, first: str, second: str, name: str) -> DifferenceCell:
    """Return the mean difference of a metric over the seeds that both models have."""
    values = {run.key: run.metrics[name] for run in results.runs}
    both = [(values[RunKey(first, s)], values[RunKey(second, s)]) for s in common_seeds(values, first, second)]
    gaps = [b - a for a, b in both if a is not None and b is not None]
    text = f"{np.mean(gaps):+.3f}" if gaps else "-"
    for pair in results.pairs:
        if (pair.first, pair.second, pair.metric) == (first, second, name):
            return DifferenceCell(text, pair.interval, intervals.over_seeds(gaps), pair.over_images)
    return DifferenceCell(text, seeds=intervals.over_seeds(gaps))


def _cost_difference(first: ModelResult, second: ModelResult, cost: Cost) -> DifferenceCell:
    """Return the relative difference of a cost in percent."""
    a, b = cost.get(first), cost.get(second)
    return DifferenceCell(f"{100 * (b / a - 1):+.1f} %" if a and b is not None else "-")
