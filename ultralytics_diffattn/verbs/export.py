# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' export, and a check that the exported model finds on real images what PyTorch finds."""

from __future__ import annotations

from ultralytics import YOLO
from ultralytics.engine.exporter import export_formats
from ultralytics.utils import LOGGER
from ultralytics.utils.files import file_size

from ultralytics_diffattn.data import catalogue
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.agreement import CONF
from ultralytics_diffattn.evaluation.export_check import batches_of, compare_predictions, judge, precision_of
from ultralytics_diffattn.evaluation.sample_images import images_in, validation_images
from ultralytics_diffattn.suggestions import did_you_mean

OWN: dict[str, object] = {}  # none: `source`, the images to compare on, is a key of ultralytics'
TESTED = "onnx", "openvino", "torchscript"  # by this project's own tests
# What ultralytics knows besides the names in its table of formats.
ALIASES = {"tensorrt", "trt", "mlmodel", "mlpackage", "mlprogram", "apple", "ios", "tflite", "tfjs"}
ALIASES |= {"huawei", "cann", "om", "vitis", "vitisai", "versal"}
COMPARED = "detect", "segment", "pose", "obb", "classify"  # tasks


def export(model: str = "", **args: object) -> dict:
    """Export a model with ultralytics, run the exported file beside PyTorch on real images, and compare.

    Compared are boxes, with `classify` probabilities; masks and keypoints are not.

    Args:
        model (str): Trained weights.
        **args (object): Anything that `yolo export` takes: format, imgsz, half, int8, dynamic, data, ...; besides
            `source`, an image or a folder of images to compare on. Without it these are the val images of `data`, else
            of the data set that the model was trained on if it is still there, else ultralytics' own two.

    Returns:
        (dict): `file`, `size_mb`, `format`, `tested` (by this project), `precision` and `compared`. If compared also
            `images`, `boxes` (of PyTorch), `pairs` (boxes that both find), `conf`, `corner` (largest difference, in
            pixels of the model's input, None without pairs), `score` (largest difference), `far` and `alone` (boxes
            that differ more than allowed, or that one of the two finds alone), `latency_ms` (of `pytorch` and
            `exported`, the median of an image). If not, `reason`.

    Raises:
        ValueError: If an argument is missing or unknown, or there are no images.
        FileNotFoundError: If the model or the images do not exist.
        RuntimeError: If the exported model disagrees with PyTorch, or there is nothing to compare.

    Examples:
        >>> report = export(model="best.pt", format="onnx", source="photos")  # doctest: +SKIP
        >>> report["corner"] < 0.5  # doctest: +SKIP
        True
    """
    if not model:
        raise ValueError("model= is missing: give trained weights, as in model=runs/detect/train/weights/best.pt")
    kind = _known(str(args.get("format", "torchscript")).lower())
    yolo = YOLO(model, task=args.pop("task", None))
    if args.get("data"):
        args["data"] = catalogue.resolve(args["data"], yolo.task).data
    source = args.pop("source", None)
    images = images_in(source) if source else None  # what is wrong with it shows before minutes of export
    done: dict = {}  # the arguments that ultralytics exported with in the end
    yolo.add_callback(
        "on_export_end", lambda exporter: done.update(vars(exporter.args), imgsz=exporter.imgsz, format=kind)
    )
    file = yolo.export(**{k: v for k, v in args.items() if k != "data" or _calibrates(kind)} | {"format": kind})

    report = {"file": file, "size_mb": file_size(file), "format": kind, "tested": kind in TESTED}
    report |= {"precision": precision_of(done), "compared": False}
    LOGGER.info(f"{file}: {report['size_mb']:.1f} MB, {report['precision']}")
    if not report["tested"]:
        LOGGER.info(f"Exports to {kind} are not tested by this project; tested are {', '.join(TESTED)}.")
    options = {k: args[k] for k in ("iou", "max_det", "agnostic_nms", "nms") if args.get(k) is not None}
    options |= {"imgsz": done["imgsz"], "batch": done["batch"], "device": done["device"] or "cpu"}
    options |= {"conf": args.get("conf") or CONF, "rect": False, "verbose": False}  # both letterbox to the full size
    images = images or validation_images(yolo, args.get("data"))
    exported = YOLO(file, task=yolo.task)
    try:
        if yolo.task not in COMPARED:
            raise NotImplementedError(f"task={yolo.task} has neither boxes nor classes")
        exported.predict(batches_of(images, done["batch"])[0], **options)
    except Exception as e:
        if report["tested"] and yolo.task in COMPARED:
            raise
        report["reason"] = f"{type(e).__name__}: {e}"
        LOGGER.warning(f"{file} is exported, but could not be compared with PyTorch here: {report['reason']}")
        return report
    report |= {**compare_predictions(yolo, exported, images, options, report["precision"]), "compared": True}
    judge(report, yolo.task)
    return report


def _known(kind: str) -> str:
    """Return the format, or raise: ultralytics would export to the one whose name is nearest."""
    known = export_formats()["Argument"][1:]
    if kind not in known and kind not in ALIASES:
        raise UserError(f"format={kind} is unknown.{did_you_mean(kind, known)} It is one of {', '.join(known)}.")
    return kind


def _calibrates(kind: str) -> bool:
    """Return whether ultralytics takes `data` with this format; since 8.4 it refuses what a format does not need."""
    takes = dict(zip(export_formats()["Argument"], export_formats()["Arguments"], strict=True))
    return "data" in takes.get(kind, ["data"]) or not any("data" in names for names in takes.values())
