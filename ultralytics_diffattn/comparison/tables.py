# Ultralytics DiffAttn - AGPL-3.0 License
"""The results of a comparison as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from ultralytics_diffattn.output.formatting import interval, mean_sd, number, signed
from ultralytics_diffattn.output.markdown import table

EPOCHS = 0, 1, 2, 5, 10, 20, 50, 100, 200, 500  # shown on the way; 0 is before the first step
ARGUMENTS = ("epochs", "imgsz", "batch", "pretrained")  # those named above the table; results.json has all


def as_markdown(found: dict[str, Any]) -> str:
    """Return the table and the sentences below it, ready for a README.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (str): Markdown.
    """
    args = ", ".join(f"{key}={found['arguments'][key]}" for key in ARGUMENTS if found["arguments"].get(key) is not None)
    seeds = sorted({run["seed"] for run in found["runs"]})
    head = [
        f"{found['data']['val_images']} validation images, {found['data']['val_boxes']} boxes; {args}; "
        f"seeds {', '.join(map(str, seeds))}; "
        + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        + f"; {found['hardware']['cpu']}, GPU {found['hardware']['gpu']}",
        "",
    ]
    rows = [_row(label, model) for label, model in found["models"].items()]
    lines = table(list(rows[0]), [list(row.values()) for row in rows])
    lines += ["", *_by_epoch(found)]
    lines += ["", *(f"- {line}" for line in [*warnings(found), *map(sentence, found["pairs"])])]
    resumed = [f"{run['model']} seed {run['seed']}" for run in found["runs"] if run["resumed_after"]]
    if resumed:
        lines.append(f"- Taken up again after an interruption: {', '.join(resumed)}.")
    if found["missing"]:
        lines.append(f"- Not finished, and not in the table: {', '.join(found['missing'])}.")
    return "\n".join(head + lines) + "\n"


def warnings(found: dict[str, Any]) -> list[str]:
    """Return what makes a comparison worthless.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (list[str]): Sentences; empty if there is nothing to say.
    """
    best = max(model["metrics"]["mAP50"]["mean"] for model in found["models"].values())
    return [f"No model has learned to find anything (mAP50 {best:.3f}): train longer before comparing."] * (best < 0.01)


def sentence(pair: dict[str, Any]) -> str:
    """Return what a comparison of two models found, in one sentence.

    Args:
        pair (dict): One of `pairs` in `results.json`.

    Returns:
        (str): With the difference, both intervals, and the seeds needed.

    Examples:
        >>> pair = {"first": "a", "second": "b", "metric": "mAP50", "difference": 0.01, "seeds": [0, 1], "per_seed": [],
        ...         "over_seeds": [-0.1, 0.12], "over_images": [0, 0.02], "verdict": "not distinguishable",
        ...         "seeds_needed": 9}
        >>> print(sentence(pair))
        b is not distinguishable from a in mAP50: +0.010, 95 % interval over 2 seeds -0.100 to +0.120, over images \
+0.000 to +0.020; with this mean and spread, 9 seeds would be needed.
    """
    than = "from" if pair["verdict"] == "not distinguishable" else "than"
    over_seeds = "no interval over seeds, as there is only one"
    if pair["over_seeds"]:
        over_seeds = f"95 % interval over {len(pair['seeds'])} seeds {interval(pair['over_seeds'])}"
    text = (
        f"{pair['second']} is {pair['verdict']} {than} {pair['first']} in {pair['metric']}: "
        f"{signed(pair['difference'])}, {over_seeds}, over images {interval(pair['over_images'])}"
    )
    needed = pair["seeds_needed"]
    if needed and needed > len(pair["seeds"]):
        text += f"; with this mean and spread, {needed} seeds would be needed"
    elif not needed and pair["over_seeds"] and pair["difference"]:
        text += "; with this mean and spread, more than 1,000 seeds would be needed"
    return text + "."


def as_csv(found: dict[str, Any]) -> str:
    """Return one row for each run.

    Args:
        found (dict): What `results.json` holds.

    Returns:
        (str): CSV with a header.
    """
    rows = [
        {
            "model": run["model"],
            "seed": run["seed"],
            **run["metrics"],
            **{f"AP {name}": value for name, value in run["per_class"].items()},
            "epochs": run["epochs"],
            "seconds_per_epoch": run["seconds_per_epoch"],
            "peak_memory_mb": run["peak_memory_mb"],
            "resumed_after": " ".join(map(str, run["resumed_after"])),
        }
        for run in found["runs"]
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _by_epoch(found: dict[str, Any]) -> list[str]:
    """Return the table of mAP50-95 on the way, from before the first step if the runs start from weights."""
    values: dict[str, dict[int, list[float]]] = {label: {} for label in found["models"]}
    for run in found["runs"]:
        for epoch, value in {0: run.get("step0"), **curve(run, "mAP50-95", found)}.items():
            if value is not None:
                values[run["model"]].setdefault(epoch, []).append(value)
    common = set.intersection(*(set(v) for v in values.values()))
    shown = sorted(common & {*EPOCHS, max(common, default=0)})
    rows = [[label, *(mean_sd(values[label][epoch]) for epoch in shown)] for label in values]
    return table(["mAP50-95 after epoch", *map(str, shown)], rows)


def curve(run: dict[str, Any], key: str, found: dict[str, Any]) -> dict[int, float | None]:
    """Return a run's learning curve, with None for epochs without validation, of which ultralytics writes 0.

    Args:
        run (dict): One of `runs` in `results.json`.
        key (str): Name of the curve, such as "mAP50-95".
        found (dict): What `results.json` holds.

    Returns:
        (dict[int, float | None]): By epoch.
    """
    values = dict(zip(run["curve"]["epoch"], run["curve"][key], strict=True))
    if key == "mAP50-95" and not found["arguments"].get("val", True):
        return {epoch: value or None for epoch, value in values.items()}
    return values


def _row(label: str, model: dict[str, Any]) -> dict[str, str]:
    cells = {"model": label}
    for name, metric in model["metrics"].items():
        sd = "" if metric["sd"] is None else f" ± {metric['sd']:.3f}"
        cells[name] = "-" if metric["mean"] is None else f"{metric['mean']:.3f}{sd}"
    times = model["latency_ms"]
    return {
        **cells,
        "params": f"{model['parameters']:,}",
        "GFLOPs": f"{model['gflops']:.2f}",
        "PyTorch ms": number(times["pytorch"], 1),
        "ONNX Runtime ms": number(times["onnxruntime"], 1),
        "s / epoch": number(model["seconds_per_epoch"], 1),
        "peak MB": number(model["peak_memory_mb"], 0),
    }
