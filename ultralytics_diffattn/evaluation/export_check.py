# Ultralytics DiffAttn - AGPL-3.0 License
"""An exported model beside PyTorch on real images: do they predict the same, and how fast are they?"""

from __future__ import annotations

from itertools import cycle, islice
from statistics import median
from typing import Any, TypedDict

from ultralytics.engine.results import Results
from ultralytics.utils import DEFAULT_CFG, LOGGER

from ultralytics_diffattn.errors import DisagreementError
from ultralytics_diffattn.evaluation.agreement import CONF, TOLERANCES, Difference, Tolerance, boxes, difference

WITHOUT_BOXES = "classify", "semantic", "depth"
TIMED = 8  # batches of which the median is taken


class Latency(TypedDict):
    """Median time of an image, in milliseconds."""

    pytorch: float
    exported: float


class Comparison(TypedDict, total=False):
    """The predictions of an exported model beside those of PyTorch; `compare_predictions` sets all fields.

    Attributes:
        images (int): Number of images compared.
        boxes (int): Boxes that PyTorch predicts.
        pairs (int): Boxes that both predict.
        conf (float): Threshold of the score in both.
        corner (float | None): Largest difference of a coordinate, in pixels of the model's input; None without pairs.
        score (float): Largest difference of a score, with task `classify` of a probability.
        far (int): Pairs, in tasks without boxes images, that differ more than allowed.
        alone (int): Boxes that only one of the two predicts.
        mask (float): Smallest IoU of the masks of a pair, with task `segment`.
        keypoint (float): Largest difference of a keypoint, in pixels of the model's input, with task `pose`.
        pixels (float): Largest share of an image's pixels with another class (`semantic`), or a depth off by
            more than 1 % (`depth`).
    """

    images: int
    boxes: int
    pairs: int
    conf: float
    corner: float | None
    score: float
    far: int
    alone: int
    mask: float
    keypoint: float
    pixels: float


def precision_of(done: dict[str, Any]) -> str:
    """Return the precision in which an exported model is compared.

    Args:
        done (dict[str, Any]): The arguments with which ultralytics exported it.

    Returns:
        (str): A key of `TOLERANCES`.

    Examples:
        >>> precision_of({"half": True, "device": "cpu"}), precision_of({"int8": True})
        ('float16', 'int8')
    """
    quantize = done.get("quantize")  # ultralytics before 8.4 has half and int8 instead
    if done.get("int8") or quantize not in (None, 16, 32):
        return "int8"
    on_gpu = str(done["device"] or "cpu") not in ("cpu", "mps")
    return "float16" if done.get("half") or quantize == 16 or on_gpu else "float32"


