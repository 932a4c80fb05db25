# Ultralytics DiffAttn - AGPL-3.0 License
"""The files in the folder of a run, read by their types; `run.py` lists them."""

from __future__ import annotations

import csv
from pathlib import Path

from ultralytics_diffattn.comparison import epochs, typed_json
from ultralytics_diffattn.comparison.schema import Curve, RunFailure, RunRecord, RunSpec
from ultralytics_diffattn.evaluation.tasks import TASKS

SPEC, RECORD, FAILURE, STEP0 = "spec.json", "run.json", "error.txt", "step0.json"
RECONSTRUCTION = "reconstruction.json"
PREDICTIONS, BEST = "predictions.npz", Path("train", "weights", "best.pt")


def is_finished(run: Path) -> bool:
    """Return whether a run is finished.

    Args:
        run (Path): Its folder.

    Returns:
        (bool): True once `run.json` is written.
    """
    return (run / RECORD).exists()


def read_spec(run: Path) -> RunSpec:
    """Return what a run trains.

    Args:
        run (Path): Its folder.

    Returns:
        (RunSpec): From `spec.json`.

    Raises:
        UserError: If the file is missing, or is not of this version.
    """
    return typed_json.read(RunSpec, run / SPEC)


def read_record(run: Path) -> RunRecord:
    """Return what a finished run took.

    Args:
        run (Path): Its folder.

    Returns:
        (RunRecord): From `run.json`.

    Raises:
        UserError: If the file is missing, or is not of this version.
    """
    return typed_json.read(RunRecord, run / RECORD)


def read_failure(run: Path) -> RunFailure | None:
    """Return why a run failed.

    Args:
        run (Path): Its folder.

    Returns:
        (RunFailure | None): From `error.txt`; None without that file.
    """
    return typed_json.read(RunFailure, run / FAILURE) if (run / FAILURE).exists() else None


def read_step0(run: Path, task: str) -> float | None:
    """Return the task's first metric before the first step.

    Args:
        run (Path): Its folder.
        task (str): One of `TASKS`.

    Returns:
        (float | None): From `step0.json`; None for a run that did not start from weights.
    """
    if not (run / STEP0).exists():
        return None
    return typed_json.read(dict[str, float | None], run / STEP0)[TASKS[task].column]


def read_reconstruction(run: Path) -> dict[str, float] | None:
    """Return how far each reconstructed attention was from stock's before the first step.

    Args:
        run (Path): Its folder.

    Returns:
        (dict[str, float] | None): From `reconstruction.json`, the squared error on held-out images as a part of the
            variance of stock's output, by the module's name; None for a run without a reconstruction.
    """
    file = run / RECONSTRUCTION
    return typed_json.read(dict[str, float], file) if file.exists() else None


def read_curve(run: Path, task: str) -> Curve:
    """Return the learning curve of a run.

    Args:
        run (Path): Its folder.
        task (str): One of `TASKS`.

    Returns:
        (Curve): From ultralytics' `results.csv`: of an epoch that was trained twice, the later.
    """
    with open(run / "train" / "results.csv", newline="", encoding="utf-8") as f:
        rows = [
            {name.strip(): float(value) for name, value in row.items()}
            for row in csv.DictReader(f)
            if None not in row and None not in row.values()  # torn by a kill, or written behind a torn one
        ]
    rows = list({row["epoch"]: row for row in rows}.values())
    losses = [name for name in (rows[0] if rows else ()) if name.startswith("train/")]
    return Curve(
        epoch=[int(row["epoch"]) for row in rows],
        metric=[row[TASKS[task].column] for row in rows],
        losses={name.removeprefix("train/"): [row[name] for row in rows] for name in losses},
    )


def read_lambdas(run: Path) -> dict[str, list[float | None]]:
    """Return lambda of each differential attention after each epoch.

    Args:
        run (Path): Its folder.

    Returns:
        (dict[str, list[float | None]]): By the module's name; empty for a stock model.
    """
    rows = epochs.read(run)
    return {name: [row.lambdas[name] for row in rows] for name in (rows[0].lambdas if rows else ())}
