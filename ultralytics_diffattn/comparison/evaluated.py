# Ultralytics DiffAttn - AGPL-3.0 License
"""Models that a comparison does not train: checkpoints, exported models and predictions, with `epochs=0`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultralytics_diffattn.comparison.run import VALIDATION
from ultralytics_diffattn.comparison.schema import Latency, TrainingArguments
from ultralytics_diffattn.errors import MissingFileError, MissingPackageError, UserError
from ultralytics_diffattn.evaluation import coco_results, cost

ARGUMENTS = ("epochs", "batch", "device", "rect", *VALIDATION)  # those that mean something without a training
PACKAGES = {  # by the end of a file's name: what its runtime is, which ultralytics would install unasked
    ".onnx": "onnxruntime",
    "_openvino_model": "openvino",
    ".engine": "tensorrt",
    ".mlpackage": "coremltools",
    "_saved_model": "tensorflow",
    ".pb": "tensorflow",
    ".tflite": "tensorflow",
    "_paddle_model": "paddle",
    ".mnn": "MNN",
    "_ncnn_model": "ncnn",
    "_executorch_model": "executorch",
    ".pte": "executorch",
}
PREDICTING = "classes", "iou", "agnostic_nms", "augment"  # what they say is done to predictions, a file has behind it
KINDS = "a checkpoint (.pt), an export of ultralytics or `diffattn export`, or a COCO results JSON (.json)"


@dataclass(frozen=True)
class Given:
    """A model that is only evaluated.

    Attributes:
        ckpt_path (str): Its file or folder, as `ultralytics.YOLO` calls it.
        task (str): Of the model.
        names (list[str] | None): Its classes; None for predictions.
        imgsz (int | None): Pixels that it was trained with or exported for; None for predictions.
        fixed (bool): Whether it takes no other size.
    """

    ckpt_path: str
    task: str
    names: list[str] | None
    imgsz: int | None
    fixed: bool


def check_arguments(arguments: Mapping[str, Any], files: Iterable[str] = ()) -> None:
    """Raise if an argument is for a training, or says how models predict while predictions are given.

    Args:
        arguments (dict[str, Any]): Of the command, of those that are ultralytics' own.
        files (Iterable[str]): Of the models.

    Raises:
        UserError: With the argument.

    Examples:
        >>> check_arguments({"epochs": 0, "lr0": 0.1})
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: lr0=0.1 is for training, and epochs=0 trains nothing: leave it out.
    """
    for key, value in arguments.items():
        if key not in ARGUMENTS:
            raise UserError(f"{key}={value} is for training, and epochs=0 trains nothing: leave it out.")
        if key in PREDICTING and (given := [file for file in files if file.endswith(".json")]):
            raise UserError(
                f"{key}={value} changes how a model predicts, but {given[0]} holds finished predictions: leave it out."
            )


def open_given(model: str) -> Given:
    """Return a model that is only evaluated, after loading it.

    Args:
        model (str): A checkpoint, an exported model that ultralytics can load, or a COCO results JSON.

    Returns:
        (Given): The model.

    Raises:
        MissingFileError: If there is no such file.
        MissingPackageError: If the package that runs it is not installed.
        UserError: If it has no weights, does not load, or does not say what it is.
    """
    path = Path(model)
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"{model} has no weights to evaluate with epochs=0: give {KINDS}, or epochs=100 to train it.")
    if path.suffix == ".pt":
        return _checkpoint(model)
    if not path.exists():
        raise MissingFileError(f"model {model} does not exist: give {KINDS}.")
    return Given(model, "detect", None, None, fixed=False) if path.suffix == ".json" else _exported(path)


def _checkpoint(model: str) -> Given:
    """Return a checkpoint."""
    from ultralytics import YOLO

    try:
        yolo: Any = YOLO(model)
    except Exception as e:
        raise UserError(f"model {model} does not load: {type(e).__name__}: {e}") from e
    size = yolo.overrides.get("imgsz")
    names = [str(yolo.names[i]) for i in sorted(yolo.names)]
    return Given(
        str(Path(yolo.ckpt_path).resolve()), yolo.task, names, size if isinstance(size, int) else None, fixed=False
    )


def _exported(path: Path) -> Given:
    """Return an exported model as its metadata describe it."""
    import torch
    from ultralytics.nn.autobackend import AutoBackend

    for end, package in PACKAGES.items():
        if path.name.endswith(end) and not find_spec(package):
            raise MissingPackageError(f"{path} needs {package}: pip install {package}")
    try:
        backend: Any = AutoBackend(str(path), torch.device("cpu"))
    except Exception as e:
        raise UserError(f"model {path} does not load: {type(e).__name__}: {e} Give {KINDS}.") from e
    task, size = getattr(backend, "task", None), getattr(backend, "imgsz", None)
    if task is None or size is None:
        raise UserError(
            f"{path} does not state its task, classes and image size, as an export of ultralytics does: write its "
            "predictions to a COCO results JSON, and give that instead."
        )
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(
            f"{path} was exported for {height} x {width} pixels, but a comparison uses square images: export it again "
            f"with imgsz={max(height, width)}."
        )
    names = [str(backend.names[i]) for i in sorted(backend.names)]
    return Given(str(path.resolve()), task, names, int(height), fixed=not getattr(backend, "dynamic", False))


def image_size(models: Mapping[str, Given], asked: object, otherwise: int) -> int:
    """Return the image size at which all models are evaluated.

    Args:
        models (dict[str, Given]): By label.
        asked (object): The command's `imgsz`; None if it has none.
        otherwise (int): Size where no model has one.

    Returns:
        (int): What was asked for, else the models' own.

    Raises:
        UserError: If the models were trained or exported for different sizes and none is asked for, or one of them
            cannot take it.

    Examples:
        >>> image_size({"a": Given("a.pt", "detect", [], 640, fixed=False)}, None, 320)
        640
    """
    own = {label: given.imgsz for label, given in models.items() if given.imgsz is not None}
    if asked is None and len({*own.values()}) > 1:
        listed = ", ".join(f"{label} {size}" for label, size in own.items())
        raise UserError(f"the models are for different image sizes ({listed}): say which one to use, as imgsz=640.")
    if asked is not None and not isinstance(asked, int):
        raise UserError(f"imgsz={asked} must be one number, since a comparison uses square images: imgsz={otherwise}.")
    size = int(asked) if isinstance(asked, int) else next(iter(own.values()), otherwise)
    for label, given in models.items():
        if given.fixed and given.imgsz != size:
            raise UserError(
                f"{label} was exported for {given.imgsz} pixels, but the comparison is at imgsz={size}: give "
                f"imgsz={given.imgsz}, or export it again with imgsz={size} or dynamic=True."
            )
    return size


def warn_of_padding(models: Mapping[str, Given], rect: object) -> None:
    """Say so if ultralytics would show models the same images with different padding.

    Args:
        models (dict[str, Given]): By label.
        rect (object): The command's `rect`; None if it has none.
    """
    from ultralytics.utils import LOGGER

    fixed = [label for label, given in models.items() if given.fixed]
    if rect is None and any(Path(given.ckpt_path).suffix == ".pt" for given in models.values()) and fixed:
        LOGGER.warning(
            f"compare: {', '.join(fixed)} will see images padded to squares, but checkpoints will see them with as "
            "little padding as possible, as in `yolo val`; give rect=False to pad the images alike for all."
        )


def check_classes(models: Mapping[str, Given], names: Mapping[int, str], single_class: bool = False) -> None:
    """Raise if a model has other classes than the data set.

    Args:
        models (dict[str, Given]): By label.
        names (dict[int, str]): The data set's classes.
        single_class (bool): Whether all classes count as one, `single_cls`.

    Raises:
        UserError: With the first class that differs.

    Examples:
        >>> check_classes({"a": Given("a.pt", "detect", ["cat"], 640, fixed=False)}, {0: "dog"})
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.errors.UserError: a was trained for other classes than the data set has: class 0 is ...
    """
    from ultralytics.nn.autobackend import check_class_names  # which knows the names behind ImageNet's codes

    wanted = check_class_names(dict(names))
    for label, given in models.items():
        if given.names is None or single_class or given.task == "depth":
            continue
        own = check_class_names(given.names)
        for i in sorted({*own} | {*wanted}):
            if own.get(i) != wanted.get(i):
                raise UserError(
                    f"{label} was trained for other classes than the data set has: class {i} is {own.get(i)!r} in the "
                    f"model and {wanted.get(i)!r} in the data; give models that were trained for these classes."
                )


def check_predictions(
    models: Mapping[str, Given], images: Sequence[str], data: Mapping[str, Any], source: Path | None
) -> None:
    """Raise if a COCO results JSON is not of this data set.

    Args:
        models (dict[str, Given]): By label.
        images (Sequence[str]): Those that all models are evaluated on.
        data (dict[str, Any]): The data set, from `check`.
        source (Path, optional): The COCO annotations that it was converted from.

    Raises:
        UserError: As from `coco_results.read`.
    """
    from ultralytics_diffattn.data.check import list_images

    others = {f for split in ("train", "val", "test") for f in list_images(data, split)} - {*images}
    names = [data["names"][i] for i in sorted(data["names"])]
    for given in models.values():
        if given.names is None:
            coco_results.read(Path(given.ckpt_path), images, others, names, source)


def costs(files: Mapping[str, str], args: TrainingArguments) -> dict[str, tuple[int | None, float | None, Latency]]:
    """Return parameters, GFLOPs and latency of models, as far as they have any.

    Args:
        files (dict[str, str]): By label.
        args (dict[str, Any]): With `imgsz` and `device`.

    Returns:
        (dict[str, tuple[int | None, float | None, Latency]]): None for what only a checkpoint tells, and for
            predictions.
    """
    with tempfile.TemporaryDirectory(prefix="diffattn-") as folder:
        timed: dict[str, Path] = {}
        for label, file in files.items():
            if Path(file).suffix == ".pt":  # a copy, since it is exported to be timed, and that stays beside it
                timed[label] = Path(folder) / f"{label}.pt"
                shutil.copyfile(file, timed[label])
            elif Path(file).suffix == ".onnx":
                timed[label] = Path(file)
        latency = cost.latency(timed, args["imgsz"], args.get("device"))
        out: dict[str, tuple[int | None, float | None, Latency]] = {}
        for label in files:
            time = latency.get(label)
            size = cost.size(timed[label], args["imgsz"]) if timed.get(label, Path()).suffix == ".pt" else None
            out[label] = (
                size["parameters"] if size else None,
                size["gflops"] if size else None,
                Latency(time["pytorch"], time["onnxruntime"]) if time else Latency(None, None),
            )
        return out
