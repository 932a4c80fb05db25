# Ultralytics DiffAttn - AGPL-3.0 License
"""Training images for the calibration of an int8 export: a data set of a few, spread over all of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ultralytics_diffattn.data.check import list_images
from ultralytics_diffattn.data.holdout import REPLACED

MOST = 512  # ultralytics asks for 300 or more; each takes as long as a prediction


def calibration_data(data: Mapping[str, Any], folder: Path, task: str) -> str:
    """Write a data set whose `train` and `val` are the same training images, and return what ultralytics takes for it.

    Args:
        data (Mapping[str, Any]): As from `check`.
        folder (Path): Where to write it; it is made.
        task (str): What the data are for.

    Returns:
        (str): A data YAML, or for classification a folder.
    """
    images = list_images(data, "train")
    images = [images[i] for i in np.linspace(0, len(images) - 1, min(len(images), MOST)).astype(int)]
    folder.mkdir(parents=True, exist_ok=True)
    if task == "classify":
        for n, image in enumerate(images):
            of_class = folder / "train" / Path(image).parent.name
            of_class.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, of_class / f"{n}{Path(image).suffix}")
        return str(folder)
    (folder / "images.txt").write_text("".join(f"{image}\n" for image in images), encoding="utf-8")
    kept = {key: value for key, value in data.items() if key not in REPLACED and value is not None}
    content = {"path": str(folder), "train": "images.txt", "val": "images.txt", **kept}
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return str(folder / "data.yaml")
