# Ultralytics DiffAttn - AGPL-3.0 License
"""Annotations as the readers of COCO and PASCAL VOC return them, and how values of a stranger's file are read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple, TypedDict

LEFT_OUT, CLIPPED, KEPT = "left out", "clipped", "kept"  # what was done about an issue
MAX_NAME = 200  # characters


class Issue(NamedTuple):
    """Something that is wrong in a source: a row of broken.csv, whose columns are these.

    Attributes:
        file (str): The annotation file.
        item (str): Which object of the file; "" for the file itself.
        problem (str): What is wrong.
        done (str): What was done about it: "left out", "clipped" or "kept".
    """

    file: str
    item: str
    problem: str
    done: str = LEFT_OUT


class Box(NamedTuple):
    """An annotated object.

    Attributes:
        item (str): Where it stands in the file.
        name (str): Of the class.
        xyxy (tuple): Its edges in pixels; 0 is the left or upper border of the image.
        segmentation (object): As in COCO: anything when it was read, polygons, [[x1, y1, x2, y2, ...], ...], when it
            was cleaned for task=segment.
        keypoints (object): As in COCO: anything when it was read, [x1, y1, v1, ...] when it was cleaned for task=pose.
    """

    item: str
    name: str
    xyxy: tuple[float, float, float, float]
    segmentation: object = None
    keypoints: object = None


class AnnotatedImage(NamedTuple):
    """An image as a source annotates it.

    Attributes:
        file (str): The annotation file.
        name (str): What the image is called there.
        path (Path | None): The image, or None if there is none.
        size (tuple[float, float] | None): Width and height as annotated.
        split (str | None): "train", "val", "test", "trainval", or None where the source has no splits.
        boxes (list[Box]): Its objects.
    """

    file: str
    name: str
    path: Path | None
    size: tuple[float, float] | None
    split: str | None
    boxes: list[Box]


class UsableImage(NamedTuple):
    """An image that can be trained on.

    Attributes:
        name (str): What the image is called in the source.
        path (Path): The image.
        size (tuple[int, int]): Width and height of its pixels, turned as its EXIF says.
        split (str | None): "train", "val", "test", or None for train or val.
        boxes (list[Box]): Its sound objects, all of them inside the image.
    """

    name: str
    path: Path
    size: tuple[int, int]
    split: str | None
    boxes: list[Box]


class PoseKeys(TypedDict, total=False):
    """Keys of a data YAML for task=pose: [keypoints, 3], and which keypoint each becomes in the mirror image."""

    kpt_shape: list[int]
    flip_idx: list[int]


class Annotations(NamedTuple):
    """What a reader returns.

    Attributes:
        names (list[str]): Of the classes.
        images (list[AnnotatedImage]): All that are annotated.
        issues (list[Issue]): What the reader left out or altered.
        pose (PoseKeys | None): Further keys of the data YAML for task=pose.
    """

    names: list[str]
    images: list[AnnotatedImage]
    issues: list[Issue]
    pose: PoseKeys | None = None


def numbers(values: object, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, or None if the values are anything else.

    Args:
        values (object): A list or tuple; numbers may be text.
        count (int): How many there must be.

    Returns:
        (tuple[float, ...] | None): The numbers.

    Examples:
        >>> numbers(["1", 2.5], 2), numbers([1, float("nan")], 2), numbers(None, 2)
        ((1.0, 2.5), None, None)
    """
    if not isinstance(values, list | tuple):  # "1234" would be four
        return None
    try:
        floats = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return floats if len(floats) == count and all(map(math.isfinite, floats)) else None


def size_of(width: object, height: object) -> tuple[float, float] | None:
    """Return an annotated width and height, or None if they are no positive numbers; some tools write 0.

    Examples:
        >>> size_of("64", 48), size_of(0, 0), size_of(None, 48)
        ((64.0, 48.0), None, None)
    """
    size = numbers((width, height), 2)
    if size is None or min(size) <= 0:
        return None
    return size[0], size[1]


def is_true(value: object) -> bool:
    """Return whether a flag of a stranger's file is set; tools write numbers, words and words for numbers.

    Args:
        value (object): Such as 1, "1", "true", 0.0, "No" or None.

    Returns:
        (bool): False for nothing, zero and words for no; True for anything else.

    Examples:
        >>> [is_true(v) for v in (1, " 1 ", "true", 0, "0.0", "False", "", None)]
        [True, True, True, False, False, False, False, False]
    """
    if isinstance(value, str):
        word = value.strip().lower()
        number = numbers([word], 1)
        return number[0] != 0 if number else word not in {"", "false", "no", "none", "null", "unspecified"}
    return bool(value)


def plain(text: str) -> str:
    r"""Return a text as one short line, without what a terminal takes for a command and what no UTF-8 file can hold.

    Args:
        text (str): Anything.

    Returns:
        (str): At most 200 characters.

    Examples:
        >>> plain(" traffic\nlight \x1b[2J\ud800")
        'traffic light  [2J'
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text[:MAX_NAME]).strip()
