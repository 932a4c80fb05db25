# Ultralytics DiffAttn - AGPL-3.0 License
"""TIDE: what a detector's errors are, and the AP that it would have without those of one kind.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, arXiv 2008.08115. Matching
and kinds are those of its code; AP is ultralytics', so that the figures go with all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.evaluation.box_pairs import iou, pairs_of_image
from ultralytics_diffattn.evaluation.predictions import Predictions

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which a box is an object's, and below which it is nobody's
OF_DETECTIONS = "background", "localization", "classification", "both", "duplicate"
KINDS = ("background", "missed", *OF_DETECTIONS[1:])
RIGHT = -1


class Errors(NamedTuple):
    """The errors of a detector at IoU 0.5.

    Attributes:
        kind (np.ndarray): (D,), index in `OF_DETECTIONS`, or `RIGHT`.
        meant (np.ndarray): (D,), index of the object that a wrong box or class would have found if it were right, and
            nothing else would; -1 where there is none.
        missed (np.ndarray): (T,) bool, objects that no detection is near, or near with another class.
    """

    kind: NDArray[np.int64]
    meant: NDArray[np.int64]
    missed: NDArray[np.bool_]


def find_errors(p: Predictions) -> Errors:
    """Return the errors of a detector.

    Args:
        p (Predictions): With upright boxes.

    Returns:
        (Errors): For each detection and each object.
    """
    kind, meant = np.zeros(len(p.conf), np.int64), np.full(len(p.conf), -1)
    missed = np.ones(len(p.target_cls), bool)
    for d, t in _by_image(p):
        same = p.cls[d][:, None] == p.target_cls[t]
        kind[d], of_image, near = _errors_of_image(iou(p.box[d][:, None], p.target_box[t]), same)
        meant[d] = np.where(of_image < 0, -1, t[of_image])
        missed[t] = ~near
    return Errors(kind, meant, missed)


def _by_image(p: Predictions) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the detections, by falling score, and the objects of each image that has both."""
    by_score = np.lexsort((-p.conf, p.image))
    starts = np.searchsorted(p.image[by_score], np.arange(len(p.files) + 1))
    first = np.searchsorted(p.target_image, np.arange(len(p.files) + 1))  # objects come image by image
    for i in range(len(p.files)):
        d, t = by_score[starts[i] : starts[i + 1]], np.arange(first[i], first[i + 1])
        if len(d) and len(t):
            yield d, t


def nearest_objects(p: Predictions) -> NDArray[np.int64]:
    """Return the object of its class that each detection overlaps most, if by half at least.

    Args:
        p (Predictions): With upright boxes.

    Returns:
        (np.ndarray): (D,), index of the object, or -1.
    """
    d, t = pairs_of_image(p.image, p.target_image, len(p.files))
    same = p.cls[d] == p.target_cls[t]
    d, t = d[same], t[same]
    overlap = iou(p.box[d], p.target_box[t])
    near = np.flatnonzero(overlap >= FOREGROUND)
    near = near[np.lexsort((-t[near], overlap[near]))]  # the largest IoU last, and of equal ones the first object
    nearest = np.full(len(p.conf), -1)
    nearest[d[near]] = t[near]
    return nearest


def without_errors(p: Predictions) -> dict[str, Predictions]:
    """Return what a detector would have found without the errors of one kind.

    Args:
        p (Predictions): With upright boxes.

    Returns:
        (dict[str, Predictions]): By kind, and under "" as it is; `tp` is right at IoU 0.5 and wrong at any higher one.
    """
    found = find_errors(p)
    right, is_meant = found.kind == RIGHT, found.meant >= 0

    def keep(which: NDArray[np.bool_], right: NDArray[np.bool_], cls: NDArray[np.integer]) -> Predictions:
        tp = np.zeros((int(which.sum()), 10), bool)
        tp[:, 0] = right[which]
        return p._replace(
            tp=tp, conf=p.conf[which], cls=cls[which], box=p.box[which], image=p.image[which], tp_task=None
        )

    everything = keep(np.ones_like(right), right, p.cls)
    out = {"": everything}
    for kind in KINDS:
        if kind == "missed":
            there = ~found.missed
            out[kind] = everything._replace(
                target_cls=p.target_cls[there], target_box=p.target_box[there], target_image=p.target_image[there]
            )
            continue
        wrong = found.kind == OF_DETECTIONS.index(kind)
        mended = wrong & is_meant
        cls = np.where(mended, p.target_cls[found.meant], p.cls) if len(p.target_cls) else p.cls
        out[kind] = keep(~wrong | mended, right | mended, cls)
    return out


def _errors_of_image(
    overlap: NDArray[np.float64], same: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return kind and meant object of each detection, (D,), by falling score, and the objects not missed, (T,)."""
    of_class, of_others = overlap * same, overlap * ~same  # (D, T)
    used, right = _match(of_class)
    near_class, near_others = of_class.max(1), of_others.max(1)
    localization = (near_class >= BACKGROUND) & (near_class <= FOREGROUND)
    classification = near_others >= FOREGROUND
    duplicate = (of_class * used).max(1) >= FOREGROUND
    background = overlap.max(1) <= BACKGROUND
    names = {"localization": localization, "classification": classification, "duplicate": duplicate}
    conditions = [right, *names.values(), background]
    codes = [RIGHT, *map(OF_DETECTIONS.index, (*names, "background"))]
    kind = np.select(conditions, codes, OF_DETECTIONS.index("both"))
    meant = np.select([kind == codes[1], kind == codes[2]], [of_class.argmax(1), of_others.argmax(1)], -1)
    meant[(meant >= 0) & used[meant]] = -1
    near = used.copy()
    near[meant[meant >= 0]] = True
    _, first = np.unique(meant, return_index=True)  # of those that mean one object, the one with the highest score
    best = np.zeros(len(meant), bool)
    best[first] = True
    return kind, np.where(best, meant, -1), near


def _match(of_class: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the matched objects, (T,), and detections, (D,), each by falling score with its best free object."""
    free = of_class.copy()
    used, right = np.zeros(free.shape[1], bool), np.zeros(len(free), bool)
    for d in np.flatnonzero(free.max(1) >= FOREGROUND):
        t = free[d].argmax()
        if free[d, t] >= FOREGROUND:
            used[t] = right[d] = True
            free[:, t] = 0
    return used, right
