# Ultralytics DiffAttn - AGPL-3.0 License
"""Where a detector's score comes from: errors, IoU, recall, confidence, calibration, kinds of objects and images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.evaluation import bootstrap, tide
from ultralytics_diffattn.evaluation.bootstrap import Floats, Ints, Measure
from ultralytics_diffattn.evaluation.predictions import Predictions

CONFIDENCES = 0.1, 0.25, 0.5, 0.75
LEAST_SURE = 0.05  # predictions below are of no use to anybody, and there are many
BINS = 10
SMALL, LARGE = 32**2, 96**2  # pixels, COCO's


class Facet(NamedTuple):
    """One view of a detector's score.

    Attributes:
        title (str): For people.
        note (str): What the values are.
        names (tuple[str, ...]): Of the values.
        measure (Callable): From predictions to a function of how often each image is taken, (..., N), which returns the
            values, (..., V).
        upright (bool): Whether boxes are laid on each other, which have to be upright.
    """

    title: str
    note: str
    names: tuple[str, ...]
    measure: Callable[[Predictions], Measure]
    upright: bool = False


def errors(p: Predictions) -> Measure:
    """Return a function that gives the AP50 lost to each kind of error."""
    mended = {kind: bootstrap.prepare(q) for kind, q in tide.without_errors(p).items()}

    def measure(weight: Ints) -> Floats:
        ap = {kind: bootstrap.mean_ap(prepared, weight)[..., 1] for kind, prepared in mended.items()}
        return np.stack([np.maximum(ap[kind] - ap[""], 0.0) for kind in tide.KINDS], -1)

    return measure


def by_iou(p: Predictions) -> Measure:
    """Return a function that gives AP at each IoU."""
    prepared = bootstrap.prepare(p, p.right)
    return lambda weight: bootstrap.ap_by_iou(prepared, weight)


def recall(p: Predictions) -> Measure:
    """Return a function that gives the share of objects that are found, the mean over the classes."""
    classes, true_cls = np.unique(p.target_cls, return_inverse=True)
    found, iou = np.nonzero(p.right & np.isin(p.cls, classes)[:, None])
    cell = np.searchsorted(classes, p.cls[found]) * 10 + iou
    truths = bootstrap.counter(true_cls, p.target_image, len(classes))
    hits = bootstrap.counter(cell, p.image[found], len(classes) * 10)

    def measure(weight: Ints) -> Floats:
        true = truths(weight)[..., None]  # (..., C, 1)
        share = hits(weight).reshape(*true.shape[:-1], 10) / np.maximum(true, 1)  # (..., C, 10)
        share = np.where(true > 0, share, 0.0).sum(-2) / np.maximum((true > 0).sum(-2), 1)  # (..., 10)
        return np.stack([share[..., 0], share[..., 5], share.mean(-1)], -1)

    return measure


def by_confidence(p: Predictions) -> Measure:
    """Return a function that gives precision, recall and F1 of the predictions above each confidence, at IoU 0.5."""
    images = len(p.files)
    above = [p.conf >= confidence for confidence in CONFIDENCES]
    said = np.stack([np.bincount(p.image[sure], minlength=images) for sure in above], 1)  # (N, confidences)
    right = np.stack([np.bincount(p.image[sure & p.right[:, 0]], minlength=images) for sure in above], 1)
    true = np.bincount(p.target_image, minlength=images)

    def measure(weight: Ints) -> Floats:
        s, r, t = weight @ said, weight @ right, np.maximum(weight @ true, 1)[..., None]
        shares = np.stack([r / np.maximum(s, 1), r / t, 2 * r / (s + t)], -1)  # (..., confidences, 3)
        return shares.reshape(*shares.shape[:-2], -1)  # (..., 3 * confidences)

    return measure


def calibration(p: Predictions) -> Measure:
    """Return a function that gives the expected calibration error, and the share that is right by score."""
    sure = p.conf >= LEAST_SURE
    bins = np.minimum((p.conf[sure] * BINS).astype(int), BINS - 1)
    cell, size = p.image[sure] * BINS + bins, len(p.files) * BINS
    of_image = [
        np.bincount(cell, w, size).reshape(-1, BINS) for w in (None, p.conf[sure], p.right[sure, 0])
    ]  # (N, BINS)

    def measure(weight: Ints) -> Floats:
        count, score, hits = (weight @ x for x in of_image)  # (..., BINS)
        error = np.abs(score - hits).sum(-1, keepdims=True) / np.maximum(count.sum(-1, keepdims=True), 1)
        shares = np.where(count > 0, hits / np.maximum(count, 1), np.nan)  # nan where there is nothing to measure
        return np.concatenate([error, shares], -1)

    return measure


def sizes(p: Predictions) -> Measure:
    """Return a function that gives AP50-95 of small, medium and large objects."""
    return _ap_of_parts(_by_size(p))


def kinds_of_images(p: Predictions) -> Measure:
    """Return a function that gives AP50-95 of images with few and many objects, and of dark and bright ones."""
    return _ap_of_parts(_by_image(p))


def _ap_of_parts(parts: list[Predictions]) -> Measure:
    """Return a function that gives AP50-95 of each part, nan of one that has no object."""
    prepared = [bootstrap.prepare(part, part.right) for part in parts]
    targets = [part.target_image for part in parts]

    def measure(weight: Ints) -> Floats:
        there = [weight[..., image].any(-1) for image in targets]
        ap = [bootstrap.mean_ap(p, weight)[..., 0] for p in prepared]
        return np.stack([np.where(ok, value, np.nan) for ok, value in zip(there, ap, strict=True)], -1)

    return measure


def _by_size(p: Predictions) -> list[Predictions]:
    """Return what belongs to objects of each size; a prediction has that of the object it overlaps, else its own."""
    area, own = p.target_box[:, 2:].prod(1), p.box[:, 2:].prod(1)
    nearest = tide.nearest_objects(p)
    size = np.where(nearest >= 0, area[nearest], own) if len(area) else own
    limits = (0, SMALL), (SMALL, LARGE), (LARGE, np.inf)
    return [_part(p, (size >= low) & (size < high), (area >= low) & (area < high)) for low, high in limits]


def _by_image(p: Predictions) -> list[Predictions]:
    """Return what belongs to the half of the images with fewer and more objects, and to the darker and brighter one."""
    crowd = np.bincount(p.target_image, minlength=len(p.files)).astype(float)
    light = np.full(len(p.files), np.nan) if p.brightness is None else p.brightness  # nan is in no half
    halves = [half for values in (crowd, light) for half in (values <= np.median(values), values > np.median(values))]
    return [_part(p, half[p.image], half[p.target_image]) for half in halves]


def _part(p: Predictions, which: NDArray[np.bool_], objects: NDArray[np.bool_]) -> Predictions:
    """Return some of the detections and some of the objects."""
    return p._replace(
        **{name: getattr(p, name)[which] for name in ("tp", "conf", "cls", "box", "image")},
        **{name: getattr(p, name)[objects] for name in ("target_cls", "target_box", "target_image")},
        tp_task=None if p.tp_task is None else p.tp_task[which],
    )


FACETS = (
    Facet(
        "Errors", "AP50 of boxes that is lost to each kind of error, by TIDE; less is better.", tide.KINDS, errors, True
    ),
    Facet("IoU", "AP at each IoU.", tuple(f"AP{iou}" for iou in range(50, 100, 5)), by_iou),
    Facet(
        "Recall",
        "Share of the objects that are found at all, mean over the classes.",
        ("AR50", "AR75", "AR50-95"),
        recall,
    ),
    Facet(
        "Confidence",
        "Of the predictions with at least the given confidence, all classes together, at IoU 0.5.",
        tuple(f"{name} from {c:g}" for c in CONFIDENCES for name in ("precision", "recall", "F1")),
        by_confidence,
    ),
    Facet(
        "Calibration",
        "Expected calibration error (less is better), and for each range of scores the share of predictions that are "
        f"right at IoU 0.5. Predictions with a score below {LEAST_SURE:g} do not count.",
        ("calibration error", *(f"right at {n / BINS:g} to {(n + 1) / BINS:g}" for n in range(BINS))),
        calibration,
    ),
    Facet(
        "Objects",
        "AP50-95 of objects by the size of their boxes, in COCO's three classes of size.",
        ("small", "medium", "large"),
        sizes,
        upright=True,
    ),
    Facet(
        "Images",
        "AP50-95 on each half of the images: those with fewer or more objects, the darker or the brighter ones.",
        ("few objects", "many objects", "dark", "bright"),
        kinds_of_images,
    ),
)
