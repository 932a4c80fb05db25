# Ultralytics DiffAttn - AGPL-3.0 License
"""From the finished runs of a comparison to its results: metrics, differences, intervals, cost."""

from __future__ import annotations

import csv
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics_diffattn.comparison import epochs, page, tables
from ultralytics_diffattn.comparison.image_grid import differing
from ultralytics_diffattn.comparison.schedule import is_finished
from ultralytics_diffattn.evaluation import bootstrap, cost, intervals, predictions
from ultralytics_diffattn.evaluation.ap_by_size import ap_by_size, as_coco
from ultralytics_diffattn.evaluation.environment import hardware
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.output.files import read_json, write_json, write_text

METRICS = ("mAP50-95", "mAP50", "AP small", "AP medium", "AP large", "precision", "recall")
PAIRED = ("mAP50-95", "mAP50")  # what is resampled, in the order of bootstrap.mean_ap
OWN_TO_A_RUN = {"model", "seed", "name", "project", "save_dir", "resume", "exist_ok"}

Runs = dict[tuple[str, int], Path]


def report(folder: Path, runs: Runs) -> None:
    """Write `results.json`, `results.csv`, `results.md` and `report.html` of the finished runs.

    Args:
        folder (Path): Of the comparison.
        runs (dict[tuple[str, int], Path]): All of its runs by model and seed; those that are not finished are listed.
    """
    from ultralytics.utils import LOGGER

    finished = {key: run for key, run in runs.items() if is_finished(run)}
    missing = [f"{label} seed {seed}" for (label, seed), run in runs.items() if not is_finished(run)]
    if len({label for label, _ in finished}) < 2:
        LOGGER.error("compare: fewer than two models have a finished run, so there is nothing to compare yet.")
        return
    found = {**collect(finished), "missing": missing}
    write_json(folder / "results.json", found)
    found = read_json(folder / "results.json")  # plain numbers, as whoever reads the file gets them
    write_text(folder / "results.csv", tables.as_csv(found))
    write_text(folder / "results.md", tables.as_markdown(found))
    write_text(folder / "report.html", page.render(found, differing(finished)))
    LOGGER.info(f"\n{tables.as_markdown(found)}\ncompare: {folder / 'report.html'}")


def collect(runs: Runs) -> dict[str, Any]:
    """Return all that a comparison found.

    Args:
        runs (dict[tuple[str, int], Path]): Folders of the finished runs by model and seed.

    Returns:
        (dict): What `results.json` holds: `versions`, `hardware`, `data`, `arguments`, `runs`, `models`, `pairs`.

    Raises:
        ValueError: If the runs were not trained or validated alike.
    """
    check_alike(runs)
    kept = {key: predictions.read(run / "predictions.npz") for key, run in runs.items()}
    if len({tuple(p.files) for p in kept.values()}) > 1:
        raise ValueError("the runs were validated on different images, or in different order, and cannot be paired.")
    first, any_predictions = read_json(next(iter(runs.values())) / "spec.json"), next(iter(kept.values()))
    labels = list(dict.fromkeys(label for label, _ in runs))
    found = {key: {**scores(kept[key]), **facts(run), "lambda": lambdas(run)} for key, run in runs.items()}
    imgsz, device = first["args"]["imgsz"], first["args"].get("device")
    firsts = {label: next(run for (name, _), run in runs.items() if name == label) for label in labels}
    best = {label: run / "train" / "weights" / "best.pt" for label, run in firsts.items()}
    times = cost.latency(best, imgsz, device)
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": first["versions"],
        "hardware": hardware(),
        "data": {
            "file": first["args"]["data"],
            "sha256": first["data"],
            "val_images": len(any_predictions.files),
            "val_boxes": len(any_predictions.target_cls),
            "classes": any_predictions.names,
        },
        "arguments": {k: v for k, v in first["args"].items() if k not in OWN_TO_A_RUN},
        "runs": [{"model": label, "seed": seed, **found[label, seed]} for label, seed in runs],
        "models": {
            label: {
                "model": read_json(firsts[label] / "spec.json")["model"],
                **cost.size(best[label], imgsz),
                "latency_ms": times[label],
                **summary([found[key] for key in runs if key[0] == label]),
            }
            for label in labels
        },
        "pairs": pairs(runs, found, kept),
    }


