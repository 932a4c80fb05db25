# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' export, and a check that the exported model finds on real images what PyTorch finds."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from ultralytics import YOLO
from ultralytics.data.loaders import LoadImagesAndVideos
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset
from ultralytics.engine.exporter import export_formats
from ultralytics.engine.results import Results
from ultralytics.utils import ASSETS, DEFAULT_CFG, LOGGER
from ultralytics.utils.files import file_size

from ultralytics_diffattn.agreement import CONF, TOLERANCES, boxes, difference
from ultralytics_diffattn.data import catalogue

OWN: dict[str, object] = {}  # none: `source`, the images to compare on, is a key of ultralytics'
TESTED = "onnx", "openvino", "torchscript"  # by this project's own tests
# What ultralytics knows besides the names in its table of formats.
ALIASES = {"tensorrt", "trt", "mlmodel", "mlpackage", "mlprogram", "apple", "ios", "tflite", "tfjs"}
ALIASES |= {"huawei", "cann", "om", "vitis", "vitisai", "versal"}
COMPARED = "detect", "segment", "pose", "obb", "classify"  # tasks
MOST_IMAGES = 16


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
    report |= {"precision": _precision(done), "compared": False}
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
        exported.predict(_batches(images, done["batch"])[0], **options)
    except Exception as e:
        if report["tested"] and yolo.task in COMPARED:
            raise
        report["reason"] = f"{type(e).__name__}: {e}"
        LOGGER.warning(f"{file} is exported, but could not be compared with PyTorch here: {report['reason']}")
        return report
    report |= {**_compare(yolo, exported, images, options, report["precision"]), "compared": True}
    _judge(report, yolo.task)
    return report


def _known(kind: str) -> str:
    """Return the format, or raise: ultralytics would export to the one whose name is nearest."""
    known = export_formats()["Argument"][1:]
    if kind not in known and kind not in ALIASES:
        near = get_close_matches(kind, known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"format={kind} is unknown.{hint} It is one of {', '.join(known)}.")
    return kind


def _calibrates(kind: str) -> bool:
    """Return whether ultralytics takes `data` with this format; since 8.4 it refuses what a format does not need."""
    takes = dict(zip(export_formats()["Argument"], export_formats()["Arguments"], strict=True))
    return "data" in takes.get(kind, ["data"]) or not any("data" in names for names in takes.values())


def _precision(done: dict) -> str:
    """Return how the exported model computes, a row of `TOLERANCES`."""
    quantize = done.get("quantize")  # ultralytics before 8.4 has half and int8 instead
    if done.get("int8") or quantize not in (None, 16, 32):
        return "int8"
    if done["format"] == "openvino":  # on a CPU that can, OpenVINO computes in bfloat16, whatever the file holds
        from openvino import Core

        if Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name() == "bf16":
            return "bfloat16"
    on_gpu = str(done["device"] or "cpu") not in ("cpu", "mps")
    return "float16" if done.get("half") or quantize == 16 or on_gpu else "float32"


