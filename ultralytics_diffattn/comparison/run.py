# Ultralytics DiffAttn - AGPL-3.0 License
"""One training of a comparison: `python -m ultralytics_diffattn.comparison.run FOLDER [RUNS] [DEVICE]`.

The folder holds what belongs to the run, and survives it:

    spec.json         what to train: model, arguments, data and versions
    train/            ultralytics' own run folder
    backup/           last.pt and best.pt of the last epoch that was written whole
    reconstruction.json   error of each attention that was reconstructed
    val/              ultralytics' own folder of a validation behind the training, or of a model that is only evaluated
    step0.json        metrics before the first step, of a model that starts from weights
    epochs.csv        time, memory and lambda of each epoch
    predictions.npz   the final model's predictions, image by image
    run.json          written last; a run that has it is finished
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ultralytics_diffattn.child_process import end_with_parent
from ultralytics_diffattn.comparison import epochs, typed_json
from ultralytics_diffattn.comparison.run_files import (
    BEST,
    FAILURE,
    PREDICTIONS,
    RECONSTRUCTION,
    RECORD,
    STEP0,
    read_spec,
)
from ultralytics_diffattn.comparison.schema import RunFailure, RunSpec
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import coco_matching, recording
from ultralytics_diffattn.evaluation.nms_time_limit import lift
from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.weights.checkpoints import student

VALIDATION = (  # arguments of a training that its final validation reads
    "data",
    "imgsz",
    "workers",
    "cache",
    "conf",
    "iou",
    "max_det",
    "single_cls",
    "classes",
    "agnostic_nms",
    "augment",
    "mask_ratio",
    "overlap_mask",
)


def train(folder: Path, remaining: int = 0, device: str | None = None) -> None:
    """Train what `spec.json` says, from where an earlier process was killed, or evaluate it; write `run.json`.

    Args:
        folder (Path): The run's folder, with `spec.json`.
        remaining (int): Runs of the comparison from this one on, for the time left; 0 shows none.
        device (str, optional): In place of the device in `spec.json`.

    Raises:
        UserError: If another process is training this run, or `spec.json` is not of this version.
    """
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is training the run in {folder}; wait for it, or end it.") from None
    with lock:
        spec = read_spec(folder)
        if device is not None:
            spec = replace(spec, args={**spec.args, "device": device})
        start = time.time()
        step = "none" if spec.only_evaluated else _next_step(folder, spec.args["epochs"])
        if step == "fresh":
            _start(folder, spec, remaining)
        elif step == "resume":
            _resume(folder, spec, remaining)
        elif step == "evaluate":
            _strip(folder)
        if not (folder / PREDICTIONS).exists():  # held-out images, several GPUs, or killed in the final validation
            _evaluate(folder, spec)
        typed_json.write(folder / RECORD, epochs.summary(folder, time.time() - start))


def _next_step(folder: Path, total: int) -> str:
    """Return "fresh", "resume" or "evaluate"."""
    from ultralytics_diffattn.weights.checkpoints import read

    weights = folder / "train" / "weights"
    # What lies in train/ may be torn by the kill, in the middle of a write; the backup is replaced in one step.
    weights.mkdir(parents=True, exist_ok=True)
    for file in (folder / "backup").glob("*.pt"):
        shutil.copy(file, weights / file.name)
    try:
        epoch = read(weights / "last.pt")["epoch"]
    except Exception:  # it is missing, or torn and without a backup
        return "fresh"
    return "resume" if 0 <= epoch < total - 1 else "evaluate"  # -1 once ultralytics has stripped it


def _start(folder: Path, spec: RunSpec, remaining: int) -> None:
    """Train from the first epoch."""
    from ultralytics import YOLO

    from ultralytics_diffattn.weights.conversion import starting_weights

    for name in (STEP0, RECONSTRUCTION, "epochs.csv", PREDICTIONS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "train", ignore_errors=True)  # of a process that died before its first epoch was saved
    model = YOLO(spec.model)
    _listen(model, spec, remaining)
    with starting_weights(spec.model, spec.args, spec.reconstruct) as (args, blocks):
        if blocks:
            write_json(folder / RECONSTRUCTION, {block.name: block.after for block in blocks})
        model.train(**args, project=str(folder), name="train", exist_ok=True)


def _resume(folder: Path, spec: RunSpec, remaining: int) -> None:
    """Train from the epoch after the last checkpoint."""
    from ultralytics import YOLO

    model = YOLO(folder / "train" / "weights" / "last.pt")
    _listen(model, spec, remaining)
    model.train(resume=True, **{key: spec.args[key] for key in ("data", "device") if key in spec.args})


def _strip(folder: Path) -> None:
    """Take the optimizer out of the checkpoints, as the trainer would have done."""
    from ultralytics.utils.torch_utils import strip_optimizer

    for name in ("last.pt", "best.pt"):
        strip_optimizer(folder / "train" / "weights" / name)


def _evaluate(folder: Path, spec: RunSpec) -> None:
    """Validate best.pt as the trainer does at its end, on the images that all figures come from; or a given model."""
    from ultralytics import YOLO

    arguments = {key: spec.args[key] for key in VALIDATION if key in spec.args}
    if Path(spec.model).suffix == ".json":
        found = coco_matching.evaluate(Path(spec.model), arguments, spec.split, spec.source, folder / "val")
        recording.write(folder / PREDICTIONS, recording.by_name(found))
        return
    if spec.only_evaluated and "rect" in spec.args:
        arguments["rect"] = spec.args["rect"]
    model: Any = YOLO(spec.model, task=spec.task) if spec.only_evaluated else YOLO(folder / BEST)
    model.model = student(model.model)
    recording.listen(model)
    model.add_callback("on_val_end", recording.save_sorted if spec.only_evaluated else recording.save)
    as_asked = spec.only_evaluated or spec.task in ("obb", "semantic", "depth")
    factor = 1 if as_asked else 2  # as the trainer
    model.val(
        **arguments,
        split=spec.split,
        batch=factor * spec.args["batch"],
        device=str(spec.args.get("device") or "").split(",")[0] or None,  # one is enough
        plots=False,
        project=str(folder),
        name="val",
        exist_ok=True,
    )


def _listen(model: Any, spec: RunSpec, remaining: int) -> None:
    """Add the callbacks; they are functions of modules, or partials of them, which reach the processes of more GPUs."""
    epochs.listen(model, remaining)
    model.add_callback("on_val_start", lift)  # between epochs, too: best.pt is chosen there
    if spec.split == "val":  # else the trainer's final validation is not what counts
        recording.listen(model)
        model.add_callback("on_val_end", recording.save)
    model.add_callback("on_model_save", back_up)


def back_up(trainer: Any) -> None:
    """Copy the checkpoints of a whole epoch; a kill can then cost the next epoch, not the run.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): After the checkpoint of an epoch.
    """
    folder = Path(trainer.save_dir).parent / "backup"
    folder.mkdir(exist_ok=True)
    for source in (trainer.best, trainer.last):  # last.pt last: where it is, both are whole
        target = folder / source.name
        if source == trainer.best and not _newer(source, target):
            continue
        shutil.copy2(source, target.with_suffix(".tmp"))
        os.replace(target.with_suffix(".tmp"), target)


def _newer(source: Path, target: Path) -> bool:
    """Return whether the source exists and the target is missing or older."""
    return source.exists() and (not target.exists() or source.stat().st_mtime_ns > target.stat().st_mtime_ns)


def main(folder: str, remaining: str = "0", device: str | None = None) -> int:
    """Train the run and return the exit status; the reason for a failure is written to `error.txt`.

    Args:
        folder (str): The run's folder.
        remaining (str): Runs of the comparison from this one on, for the time left; "0" shows none.
        device (str, optional): In place of the device in `spec.json`.

    Returns:
        (int): 0, or 1 after a failure.
    """
    end_with_parent()
    run = Path(folder)
    (run / FAILURE).unlink(missing_ok=True)
    try:
        train(run, int(remaining), device)
    except Exception as e:
        traceback.print_exc()
        try:
            typed_json.write(run / FAILURE, RunFailure(f"{type(e).__name__}: {e}", _errno(e)))
        except OSError:
            pass  # the disk is full: the parent sees that by itself
        return 1
    return 0


def _errno(error: BaseException | None) -> int | None:
    """Return the system's error number of an error or of what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