def check_alike(runs: Runs) -> None:
    """Refuse runs whose saved arguments differ in more than the model.

    Args:
        runs (dict[tuple[str, int], Path]): Folders of the finished runs by model and seed.

    Raises:
        ValueError: If an argument differs, or a run's seed is not its own; with its name and values.
    """
    from ultralytics_diffattn.weights.checkpoints import read

    # Those in the checkpoint: with what ultralytics itself chose or changed, as the batch when memory ran out.
    files = {key: run / "train" / "weights" / "best.pt" for key, run in runs.items()}
    saved = {key: read(file)["train_args"] for key, file in files.items()}
    for key, args in saved.items():
        if args["seed"] != key[1]:
            raise ValueError(f"{runs[key]} was trained with seed={args['seed']}; delete that folder and compare again.")
    names = {name for args in saved.values() for name in args} - OWN_TO_A_RUN
    for name in sorted(names):
        values = {key: args.get(name) for key, args in saved.items()}
        if len({repr(v) for v in values.values()}) > 1:
            listed = ", ".join(f"{label} seed {seed}: {v}" for (label, seed), v in values.items())
            raise ValueError(f"the runs were trained with different {name}= ({listed}), so they cannot be compared.")


def scores(kept: Predictions) -> dict[str, Any]:
    """Return the metrics of one run by ultralytics' own formula, by size by COCO's, and the curves.

    Args:
        kept (Predictions): Of the final model on the validation images.

    Returns:
        (dict): `metrics`, `per_class` (AP50-95 by class, of the classes that have a box, whatever was predicted),
            `pr_curve` (mean precision at 101 recalls, IoU 0.5).
    """
    from ultralytics.utils.metrics import ap_per_class

    if not len(kept.conf):
        empty = dict.fromkeys(METRICS, 0.0) | ap_columns(kept)
        per_class = {kept.names[c]: 0.0 for c in np.unique(kept.target_cls)}
        return {"metrics": empty, "per_class": per_class, "pr_curve": [0.0] * 101}
    _, _, p, r, _, ap, classes, *_, precision = ap_per_class(kept.tp, kept.conf, kept.cls, kept.target_cls)
    metrics = {"mAP50-95": ap.mean(), "mAP50": ap[:, 0].mean(), "precision": p.mean(), "recall": r.mean()}
    metrics |= ap_columns(kept)
    return {
        "metrics": {name: metrics[name] for name in METRICS},
        "per_class": {kept.names[c]: float(value) for c, value in zip(classes, ap.mean(1), strict=True)},
        "pr_curve": np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, 1000), np.mean(precision, 0)).round(4).tolist(),
    }


def ap_columns(kept: Predictions) -> dict[str, float | None]:
    """Return COCO's AP by size under the names of the table.

    Args:
        kept (Predictions): Of one model.

    Returns:
        (dict[str, float | None]): None where there is no object of that size.
    """
    sizes = ap_by_size(*as_coco(kept))
    return {f"AP {name}": sizes[name] for name in ("small", "medium", "large")}


def facts(run: Path) -> dict[str, Any]:
    """Return what was noted while a run trained.

    Args:
        run (Path): Its folder.

    Returns:
        (dict): Time, memory, epochs at which it was taken up again, and the learning curve.
    """
    with open(run / "train" / "results.csv", newline="", encoding="utf-8") as f:
        rows = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    rows = list({row["epoch"]: row for row in rows}.values())  # of an epoch that was trained twice, the later
    curve = {
        "epoch": [int(row["epoch"]) for row in rows],
        "mAP50-95": [row["metrics/mAP50-95(B)"] for row in rows],
        "box_loss": [row["train/box_loss"] for row in rows],
        "cls_loss": [row["train/cls_loss"] for row in rows],
    }
    before = run / "step0.json"
    step0 = read_json(before)["metrics/mAP50-95(B)"] if before.exists() else None
    return {**read_json(run / "run.json"), "step0": step0, "curve": curve}


