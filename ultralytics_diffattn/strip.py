# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn strip`: a checkpoint to hand on, without optimizer, or as a format that needs no plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OWN: dict[str, Any] = {"weights": "", "out": "", "format": "pt"}
PLACES = "weights", "out"
SUFFIXES = {"pt": ".pt", "onnx": ".onnx", "torchscript": ".torchscript"}
CLOSE = 1e-3  # pixels and scores: the same file in the same runtime
ELSEWHERE = """
import importlib.abc, json, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ultralytics_diffattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

assert "ultralytics_diffattn" not in sys.modules
sys.meta_path.insert(0, Missing())
file, task, options, images, out = json.loads(sys.argv[1])
from ultralytics import YOLO
results = YOLO(file, task=task).predict(images, **options)
found = [(r.obb if r.obb is not None else r.boxes if r.boxes is not None else r.probs).data.tolist() for r in results]
assert not any(name.startswith("ultralytics_diffattn") for name in sys.modules)
open(out, "w").write(json.dumps(found))
"""


def strip(weights: str = "", out: str = "", format: str = "pt", **args: Any) -> dict[str, Any]:
    """Write a checkpoint without what only training needs, or export it to a format that needs no plugin.

    An export is compared with PyTorch on real images, then run in a process that has no access to this package.

    Args:
        weights (str): Trained weights.
        out (str): Where the result goes; by default beside the weights.
        format (str): "pt", for whoever has this package, too; "onnx" or "torchscript" for everybody.
        **args (Any): For an export what `diffattn export` takes, such as imgsz and source.

    Returns:
        (dict): `file`, `size_mb`, and for an export what `export.export` reports, with `elsewhere`, the largest
            difference between predictions with and without this package.

    Raises:
        FileNotFoundError: If the weights do not exist.
        FileExistsError: If `out` does.
        ValueError: If the format is another, or the weights cannot be read.
        RuntimeError: If the export predicts something else than PyTorch, or than elsewhere.

    Examples:
        >>> strip("best.pt", format="onnx")["elsewhere"] < 1e-3  # doctest: +SKIP
        True
    """
    from ultralytics.utils import LOGGER
    from ultralytics.utils.files import file_size
    from ultralytics.utils.torch_utils import strip_optimizer

    from ultralytics_diffattn.weights.checkpoints import load, new_file

    if format not in SUFFIXES:
        raise ValueError(f"format={format} must be one of {', '.join(SUFFIXES)}; for others see diffattn export.")
    source = Path(weights)
    load(weights)  # what is wrong with it is said before anything is written
    file = new_file(out or str(source.with_name(f"{source.stem}-stripped{SUFFIXES[format]}")), SUFFIXES[format])
    file.parent.mkdir(parents=True, exist_ok=True)
    if format == "pt":
        if args:
            raise ValueError(f"{', '.join(args)} has no meaning with format=pt.")
        strip_optimizer(weights, s=str(file))
        LOGGER.info(f"{file}: {file_size(file):.1f} MB, {weights}: {file_size(weights):.1f} MB")
        return {"file": str(file), "size_mb": file_size(file)}

    from ultralytics_diffattn.export import export

    with tempfile.TemporaryDirectory(dir=file.parent) as folder:  # exports go beside their weights
        copy = shutil.copy(weights, Path(folder) / f"{file.stem}.pt")
        report = export(model=str(copy), format=format, **args)
        report["elsewhere"] = elsewhere(report["file"], str(copy), args.get("source"))
        os.replace(report["file"], file)
    LOGGER.info(f"{file} predicts the same without this package (largest difference {report['elsewhere']:.1g}).")
    return {**report, "file": str(file)}


def elsewhere(file: str, weights: str, source: str | None = None) -> float:
    """Run an exported model where this package cannot be imported, and compare with what it predicts here.

    Args:
        file (str): The export.
        weights (str): The checkpoint that it comes from.
        source (str, optional): Images, as for `export.export`.

    Returns:
        (float): The largest difference of a coordinate in pixels, or of a score.

    Raises:
        RuntimeError: If it does not run there, or finds something else.
    """
    import numpy as np
    from ultralytics import YOLO

    from ultralytics_diffattn.export import images_in, validation_images

    yolo = YOLO(weights)
    images = images_in(source) if source else validation_images(yolo)
    options = {"conf": 0.001, "rect": False, "verbose": False, "device": "cpu"}  # of the size that the file knows
    results = YOLO(file, task=yolo.task).predict(images, **options)
    here = [(r.obb if r.obb is not None else r.boxes if r.boxes is not None else r.probs).data for r in results]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        what = json.dumps([str(Path(file).resolve()), yolo.task, options, images, str(out)])
        paths = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
        done = subprocess.run(  # -S: no start-up file brings this package in
            [sys.executable, "-S", "-c", ELSEWHERE, what],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{file} does not run without this package:\n{done.stdout}\n{done.stderr}")
        there = json.loads(out.read_text())
    gaps = [0.0]
    for a, b in zip(here, there, strict=True):
        a, b = np.asarray(a.tolist()), np.asarray(b)
        if a.shape != b.shape:
            raise RuntimeError(
                f"{file} finds {len(b)} objects without this package, {len(a)} with it. Please report this."
            )
        gaps.append(float(np.abs(a - b).max(initial=0)))
    if max(gaps) > CLOSE:
        raise RuntimeError(f"{file} predicts something else without this package: {max(gaps):.2g}. Please report this.")
    return max(gaps)