def images_in(source: str | Path) -> list[str]:
    """Return at most 16 images, spread over all that a source holds.

    Args:
        source (str | Path): A folder, a file, or a list of files.

    Returns:
        (list[str]): Files.

    Raises:
        ValueError: If there are none.
    """
    if Path(source).is_dir():
        files = sorted(str(file) for file in Path(source).rglob("*"))
    else:
        files = LoadImagesAndVideos(str(source)).files
    files = [file for file in files if Path(file).suffix[1:].lower() in IMG_FORMATS]
    if not files:
        raise ValueError(f"{source} holds no images; known are {', '.join(sorted(IMG_FORMATS))}")
    return files[:: -(-len(files) // MOST_IMAGES)]


def validation_images(yolo: YOLO, data: str | None = None) -> list[str]:
    """Return at most 16 images of the data set given, or that the model was trained on, or those of ultralytics.

    Args:
        yolo (YOLO): A trained model.
        data (str, optional): A data YAML, with task `classify` a folder.

    Returns:
        (list[str]): Files.
    """
    if data:
        val = (check_cls_dataset if yolo.task == "classify" else check_det_dataset)(data)["val"]
    else:
        try:  # never download for this
            data = str(yolo.overrides["data"])
            val = Path(data) / "val" if yolo.task == "classify" else check_det_dataset(data, autodownload=False)["val"]
            return images_in(val if isinstance(val, (str, Path)) else val[0])
        except Exception:  # whatever is wrong with data of long ago that nobody asked for
            val = ASSETS
    return images_in(val if isinstance(val, (str, Path)) else val[0])


def _batches(images: list[str], n: int) -> list[list[str]]:
    """Return the images in batches of n, the last one filled up, since an export may know no other size."""
    filled = list(islice(cycle(images), -(-len(images) // n) * n))
    return [filled[i : i + n] for i in range(0, len(filled), n)]


def _compare(yolo: YOLO, exported: YOLO, images: list[str], options: dict, precision: str) -> dict:
    """Return what the two find and how fast they are."""
    batches = _batches(images, options["batch"])

    def predict(least: int = 0) -> tuple[list[Results], list[Results]]:
        ours, theirs = [], []
        for batch in islice(cycle(batches), max(least, len(batches))):  # in turns, so that a busy machine slows both
            ours += yolo.predict(batch, **options)
            theirs += exported.predict(batch, **options)
        return ours, theirs

    if hasattr(yolo.model, "transforms"):  # of the training, whose size may be another than the export's
        del yolo.model.transforms
    ours, theirs = predict()
    if yolo.task != "classify" and not sum(map(len, ours)) and not options.get("nms"):
        found = [boxes(r) for batch in batches for r in yolo.predict(batch, **{**options, "conf": 1e-6})]
        best = max((float(b.conf.max()) for b in found if len(b)), default=0.0)
        if best:
            LOGGER.info(f"PyTorch finds nothing above conf={options['conf']}: all above {best / 2:.2g} is compared.")
            options |= {"conf": best / 2, "iou": 1.0}  # they score so alike that rounding decides whom NMS keeps
            ours, theirs = predict()
    rule = TOLERANCES[precision], options["imgsz"], options["conf"], options.get("max_det", DEFAULT_CFG.max_det)
    gaps = [difference(a, b, *rule) for a, b in zip(ours, theirs, strict=True)][: len(images)]
    latency = [round(median(r.speed["inference"] for r in results), 2) for results in predict(8)]  # warm by now
    return {
        "images": len(images),
        "boxes": sum(g.boxes for g in gaps),
        "pairs": sum(g.pairs for g in gaps),
        "conf": options["conf"],
        "corner": max(g.corner for g in gaps) if any(g.pairs for g in gaps) else None,
        "score": max(g.score for g in gaps),
        "far": sum(g.far for g in gaps),
        "alone": sum(g.alone for g in gaps),
        "latency_ms": dict(zip(("pytorch", "exported"), latency, strict=True)),
    }


def _judge(report: dict, task: str) -> None:
    """Log the report and raise if the exported model does not find what PyTorch finds."""
    corner, score, share = TOLERANCES[report["precision"]]
    classify, wrong = task == "classify", report["far"] + report["alone"]
    far = f"scores differ by up to {report['score']:.2g} (allowed {score})"
    if not classify:
        found = "-" if report["corner"] is None else f"{report['corner']:.2g}"
        far = f"corners differ by up to {found} px of the input (allowed {corner}), {far}"
        far = f"{report['boxes']} boxes above conf={report['conf']:.2g}: {far}, {report['alone']} found by one alone"
    ours, theirs = report["latency_ms"].values()
    LOGGER.info(f"{report['images']} images, {far}")
    LOGGER.info(f"inference of an image: PyTorch {ours} ms, {report['format']} {theirs} ms")
    if wrong > share * report["boxes"]:
        what = f"{wrong} images" if classify else f"{wrong} boxes are further off than allowed, or found by one alone"
        mend = "export without half and int8, with more data to calibrate on, or in another format"
        if not classify and report["conf"] < CONF:
            mend = "PyTorch is sure of nothing in these images, so train longer or give others, as in source=folder"
        raise RuntimeError(
            f"{report['file']} does not find what PyTorch finds, computing in {report['precision']}: {what}, while "
            f"{int(share * report['boxes'])} may. On {report['images']} images, {far}. "
            f"It is not to be trusted: {mend}."
        )
    if not classify and not report["pairs"]:
        raise RuntimeError(
            f"{report['file']} was not compared: PyTorch finds no boxes in {report['images']} images: "
            "give images with objects, as in source=folder, or a lower conf."
        )
