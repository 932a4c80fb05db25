# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of a comparison as one page that needs nothing else: `report.html.j2` filled with tables and charts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ultralytics_diffattn.comparison import charts, tables
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.output.formatting import number
from ultralytics_diffattn.output.html import template

TEMPLATE = Path(__file__).with_name("report.html.j2")
MOST_CLASSES = 20  # in a chart; the table below it has all
LEARNING = {
    "mAP50-95": "mAP50-95, validation images",
    "box_loss": "Box loss, training images",
    "cls_loss": "Class loss, training images",
}
COSTS = {  # column: how to get it from a model, digits after the point
    "parameters": (lambda m: m["parameters"], 0),
    "GFLOPs": (lambda m: m["gflops"], 2),
    "PyTorch ms": (lambda m: m["latency_ms"]["pytorch"], 1),
    "ONNX Runtime ms": (lambda m: m["latency_ms"]["onnxruntime"], 1),
    "s / epoch": (lambda m: m["seconds_per_epoch"], 1),
    "peak MB": (lambda m: m["peak_memory_mb"], 0),
}


def render(found: dict[str, Any], grid: list[dict[str, Any]]) -> str:
    """Return the report.

    Args:
        found (dict): What `results.json` holds.
        grid (list[dict]): The images on which models differ most, from `grid.differing`.

    Returns:
        (str): HTML, with everything that it shows inside.
    """
    page = template(TEMPLATE, number=number, sentence=tables.sentence, warnings=tables.warnings)
    return page.render(
        found=found,
        grid=grid,
        name=dataset_name(found["data"]["file"]),
        seeds=sorted({run["seed"] for run in found["runs"]}),
        missing=found.get("missing", []),
        pairs=[pair for pair in found["pairs"] if pair["metric"] == "mAP50-95"],
        columns=[*next(iter(found["models"].values()))["metrics"], *COSTS],
        models=model_rows(found),
        differences=difference_rows(found),
        learning=learning(found),
        precision_recall=precision_recall(found),
        classes=classes(found),
        most_classes=MOST_CLASSES,
        lambdas=lambdas(found),
        command=command(found),
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


def command(found: dict[str, Any]) -> str:
    """Return the command that makes the comparison again.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (str): For a shell.
    """
    given = {
        "models": ",".join(model["model"] for model in found["models"].values()),
        "seeds": ",".join(str(seed) for seed in sorted({run["seed"] for run in found["runs"]})),
        **found["arguments"],
    }
    return shlex.join(["diffattn", "compare", *(f"{key}={value}" for key, value in given.items())])


def model_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of the table for each model.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[dict]): `label` and `cells`, each with `text`, `sd` (or None) and `best`: is it better than every other
            model by both intervals?
    """
    rows = []
    for label, model in found["models"].items():
        cells = []
        for name, metric in model["metrics"].items():
            sd = None if metric["sd"] is None else f"{metric['sd']:.3f}"
            text = number(metric["mean"], 3)
            cells.append({"text": text, "sd": sd, "best": best(found, name) == label})
        for get, digits in COSTS.values():
            cells.append({"text": number(get(model), digits), "sd": None, "best": False})
        rows.append({"label": label, "cells": cells})
    return rows


def best(found: dict[str, Any], metric: str) -> str | None:
    """Return the model that is distinguishable from each other one, and better.

    Args:
        found (dict): What `results.json` holds.
        metric (str): One of those of `pairs`; of others it cannot be told.

    Returns:
        (str | None): Its name; None if there is no such model.
    """
    pairs = [pair for pair in found["pairs"] if pair["metric"] == metric]
    winners = [{"better": p["second"], "worse": p["first"]}.get(p["verdict"]) for p in pairs]
    return next((w for w in winners if w and winners.count(w) == len(found["models"]) - 1), None)


def difference_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of the table for each pair of models.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[dict]): `first`, `second`, and `cells`, each with `text`, and `seeds` and `images`: intervals or None.
    """
    rows = []
    metrics = {(run["model"], run["seed"]): run["metrics"] for run in found["runs"]}
    by_images = {(p["first"], p["second"], p["metric"]): p["over_images"] for p in found["pairs"]}
    for first, second in dict.fromkeys((p["first"], p["second"]) for p in found["pairs"]):
        seeds = [seed for label, seed in metrics if label == first and (second, seed) in metrics]
        cells = []
        for name in metrics[first, seeds[0]]:
            both = [(metrics[first, s][name], metrics[second, s][name]) for s in seeds]
            gaps = [b - a for a, b in both if a is not None and b is not None]
            text = f"{np.mean(gaps):+.3f}" if gaps else "-"
            images = by_images.get((first, second, name))
            cells.append({"text": text, "seeds": intervals.over_seeds(gaps), "images": images})
        a, b = found["models"][first], found["models"][second]
        for get, _ in COSTS.values():
            text = f"{100 * (get(b) / get(a) - 1):+.1f} %" if get(a) and get(b) is not None else "-"
            cells.append({"text": text, "seeds": None, "images": None})
        rows.append({"first": first, "second": second, "cells": cells})
    return rows


