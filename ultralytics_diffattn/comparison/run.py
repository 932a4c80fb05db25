# Ultralytics DiffAttn - AGPL-3.0 License
"""One training of a comparison: `python -m ultralytics_diffattn.comparison.run FOLDER [RUNS] [DEVICE]`.

The folder holds what belongs to the run, and survives it:

    spec.json         what to train: model, arguments, and the place among the other runs
    train/            ultralytics' own run folder
    backup/           last.pt and best.pt of the last epoch that was written whole
    step0.json        metrics before the first step, of a model that starts from weights
    epochs.csv        time, memory and lambda of each epoch
    predictions.npz   the final model's predictions, image by image
    run.json          written last; a run that has it is finished
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

from filelock import FileLock, Timeout

from ultralytics_diffattn.child_process import end_with_parent
from ultralytics_diffattn.comparison import epochs
from ultralytics_diffattn.evaluation import predictions
from ultralytics_diffattn.output.files import read_json, write_json, write_text


def train(folder: Path, device: str | None = None) -> None:
    """Train what `spec.json` says, from where an earlier process was killed, and write `run.json`.

    Args:
        folder (Path): The run's folder, with `spec.json`.
        device (str, optional): In place of the device in `spec.json`.

    Raises:
        RuntimeError: If another process is training this run.
    """
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(f"{folder} is being trained by another process; wait for it, or end it.") from None
    with lock:
        spec = read_json(folder / "spec.json")
        if device is not None:
            spec["args"]["device"] = device
        start = time.time()
        step = _next_step(folder, spec["args"]["epochs"])
        if step == "fresh":
            _start(folder, spec)
        elif step == "resume":
            _resume(folder, spec)
        else:
            _strip(folder)
        if not (folder / "predictions.npz").exists():  # several GPUs, or killed in the final validation
            _evaluate(folder, spec)
        write_json(folder / "run.json", {**epochs.summary(folder), "seconds_last_process": time.time() - start})


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
    except Exception:  # there is none, or it is torn and has no backup
        return "fresh"
    return "resume" if 0 <= epoch < total - 1 else "evaluate"  # -1 once ultralytics has stripped it


def _start(folder: Path, spec: dict) -> None:
    from ultralytics import YOLO

    for name in ("step0.json", "epochs.csv", "predictions.npz"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "train", ignore_errors=True)  # of a process that died before its first epoch was saved
    model = YOLO(spec["model"])
    _listen(model)
    model.train(**spec["args"], project=str(folder), name="train", exist_ok=True)


def _resume(folder: Path, spec: dict) -> None:
    from ultralytics import YOLO

    model = YOLO(folder / "train" / "weights" / "last.pt")
    _listen(model)
    given = {key: spec["args"][key] for key in ("data", "device") if key in spec["args"]}
    model.train(resume=True, **given)


def _strip(folder: Path) -> None:
    """Take the optimizer out of the checkpoints, as the trainer would have done."""
    from ultralytics.utils.torch_utils import strip_optimizer

    for name in ("last.pt", "best.pt"):
        strip_optimizer(folder / "train" / "weights" / name)


def _evaluate(folder: Path, spec: dict) -> None:
    """Validate best.pt as the trainer does at its end."""
    from ultralytics import YOLO

    args = spec["args"]
    model = YOLO(folder / "train" / "weights" / "best.pt")
    device = str(args.get("device") or "").split(",")[0] or None  # one is enough
    keys = ("data", "imgsz", "workers", "iou", "max_det", "single_cls", "cache")
    given = {k: args[k] for k in keys if k in args}
    predictions.listen(model)
    model.add_callback("on_val_end", predictions.save)
    model.val(
        **given, batch=2 * args["batch"], device=device, plots=False, project=str(folder), name="val", exist_ok=True
    )


def _listen(model) -> None:
    """Add the callbacks; they are plain functions of modules, which reach the processes of several GPUs, too."""
    epochs.listen(model)
    predictions.listen(model)
    model.add_callback("on_val_end", predictions.save)
    model.add_callback("on_model_save", keep)


def keep(trainer) -> None:
    """Copy the checkpoints of a whole epoch; a kill can then cost the next epoch, not the run."""
    folder = Path(trainer.save_dir).parent / "backup"
    folder.mkdir(exist_ok=True)
    for source in (trainer.best, trainer.last):  # last.pt last: it is the mark that both are there
        target = folder / source.name
        if source == trainer.best and not _newer(source, target):
            continue
        shutil.copy2(source, target.with_suffix(".tmp"))
        os.replace(target.with_suffix(".tmp"), target)


def _newer(source: Path, target: Path) -> bool:
    return source.exists() and (not target.exists() or source.stat().st_mtime_ns > target.stat().st_mtime_ns)


def main(folder: str, remaining: str = "0", device: str | None = None) -> int:
    """Train the run and return the exit status; the reason of a failure is left in `error.txt`.

    Args:
        folder (str): The run's folder.
        remaining (str): Runs from this one on, for the time left; "0" shows none.
        device (str, optional): In place of the device in `spec.json`.

    Returns:
        (int): 0, or 1 after a failure.
    """
    end_with_parent()
    folder = Path(folder)
    epochs.REMAINING = int(remaining)
    (folder / "error.txt").unlink(missing_ok=True)
    try:
        train(folder, device)
    except Exception as e:
        traceback.print_exc()
        try:
            write_text(folder / "error.txt", json.dumps({"error": f"{type(e).__name__}: {e}", "errno": _errno(e)}))
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