def batches_of(images: list[str], n: int) -> list[list[str]]:
    """Return the images in batches of n, the last one filled up, since an export may know no other size.

    Examples:
        >>> batches_of(["a", "b", "c"], 2)
        [['a', 'b'], ['c', 'a']]
    """
    filled = list(islice(cycle(images), -(-len(images) // n) * n))
    return [filled[i : i + n] for i in range(0, len(filled), n)]


def compare_predictions(
    yolo: Any, exported: Any, images: list[str], options: dict[str, Any], precision: str
) -> Comparison:
    """Return how the predictions of an exported model differ from PyTorch's.

    Args:
        yolo (ultralytics.YOLO): The trained model.
        exported (ultralytics.YOLO): The exported one.
        images (list[str]): Images to predict.
        options (dict[str, Any]): Arguments of the prediction: `imgsz` (height, width), `batch`, `conf`, ...
        precision (str): A key of `TOLERANCES`.

    Returns:
        (Comparison): Numbers and largest differences. If PyTorch predicts nothing above `conf`, the threshold is
            lowered until it does.
    """
    batches = batches_of(images, options["batch"])
    if hasattr(yolo.model, "transforms"):  # of the training, whose size may be another than the export's
        del yolo.model.transforms
    ours, theirs = _predict(yolo, exported, batches, options)
    if yolo.task not in WITHOUT_BOXES and not sum(map(len, ours)) and not options.get("nms"):
        predicted = [boxes(r) for batch in batches for r in yolo.predict(batch, **{**options, "conf": 1e-6})]
        best = max((float(b.conf.max()) for b in predicted if len(b)), default=0.0)
        if best:
            LOGGER.info(
                f"PyTorch finds nothing above conf={options['conf']}, so boxes above conf={best / 2:.2g} are compared."
            )
            # They score so alike that rounding decides which one NMS keeps.
            options = {**options, "conf": best / 2, "iou": 1.0}
            ours, theirs = _predict(yolo, exported, batches, options)
    rule = TOLERANCES[precision], options["imgsz"], options["conf"], options.get("max_det", DEFAULT_CFG.max_det)
    gaps = [difference(a, b, *rule) for a, b in zip(ours, theirs, strict=True)][: len(images)]
    return _sum_of(gaps, options["conf"], yolo.task)


def _sum_of(gaps: list[Difference], conf: float, task: str) -> Comparison:
    """Return the differences of all images together."""
    comparison: Comparison = {
        "images": len(gaps),
        "boxes": sum(g.boxes for g in gaps),
        "pairs": sum(g.pairs for g in gaps),
        "conf": conf,
        "corner": max(g.corner for g in gaps) if any(g.pairs for g in gaps) else None,
        "score": max(g.score for g in gaps),
        "far": sum(g.far for g in gaps),
        "alone": sum(g.alone for g in gaps),
    }
    if task == "segment":
        comparison["mask"] = min(g.mask for g in gaps)
    if task == "pose":
        comparison["keypoint"] = max(g.keypoint for g in gaps)
    if task in ("semantic", "depth"):
        comparison["pixels"] = max(g.pixels for g in gaps)
    return comparison


def latencies(yolo: Any, exported: Any, images: list[str], options: dict[str, Any]) -> Latency:
    """Return how long inference takes, without loading, resizing and non-maximum suppression.

    Args:
        yolo (ultralytics.YOLO): The trained model.
        exported (ultralytics.YOLO): The exported one.
        images (list[str]): Images to predict.
        options (dict[str, Any]): As for `compare_predictions`.

    Returns:
        (Latency): The medians of 8 batches, after one of which the time does not count.
    """
    batches = batches_of(images, options["batch"])
    batches = list(islice(cycle(batches), 1 + max(TIMED, len(batches))))
    ours, theirs = (results[options["batch"] :] for results in _predict(yolo, exported, batches, options))
    one, other = (round(median(r.speed["inference"] or 0.0 for r in results), 2) for results in (ours, theirs))
    return {"pytorch": one, "exported": other}


def _predict(
    yolo: Any, exported: Any, batches: list[list[str]], options: dict[str, Any]
) -> tuple[list[Results], list[Results]]:
    """Return the predictions of both, which take turns, so that a busy machine slows both."""
    ours: list[Results] = []
    theirs: list[Results] = []
    for batch in batches:
        ours += yolo.predict(batch, **options)
        theirs += exported.predict(batch, **options)
    return ours, theirs


def judge(file: str, precision: str, comparison: Comparison, task: str) -> None:
    """Log a comparison, and raise if the exported model does not predict what PyTorch predicts.

    Args:
        file (str): The exported file.
        precision (str): A key of `TOLERANCES`.
        comparison (Comparison): From `compare_predictions`.
        task (str): Of the model.

    Raises:
        DisagreementError: If the predictions differ more than allowed, or nothing was predicted.
    """
    tolerance, c = TOLERANCES[precision], comparison
    wrong = c["far"] + c["alone"]
    text = _described(c, tolerance, task)
    LOGGER.info(f"{c['images']} images, {text}")
    if wrong > tolerance.share * c["boxes"]:
        images = task in WITHOUT_BOXES
        what = f"{wrong} {'images' if images else 'boxes'} differ more than allowed"
        what += "" if images else ", or are found by only one of the two"
        mend = "export without half and int8, with more data to calibrate on, or in another format"
        if not images and c["conf"] < CONF:
            mend = (
                "PyTorch is not confident of any box in these images, so train longer or give others, as source=folder"
            )
        allowed = int(tolerance.share * c["boxes"])
        raise DisagreementError(
            f"{file}, which computes in {precision}, does not predict what PyTorch predicts: {what}, and at most "
            f"{allowed} may. On {c['images']} images, {text}. It is not to be trusted: {mend}."
        )
    if task not in WITHOUT_BOXES and not c["pairs"]:
        raise DisagreementError(
            f"{file} was not compared, since PyTorch finds no boxes in {c['images']} images: "
            "give images with objects, as source=folder, or a lower conf."
        )


def _described(c: Comparison, tolerance: Tolerance, task: str) -> str:
    """Return the largest differences, and what is allowed, in words."""
    if task in ("semantic", "depth"):
        what = "another class" if task == "semantic" else "a depth off by more than 1 %"
        return f"up to {c['pixels']:.2%} of the pixels have {what} (allowed {tolerance.pixels:.0%})"
    text = f"scores differ by up to {c['score']:.2g} (allowed {tolerance.score})"
    if task == "classify":
        return text
    gap = "-" if c["corner"] is None else f"{c['corner']:.2g}"
    text = f"corners differ by up to {gap} px of the input (allowed {tolerance.corner}), {text}"
    if "mask" in c:
        text += f", masks overlap by at least {c['mask']:.2%} (required {tolerance.mask:.0%})"
    if "keypoint" in c:
        text += f", keypoints differ by up to {c['keypoint']:.2g} px (allowed {tolerance.keypoint})"
    return f"{c['boxes']} boxes above conf={c['conf']:.2g}: {text}, {c['alone']} found by only one of the two"
