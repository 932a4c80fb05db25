# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of a comparison as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from ultralytics_diffattn.comparison import retention_tables
from ultralytics_diffattn.comparison.effect_table import effect_rows
from ultralytics_diffattn.comparison.headline import headline
from ultralytics_diffattn.comparison.schema import DataSummary, ModelResult, PairResult, Results, RunResult, Spread
from ultralytics_diffattn.comparison.warnings import warnings
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.output.formatting import interval, mean_sd, number, signed
from ultralytics_diffattn.output.markdown import table

EPOCHS = 0, 1, 2, 5, 10, 20, 50, 100, 200, 500  # of the table by epoch; 0 is before the first step
ARGUMENTS = (
    "epochs",
    "imgsz",
    "batch",
    "pretrained",
    "reconstruct",
)  # above the table; results.json has all


def as_markdown(results: Results) -> str:
    """Return the tables and the sentences below them, ready for a README.

    Args:
        results (Results): Of the comparison.

    Returns:
        (str): Markdown.
    """
    resumed = [run.key.title for run in results.runs if run.resumed_after]
    notes = [*warnings(results), *(sentence(pair, results) for pair in results.pairs)]
    if any(run.reconstruction for run in results.runs):
        notes.append(_reconstruction(results))
    if resumed:
        notes.append(f"Resumed after an interruption: {', '.join(resumed)}.")
    notes += retention_tables.notes(results)
    if results.missing:
        notes.append(f"Not finished, and not in the table: {', '.join(results.missing)}.")
    lines = [
        *([said, ""] if (said := headline(results)) else []),
        _setting(results),
        "",
        *model_table(results),
        "",
        *_table_by_epoch(results),
        *_table_of_effects(results),
        *_table_of_errors(results),
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"


def model_table(results: Results) -> list[str]:
    """Return the table of the models, what they reach and what they cost.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[str]): Lines of Markdown.
    """
    rows: list[Mapping[str, str]] = [
        {**_model_row(label, model), **retention_tables.of_model(label, results)}
        for label, model in results.models.items()
    ]
    if results.only_evaluated:
        rows = _with_known_costs(rows, results)
    return table(list(rows[0]), [list(row.values()) for row in rows])


def _with_known_costs(rows: list[Mapping[str, str]], results: Results) -> list[Mapping[str, str]]:
    """Return the rows without the costs that no model has, such as those of a training."""
    metrics = TASKS[results.task].metrics
    names = [name for name in rows[0] if name in metrics or any(row[name] != "-" for row in rows)]
    return [{name: row[name] for name in names} for row in rows]


def _reconstruction(results: Results) -> str:
    """Return which models were reconstructed, and how well."""
    errors: dict[str, list[float]] = {}
    for run in results.runs:
        errors.setdefault(run.model, []).extend((run.reconstruction or {}).values())
    listed = ", ".join(f"{label} {min(e):.3f} to {max(e):.3f}" for label, e in errors.items() if e)
    return (
        "Before each training, the model's differential attention was trained alone, without labels, to give what the "
        "stock attention of the pretrained weights gives on the training images (reconstruction). Squared error on "
        f"held-out images, as a share of the variance of the stock attention's output: {listed}."
    )


def sentence(pair: PairResult, results: Results) -> str:
    """Return how two models differ, in one sentence.

    Args:
        pair (PairResult): The two models.
        results (Results): Of the comparison.

    Returns:
        (str): With the difference, its interval, and what more it would take.
    """
    images, margin = results.data.images, results.margin
    text = f"{intervals.in_words(pair.first, pair.verdict, pair.second)} in {pair.metric}"
    if pair.verdict == "equal":
        text += f" within ±{margin:g}"
    text += f": {signed(pair.difference)}"
    if pair.interval:
        seeds = "" if results.only_evaluated else f"{len(pair.seeds)} seeds and "
        text += f", 95 % interval {interval(pair.interval)} over {seeds}{images:,} images"
    weighed = results.only_evaluated and pair.verdict != intervals.NO_VERDICT
    text += ", for these weights" if weighed else ""
    text += _remark(pair, images, margin, len(results.pairs))
    return f"{text}{'; trained again, the models may compare differently' if weighed else ''}."


def _remark(pair: PairResult, images: int, margin: float, tests: int) -> str:
    """Return why there is no verdict, or what it would take, as the end of a sentence; empty where all is said."""
    if pair.verdict == intervals.NO_VERDICT:
        return f"; {_why_none(pair, images)}"
    if pair.verdict in ("better", "worse") and pair.p_unequal is not None and pair.p_unequal < 1 - intervals.LEVEL:
        return f"; that is too small to matter (less than margin={margin:g})"
    if pair.verdict != "not distinguishable" or not pair.difference or not pair.interval:
        return ""
    if not pair.interval[0] <= 0 <= pair.interval[1]:
        return f"; on its own it would be distinguishable, but not as one of {tests} differences in this report"
    if not pair.seeds:
        return ""
    if pair.seeds_needed is None:
        return "; on so few images not even 1,000 seeds would show a difference of that size"
    return f"; to show a difference of that size would take about {pair.seeds_needed} seeds"


def _why_none(pair: PairResult, images: int) -> str:
    """Return why there is no verdict."""
    if images < intervals.LEAST_IMAGES:
        return intervals.too_few(images)
    if not pair.seeds:
        return "neither finds anything"
    if len(pair.seeds) >= intervals.LEAST_SEEDS:
        return "neither has learned anything: train longer"
    few = "one seed is" if len(pair.seeds) == 1 else f"{len(pair.seeds)} seeds are"
    return f"{few} too few to rule out chance: give {intervals.LEAST_SEEDS} or more, as seeds=0,1,2"


def as_csv(results: Results) -> str:
    """Return one row for each run.

    Args:
        results (Results): Of the comparison.

    Returns:
        (str): CSV with a header.
    """
    rows = [{**_run_row(run, results.main), **retention_tables.of_run(run, results)} for run in results.runs]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def metric_curve(run: RunResult, results: Results) -> list[float | None]:
    """Return the task's first metric of a run after each epoch.

    Args:
        run (RunResult): One of the runs.
        results (Results): Of the comparison.

    Returns:
        (list[float | None]): In the order of `run.curve.epoch`; None for an epoch without a validation, for which
            ultralytics writes 0.
    """
    validated = results.arguments.get("val", True)
    return [value if validated else value or None for value in run.curve.metric]


def split_in_words(data: DataSummary) -> str:
    """Return what the images are that every figure comes from.

    Args:
        data (DataSummary): The data set.

    Returns:
        (str): Such as "validation images".
    """
    if data.split == "val":
        return "validation images"
    return "test images" if data.holdout is None else f"images held out of the validation images ({data.holdout:g})"


def _setting(results: Results) -> str:
    """Return the line above the table: data, arguments, seeds, versions and machine."""
    data, hardware, arguments = results.data, results.hardware, results.arguments
    parts = [
        f"{data.images} {split_in_words(data)}" + ("" if data.objects is None else f", {data.objects} objects"),
        ", ".join(f"{key}={arguments[key]}" for key in ARGUMENTS if arguments.get(key) is not None),
        f"seeds {', '.join(map(str, results.seeds))}" if results.seeds else "no training here",
        ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        f"{hardware['cpu']}, GPU {hardware['gpu']}",
    ]
    return "; ".join(parts)


def _table_by_epoch(results: Results) -> list[str]:
    """Return the table of the first metric by epoch, from before the first step if the runs start from weights."""
    if results.only_evaluated:
        return []
    values = {label: _values_by_epoch(label, results) for label in results.models}
    common = set.intersection(*(set(by_epoch) for by_epoch in values.values()))
    epochs = sorted(common & {*EPOCHS, max(common, default=0)})
    rows = [[label, *(mean_sd(by_epoch[epoch]) for epoch in epochs)] for label, by_epoch in values.items()]
    return [*table([f"{results.main} after epoch", *map(str, epochs)], rows), ""]


def _table_of_effects(results: Results) -> list[str]:
    """Return the table of what models and teachers change; nothing for a comparison without several teachers."""
    rows = effect_rows(results)
    return [*table(["effect", results.main, "95 % interval", "verdict"], rows), ""] if rows else []


def _table_of_errors(results: Results) -> list[str]:
    """Return the table of the AP50 lost to each kind of error; nothing for a task without."""
    for facet in results.facets[:1]:
        rows = [[label, *(number(value, 3) for value in values)] for label, values in facet.models.items()]
        return [*table(["AP50 lost to errors (TIDE)", *facet.names], rows), ""]
    return []


def _values_by_epoch(label: str, results: Results) -> dict[int, list[float]]:
    """Return the first metric of a model's runs by epoch, without those that were not measured."""
    values: dict[int, list[float]] = {}
    for run in results.runs_of(label):
        for epoch, value in zip([0, *run.curve.epoch], [run.step0, *metric_curve(run, results)], strict=True):
            if value is not None:
                values.setdefault(epoch, []).append(value)
    return values


def _model_row(label: str, model: ModelResult) -> dict[str, str]:
    """Return the cells of a model by column."""
    return {
        "model": label,
        **{name: _mean_and_sd(metric) for name, metric in model.metrics.items()},
        "params": number(model.parameters, 0),
        "GFLOPs": number(model.gflops, 2),
        "PyTorch ms": number(model.latency_ms.pytorch, 1),
        "ONNX Runtime ms": number(model.latency_ms.onnxruntime, 1),
        "s / epoch": number(model.seconds_per_epoch, 1),
        "peak MB": number(model.peak_memory_mb, 0),
    }


def _mean_and_sd(metric: Spread) -> str:
    """Return mean and standard deviation, or a dash."""
    return number(metric.mean, 3) + ("" if metric.sd is None else f" ± {metric.sd:.3f}")


def _run_row(run: RunResult, main: str) -> dict[str, str | float | None]:
    """Return the cells of a run by column."""
    return {
        "model": run.model,
        "seed": run.seed,
        **run.metrics,
        **{f"{main} {name}": value for name, value in run.per_class.items()},
        "epochs": run.epochs,
        "seconds_per_epoch": run.seconds_per_epoch,
        "peak_memory_mb": run.peak_memory_mb,
        "resumed_after": " ".join(map(str, run.resumed_after)),
    }
