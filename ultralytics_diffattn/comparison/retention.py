# Ultralytics DiffAttn - AGPL-3.0 License
"""What an export keeps of a model's main metric: over the seeds, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ultralytics_diffattn.comparison import exports as of_run
from ultralytics_diffattn.comparison.facet_differences import RESAMPLES
from ultralytics_diffattn.comparison.metrics import measure
from ultralytics_diffattn.comparison.schema import Retention, RunKey
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import bootstrap, recording
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.export_formats import Export
from ultralytics_diffattn.evaluation.recording import Recorded


def retentions(runs: Mapping[RunKey, Path], exports: Sequence[Export], task: str) -> list[Retention]:
    """Return what each export keeps of each model.

    Args:
        runs (Mapping[RunKey, Path]): Folders of the finished runs.
        exports (Sequence[Export]): What was made of each.
        task (str): One of `TASKS`.

    Returns:
        (list[Retention]): Model by model; one without an export that worked has no values.

    Raises:
        UserError: If an export was measured on other images than PyTorch.
    """
    return [
        _retention(
            {key.seed: run for key, run in runs.items() if key.model == model and key.seed is not None},
            model,
            export,
            task,
        )
        for model in dict.fromkeys(key.model for key in runs)
        for export in exports
    ]


def _retention(runs: Mapping[int, Path], model: str, export: Export, task: str) -> Retention:
    """Return what an export keeps of a model, from the folders of its runs by seed."""
    done = {seed: run for seed, run in runs.items() if of_run.predictions(run, export).exists()}
    failures = [f"seed {seed}: {of_run.failure(run, export)}" for seed, run in runs.items() if seed not in done]
    if not done:
        return Retention(model, *export, [], [], [], None, None, None, None, failures)
    pairs = [(_read(run, None), _read(run, export)) for run in done.values()]
    images = {tuple(recorded.files) for pair in pairs for recorded in pair}
    if len(images) > 1:
        raise UserError(
            f"{export.title} of {model} was not measured on the same images throughout: delete exports/ in the folders "
            "of its runs, and give the same command again."
        )
    count = len(pairs[0][0].files)
    measures = [measure(recorded, task) for pair in pairs for recorded in pair]
    everything = np.ones(count, np.int64)
    observed = np.array([m(everything)[0] for m in measures]).reshape(-1, 2)  # (seeds, PyTorch and export)
    resampled = bootstrap.resample([_main(m) for m in measures], count, RESAMPLES)[:, :, 0]
    resampled = resampled.reshape(len(resampled), -1, 2)  # (resamples, seeds, 2)
    change = estimate(np.diff(observed)[:, 0].tolist(), np.diff(resampled)[:, :, 0], count)
    share = _share(observed)
    kept = None if np.isnan(share).any() else estimate(share.tolist(), _share(resampled), count)
    return Retention(
        model,
        *export,
        seeds=[*done],
        pytorch=observed[:, 0].tolist(),
        exported=observed[:, 1].tolist(),
        difference=float(np.diff(observed).mean()),
        interval=change and change.student.interval(),
        kept=None if np.isnan(share).any() else float(share.mean()),
        kept_interval=kept.student.interval() if kept and np.isfinite(kept.student.error) else None,
        failures=failures,
    )


def _read(run: Path, export: Export | None) -> Recorded:
    """Return what was recorded of an export, or of PyTorch beside it, for None."""
    return recording.read(of_run.predictions(run, export))


def _main(of: bootstrap.Measure) -> bootstrap.Measure:
    """Return a measure of the task's first metric alone."""
    return lambda weight: of(weight)[..., :1]


def _share(values: np.ndarray) -> np.ndarray:
    """Return the export's part of PyTorch's value, in the last axis; nan where that is zero."""
    pytorch, exported = values[..., 0], values[..., 1]
    return np.where(pytorch > 0, exported / np.where(pytorch > 0, pytorch, 1), np.nan)
