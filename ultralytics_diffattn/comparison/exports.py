# Ultralytics DiffAttn - AGPL-3.0 License
"""The exports of a finished run: `python -m ultralytics_diffattn.comparison.exports RUN KIND-PRECISION ...`.

Each has a folder of its own below `exports/`, and so has PyTorch, on the same images:

    exports/onnx-int8/best_int8.onnx     what ultralytics has made of best.pt
    exports/onnx-int8/predictions.npz    its predictions, image by image; an export that has it is finished
    exports/onnx-int8/error.txt          why it failed
    exports/pytorch/predictions.npz      PyTorch's predictions

An exported model sees each image padded to a square, so PyTorch does here, too; in the comparison's own validation it
sees rectangles.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ultralytics_diffattn.child_process import end_with_parent, run_module
from ultralytics_diffattn.comparison import typed_json
from ultralytics_diffattn.comparison.run import VALIDATION
from ultralytics_diffattn.comparison.run_files import BEST, FAILURE, PREDICTIONS, read_spec
from ultralytics_diffattn.comparison.schema import RunFailure, RunSpec
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.export_formats import ON_GPU, Export

MODULE = "ultralytics_diffattn.comparison.exports"
PYTORCH = "pytorch"


def make_exports(runs: Iterable[Path], exports: Sequence[Export]) -> None:
    """Export and measure the runs that are not yet, each run in a process of its own; failures are logged.

    Args:
        runs (Iterable[Path]): Folders of finished runs.
        exports (Sequence[Export]): What to make of each.
    """
    from ultralytics.utils import LOGGER

    for run in runs:
        names = [folder(run, export).name for export in exports if not predictions(run, export).exists()]
        if not names:
            continue
        LOGGER.info(f"\ncompare: exporting and measuring {run.parent.name} {run.name}: {', '.join(names)}")
        for name in names:
            (run / "exports" / name / FAILURE).unlink(missing_ok=True)
        run_module(MODULE, run, *names)
        for export in exports:
            if not predictions(run, export).exists():
                LOGGER.error(f"compare: {export.title} of {run.parent.name} {run.name}: {failure(run, export)}")


def folder(run: Path, export: Export | None) -> Path:
    """Return the folder of an export, or of PyTorch beside it, for None."""
    return run / "exports" / (f"{export.kind}-{export.precision}" if export else PYTORCH)


def predictions(run: Path, export: Export | None) -> Path:
    """Return the file of an export's predictions, or of PyTorch's on the same images, for None."""
    return folder(run, export) / PREDICTIONS


def failure(run: Path, export: Export) -> str:
    """Return why an export has no predictions, in one line."""
    file = folder(run, export) / FAILURE
    return (
        " ".join(typed_json.read(RunFailure, file).error.split())
        if file.exists()
        else "its process was killed or crashed"
    )


def main(run: str, *names: str) -> int:
    """Make exports of a run, and write down why one failed.

    Args:
        run (str): The run's folder.
        *names (str): Of the exports' folders.

    Returns:
        (int): 0, or 1 if one failed.
    """
    end_with_parent()
    path, failed = Path(run), 0
    spec = read_spec(path)
    for export in (Export(*name.rsplit("-", 1)) for name in names):
        try:
            _make(path, spec, export)
        except Exception as e:
            traceback.print_exc()
            failed = 1
            typed_json.write(folder(path, export) / FAILURE, RunFailure(f"{type(e).__name__}: {e}", None))
    return failed


def _make(run: Path, spec: RunSpec, export: Export) -> None:
    """Export best.pt and record what it predicts, and once for the run, what PyTorch predicts on the same images."""
    from ultralytics.utils import LOGGER

    shutil.rmtree(folder(run, export), ignore_errors=True)  # of a process that was killed
    folder(run, export).mkdir(parents=True)
    start = time.time()
    file = _export(run, spec, export)
    made = time.time()
    _record(run, None, run / BEST, spec, _own_device(spec))
    device = _own_device(spec) if export.kind in ON_GPU else "cpu"
    _record(run, export, file, spec, device)
    LOGGER.info(f"compare: {export.title} exported in {made - start:.0f} s, measured in {time.time() - made:.0f} s")


def _own_device(spec: RunSpec) -> Any:
    """Return the device that the run was trained on, the first of several."""
    return str(spec.args.get("device") or "").split(",")[0] or None


def _export(run: Path, spec: RunSpec, export: Export) -> Path:
    """Return the exported file or folder."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    from ultralytics_diffattn.data.calibration import calibration_data
    from ultralytics_diffattn.data.check import check
    from ultralytics_diffattn.evaluation.cost import exported

    options: dict[str, Any] = {k: spec.args[k] for k in ("max_det", "agnostic_nms") if k in spec.args}
    if export.kind in ON_GPU:
        options["device"] = _own_device(spec)
    if export.precision != "float32":
        by_bits = {"quantize": {"int8": 8, "float16": 16}[export.precision]}
        by_name = {{"int8": "int8", "float16": "half"}[export.precision]: True}  # before ultralytics 8.4
        options |= by_bits if "quantize" in DEFAULT_CFG_DICT else by_name
    if export.precision == "int8":
        data = check(spec.args["data"], task=spec.task)
        options["data"] = calibration_data(data, folder(run, export) / "calibration", spec.task)
        options["split"] = "train"
    source = folder(run, export) / BEST.name  # ultralytics writes beside it
    shutil.copyfile(run / BEST, source)
    try:
        return Path(exported(source, export.kind, spec.args["imgsz"], **options))
    finally:
        source.unlink()


def _record(run: Path, export: Export | None, file: Path, spec: RunSpec, device: str | None) -> None:
    """Validate a model on the images that all figures come from, and write what it predicts, unless that is done."""
    from ultralytics import YOLO

    target = predictions(run, export)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    model = YOLO(file, task=spec.task)
    collected = recording.collect(model)
    factor = 1 if spec.task in ("obb", "semantic", "depth") else 2
    with tempfile.TemporaryDirectory() as nothing:  # ultralytics saves into it
        model.val(
            **{key: spec.args[key] for key in VALIDATION if key in spec.args and key != "augment"},
            split=spec.split,
            batch=factor * spec.args["batch"],
            device=device,
            rect=False,
            plots=False,
            project=nothing,
        )
    recording.write(target, collected[0])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
