# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' export, and a check that the exported model predicts on real images what PyTorch predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

from ultralytics import RTDETR
from ultralytics.engine.exporter import export_formats
from ultralytics.utils import LOGGER
from ultralytics.utils.files import file_size

from ultralytics_diffattn.data import catalogue
from ultralytics_diffattn.errors import MissingPackageError, UserError, as_user_errors
from ultralytics_diffattn.evaluation.agreement import CONF
from ultralytics_diffattn.evaluation.export_check import (
    Comparison,
    Latency,
    batches_of,
    compare_predictions,
    judge,
    latencies,
    precision_of,
)
from ultralytics_diffattn.evaluation.format_packages import FORMATS, pip_command
from ultralytics_diffattn.evaluation.openvino_precision import openvino_in_float32
from ultralytics_diffattn.evaluation.sample_images import images_in, validation_images
from ultralytics_diffattn.evaluation.tasks import TASKS
from ultralytics_diffattn.suggestions import did_you_mean
from ultralytics_diffattn.verbs.arguments import open_model

OWN: dict[str, Any] = {}  # none: `source`, the images to compare on, is a key of ultralytics'
TESTED = "onnx", "openvino", "torchscript"  # by this project's own tests
# What ultralytics knows besides the names in its table of formats.
ALIASES = {"tensorrt", "trt", "mlmodel", "mlpackage", "mlprogram", "apple", "ios", "tflite", "tfjs"}
ALIASES |= {"huawei", "cann", "om", "vitis", "vitisai", "versal"}


class ExportedFile(TypedDict):
    """A file to hand on."""

    file: str
    size_mb: float


class ExportReport(ExportedFile, Comparison, total=False):
    """An exported file and how it compares with PyTorch; see `Comparison` for the fields of `compared` exports.

    Attributes:
        format (str): Ultralytics' name of the format.
        tested (bool): Whether this project's own tests export to it.
        precision (str): "float32", "float16" or "int8", which decides the tolerance.
        compared (bool): Whether the file was run beside PyTorch; if not, the fields of `Comparison` are missing.
        reason (str): Why it could not be compared.
        latency_ms (Latency): Medians of an image, in milliseconds.
    """

    format: str
    tested: bool
    precision: str
    compared: bool
    reason: str
    latency_ms: Latency


def export(model: str = "", **args: Any) -> ExportReport:
    """Return the report on an exported model that was run beside PyTorch on real images.

    Compared is what the task predicts: boxes with their masks and keypoints, rotated boxes, probabilities of classes,
    classes or depths of pixels. OpenVINO is compared in float32, and timed as it runs on this machine.

    Args:
        model (str): Trained weights.
        **args (Any): Anything that `yolo export` takes: format, imgsz, half, int8, dynamic, data, ...; besides
            `source`, an image or a folder of images to compare on. Without it these are the val images of `data`, else
            of the data set that the model was trained on if it still exists, else ultralytics' own two.

    Returns:
        (ExportReport): The file, and the comparison.

    Raises:
        UserError: If an argument is missing or unknown, or there are no images.
        MissingFileError: If the model or the images do not exist.
        MissingPackageError: If the format needs packages that are not installed.
        DisagreementError: If the exported model disagrees with PyTorch, or there is nothing to compare.

    Examples:
        >>> report = export(model="best.pt", format="onnx", source="photos")  # doctest: +SKIP
        >>> report["corner"] < 0.5  # doctest: +SKIP
        True
    """
    if not model:
        raise UserError("model= is missing: give trained weights, as in model=runs/detect/train/weights/best.pt")
    kind = _known(str(args.get("format", "torchscript")).lower())
    yolo = open_model(model, args.pop("task", None))
    if args.get("data"):
        args["data"] = catalogue.resolve(args["data"], yolo.task).data
    source = args.pop("source", None)
    images = images_in(source) if source else None  # what is wrong with it shows before minutes of export
    file, done = _export(yolo, kind, args)
    precision = precision_of(done)
    report: ExportReport = {"file": file, "size_mb": file_size(file), "format": kind, "tested": kind in TESTED}
    report |= {"precision": precision, "compared": False}
    LOGGER.info(f"{file}: {report['size_mb']:.1f} MB, {precision}")
    if not report["tested"]:
        LOGGER.info(f"Exports to {kind} are not tested by this project; tested are {', '.join(TESTED)}.")
    images = images or validation_images(yolo, args.get("data"))
    options = _prediction_options(args, done)
    try:
        exported = _run_once(file, yolo, images, options)
    except Exception as e:
        if report["tested"] and yolo.task in TASKS:
            raise
        report["reason"] = f"{type(e).__name__}: {e}"
        LOGGER.warning(f"{file} is exported, but could not be compared with PyTorch here: {report['reason']}")
        return report
    comparison = compare_predictions(yolo, exported, images, options, precision)
    judge(file, precision, comparison, yolo.task)
    as_it_runs = open_exported(file, yolo) if kind == "openvino" else exported  # in the processor's own precision
    latency = latencies(yolo, as_it_runs, images, options)
    LOGGER.info(f"inference of an image: PyTorch {latency['pytorch']} ms, {kind} {latency['exported']} ms")
    return {**report, **comparison, "latency_ms": latency, "compared": True}


