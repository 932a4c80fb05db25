# Ultralytics DiffAttn - AGPL-3.0 License
"""COCO JSONs whose boxes are parts of width and height, as Azure AI Vision documents them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ultralytics_diffattn.data.annotations import AnnotatedImage, Box, numbers
from ultralytics_diffattn.data.cleaning import probe
from ultralytics_diffattn.errors import UserError

TOLERANCE = 1e-3  # by which a rounded box may pass the border


def is_relative(file: Path, boxes: Iterable[object]) -> bool:
    """Return whether the boxes of a file are parts of width and height.

    A box counts as such if it lies in 0 to 1, has a size and is no whole number: in pixels, it would be smaller than
    one pixel, in the corner of the image.

    Args:
        file (Path): The JSON file, for an error.
        boxes (Iterable[object]): `x, y, width, height`; anything else is passed over.

    Returns:
        (bool): False without boxes.

    Raises:
        UserError: If some boxes are and others are not.
    """
    sound = [xywh for xywh in (numbers(box, 4) for box in boxes) if xywh and min(xywh[2:]) > 0]
    inside = [xywh for xywh in sound if _is_inside(xywh)]
    relative = sum(any(value % 1 for value in xywh) for xywh in inside)
    if relative and len(inside) < len(sound):
        raise UserError(
            f"{file} has {relative} boxes in 0 to 1, as parts of width and height, and {len(sound) - len(inside)} in "
            "pixels: write all of them in one way."
        )
    return relative > 0


def _is_inside(xywh: tuple[float, ...]) -> bool:
    """Return whether a box lies in 0 to 1."""
    x, y, width, height = xywh
    return min(x, y) >= -TOLERANCE and max(x + width, y + height) <= 1 + TOLERANCE


def in_pixels(image: AnnotatedImage) -> list[Box]:
    """Return the relative boxes of an image in pixels, with what belongs to them.

    Args:
        image (AnnotatedImage): From a file for which `is_relative` is true; without an annotated size the real one
            counts.

    Returns:
        (list[Box]): In pixels; as they are if there is no size.
    """
    size = image.size or probe(image.path).size
    if size is None:
        return image.boxes
    width, height = size
    return [
        box._replace(
            xyxy=(box.xyxy[0] * width, box.xyxy[1] * height, box.xyxy[2] * width, box.xyxy[3] * height),
            segmentation=_scaled(box.segmentation, size, 2),
            keypoints=_scaled(box.keypoints, size, 3),
        )
        for box in image.boxes
    ]


def _scaled(values: object, size: tuple[float, float], stride: int) -> object:
    """Return a polygon, a list of polygons or keypoints in pixels, if they lie in 0 to 1; all else as it is."""
    if not isinstance(values, list) or not values:
        return values
    if isinstance(values[0], list):
        return [_scaled(part, size, stride) for part in values]
    points = numbers(values, len(values))
    if points is None or any(abs(v) > 1 + TOLERANCE for i, v in enumerate(points) if i % stride < 2):
        return values
    return [v * size[i % stride] if i % stride < 2 else v for i, v in enumerate(points)]
