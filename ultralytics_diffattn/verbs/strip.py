# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn strip`: a checkpoint to hand on, without optimizer, or as a format that needs no plugin."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.verbs.export import ExportReport, export

OWN: dict[str, Any] = {"weights": "", "out": "", "format": "pt"}
POSITIONAL = "weights", "out"
SUFFIXES = {"pt": ".pt", "onnx": ".onnx", "torchscript": ".torchscript"}


class StripReport(ExportReport, total=False):
    """A file to hand on; for an export also the comparison with PyTorch.

    Attributes:
        without_plugin (float): Largest difference between predictions with and without this package, in pixels or of a
            score.
    """

    without_plugin: float


def strip(weights: str = "", out: str = "", format: str = "pt", **args: Any) -> StripReport:
    """Return the report on a checkpoint written without what only training needs, or exported for use without plugin.

    An export is compared with PyTorch on real images, then run in a process that has no access to this package.

    Args:
        weights (str): Trained weights.
        out (str): The new file; by default beside the weights.
        format (str): "pt", for whoever has this package, too; "onnx" or "torchscript" for everybody.
        **args (Any): For an export what `diffattn export` takes, such as imgsz and source.

    Returns:
        (StripReport): The file; for an export also the comparisons.

    Raises:
        MissingFileError: If the weights do not exist.
        ExistingFileError: If `out` does.
        UserError: If the format is unknown, or the weights cannot be read.
        DisagreementError: If the export predicts something else than PyTorch, or than without this package.

    Examples:
        >>> strip("best.pt", format="onnx")["without_plugin"] < 1e-3  # doctest: +SKIP
        True
    """
    from ultralytics.utils import LOGGER
    from ultralytics.utils.files import file_size
    from ultralytics.utils.torch_utils import strip_optimizer

    from ultralytics_diffattn.weights.checkpoints import load, new_file, student_file

    if format not in SUFFIXES:
        raise UserError(f"format={format} must be one of {', '.join(SUFFIXES)}; for others see diffattn export.")
    source = Path(weights)
    load(weights)  # refuses what it cannot read before anything is written
    file = new_file(out or str(source.with_name(f"{source.stem}-stripped{SUFFIXES[format]}")), SUFFIXES[format])
    with as_user_errors():
        file.parent.mkdir(parents=True, exist_ok=True)
    if format == "pt":
        if args:
            raise UserError(f"{', '.join(args)} has no meaning with format=pt.")
        with as_user_errors():
            strip_optimizer(weights, s=str(file))
        LOGGER.info(f"{file}: {file_size(file):.1f} MB, {weights}: {file_size(weights):.1f} MB")
        return {"file": str(file), "size_mb": file_size(file)}

    from ultralytics_diffattn.evaluation.without_plugin import difference_without_plugin

    with tempfile.TemporaryDirectory(dir=file.parent) as folder:  # exports go beside their weights
        with student_file(weights) as plain:
            copy = shutil.copy(plain, Path(folder) / f"{file.stem}.pt")
        report = export(model=str(copy), format=format, **args)
        gap = difference_without_plugin(report["file"], str(copy), args.get("source"))
        os.replace(report["file"], file)
    LOGGER.info(f"{file} predicts the same without this package (largest difference {gap:.1g}).")
    return {**report, "file": str(file), "without_plugin": gap}
