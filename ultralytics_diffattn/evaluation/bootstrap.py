# Ultralytics DiffAttn - AGPL-3.0 License
"""Metrics of resampled images, from what was recorded: what would they be on another sample of such images?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.evaluation.threads import in_threads

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]
Measure: TypeAlias = Callable[[Ints], NDArray[Any]]  # from (..., N), how often each image is taken, to (..., M) metrics

AT_ONCE = 500  # images measured in one call, of one resample or several: with few, NumPy's cost per call dominates

_GRID = np.linspace(0, 1, 101)  # the recalls at which ultralytics, as COCO, reads the precision
_WEIGHT = np.full(101, 0.01)  # of each in the trapezoidal rule
_WEIGHT[[0, -1]] = 0.005
_AREA = np.concatenate([[0.0], np.cumsum(_WEIGHT)])  # under a curve that is 1 at the first k recalls


class Prepared(NamedTuple):
    """Predictions sorted once, so that each resample is a few passes over flat arrays.

    Attributes:
        images (int): Number of images N.
        classes (int): Number of classes C that have true boxes.
        image (np.ndarray): (D,) image of each detection, sorted by class, then by falling score.
        truths (Callable): From (..., N), how often each image is taken, to (..., C), true boxes of each class.
        hit_image (np.ndarray): (M,) image of each true positive; by IoU, then in the order of the detections.
        first (np.ndarray): (M,) index among the detections of the first of its class.
        end (np.ndarray): (M,) index of the detection after it.
        cls (np.ndarray): (M,) its class.
        group (np.ndarray): (M,) which of the G <= 10 C pairs of IoU and class it belongs to.
        start (np.ndarray): (G,) first true positive of each group.
        offset (np.ndarray): (M,) whole numbers that fall by 2 from group to group.
        cell (np.ndarray): (G,) IoU times C plus class, its index in the flat table of AP.
    """

    images: int
    classes: int
    image: Ints
    truths: Callable[[Ints], Ints]
    hit_image: Ints
    first: Ints
    end: Ints
    cls: Ints
    group: Ints
    start: Ints
    offset: Floats
    cell: Ints


def prepare(predictions: Predictions, right: NDArray[np.bool_] | None = None) -> Prepared:
    """Return predictions sorted for `mean_ap`.

    Args:
        predictions (Predictions): Those of one model on one split.
        right (np.ndarray, optional): (D, 10) bool, which detections are right; by default by their boxes.

    Returns:
        (Prepared): The same without what mAP does not read.
    """
    classes, target_cls = np.unique(predictions.target_cls, return_inverse=True)
    order = np.argsort(-predictions.conf)  # as ultralytics sorts, so that ties fall in the same order
    order = order[np.isin(predictions.cls[order], classes)]  # a class without true boxes is in no mean
    cls = np.searchsorted(classes, predictions.cls[order])
    by_class = np.argsort(cls, kind="stable")
    order, cls = order[by_class], cls[by_class]
    iou, position = np.nonzero((predictions.tp if right is None else right)[order].T)
    cell, start, group = np.unique(iou * len(classes) + cls[position], return_index=True, return_inverse=True)
    return Prepared(
        images=len(predictions.files),
        classes=len(classes),
        image=predictions.image[order],
        truths=counter(target_cls, predictions.target_image, len(classes)),
        hit_image=predictions.image[order[position]],
        first=np.searchsorted(cls, np.arange(len(classes)))[cls[position]],
        end=position + 1,
        cls=cls[position],
        group=group,
        start=start,
        offset=2.0 * (len(start) - group),
        cell=cell,
    )


def counter(group: Ints, image: Ints, groups: int) -> Callable[[Ints], Ints]:
    """Return a function that counts the things in each group, those in image i `weight[..., i]` times.

    Args:
        group (np.ndarray): (T,) group of each thing, 0 ... groups - 1.
        image (np.ndarray): (T,) its image.
        groups (int): Number of groups G.

    Returns:
        (Callable): From (..., N) whole numbers to (..., G).

    Examples:
        >>> counter(np.array([1, 0, 1]), np.array([0, 0, 1]), 3)(np.array([[1, 1], [2, 5]]))
        array([[1, 2, 0],
               [2, 7, 0]])
    """
    order = np.argsort(group, kind="stable")
    present, start = np.unique(group[order], return_index=True)
    image = image[order]

    def count(weight: Ints) -> Ints:
        counts = np.zeros((*weight.shape[:-1], groups), np.int64)
        counts[..., present] = np.add.reduceat(weight.take(image, -1), start, axis=-1)
        return counts

    return count


def mean_ap(prepared: Prepared, weight: Ints | None = None) -> Floats:
    """Return mAP50-95 and mAP50 of samples that contain image i `weight[..., i]` times.

    Args:
        prepared (Prepared): The predictions.
        weight (np.ndarray, optional): (..., N) whole numbers; by default each image once.

    Returns:
        (np.ndarray): (..., 2), mAP50-95 and mAP50.
    """
    ap = ap_by_iou(prepared, weight)
    return np.stack([ap.mean(-1), ap[..., 0]], -1)


def ap_by_iou(prepared: Prepared, weight: Ints | None = None) -> Floats:
    """Return mAP at each IoU of samples that contain image i `weight[..., i]` times.

    Args:
        prepared (Prepared): The predictions.
        weight (np.ndarray, optional): (..., N) whole numbers; by default each image once.

    Returns:
        (np.ndarray): (..., 10), at IoU 0.50, 0.55, ..., 0.95, by ultralytics' definition: the precision envelope at 101
            recalls, integrated by the trapezoidal rule, averaged over the classes that have true boxes.

    References:
        ultralytics/utils/metrics.py, `compute_ap` and `ap_per_class`.
    """
    p = prepared
    weight = np.ones(p.images, np.int64) if weight is None else weight
    samples = weight.shape[:-1]
    if not len(p.hit_image):
        return np.zeros((*samples, 10))
    truths = p.truths(weight)  # (..., C)
    detections = _sums_before(weight.take(p.image, -1))  # (..., D + 1) sampled detections before each
    hits = _sums_before(weight.take(p.hit_image, -1))  # (..., M + 1)
    hits = hits[..., 1:] - hits.take(p.start, -1).take(p.group, -1)
    # Without a detection the ratio is 0; without a truth the class is left out below.
    precision = hits / np.maximum(detections.take(p.end, -1) - detections.take(p.first, -1), 1)
    # In a slice a match may be with an object outside, so recall could exceed 1.
    recall = np.minimum(hits / np.maximum(truths, 1).take(p.cls, -1), 1.0)
    # The envelope, the largest precision from here to the group's end: an offset that grows towards the first group
    # keeps the groups apart in one running maximum from the end.
    envelope = np.maximum.accumulate((precision + p.offset)[..., ::-1], -1)[..., ::-1] - p.offset
    # Each true positive carries the grid's recalls from the one before it (included) to its own (excluded).
    area = _AREA.take(_below(recall))
    step = np.diff(area, prepend=0.0)
    step[..., p.start] = area.take(p.start, -1)
    ap = np.zeros((*samples, 10 * p.classes))
    ap[..., p.cell] = np.add.reduceat(envelope * step, p.start, axis=-1)
    ap = ap.reshape(*samples, 10, p.classes)  # (..., 10, C)
    known = truths > 0
    mean: Floats = np.where(known[..., None, :], ap, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)[..., None]
    return mean


def _sums_before(values: Ints) -> Ints:
    """Return the sum of what stands before each value of the last axis, and at the end that of all."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1), np.int64)
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _below(recall: Floats) -> NDArray[np.intp]:
    """Return the number of smaller recalls in the grid: `np.searchsorted(_GRID, recall)`, some times faster."""
    k: NDArray[np.intp] = (recall * 100).astype(np.intp)
    k += _GRID.take(k) < recall
    k += _GRID.take(np.minimum(k, 100)) < recall  # the product was rounded down past a whole number
    return k


