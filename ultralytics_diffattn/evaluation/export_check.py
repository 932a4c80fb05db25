# Ultralytics DiffAttn - AGPL-3.0 License
"""An exported model beside PyTorch on real images: what the two find, how fast they are, and whether that will do."""

from __future__ import annotations

from itertools import cycle, islice
from statistics import median

from ultralytics import YOLO
from ultralytics.engine.results import Results
from ultralytics.utils import DEFAULT_CFG, LOGGER

from ultralytics_diffattn.evaluation.agreement import CONF, TOLERANCES, boxes, difference


def precision_of(done: dict) -> str:
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


def batches_of(images: list[str], n: int) -> list[list[str]]:
    """Return the images in batches of n, the last one filled up, since an export may know no other size."""
    filled = list(islice(cycle(images), -(-len(images) // n) * n))
    return [filled[i : i + n] for i in range(0, len(filled), n)]


def compare_predictions(yolo: YOLO, exported: YOLO, images: list[str], options: dict, precision: str) -> dict:
    """Return what the two find and how fast they are."""
    batches = batches_of(images, options["batch"])

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


def judge(report: dict, task: str) -> None:
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
