# Ultralytics DiffAttn - AGPL-3.0 License
"""Tells sound annotations from broken ones: what can be trained on, and an issue for all that is not as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from PIL import Image
from ultralytics.data.utils import IMG_FORMATS, exif_size
from ultralytics.utils import NUM_THREADS, TQDM

from ultralytics_diffattn.data.annotations import (
    CLIPPED,
    KEPT,
    LEFT_OUT,
    AnnotatedImage,
    Box,
    Issue,
    UsableImage,
    numbers,
)

MAX_CORNERS = 2000  # of a part of an outline; ultralytics itself trains on 1000
ROUNDING = 0.05  # pixels: COCO's boxes have two decimals and may pass the border by that


class Probe(NamedTuple):
    """What reading an image shows.

    Attributes:
        size (tuple[int, int] | None): Width and height as ultralytics will see them; None if it cannot be used.
        problem (str): What is wrong, "" for nothing.
    """

    size: tuple[int, int] | None
    problem: str


class Cleaned(NamedTuple):
    """A box after a check.

    Attributes:
        box (Box | None): What is left of it; None if it is left out.
        problem (str): What was wrong, "" for nothing.
        done (str): What was done about it.
    """

    box: Box | None
    problem: str = ""
    done: str = KEPT


def clean(images: Iterable[AnnotatedImage], task: str = "detect") -> tuple[list[UsableImage], list[Issue]]:
    """Return what can be trained on, after a look at every image, and a list of the rest.

    Args:
        images (Iterable[AnnotatedImage]): As a reader returns them.
        task (str): `detect`, `segment` (then each box gets polygons) or `pose` (then each needs a labelled keypoint).

    Returns:
        usable (list[UsableImage]): With their real sizes and the sound boxes inside the image.
        issues (list[Issue]): One for each thing that was left out or altered.

    Examples:
        >>> clean([AnnotatedImage("a.xml", "a.jpg", None, (640, 480), None, [])])
        ([], [Issue(file='a.xml', item='', problem='image a.jpg not found', done='left out')])
    """
    images = list(images)
    with ThreadPool(NUM_THREADS) as pool:
        probes = pool.imap(probe, (image.path for image in images), 64)
        probed = list(TQDM(probes, total=len(images), desc="Images", disable=len(images) < 1000))
    usable: list[UsableImage] = []
    issues: list[Issue] = []
    for image, (size, problem) in zip(images, probed, strict=True):
        issue = _size_issue(image, size, problem)
        if issue:
            issues.append(issue)
        if image.path is None or size is None or (issue and issue.done == LEFT_OUT):
            continue
        if problem:
            issues.append(Issue(image.file, "", f"image {image.name} {problem}", KEPT))
        boxes, box_issues = _clean_boxes(image, size, task)
        issues += box_issues
        usable.append(UsableImage(image.name, image.path, size, image.split, boxes))
    return usable, issues


def probe(path: Path | None) -> Probe:
    """Return the size of an image as ultralytics will see it, or what is wrong with it; both if it can be used anyway.

    Args:
        path (Path | None): The image.

    Returns:
        (Probe): Size and problem.

    Examples:
        >>> probe(Path("missing.jpg"))
        Probe(size=None, problem='not found')
    """
    if path is None or not path.is_file():
        return Probe(None, "not found")
    try:
        with Image.open(path) as image:
            image.verify()
            (width, height), kind = exif_size(image), str(image.format).lower()
        unclosed = will_be_repaired(path)
        if unclosed:
            with Image.open(path) as image:
                image.load()  # as ultralytics does before it saves the image anew
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and its own
        return Probe(None, f"not readable: {error}")
    if kind not in IMG_FORMATS:
        return Probe(None, f"is {kind}, and ultralytics reads {', '.join(sorted(IMG_FORMATS))}")
    if min(width, height) < 10:
        return Probe(None, f"is {width} x {height}, and ultralytics wants 10 pixels or more")
    return Probe((width, height), "does not end as a JPEG: ultralytics will save a copy of it anew" if unclosed else "")


def will_be_repaired(path: Path) -> bool:
    """Return whether a file is a JPEG without its end, or with more behind it: ultralytics saves it anew in place.

    Args:
        path (Path): An image.

    Returns:
        (bool): False for every other format.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-2, 2)
        return file.read() != b"\xff\xd9"


def _size_issue(image: AnnotatedImage, size: tuple[int, int] | None, problem: str) -> Issue | None:
    """Return what is wrong with an image whose real size does not fit the annotated one."""
    if size is None:
        return Issue(image.file, "", f"image {image.name} {problem}")
    if image.size is None:
        return Issue(image.file, "", f"no size annotated, image {image.name} has one", KEPT)
    annotated = round(image.size[0]), round(image.size[1])
    if annotated != size:  # whoever scaled or turned the image has not scaled or turned the boxes
        sizes = " but annotated as ".join(f"{w} x {h}" for w, h in (size, annotated))
        return Issue(image.file, "", f"image {image.name} is {sizes}")
    return None


