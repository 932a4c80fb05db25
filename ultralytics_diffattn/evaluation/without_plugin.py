# Ultralytics DiffAttn - AGPL-3.0 License
"""An exported model in a process that cannot import this package: does it predict the same there?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ultralytics_diffattn.errors import DisagreementError
from ultralytics_diffattn.evaluation.sample_images import images_in, validation_images

CLOSE = 1e-3  # pixels and scores: the same file in the same runtime
SCRIPT = """
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
rows = [(r.obb if r.obb is not None else r.boxes if r.boxes is not None else r.probs).data.tolist() for r in results]
assert not any(name.startswith("ultralytics_diffattn") for name in sys.modules)
open(out, "w").write(json.dumps(rows))
"""


def difference_without_plugin(file: str, weights: str, source: str | None = None) -> float:
    """Return the largest difference that this package makes to the predictions of an exported model.

    Args:
        file (str): The exported file.
        weights (str): The checkpoint that it comes from.
        source (str, optional): Images, as for `export.export`.

    Returns:
        (float): The largest difference of a coordinate in pixels, or of a score.

    Raises:
        DisagreementError: If it does not run without this package, or predicts something else.
    """
    import numpy as np
    from ultralytics import YOLO

    yolo = YOLO(weights)
    images = images_in(source) if source else validation_images(yolo)
    options: dict[str, Any] = {
        "conf": 0.001,
        "rect": False,
        "verbose": False,
        "device": "cpu",
    }  # of the size that the file knows
    results: Any = YOLO(file, task=yolo.task).predict(images, **options)
    here = [(r.obb if r.obb is not None else r.boxes if r.boxes is not None else r.probs).data for r in results]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "predictions.json"
        arguments = json.dumps([str(Path(file).resolve()), yolo.task, options, images, str(out)])
        paths = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
        done = subprocess.run(  # -S: no start-up file brings this package in
            [sys.executable, "-S", "-c", SCRIPT, arguments],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DisagreementError(f"{file} does not run without this package:\n{done.stdout}\n{done.stderr}")
        without = json.loads(out.read_text())
    gaps = [0.0]
    for here_rows, without_rows in zip(here, without, strict=True):
        a, b = np.asarray(here_rows.tolist()), np.asarray(without_rows)
        if a.shape != b.shape:
            raise DisagreementError(
                f"{file} finds {len(b)} objects without this package, {len(a)} with it. Please report this."
            )
        gaps.append(float(np.abs(a - b).max(initial=0)))
    if max(gaps) > CLOSE:
        raise DisagreementError(
            f"{file} predicts something else without this package: coordinates or scores differ by {max(gaps):.2g} "
            f"({CLOSE:g} is allowed). Please report this."
        )
    return max(gaps)
