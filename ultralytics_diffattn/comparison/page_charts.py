# Ultralytics DiffAttn - AGPL-3.0 License
"""The charts on a comparison's page: learning curves, precision over recall, lambda, and the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        (list[Chart]): mAP50-95, box loss and class loss.
    """
    curves: list[tuple[str, str, Callable[[RunResult], list[float | None]]]] = [
        ("map", "mAP50-95, validation images", lambda run: tables.map_curve(run, results)),
        ("box", "Box loss, training images", lambda run: run.curve.box_loss),
        ("class", "Class loss, training images", lambda run: run.curve.cls_loss),
    ]
    out = []
    for name, title, values in curves:
        series = {
            label: [_by_x(run.curve.epoch, values(run)) for run in results.runs_of(label)] for label in results.models
        }
        out.append(_chart(f"learning-{name}", title, series, "epoch"))
    return out


def precision_recall_chart(results: Results) -> Chart:
    """Return the curves of precision over recall, the mean over the classes, at IoU 0.5.

    Args:
        results (Results): Of the comparison.

    Returns:
        (Chart): A line for each model.
    """
    series = {
        label: [_by_x(np.linspace(0, 1, len(run.pr_curve)).round(4), run.pr_curve) for run in results.runs_of(label)]
        for label in results.models
    }
    title = "Precision over recall at IoU 0.5, mean of classes"
    return _chart("precision", title, series, "recall", "precision", (-0.02, 1.02))


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
        title = f"AP50-95 of {pair.second} minus that of {pair.first}: {values}"
        svg = Markup(charts.differences(f"classes-{i}", title, shown))
        out.append(ClassChart(first, pair.second, len(rows), svg))
    return out


def _by_x(xs: Iterable[float], ys: Sequence[float | None]) -> dict[float, float | None]:
    """Return the points of a curve."""
    return {float(x): y for x, y in zip(xs, ys, strict=True)}


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
    description = f"{title}. At the end, mean over seeds: {', '.join(ends)}." if ends else f"{title}. No values."
    return Chart(title, Markup(charts.lines(name, description, series, x_name, y_name, limits)))