def resample(measures: Sequence[Measure], images: int, resamples: int = 1000, seed: int = 0) -> Floats:
    """Return the metrics of every run on resampled images, the same ones for all runs, so that differences are paired.

    Args:
        measures (Sequence[Measure]): For each run a function of how often each image is taken, (..., images) whole
            numbers; it returns the run's metrics, (..., M).
        images (int): Number of images of the split.
        resamples (int): Number of samples to draw, with replacement, each of as many images as the split has.
        seed (int): Seed of the draw.

    Returns:
        (np.ndarray): (resamples, runs, M); no resamples of one image, which each would be.

    References:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
    """
    if images < 2:
        return np.empty((0, len(measures), measures[0](np.ones(images, np.int64)).shape[-1]))

    def drawn(n: int) -> Ints:
        return np.bincount(np.random.default_rng([seed, n]).integers(0, images, images), minlength=images)

    def some(first: int) -> Floats:
        if size == 1:  # a vector, not a table of one row, for which NumPy would keep the interpreter lock
            return np.stack([measure(drawn(first)) for measure in measures])[None]
        weight = np.stack([drawn(n) for n in range(first, min(first + size, resamples))])
        return np.stack([measure(weight) for measure in measures], 1)

    size = max(AT_ONCE // images, 1)
    return np.concatenate(in_threads(some, range(0, resamples, size)))
