# Ultralytics DiffAttn - AGPL-3.0 License
"""From the finished runs of a comparison to its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ultralytics_diffattn.comparison import evaluated, run_files
from ultralytics_diffattn.comparison.confusion_matrices import confusion_result
from ultralytics_diffattn.comparison.effects import compare_effects
from ultralytics_diffattn.comparison.facet_differences import facet_results
from ultralytics_diffattn.comparison.metrics import Scores, scores_of_runs
from ultralytics_diffattn.comparison.pairs import compare_pairs, resample_metrics
from ultralytics_diffattn.comparison.retention import retentions
from ultralytics_diffattn.comparison.schema import (
    SCHEMA,
    Curve,
    DataSummary,
    Latency,
    ModelResult,
    Results,
    RunKey,
    RunResult,
    RunSpec,
    Spread,
)
from ultralytics_diffattn.comparison.teachers import taught_by, teacher_arguments
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import cost, recording
from ultralytics_diffattn.evaluation.environment import hardware
from ultralytics_diffattn.evaluation.export_formats import Export, as_arguments
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.evaluation.recording import Recorded

VARIES_BY_RUN = {"model", "seed", "name", "project", "save_dir", "resume", "exist_ok"}


def collect(
    runs: Mapping[RunKey, Path], margin: float, missing: Sequence[str] = (), exports: Sequence[Export] = ()
) -> Results:
    """Return the results of a comparison.

    Args:
        runs (Mapping[RunKey, Path]): Folders of the finished runs.
        margin (float): Difference of mAP that does not matter.
        missing (Sequence[str]): Titles of the runs that did not finish.
        exports (Sequence[Export]): What was made of each run.

    Returns:
        (Results): What `results.json` holds.

    Raises:
        UserError: If the runs were not trained or validated alike.
    """
    spec = run_files.read_spec(next(iter(runs.values())))
    if not spec.only_evaluated:
        check_alike(runs)
    by_run = {key: recording.read(run / run_files.PREDICTIONS) for key, run in runs.items()}
    if spec.only_evaluated:
        by_run = recording.with_one_brightness(by_run)
    if len({tuple(p.files) for p in by_run.values()}) > 1:
        raise UserError(
            "the runs were validated on different images, or in a different order, so they cannot be paired; compare "
            "again under another name=."
        )
    specs = {key.model: run_files.read_spec(run) for key, run in runs.items()}
    taught = taught_by(specs)
    teachers = teacher_arguments(specs.values())
    run_scores = scores_of_runs(by_run, spec.task)
    resampled, images = resample_metrics(by_run, spec.task), len(next(iter(by_run.values())).files)
    run_results = [_run_result(key, run, run_scores[key], spec.task) for key, run in runs.items()]
    return Results(
        schema=SCHEMA,
        task=spec.task,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        versions=spec.versions,
        hardware=hardware(),
        data=_data_summary(spec, next(iter(by_run.values()))),
        arguments={
            **{key: value for key, value in spec.args.items() if key not in VARIES_BY_RUN},
            **teachers,
            "data": spec.source,
            **({} if spec.holdout is None else {"holdout": spec.holdout}),
            **({"reconstruct": True} if spec.reconstruct else {}),
            **as_arguments(exports),
        },
        runs=run_results,
        models=_model_results(runs, run_results, spec),
        margin=margin,
        pairs=compare_pairs(run_scores, resampled, images, spec.task, margin),
        effects=compare_effects(taught, run_scores, resampled, images, spec.task, margin),
        facets=facet_results(by_run, spec.task),
        confusion=confusion_result(by_run, spec.task),
        retention=retentions(runs, exports, spec.task),
        missing=list(missing),
    )


def check_alike(runs: Mapping[RunKey, Path]) -> None:
    """Raise if the arguments saved in the runs' checkpoints differ in more than the model.

    Args:
        runs (Mapping[RunKey, Path]): Folders of the finished runs.

    Raises:
        UserError: If an argument differs, or a checkpoint was trained with another seed than its run; the message
            names the argument and its values.
    """
    from ultralytics_diffattn.weights.checkpoints import read

    # The arguments in the checkpoint: ultralytics may have changed some, as the batch when memory ran out.
    saved = {key: read(run / run_files.BEST)["train_args"] for key, run in runs.items()}
    for key, args in saved.items():  # which may be a temporary file that was made of these weights
        args["pretrained"] = run_files.read_spec(runs[key]).args.get("pretrained")
    for key, args in saved.items():
        teacher = run_files.read_spec(runs[key]).args.get("distill_model")
        if args.pop("distill_model", None) != teacher:  # which may differ between the runs, where it is compared
            raise UserError(
                f"{runs[key]} was not trained with distill_model={teacher}; delete that folder and compare again."
            )
        if args["seed"] != key.seed:
            raise UserError(f"{runs[key]} was trained with seed={args['seed']}; delete that folder and compare again.")
    names = {name for args in saved.values() for name in args} - VARIES_BY_RUN
    for name in sorted(names):
        values = {key: args.get(name) for key, args in saved.items()}
        if len({repr(v) for v in values.values()}) > 1:
            listed = ", ".join(f"{key.title}: {v}" for key, v in values.items())
            raise UserError(
                f"the runs were trained with different {name}= ({listed}), so they cannot be compared; compare again "
                "under another name=, with a smaller batch= if memory ran out."
            )


def spread(values: Sequence[float | None]) -> Spread:
    """Return mean and standard deviation of a value over the seeds.

    Args:
        values (Sequence[float | None]): One for each seed.

    Returns:
        (Spread): Over the values that are not None; the deviation is that of a sample (n - 1).

    Examples:
        >>> spread([0.4, None])
        Spread(mean=0.4, sd=None, values=[0.4, None])
    """
    known = [value for value in values if value is not None]
    mean = float(np.mean(known)) if known else None
    return Spread(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None, list(values))


def model_result(
    file: str, parameters: int | None, gflops: float | None, latency: Latency, runs: Sequence[RunResult]
) -> ModelResult:
    """Return the result of one model over its seeds.

    Args:
        file (str): Its YAML or checkpoint.
        parameters (int, optional): Their number.
        gflops (float, optional): For one image.
        latency (Latency): Time for one image.
        runs (Sequence[RunResult]): Its runs, one or more.

    Returns:
        (ModelResult): Mean and standard deviation of the metrics, median time, peak memory.
    """
    per_epoch = [run.seconds_per_epoch for run in runs if run.seconds_per_epoch]
    memory = [run.peak_memory_mb for run in runs if run.peak_memory_mb]
    return ModelResult(
        model=file,
        parameters=parameters,
        gflops=gflops,
        latency_ms=latency,
        seeds=len(runs),
        metrics={name: spread([run.metrics[name] for run in runs]) for name in runs[0].metrics},
        per_class={name: spread([run.per_class.get(name) for run in runs]) for name in runs[0].per_class},
        seconds_per_epoch=float(np.median(per_epoch)) if per_epoch else None,
        peak_memory_mb=max(memory, default=None),
        resumed_runs=sum(bool(run.resumed_after) for run in runs),
    )


def _run_result(key: RunKey, run: Path, run_scores: Scores, task: str) -> RunResult:
    """Return the result of one run from its metrics and its files."""
    record = run_files.read_record(run)
    return RunResult(
        model=key.model,
        seed=key.seed,
        metrics=run_scores.metrics,
        per_class={**run_scores.per_class},
        pr_curve=[*run_scores.pr_curve],
        by_confidence={name: [*curve] for name, curve in run_scores.by_confidence.items()},
        epochs=record.epochs,
        seconds_per_epoch=record.seconds_per_epoch,
        seconds=record.seconds,
        peak_memory_mb=record.peak_memory_mb,
        resumed_after=record.resumed_after,
        seconds_last_process=record.seconds_last_process,
        step0=run_files.read_step0(run, task),
        reconstruction=run_files.read_reconstruction(run),
        curve=run_files.read_curve(run, task) if key.seed is not None else Curve([], [], {}),
        lambdas=run_files.read_lambdas(run),
    )


def _data_summary(spec: RunSpec, validation: Recorded) -> DataSummary:
    """Return the data set of the runs."""
    return DataSummary(
        file=spec.source,
        sha256=spec.data,
        split=spec.split,
        holdout=spec.holdout,
        images=len(validation.files),
        objects=len(validation.target_cls) if isinstance(validation, Predictions) else None,
        classes=validation.names,
    )


def _model_results(
    runs: Mapping[RunKey, Path], run_results: Sequence[RunResult], spec: RunSpec
) -> dict[str, ModelResult]:
    """Return the result of each model by label; its size and latency are those of its first run."""
    first_runs = {key.model: run for key, run in reversed(list(runs.items()))}  # the last to be set is the first
    labels = list(dict.fromkeys(key.model for key in runs))
    if spec.only_evaluated:
        files = {label: run_files.read_spec(first_runs[label]).model for label in labels}
        measured = evaluated.costs(files, spec.args)
        return {
            label: model_result(files[label], *measured[label], [r for r in run_results if r.model == label])
            for label in labels
        }
    best = {label: first_runs[label] / run_files.BEST for label in labels}
    imgsz, device = spec.args["imgsz"], spec.args.get("device")
    latency = cost.latency(best, imgsz, device)
    sizes = {label: cost.size(file, imgsz) for label, file in best.items()}
    return {
        label: model_result(
            run_files.read_spec(first_runs[label]).model,
            int(sizes[label]["parameters"]),
            sizes[label]["gflops"],
            Latency(latency[label]["pytorch"], latency[label]["onnxruntime"]),
            [run for run in run_results if run.model == label],
        )
        for label in labels
    }
