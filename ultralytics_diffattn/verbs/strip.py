# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn strip`: a checkpoint to hand on, without optimizer, or as a format that needs no plugin."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

OWN: dict[str, Any] = {"weights": "", "out": "", "format": "pt"}
POSITIONAL = "weights", "out"
SUFFIXES = {"pt": ".pt", "onnx": ".onnx", "torchscript": ".torchscript"}


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

    from ultralytics_diffattn.evaluation.without_plugin import difference_without_plugin
    from ultralytics_diffattn.verbs.export import export

    with tempfile.TemporaryDirectory(dir=file.parent) as folder:  # exports go beside their weights
        copy = shutil.copy(weights, Path(folder) / f"{file.stem}.pt")
        report = export(model=str(copy), format=format, **args)
        report["elsewhere"] = difference_without_plugin(report["file"], str(copy), args.get("source"))
        os.replace(report["file"], file)
    LOGGER.info(f"{file} predicts the same without this package (largest difference {report['elsewhere']:.1g}).")
    return {**report, "file": str(file)}
