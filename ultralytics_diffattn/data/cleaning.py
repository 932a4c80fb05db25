# Ultralytics DiffAttn - AGPL-3.0 License
"""Tells sound annotations of images from broken ones; of what it leaves out or alters, each thing gets a row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from PIL import Image
from ultralytics.data.utils import IMG_FORMATS, exif_size
from ultralytics.utils import NUM_THREADS, TQDM

OUT, CLIPPED, KEPT = "left out", "clipped", "kept"  # what was done about it
LONGEST = 200  # characters of a name
MOST_CORNERS = 2000  # of a part of an outline; ultralytics itself trains on 1000
ROUNDING = 0.05  # pixels: COCO's boxes have two decimals and may pass the border by that


class Broken(NamedTuple):
    """A row of broken.csv."""

    file: str
    item: str  # which object of the file; "" is the file itself
    problem: str
    done: str = OUT


class Box(NamedTuple):
    """An annotated object."""

    item: str  # where it stands in the file
    name: str  # of the class
    xyxy: tuple[float, float, float, float]  # edges in pixels: 0 is the left or upper border of the image
    segmentation: Any = None  # as in COCO
    keypoints: Any = None  # as in COCO


class Picture(NamedTuple):
    """An annotated image."""

    file: str  # the annotation file
    name: str  # what the image is called there
    path: Path | None  # None: not found
    size: tuple[float, float] | None  # annotated width and height
    split: str | None  # "train", "val", or None where the source has no splits
    boxes: list[Box]


class Source(NamedTuple):
    """What a reader has found."""

    names: list[str]  # of the classes
    pictures: list[Picture]
    broken: list[Broken]
    more: dict = {}  # noqa: RUF012  further keys of the data YAML


def numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, or None if the values are anything else.

    Examples:
        >>> numbers(["1", 2.5], 2), numbers([1, float("nan")], 2), numbers(None, 2)
        ((1.0, 2.5), None, None)
    """
    if not isinstance(values, list | tuple):  # "1234" would be four
        return None
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def plain(text: str) -> str:
    r"""Return a text as one short line, without what a terminal takes for a command and what no UTF-8 file can hold.

    Examples:
        >>> plain(" traffic\nlight \x1b[2J\ud800")
        'traffic light  [2J'
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text[:LONGEST]).strip()


def clean(pictures: Iterable[Picture], task: str = "detect") -> tuple[list[Picture], list[Broken]]:
    """Look at every image, keep what can be trained on and list the rest.

    Args:
        pictures (Iterable): What a reader has found.
        task (str): `detect`, `segment` (then each box gets polygons) or `pose` (then each needs a labelled keypoint).

    Returns:
        kept (list): The pictures with their real sizes and sound boxes inside the image.
        broken (list): A row for each thing that was left out or altered.

    Examples:
        >>> clean([Picture("a.xml", "a.jpg", None, (640, 480), None, [])])
        ([], [Broken(file='a.xml', item='', problem='image a.jpg not found', done='left out')])
    """
    pictures = list(pictures)
    with ThreadPool(NUM_THREADS) as pool:
        paths, count = (p.path for p in pictures), len(pictures)
        probed = list(TQDM(pool.imap(probe, paths, 64), total=count, desc="Images", disable=count < 1000))
    kept, broken = [], []
    for picture, (size, problem) in zip(pictures, probed, strict=True):
        if size is None:
            broken.append(Broken(picture.file, "", f"image {picture.name} {problem}"))
            continue
        annotated = picture.size and tuple(round(v) for v in picture.size)
        if annotated and annotated != size:  # whoever scaled or turned the image has not scaled or turned the boxes
            sizes = " but annotated as ".join(f"{w} x {h}" for w, h in (size, annotated))
            broken.append(Broken(picture.file, "", f"image {picture.name} is {sizes}"))
            continue
        if not annotated:
            broken.append(Broken(picture.file, "", f"no size annotated, image {picture.name} has one", KEPT))
        if problem:
            broken.append(Broken(picture.file, "", f"image {picture.name} {problem}", KEPT))
        boxes, seen = [], set()
        for box in picture.boxes:
            found, problem, done = _inside(box, size)
            if found and (box.name, found.xyxy) in seen:  # ultralytics drops it without a word
                found, problem, done = None, "the same box twice", OUT
            if problem:
                broken.append(Broken(picture.file, box.item, problem, done))
            if found and task != "detect":
                found, problem, done = (_outline if task == "segment" else _pose)(found, size)
                if problem:
                    broken.append(Broken(picture.file, box.item, problem, done))
            if found:
                boxes.append(found)
                seen.add((box.name, found.xyxy))
        kept.append(picture._replace(size=size, boxes=boxes))
    return kept, broken


def probe(path: Path | None) -> tuple[tuple[int, int] | None, str]:
    """Return width and height as ultralytics will see them and "", or None and what is wrong; or both if it is small.

    Examples:
        >>> probe(Path("missing.jpg"))
        (None, 'not found')
    """
    if path is None or not path.is_file():
        return None, "not found"
    try:
        with Image.open(path) as image:
            image.verify()
            size, kind = exif_size(image), image.format.lower()
        unclosed = repaired(path)
        if unclosed:
            with Image.open(path) as image:
                image.load()  # as ultralytics does before it saves the image anew
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and its own
        return None, f"not readable: {error}"
    if kind not in IMG_FORMATS:
        return None, f"is {kind}, and ultralytics reads {', '.join(sorted(IMG_FORMATS))}"
    if min(size) < 10:
        return None, f"is {size[0]} x {size[1]}, and ultralytics wants 10 pixels or more"
    return size, "does not end as a JPEG: ultralytics will save a copy of it anew" if unclosed else ""


def repaired(path: Path) -> bool:
    """Return whether a file is a JPEG without its end, or with more behind it: ultralytics saves it anew in place."""
    with open(path, "rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-2, 2)
        return file.read() != b"\xff\xd9"


def _inside(box: Box, size: tuple[int, int]) -> tuple[Box | None, str, str]:
    """Return the part of a box that is in the image, what is wrong with the box and what was done about it."""
    x1, y1, x2, y2 = box.xyxy
    if x2 <= x1 or y2 <= y1:
        return None, f"box of width {x2 - x1:g} and height {y2 - y1:g}", OUT
    xyxy = tuple(min(max(v, 0.0), float(edge)) for v, edge in zip(box.xyxy, size * 2, strict=True))
    if xyxy == box.xyxy:
        return box, "", KEPT
    outside = xyxy[2] <= xyxy[0] or xyxy[3] <= xyxy[1]
    if not outside and max(abs(a - b) for a, b in zip(xyxy, box.xyxy, strict=True)) <= ROUNDING:
        return box._replace(xyxy=xyxy), "", KEPT
    edges = ", ".join(f"{v:g}" for v in box.xyxy)
    problem = f"box {edges} {'outside' if outside else 'partly outside'} the image of {size[0]} x {size[1]}"
    return (None, problem, OUT) if outside else (box._replace(xyxy=xyxy), problem, CLIPPED)


def _outline(box: Box, size: tuple[int, int]) -> tuple[Box | None, str, str]:
    """Return a box with polygons inside the image, [[x1, y1, x2, y2, ...], ...], from polygons or an RLE mask."""
    found = box.segmentation
    if isinstance(found, dict):
        found = _contours(found, size)
    polygons, problem = [], ""
    for polygon in found if isinstance(found, list) else []:
        points = numbers(polygon, len(polygon)) if isinstance(polygon, (list, tuple)) else None
        if points is None or len(points) < 6 or len(points) % 2:
            problem = "a polygon that is not three or more points"
            continue
        inside = [min(max(v, 0.0), float(size[i % 2])) for i, v in enumerate(points)]
        if max(abs(a - b) for a, b in zip(inside, points, strict=True)) > ROUNDING:
            problem = problem or "outline partly outside the image"
        step = -(-len(inside) // (2 * MOST_CORNERS))
        if len(found) > 1 and step > 1:  # ultralytics joins parts by the distances of all corners to all others
            problem = problem or f"outline of {len(inside) // 2} corners: every {step}. is taken"
            inside = [v for i in range(0, len(inside), 2 * step) for v in inside[i : i + 2]]
        polygons.append(inside)
    if polygons:
        return box._replace(segmentation=polygons), problem, OUT if "points" in problem else CLIPPED
    x1, y1, x2, y2 = box.xyxy
    return box._replace(segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]), "no outline: its box stands for it", KEPT


def _contours(rle: dict, size: tuple[int, int]) -> list:
    """Return the outer contours of an RLE mask, or [] if it is none or of another size."""
    from faster_coco_eval.core.mask import decode, segmToRle  # what ultralytics decodes them with, too

    try:
        if [int(v) for v in rle["size"]] != [size[1], size[0]]:
            return []
        mask = decode(segmToRle(rle, *size))
    except Exception:  # the C code raises whatever it likes
        return []
    return [c.ravel().tolist() for c in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]]


def _pose(box: Box, size: tuple[int, int]) -> tuple[Box | None, str, str]:
    """Return a box whose keypoints, [x1, y1, v1, ...], are inside the image or not labelled."""
    points = box.keypoints if isinstance(box.keypoints, (list, tuple)) else []
    inside, problem = [], ""
    for i in range(0, len(points), 3):
        point = numbers(points[i : i + 3], 3) or (-1.0, -1.0, 1.0)
        if point[2] > 0 and not (0 <= point[0] <= size[0] and 0 <= point[1] <= size[1]):
            problem = "a keypoint outside the image: taken as not labelled"
            point = (0.0, 0.0, 0.0)
        inside += point
    if not any(inside[2::3]):
        return None, problem or "no labelled keypoint", OUT
    return box._replace(keypoints=inside), problem, KEPT
