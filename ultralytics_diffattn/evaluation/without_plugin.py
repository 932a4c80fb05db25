# Ultralytics DiffAttn - AGPL-3.0 License
"""An exported model in a process that cannot import this package: does it predict there what it predicts here?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ultralytics_diffattn.evaluation.sample_images import images_in, validation_images

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


def difference_without_plugin(file: str, weights: str, source: str | None = None) -> float:
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