def open_exported(file: str, yolo: Any) -> Any:
    """Return an exported model; an RT-DETR's has to be called one, since its boxes are shares of the image.

    Args:
        file (str): The exported file.
        yolo (ultralytics.YOLO): The model that was exported.

    Returns:
        (ultralytics.YOLO): What predicts with the file.

    Examples:
        >>> open_exported("best.onnx", yolo).predict("image.jpg")  # doctest: +SKIP
    """
    return RTDETR(file) if isinstance(yolo, RTDETR) else open_model(file, yolo.task)


def _export(yolo: Any, kind: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the exported file, and the arguments that ultralytics exported with in the end."""
    done: dict[str, Any] = {}
    yolo.add_callback(
        "on_export_end", lambda exporter: done.update(vars(exporter.args), imgsz=exporter.imgsz, format=kind)
    )
    with as_user_errors(), _explained(kind):
        file = yolo.export(**{k: v for k, v in args.items() if k != "data" or _calibrates(kind)} | {"format": kind})
    return str(file), done


@contextmanager
def _explained(kind: str) -> Iterator[None]:
    """Raise as a user's error that a converter's package is missing, or that it knows no such argument."""
    try:
        yield
    except AssertionError as e:
        if "not supported" not in str(e):
            raise
        raise UserError(str(e)) from e
    except ModuleNotFoundError as e:
        if kind not in FORMATS:
            raise
        message = f"format={kind} needs packages that are not installed ({e}). Install them: {pip_command(kind)}"
        raise MissingPackageError(message) from e


def _prediction_options(args: dict[str, Any], done: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with which both models predict; both letterbox to the full size."""
    options = {k: args[k] for k in ("iou", "max_det", "agnostic_nms", "nms") if args.get(k) is not None}
    options |= {"imgsz": done["imgsz"], "batch": done["batch"], "device": done["device"] or "cpu"}
    return options | {"conf": args.get("conf") or CONF, "rect": False, "verbose": False}


def _run_once(file: str, yolo: Any, images: list[str], options: dict[str, Any]) -> Any:
    """Return the exported model after its first prediction, or raise if it does not run here."""
    if yolo.task not in TASKS:
        raise NotImplementedError(f"what task={yolo.task} predicts is not known here")
    exported = open_exported(file, yolo)
    with openvino_in_float32():  # the first prediction compiles it
        exported.predict(batches_of(images, options["batch"])[0], **options)
    return exported


def _known(kind: str) -> str:
    """Return the format, or raise: ultralytics would export to the one with the nearest name."""
    known = export_formats()["Argument"][1:]
    if kind not in known and kind not in ALIASES:
        raise UserError(f"format={kind} is unknown.{did_you_mean(kind, known)} It is one of {', '.join(known)}.")
    return kind


def _calibrates(kind: str) -> bool:
    """Return whether ultralytics takes `data` with this format; since 8.4 it refuses what a format does not need."""
    takes = dict(zip(export_formats()["Argument"], export_formats()["Arguments"], strict=True))
    return "data" in takes.get(kind, ["data"]) or not any("data" in names for names in takes.values())