def lambdas(run: Path) -> dict[str, list[float]]:
    """Return lambda of each differential attention, epoch by epoch.

    Args:
        run (Path): Its folder.

    Returns:
        (dict[str, list[float]]): By the module's name; empty for a stock model.
    """
    rows = epochs.read(run)
    names = [k for k in rows[0] if k not in epochs.COLUMNS] if rows else []
    return {name: [float(row[name]) for row in rows] for name in names}


def summary(found: list[dict]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds of one model.

    Args:
        found (list[dict]): Of each of its runs.

    Returns:
        (dict): `metrics` and `per_class` with `mean`, `sd` and `values`; median time of an epoch, peak memory.
    """

    def spread(values: list[float | None]) -> dict[str, Any]:
        known = [v for v in values if v is not None]
        mean, sd = (np.mean(known) if known else None), (np.std(known, ddof=1) if len(known) > 1 else None)
        return {"mean": mean, "sd": sd, "values": values}

    per_epoch = [run["seconds_per_epoch"] for run in found if run["seconds_per_epoch"]]
    memory = [run["peak_memory_mb"] for run in found if run["peak_memory_mb"]]
    return {
        "seeds": len(found),
        "metrics": {name: spread([run["metrics"][name] for run in found]) for name in METRICS},
        "per_class": {c: spread([run["per_class"].get(c) for run in found]) for c in found[0]["per_class"]},
        "seconds_per_epoch": np.median(per_epoch) if per_epoch else None,
        "peak_memory_mb": max(memory, default=None),
        "resumed_runs": sum(bool(run["resumed_after"]) for run in found),
    }


def pairs(runs: Runs, found: dict, kept: dict[tuple[str, int], Predictions]) -> list[dict[str, Any]]:
    """Return how the second of each pair of models differs from the first, with both intervals.

    Args:
        runs (dict[tuple[str, int], Path]): The runs.
        found (dict): Their metrics.
        kept (dict[tuple[str, int], Predictions]): Their predictions.

    Returns:
        (list[dict]): For each pair and metric: `first`, `second`, `metric`, `difference`, `per_seed`, `over_seeds` and
            `over_images` (intervals), `verdict`, `seeds_needed`; for each pair `per_class` differences.
    """
    keys = list(runs)
    resampled = bootstrap.resample([bootstrap.prepare(kept[key]) for key in keys])  # (resamples, runs, 2)
    labels = list(dict.fromkeys(label for label, _ in runs))
    out = []
    for first, second in combinations(labels, 2):
        seeds = [seed for label, seed in keys if label == first and (second, seed) in runs]
        if not seeds:
            continue
        a, b = ([keys.index((label, seed)) for seed in seeds] for label in (first, second))
        per_class = {
            c: [found[second, s]["per_class"].get(c, 0.0) - found[first, s]["per_class"][c] for s in seeds]
            for c in found[first, seeds[0]]["per_class"]
        }
        for n, metric in enumerate(PAIRED):
            per_seed = [found[second, s]["metrics"][metric] - found[first, s]["metrics"][metric] for s in seeds]
            by_images = resampled[:, b, n].mean(1) - resampled[:, a, n].mean(1)
            both = intervals.over_seeds(per_seed), intervals.over_resamples(by_images)
            out.append(
                {
                    "first": first,
                    "second": second,
                    "metric": metric,
                    "seeds": seeds,
                    "difference": np.mean(per_seed),
                    "per_seed": per_seed,
                    "over_seeds": both[0],
                    "over_images": both[1],
                    "verdict": intervals.verdict(np.mean(per_seed), *both),
                    "seeds_needed": intervals.seeds_needed(per_seed),
                    "per_class": {
                        c: {"difference": np.mean(d), "over_seeds": intervals.over_seeds(d)}
                        for c, d in per_class.items()
                    }
                    if n == 0
                    else None,
                }
            )
    return out
