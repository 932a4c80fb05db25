# Ultralytics DiffAttn - AGPL-3.0 License
"""Boxes of the same image beside each other, and how much they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairs_of_image(
    first: NDArray[np.integer], second: NDArray[np.integer], images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of all pairs of the same image.

    Args:
        first (np.ndarray): (D,) whole numbers, the image of each.
        second (np.ndarray): (T,) the same, rising.
        images (int): Number of images.

    Returns:
        (tuple[np.ndarray, np.ndarray]): (K,) indices into `first`, rising, and (K,) into `second`.

    Examples:
        >>> pairs_of_image(np.array([1, 0]), np.array([1, 1]), 2)
        (array([0, 0]), array([0, 1]))
    """
    start = np.searchsorted(second, np.arange(images))
    count = np.bincount(second, minlength=images)[first]
    one = np.repeat(np.arange(len(first)), count)
    rank = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
    return one, start[first[one]] + rank


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the IoU of boxes, broadcast as NumPy does: `iou(a[:, None], b)` is that of each pair.

    Args:
        a (np.ndarray): (..., 4) x, y, width and height, in pixels.
        b (np.ndarray): (..., 4) the same.

    Returns:
        (np.ndarray): (...) from 0 to 1; 0 for two boxes without an area.
    """
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = (high - low).clip(0).prod(-1)
    total = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common
    return np.where(total > 0, common / np.where(total > 0, total, 1), 0.0)
