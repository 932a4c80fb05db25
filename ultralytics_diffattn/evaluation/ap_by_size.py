# Ultralytics DiffAttn - AGPL-3.0 License
"""COCO's average precision, overall and by the size of the objects, of what ultralytics' own validator predicts."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal, TypedDict

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.predictions import Predictions

Stat = Literal["AP", "AP50", "small", "medium", "large"]
STATS: dict[Stat, int] = {"AP": 0, "AP50": 1, "small": 3, "medium": 4, "large": 5}  # indices of COCO's statistics


_ONE_AT_A_TIME = threading.Lock()  # a million predictions as Python objects take a gigabyte


class APBySize(TypedDict):
    """COCO's average precision of boxes, 0 to 1; None where there is no such object.

    Attributes:
        AP (float | None): Over IoU 0.5 to 0.95.
        AP50 (float | None): At IoU 0.5.
        small (float | None): AP of objects below 32 x 32 pixels of the original image.
        medium (float | None): AP of objects between.
        large (float | None): AP of objects above 96 x 96 pixels.
    """

    AP: float | None
    AP50: float | None
    small: float | None
    medium: float | None
    large: float | None


class CocoTruth(TypedDict):
    """Objects in COCO's format."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]


class CocoResult(TypedDict):
    """A prediction in COCO's format."""

    image_id: int
    category_id: int
    bbox: list[float]  # x, y of the upper left corner, width, height, in pixels
    score: float


def ap_by_size(truth: CocoTruth, predictions: Sequence[CocoResult]) -> APBySize:
    """Return COCO's average precision of boxes: over IoU 0.5 to 0.95, at IoU 0.5, and by size of the object.

    Sizes are COCO's, in pixels of the original image: small is below 32 x 32, large above 96 x 96. Of each image the
    100 predictions with the highest scores count.

    Args:
        truth (CocoTruth): The objects: `images`, `annotations`, `categories`.
        predictions (Sequence[CocoResult]): The predictions: `image_id`, `category_id`, `bbox` (x, y, w, h), `score`.

    Returns:
        (APBySize): The five figures.

    Raises:
        UserError: If a prediction is of an image that `truth` does not have.

    Examples:
        >>> box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50]}
        >>> objects = [{**box, "id": 1, "area": 2500, "iscrowd": 0}]
        >>> truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": objects}
        >>> {size: ap and round(ap, 2) for size, ap in ap_by_size(truth, [{**box, "score": 0.9}]).items()}
        {'AP': 1.0, 'AP50': 1.0, 'small': None, 'medium': 1.0, 'large': None}
    """
    unknown = {p["image_id"] for p in predictions} - {image["id"] for image in truth["images"]}
    if unknown:
        raise UserError(
            f"{len(unknown)} images have predictions but are not in the truth, such as image_id "
            f"{min(unknown, key=str)!r}: use the ids of truth['images']"
        )
    if not truth["annotations"]:
        return {"AP": None, "AP50": None, "small": None, "medium": None, "large": None}
    objects = COCO(deepcopy(truth))  # it writes into its arguments
    results = objects.loadRes([dict(p) for p in predictions])
    coco = COCOeval_faster(objects, results, "bbox", print_function=_print_nothing)
    coco.evaluate()
    coco.accumulate()
    coco.summarize()
    ap = {name: None if coco.stats[i] < 0 else float(coco.stats[i]) for name, i in STATS.items()}
    return {
        "AP": ap["AP"],
        "AP50": ap["AP50"],
        "small": ap["small"],
        "medium": ap["medium"],
        "large": ap["large"],
    }


def ap_of_sizes(predictions: Predictions) -> dict[str, float | None]:
    """Return COCO's average precision of small, medium and large objects, as `ap_by_size`, in a third of its time.

    Args:
        predictions (Predictions): Those of one model, with the true boxes.

    Returns:
        (dict[str, float | None]): By size; None where there is no such object.
    """
    sizes: tuple[Stat, ...] = ("small", "medium", "large")
    if not len(predictions.target_cls):
        return dict.fromkeys(sizes)
    with _ONE_AT_A_TIME, _without_garbage_collection():
        precision = _precision_of_sizes(*as_coco(predictions))
    of_size = [precision[..., i, :] for i in range(len(sizes))]
    return {size: float(p[p > -1].mean()) if (p > -1).any() else None for size, p in zip(sizes, of_size, strict=True)}


def _precision_of_sizes(truth: CocoTruth, results: list[CocoResult]) -> NDArray[np.float64]:
    """Return precisions (IoU, recall, classes, sizes, 1), -1 where a class has no such object."""
    objects = COCO(truth)
    coco = COCOeval_faster(objects, objects.loadRes(results), "bbox", print_function=_print_nothing)
    coco.params.areaRng, coco.params.areaRngLbl = coco.params.areaRng[1:], coco.params.areaRngLbl[1:]  # not "all"
    coco.params.maxDets = coco.params.maxDets[-1:]
    coco.evaluate()
    coco.accumulate()
    precision: NDArray[np.float64] = coco.eval["precision"]
    return precision


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking through a million predictions again and again; none is part of a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def as_coco(predictions: Predictions) -> tuple[CocoTruth, list[CocoResult]]:
    """Return the truth and the predictions of a validation in COCO's format, for `ap_by_size`.

    The area of an object is that of its box, as in ultralytics' own evaluation of custom data; COCO's annotations of
    its own images have the area of the outline instead, which makes some objects smaller.

    Args:
        predictions (Predictions): Those of one model, with the true boxes.

    Returns:
        (tuple[CocoTruth, list[CocoResult]]): Truth and predictions; ids of images and classes are their indices plus
            one.
    """
    p = predictions
    objects = zip(p.target_image.tolist(), p.target_cls.tolist(), p.target_box.tolist(), strict=True)
    truth: CocoTruth = {
        "images": [
            {"id": i, "file_name": file, "height": height, "width": width}
            for i, (file, (height, width)) in enumerate(zip(p.files, p.shape.tolist(), strict=True), 1)
        ],
        "annotations": [
            {"id": n, "image_id": i + 1, "category_id": c + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (i, c, box) in enumerate(objects, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(p.names, 1)],
    }
    detections = zip(p.image.tolist(), p.cls.tolist(), p.box.tolist(), p.conf.tolist(), strict=True)
    return truth, [
        {"image_id": i + 1, "category_id": c + 1, "bbox": box, "score": score} for i, c, box, score in detections
    ]


def _print_nothing(*_: object) -> None:
    """Print nothing."""
