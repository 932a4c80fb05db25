# Ultralytics DiffAttn - AGPL-3.0 License
"""The charts on a comparison's page: learning curves, precision over recall, lambda, and the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from markupsafe import Markup

from ultralytics_diffattn.comparison import charts, tables
from ultralytics_diffattn.comparison.charts import Series
from ultralytics_diffattn.comparison.schema import Results, RunResult

MOST_CLASSES = 20  # in a chart; the table below it has all


@dataclass(frozen=True)
class Chart:
    """A chart, and the text above it."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class ClassChart:
    """The chart of the classes of a pair of models, which differ in `count` classes."""

    first: str
    second: str
    count: int
    svg: Markup


def learning_charts(results: Results) -> list[Chart]:
    """Return the learning curves.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[Chart]): The task's first metric, and each training loss; none without a training.
    """
    if results.only_evaluated:
        return []

    def curve(name: str, title: str, values: Callable[[RunResult], list[float | None]]) -> Chart:
        series = {
            label: [_by_x(run.curve.epoch, values(run)) for run in results.runs_of(label)] for label in results.models
        }
        return _chart(f"learning-{name}", title, series, "epoch")

    losses = dict.fromkeys(name for run in results.runs for name in run.curve.losses)
    return [
        curve("metric", f"{results.main}, validation images", lambda run: tables.metric_curve(run, results)),
        *(
            curve(name, f"{name.replace('_', ' ').capitalize()}, training images", partial(_loss, name))
            for name in losses
        ),
    ]


def _loss(name: str, run: RunResult) -> list[float | None]:
    """Return a loss of a run after each epoch; none where another release of ultralytics calls it otherwise."""
    return run.curve.losses.get(name, [None] * len(run.curve.epoch))


def precision_recall_charts(results: Results) -> list[Chart]:
    """Return the curves of precision over recall, the mean over the classes, at IoU 0.5.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[Chart]): One, with a line for each model; none for a task without such a curve.
    """
    if not any(run.pr_curve for run in results.runs):
        return []
    series = {label: [_over_unit(run.pr_curve) for run in results.runs_of(label)] for label in results.models}
    title = "Precision over recall at IoU 0.5, mean of classes"
    return [_chart("precision", title, series, "recall", "precision", (-0.02, 1.02))]


def confidence_charts(results: Results) -> list[Chart]:
    """Return the curves of precision, recall and F1 over confidence, means over the classes, at IoU 0.5.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[Chart]): One for each, with a line for each model; none for a task without such curves.
    """
    return [
        _chart(
            f"confidence-{name}",
            f"{name[0].upper()}{name[1:]} over confidence at IoU 0.5, mean of classes",
            {
                label: [_over_unit(run.by_confidence[name]) for run in results.runs_of(label)]
                for label in results.models
            },
            "confidence",
            name,
            (-0.02, 1.02),
        )
        for name in results.runs[0].by_confidence
    ]


def lambda_charts(results: Results) -> list[Chart]:
    """Return lambda over the epochs of each model that has differential attention.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[Chart]): With a line for each attention block.
    """
    out = []
    for i, label in enumerate(results.models):
        runs = results.runs_of(label)
        blocks = dict.fromkeys(block for run in runs for block in run.lambdas)
        series = {block: [_by_epoch(run.lambdas.get(block, [])) for run in runs] for block in blocks}
        if series:
            out.append(_chart(f"lambda-{i}", f"Lambda of {label}", series, "epoch"))
    return out


def class_charts(results: Results) -> list[ClassChart]:
    """Return how the classes differ between the first model and each other one.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[ClassChart]): For each pair, those that differ most.
    """
    out, first = [], next(iter(results.models))
    for i, pair in enumerate(pair for pair in results.pairs if pair.first == first and pair.per_class):
        classes = pair.per_class or {}
        rows = [(name, d.difference, d.over_seeds) for name, d in classes.items() if d.difference is not None]
        largest = sorted(rows, key=lambda row: -abs(row[1]))[:MOST_CLASSES]
        shown = [("all classes", pair.difference, pair.over_seeds), *sorted(largest, key=lambda row: -row[1])]
        values = ", ".join(f"{label} {value:+.3f}" for label, value, _ in shown)
        title = f"{results.main} of {pair.second} minus that of {pair.first}: {values}"
        svg = Markup(charts.differences(f"classes-{i}", title, results.main, shown))
        out.append(ClassChart(first, pair.second, len(rows), svg))
    return out


def _by_x(xs: Iterable[float], ys: Sequence[float | None]) -> dict[float, float | None]:
    """Return the points of a curve."""
    return {float(x): y for x, y in zip(xs, ys, strict=True)}


def _over_unit(values: Sequence[float | None]) -> dict[float, float | None]:
    """Return the points of a curve whose values are evenly spread from 0 to 1."""
    return _by_x(np.linspace(0, 1, len(values)).round(4), values)


def _by_epoch(values: Sequence[float | None]) -> dict[float, float | None]:
    """Return the points of a curve that has a value for each epoch from 1 on."""
    return _by_x(range(1, len(values) + 1), values)


def _chart(
    name: str,
    title: str,
    series: Mapping[str, Series],
    x_name: str,
    y_name: str = "",
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Return a chart of lines, whose description has the last value of each."""
    ends = []
    for label, seeds in series.items():
        known = [[y for y in seed.values() if y is not None] for seed in seeds]
        last = [ys[-1] for ys in known if ys]
        if last:
            ends.append(f"{label} {np.mean(last):.3f}")
    mean = ", mean over seeds" if any(len(seeds) > 1 for seeds in series.values()) else ""
    description = f"{title}. At the end{mean}: {', '.join(ends)}." if ends else f"{title}. No values."
    return Chart(title, Markup(charts.lines(name, description, series, x_name, y_name, limits)))
