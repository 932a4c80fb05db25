# Ultralytics DiffAttn - AGPL-3.0 License
"""Validation images set apart, so that what chooses the best epoch is not what measures it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ultralytics_diffattn.data.check import count_labelled, has_test, list_images
from ultralytics_diffattn.errors import UserError

REPLACED = "path", "train", "val", "test", "minival", "download", "yaml_file", "nc"
SEED = 0


def hold_out(data: Mapping[str, Any], share: float, folder: Path, task: str) -> dict[Path, str]:
    """Return a data YAML whose validation images are parted in two, and the lists that it names; write nothing.

    Args:
        data (Mapping[str, Any]): As from `check`.
        share (float): Of the validation images that become `test:`, above 0 and below 1.
        folder (Path): Where the files are to lie.
        task (str): What the data are for.

    Returns:
        (dict[Path, str]): Text by file, the YAML first.

    Raises:
        UserError: If the data set has its own `test:`, is a folder of classes, or a part would have no images or no
            objects. Images of `train:` are in neither part.

    Examples:
        >>> from ultralytics_diffattn.data.check import check
        >>> [file.name for file in hold_out(check("shapes.yaml"), 0.5, Path("holdout"), "detect")]
        ['data.yaml', 'val.txt', 'test.txt']
    """
    if task == "classify":
        raise UserError("holdout= is for data YAMLs; for classification, move images to a folder test/ beside val/.")
    if has_test(data, task):
        raise UserError(f"holdout={share}: the data set has test: {data['test']}; take that out, or holdout=.")
    trained = {*list_images(data, "train")}
    images = [file for file in list_images(data, "val") if file not in trained]
    count = round(share * len(images))
    if not 0 < count < len(images):
        nobody = "none to choose on" if count else "none apart"
        raise UserError(
            f"holdout={share} of {len(images)} validation images leaves {nobody}: give a share such as holdout=0.5, or "
            "more images."
        )
    order = np.random.default_rng(SEED).permutation(len(images))
    parts = {
        name: [images[i] for i in sorted(which)] for name, which in (("val", order[count:]), ("test", order[:count]))
    }
    for name, part in parts.items():
        if not count_labelled(part, data, task):
            raise UserError(
                f"holdout={share} leaves no object in the {len(part)} images of {name}: give another share."
            )
    kept = {key: value for key, value in data.items() if key not in REPLACED and value is not None}
    content = {"path": str(folder), "train": data["train"], "val": "val.txt", "test": "test.txt", **kept}
    lists = {folder / f"{name}.txt": "".join(f"{file}\n" for file in part) for name, part in parts.items()}
    return {folder / "data.yaml": yaml.safe_dump(content, sort_keys=False, allow_unicode=True), **lists}