def learning(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the learning curves.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[dict]): For each `title` and `svg`.
    """
    out = []
    for key, title in LEARNING.items():
        series = {label: [tables.curve(run, key, found) for run in runs] for label, runs in _by_model(found).items()}
        out.append(_chart(f"learning-{key}", title, series, "epoch"))
    return out


def precision_recall(found: dict[str, Any]) -> dict[str, Any]:
    """Return the curves of precision over recall, the mean over the classes, at IoU 0.5.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (dict): `title` and `svg`.
    """
    series = {
        label: [
            dict(zip(np.linspace(0, 1, len(run["pr_curve"])).round(4), run["pr_curve"], strict=True)) for run in runs
        ]
        for label, runs in _by_model(found).items()
    }
    return _chart(
        "precision", "Precision over recall at IoU 0.5, mean of classes", series, "recall", "precision", (-0.02, 1.02)
    )


def lambdas(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return lambda over the epochs of each model that has differential attention.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[dict]): For each `title` and `svg`.
    """
    out = []
    for i, (label, runs) in enumerate(_by_model(found).items()):
        series = {
            block: [dict(enumerate(run["lambda"].get(block, []), 1)) for run in runs]
            for block in dict.fromkeys(block for run in runs for block in run["lambda"])
        }
        if series:
            out.append(_chart(f"lambda-{i}", f"Lambda of {label}", series, "epoch"))
    return out


def classes(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how the classes differ between the first model and each other one.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[dict]): For each pair `first`, `second`, `count` (of classes) and `svg`.
    """
    out, first = [], next(iter(found["models"]))
    for i, pair in enumerate(p for p in found["pairs"] if p["first"] == first and p["per_class"]):
        rows = [
            (c, d["difference"], d["over_seeds"]) for c, d in pair["per_class"].items() if d["difference"] is not None
        ]
        largest = sorted(rows, key=lambda row: -abs(row[1]))[:MOST_CLASSES]
        listed = [("all classes", pair["difference"], pair["over_seeds"]), *sorted(largest, key=lambda row: -row[1])]
        title = f"AP50-95 of {pair['second']} minus that of {pair['first']}: " + ", ".join(
            f"{label} {value:+.3f}" for label, value, _ in listed
        )
        svg = Markup(charts.differences(f"classes-{i}", title, listed))
        out.append({"first": first, "second": pair["second"], "count": len(rows), "svg": svg})
    return out


def _by_model(found: dict[str, Any]) -> dict[str, list[dict]]:
    return {label: [run for run in found["runs"] if run["model"] == label] for label in found["models"]}


def _chart(name: str, title: str, series: dict[str, list[dict]], *args: Any) -> dict[str, Any]:
    """Return `title` and `svg`, whose own title tells the last value of each series."""
    ends = []
    for label, seeds in series.items():
        last = [known[-1] for seed in seeds if (known := [y for y in seed.values() if y is not None])]
        if last:
            ends.append(f"{label} {np.mean(last):.3f}")
    told = f"{title}. At the end, mean over seeds: {', '.join(ends)}." if ends else f"{title}. No values."
    return {"title": title, "svg": Markup(charts.lines(name, told, series, *args))}