def _clean_boxes(image: AnnotatedImage, size: tuple[int, int], task: str) -> tuple[list[Box], list[Issue]]:
    """Return the sound boxes of an image, and what is wrong with the others."""
    boxes: list[Box] = []
    issues: list[Issue] = []
    seen: set[tuple[str, tuple[float, ...]]] = set()
    for box in image.boxes:
        cleaned = _clip(box, size)
        if cleaned.box and (box.name, cleaned.box.xyxy) in seen:  # ultralytics drops it without a word
            cleaned = Cleaned(None, "the same box twice", LEFT_OUT)
        steps = [cleaned]
        if cleaned.box and task != "detect":
            steps.append((_clean_outline if task == "segment" else _clean_keypoints)(cleaned.box, size))
        issues += (Issue(image.file, box.item, step.problem, step.done) for step in steps if step.problem)
        if steps[-1].box:
            boxes.append(steps[-1].box)
            seen.add((box.name, steps[-1].box.xyxy))
    return boxes, issues


def _clip(box: Box, size: tuple[int, int]) -> Cleaned:
    """Return the part of a box that is in the image."""
    x1, y1, x2, y2 = box.xyxy
    if x2 <= x1 or y2 <= y1:
        return Cleaned(None, f"box of width {x2 - x1:g} and height {y2 - y1:g}", LEFT_OUT)
    x1, x2 = (min(max(x, 0.0), float(size[0])) for x in (x1, x2))
    y1, y2 = (min(max(y, 0.0), float(size[1])) for y in (y1, y2))
    clipped = box._replace(xyxy=(x1, y1, x2, y2))
    outside = x2 <= x1 or y2 <= y1
    if not outside and max(abs(a - b) for a, b in zip(clipped.xyxy, box.xyxy, strict=True)) <= ROUNDING:
        return Cleaned(clipped)
    edges = ", ".join(f"{v:g}" for v in box.xyxy)
    problem = f"box {edges} {'outside' if outside else 'partly outside'} the image of {size[0]} x {size[1]}"
    return Cleaned(None, problem, LEFT_OUT) if outside else Cleaned(clipped, problem, CLIPPED)


def _clean_outline(box: Box, size: tuple[int, int]) -> Cleaned:
    """Return a box with polygons inside the image, [[x1, y1, x2, y2, ...], ...], from polygons or an RLE mask."""
    outline, problem = box.segmentation, ""
    if isinstance(outline, dict):
        outline, problem = _contours(outline, size)
    parts = outline if isinstance(outline, list) else []
    if numbers(parts, len(parts)):  # one polygon without the list round it
        parts = [parts]
    polygons: list[list[float]] = []
    done = KEPT if problem else CLIPPED
    for part in parts:
        points = numbers(part, len(part)) if isinstance(part, (list, tuple)) else None
        if points is None or len(points) < 6 or len(points) % 2:
            problem, done = "a polygon that is not three or more points", LEFT_OUT
            continue
        polygon = [min(max(v, 0.0), float(size[i % 2])) for i, v in enumerate(points)]
        if max(abs(a - b) for a, b in zip(polygon, points, strict=True)) > ROUNDING:
            problem = problem or "outline partly outside the image"
        step = -(-len(polygon) // (2 * MAX_CORNERS))
        if len(parts) > 1 and step > 1:  # ultralytics joins parts by the distances of all corners to all others
            problem = problem or f"outline of {len(polygon) // 2} corners: every {step}. is taken"
            polygon = [v for i in range(0, len(polygon), 2 * step) for v in polygon[i : i + 2]]
        polygons.append(polygon)
    if polygons:
        return Cleaned(box._replace(segmentation=polygons), problem, done)
    x1, y1, x2, y2 = box.xyxy
    rectangle = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    return Cleaned(box._replace(segmentation=rectangle), "no outline: its box stands for it", KEPT)


def _contours(rle: Mapping[str, Any], size: tuple[int, int]) -> tuple[list[list[float]], str]:
    """Return the outer contours of an RLE mask, [] if it is none or of another size, and what they do not hold."""
    from faster_coco_eval.core.mask import decode, segmToRle  # what ultralytics decodes them with, too

    try:
        if [int(v) for v in rle["size"]] != [size[1], size[0]]:
            return [], ""
        mask = decode(segmToRle(rle, *size))
    except Exception:  # the C code raises whatever it likes
        return [], ""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = [] if hierarchy is None else hierarchy[0, :, 3]  # -1 for an outer contour
    outer = [c.ravel().tolist() for c, parent in zip(contours, parents, strict=True) if parent < 0]
    holes = len(contours) - len(outer)
    return outer, f"a mask with {holes} hole{'s' * (holes > 1)}, which an outline cannot have: filled" if holes else ""


def _clean_keypoints(box: Box, size: tuple[int, int]) -> Cleaned:
    """Return a box whose keypoints, [x1, y1, v1, ...], are inside the image or not labelled."""
    values = box.keypoints if isinstance(box.keypoints, (list, tuple)) else []
    keypoints: list[float] = []
    problem = ""
    for i in range(0, len(values), 3):
        x, y, visibility = numbers(values[i : i + 3], 3) or (-1.0, -1.0, 1.0)
        if visibility < 0:
            problem = "a keypoint of negative visibility: taken as not labelled"
        elif visibility > 0 and not (0 <= x <= size[0] and 0 <= y <= size[1]):
            problem = "a keypoint outside the image: taken as not labelled"
        elif visibility > 0:
            keypoints += (x, y, visibility)
            continue
        keypoints += (0.0, 0.0, 0.0)  # wherever it is: ultralytics drops an image with a coordinate outside
    if not any(keypoints[2::3]):
        return Cleaned(None, problem or "no labelled keypoint", LEFT_OUT)
    return Cleaned(box._replace(keypoints=keypoints), problem, KEPT)
