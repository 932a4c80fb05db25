# Ultralytics DiffAttn - AGPL-3.0 License
"""From pixels of an image to the grid of tokens and back: letterbox, points, coverage of cells, interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from ultralytics.engine.model import Model
from ultralytics.models import RTDETR

from ultralytics_diffattn.errors import UserError

__all__ = ("over_image",)


def letterbox(
    shape: tuple[int, int], size: tuple[int, int], yolo: Model
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how ultralytics brings an image to the size of the network's input.

    Args:
        shape (tuple[int, int]): Height and width of the image, in pixels.
        size (tuple[int, int]): Height and width of the input, in pixels.
        yolo (ultralytics.YOLO): The model; classification crops, RT-DETR stretches, all others pad.

    Returns:
        scale (tuple[float, float]): Pixels of the input for one of the image, across and down.
        offset (tuple[float, float]): Left and top of the image on the input, in pixels; negative where it is cropped.

    Examples:
        >>> from ultralytics import YOLO
        >>> letterbox((48, 64), (64, 64), YOLO("yolo11n.yaml"))
        ((1.0, 1.0), (0.0, 8.0))
    """
    (h, w), (height, width) = shape, size
    if isinstance(yolo, RTDETR) or "RTDETR" in type(yolo.model).__name__:
        return (width / w, height / h), (0.0, 0.0)
    if yolo.task == "classify":
        scale = max(height / h, width / w)
        return (scale, scale), ((width - w * scale) / 2, (height - h * scale) / 2)
    scale = min(height / h, width / w)
    inner_w, inner_h = max(round(w * scale), 1), max(round(h * scale), 1)
    left, top = (float(round((n - inner) / 2 - 0.1)) for n, inner in ((width, inner_w), (height, inner_h)))
    return (inner_w / w, inner_h / h), (left, top)


def point_boxes(xy: Sequence[float], shape: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Return points as boxes without size, with labels.

    Args:
        xy (Sequence[float]): x, y, x, y, ... in pixels.
        shape (tuple[int, int]): Height and width of the image, in pixels.

    Returns:
        boxes (Tensor): (points, 4) left, top, right and bottom, float32.
        labels (list[str]): Such as "320, 240".

    Raises:
        UserError: If these are not pairs of numbers, or a point lies outside the image.

    Examples:
        >>> point_boxes((3, 4), (10, 10))
        (tensor([[3., 4., 3., 4.]]), ['3, 4'])
    """
    try:
        pairs = torch.as_tensor(xy, dtype=torch.float32).reshape(-1, 2)  # (points, 2)
    except (TypeError, ValueError, RuntimeError):
        pairs = torch.zeros(0, 2)
    if not len(pairs) or not pairs.isfinite().all():
        raise UserError(f"xy={xy!r} must be pairs of pixels, such as xy=320,240 or xy=320,240,100,80.")
    h, w = shape
    for x, y in pairs.tolist():
        if not (0 <= x < w and 0 <= y < h):
            raise UserError(f"xy={x:g},{y:g} lies outside the image, which is {w} pixels wide and {h} high.")
    return torch.cat([pairs, pairs], 1), [f"{x:g}, {y:g}" for x, y in pairs.tolist()]


def coverage(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the share of each cell of a grid that lies inside each box.

    Args:
        boxes (Tensor): (objects, 4) left, top, right and bottom, in cells.
        grid (tuple[int, int]): Rows and columns.

    Returns:
        (Tensor): (objects, h, w), 0 to 1.

    Examples:
        >>> coverage(torch.tensor([[0.5, 0.0, 2.0, 1.0]]), (1, 3))
        tensor([[[0.5000, 1.0000, 0.0000]]])
    """
    down, across = (
        (boxes[:, [high]].clamp(max=torch.arange(n) + 1) - boxes[:, [low]].clamp(min=torch.arange(n))).clamp(min=0)
        for n, low, high in ((grid[0], 1, 3), (grid[1], 0, 2))
    )
    return down[:, :, None] * across[:, None]


def over_image(maps: Tensor, window: tuple[float, float, float, float], size: tuple[int, int]) -> Tensor:
    """Return maps at the size of an image: letterbox padding cut off, bilinear between the centres of the tokens.

    Args:
        maps (Tensor): (..., h, w) on the grid of tokens.
        window (tuple[float, float, float, float]): The image's edges on that grid, `BlockMaps.window`.
        size (tuple[int, int]): Height and width of the result, in pixels.

    Returns:
        (Tensor): (..., *size), not rescaled: each pixel has the interpolated value of the map.

    Examples:
        >>> over_image(torch.tensor([[0.0, 1.0]]), (0, 0, 2, 1), (1, 4))
        tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    h, w = maps.shape[-2:]
    left, top, right, bottom = window
    y, x = (
        (low + (torch.arange(n) + 0.5) / n * (high - low)) / cells * 2 - 1  # grid_sample counts from -1 to 1
        for n, low, high, cells in zip(size, (top, left), (bottom, right), (h, w), strict=True)
    )
    positions = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(maps.dtype)  # (1, *size, 2)
    flat = maps.reshape(1, -1, h, w)
    if not flat.shape[1]:
        return maps.new_zeros(*maps.shape[:-2], *size)
    sampled = F.grid_sample(flat, positions, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.reshape(*maps.shape[:-2], *size)
