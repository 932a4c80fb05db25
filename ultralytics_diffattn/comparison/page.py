# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of a comparison as one page that needs nothing else: `report.html.j2` filled with tables and charts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from ultralytics_diffattn.comparison import charts, tables
from ultralytics_diffattn.comparison.charts import Series
from ultralytics_diffattn.comparison.image_grid import PairImages
from ultralytics_diffattn.comparison.pairs import common_seeds
from ultralytics_diffattn.comparison.schema import Interval, ModelResult, Results, RunKey, RunResult
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.output.formatting import number
from ultralytics_diffattn.output.html import template

TEMPLATE = Path(__file__).with_name("report.html.j2")
MOST_CLASSES = 20  # in a chart; the table below it has all


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
    """A difference of two models, with its intervals over seeds and over images."""

    text: str
    seeds: Interval | None = None
    images: Interval | None = None


@dataclass(frozen=True)
class DifferenceRow:
    """A row of the table for a pair of models; as many cells as there are metrics and costs."""

    first: str
    second: str
    cells: list[DifferenceCell]


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


def render(results: Results, image_grid: Sequence[PairImages]) -> str:
    """Return the report.

    Args:
        results (Results): Of the comparison.
        image_grid (Sequence[PairImages]): The images on which models differ most.

    Returns:
        (str): HTML, with everything that it shows inside.
    """
    page = template(TEMPLATE, number=number, sentence=tables.sentence, warnings=tables.warnings)
    return page.render(
        results=results,
        dataset=dataset_name(results.data.file),
        pairs=[pair for pair in results.pairs if pair.metric == "mAP50-95"],
        columns=[*next(iter(results.models.values())).metrics, *COSTS],
        model_rows=model_rows(results),
        difference_rows=difference_rows(results),
        charts=[*learning_charts(results), precision_recall_chart(results), *lambda_charts(results)],
        class_charts=class_charts(results),
        most_classes=MOST_CLASSES,
        image_grid=image_grid,
        command=command(results),
    )


def dataset_name(file: str) -> str:
    """Return what a data set is called.

    Args:
        file (str): Its data YAML.

    Returns:
        (str): The file's name, or the folder's where the file's says nothing.

    Examples:
        >>> dataset_name("/data/bccd/data.yaml"), dataset_name("coco.yaml")
        ('bccd', 'coco')
    """
    path = Path(file)
    return path.parent.name if path.stem in ("data", "dataset") and path.parent.name else path.stem


def command(results: Results) -> str:
    """Return the command that makes the comparison again.

    Args:
        results (Results): Of the comparison.

    Returns:
        (str): For a shell.
    """
    arguments = {
        "models": ",".join(model.model for model in results.models.values()),
        "seeds": ",".join(map(str, results.seeds)),
        **results.arguments,
    }
    return shlex.join(["diffattn", "compare", *(f"{key}={value}" for key, value in arguments.items())])


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
        costs = [ModelCell(number(cost.get(model), cost.digits)) for cost in COSTS.values()]
        rows.append(ModelRow(label, metrics + costs))
    return rows


def best(results: Results, metric: str) -> str | None:
    """Return the model that is distinguishable from each other one, and better.

    Args:
        results (Results): Of the comparison.
        metric (str): One of those of `pairs`; of others it cannot be told.

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
        costs = [_cost_difference(results.models[first], results.models[second], cost) for cost in COSTS.values()]
        rows.append(DifferenceRow(first, second, metrics + costs))
    return rows


def _metric_difference(results: Results, first: str, second: str, name: str) -> DifferenceCell:
    """Return the mean difference of a metric over the seeds that both models have."""
    values = {run.key: run.metrics[name] for run in results.runs}
    both = [(values[RunKey(first, s)], values[RunKey(second, s)]) for s in common_seeds(values, first, second)]
    gaps = [b - a for a, b in both if a is not None and b is not None]
    over_images = {(pair.first, pair.second, pair.metric): pair.over_images for pair in results.pairs}
    text = f"{np.mean(gaps):+.3f}" if gaps else "-"
    return DifferenceCell(text, intervals.over_seeds(gaps), over_images.get((first, second, name)))


def _cost_difference(first: ModelResult, second: ModelResult, cost: Cost) -> DifferenceCell:
    """Return the relative difference of a cost in percent."""
    a, b = cost.get(first), cost.get(second)
    return DifferenceCell(f"{100 * (b / a - 1):+.1f} %" if a and b is not None else "-")


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


def _by_x(xs: Sequence[float] | np.ndarray, ys: Sequence[float | None]) -> dict[float, float | None]:
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
