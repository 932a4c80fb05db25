# Ultralytics DiffAttn - AGPL-3.0 License
"""Metrics of resampled images, from what was recorded: what would they be on another sample of such images?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.evaluation.threads import in_threads

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]
Measure: TypeAlias = Callable[[Ints], Sequence[float]]

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
        target_cls (np.ndarray): (T,) class of each true box, 0 ... C - 1.
        target_image (np.ndarray): (T,) its image.
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
    target_cls: Ints
    target_image: Ints
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
        target_cls=target_cls,
        target_image=predictions.target_image,
        hit_image=predictions.image[order[position]],
        first=np.searchsorted(cls, np.arange(len(classes)))[cls[position]],
        end=position + 1,
        cls=cls[position],
        group=group,
        start=start,
        offset=2.0 * (len(start) - group),
        cell=cell,
    )


def mean_ap(prepared: Prepared, weight: Ints | None = None) -> tuple[float, float]:
    """Return mAP50-95 and mAP50 of a sample that contains image i `weight[i]` times.

    Args:
        prepared (Prepared): The predictions.
        weight (np.ndarray, optional): (N,) whole numbers; by default each image once.

    Returns:
        (tuple[float, float]): mAP50-95 and mAP50.
    """
    ap = ap_by_iou(prepared, weight)
    return float(ap.mean()), float(ap[0])


def ap_by_iou(prepared: Prepared, weight: Ints | None = None) -> Floats:
    """Return mAP at each IoU of a sample that contains image i `weight[i]` times.

    Args:
        prepared (Prepared): The predictions.
        weight (np.ndarray, optional): (N,) whole numbers; by default each image once.

    Returns:
        (np.ndarray): (10,), at IoU 0.50, 0.55, ..., 0.95, by ultralytics' definition: the precision envelope at 101
            recalls, integrated by the trapezoidal rule, averaged over the classes that have true boxes.

    References:
        ultralytics/utils/metrics.py, `compute_ap` and `ap_per_class`.
    """
    p = prepared
    weight = np.ones(p.images, np.int64) if weight is None else weight
    truths = np.bincount(p.target_cls, weight[p.target_image], p.classes)  # (C,)
    if not truths.any() or not len(p.hit_image):
        return np.zeros(10)
    detections = _sums_before(weight[p.image])  # (D + 1,) sampled detections before each
    hits = _sums_before(weight[p.hit_image])  # (M + 1,)
    hits = hits[1:] - hits[p.start][p.group]
    # Where the weights leave no detection or no truth, hits is 0, and so is the ratio.
    precision = hits / np.maximum(detections[p.end] - detections[p.first], 1)
    recall = np.minimum(hits / np.maximum(truths, 1)[p.cls], 1.0)  # in a slice a match may be with an object outside
    # The envelope, the largest precision from here to the group's end: an offset that grows towards the first group
    # keeps the groups apart in one running maximum from the end.
    envelope = np.maximum.accumulate((precision + p.offset)[::-1])[::-1] - p.offset
    # Each true positive carries the grid's recalls from the one before it (included) to its own (excluded).
    area = _AREA[_below(recall)]
    step = np.diff(area, prepend=0.0)
    step[p.start] = area[p.start]
    ap = np.zeros(10 * p.classes)
    ap[p.cell] = np.add.reduceat(envelope * step, p.start)
    mean: Floats = ap.reshape(10, p.classes)[:, truths > 0].mean(1)
    return mean


def _sums_before(values: Ints) -> Ints:
    """Return the sum of what stands before each value, and at the end that of all."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _below(recall: Floats) -> NDArray[np.intp]:
    """Return the number of smaller recalls in the grid: `np.searchsorted(_GRID, recall)`, some times faster."""
    k: NDArray[np.intp] = (recall * 100).astype(np.intp)
    k += _GRID[k] < recall
    k += _GRID[np.minimum(k, 100)] < recall  # the product was rounded down past a whole number
    return k


def resample(measures: Sequence[Measure], images: int, resamples: int = 1000, seed: int = 0) -> Floats:
    """Return the metrics of every run on resampled images, the same ones for all runs, so that differences are paired.

    Args:
        measures (Sequence[Measure]): For each run a function of how often each image is taken, (images,) whole numbers;
            it returns the run's M metrics.
        images (int): Number of images of the split.
        resamples (int): Number of samples to draw, with replacement, each of as many images as the split has.
        seed (int): Seed of the draw.

    Returns:
        (np.ndarray): (resamples, runs, M); no resamples of one image, which each would be.

    References:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
    """
    if images < 2:
        return np.empty((0, len(measures), len(measures[0](np.ones(images, np.int64)))))

    def one(n: int) -> list[Sequence[float]]:
        weight = np.bincount(np.random.default_rng([seed, n]).integers(0, images, images), minlength=images)
        return [measure(weight) for measure in measures]

    return np.array(in_threads(one, range(resamples)))
