# Ultralytics DiffAttn - AGPL-3.0 License
"""The validation images on which two models differ most, drawn with the truth and with both models' boxes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.comparison.pairs import common_seeds
from ultralytics_diffattn.comparison.run_files import PREDICTIONS
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.image_scores import ImageScores, Ratio
from ultralytics_diffattn.evaluation.predictions import Predictions
from ultralytics_diffattn.evaluation.recording import Recorded

CONFIDENCE = 0.25  # ultralytics' own when it predicts
WIDTH, TALLEST = 360, 480  # pixels of a drawing
LONGEST = 16  # characters of a class on it

Colour: TypeAlias = tuple[int, int, int]
# As blue, green, red: white, and the sky blue and orange of Okabe and Ito, which the colour-blind can tell apart.
TRUE: Colour = (255, 255, 255)
RIGHT: Colour = (233, 180, 86)
WRONG: Colour = (0, 159, 230)
BLACK: Colour = (0, 0, 0)
# Three passes: dark edge, box, label. Labels come last, above all boxes; the edge shows a box on a bright image.
PASSES = ((4, True, False), (2, False, False), (2, False, True))  # line width, whether an edge, whether labels


class Box(NamedTuple):
    """A box to be drawn: x, y of the upper left corner, width, height; its label and colour."""

    xywh: NDArray[Any]
    label: str
    colour: Colour


class Counts(NamedTuple):
    """Boxes of each image, (N,) each, as `f1` counts them.

    Attributes:
        right (np.ndarray): Predictions that match an object.
        wrong (np.ndarray): Predictions that do not.
        missed (np.ndarray): Objects without a prediction.
    """

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    missed: NDArray[np.int64]


@dataclass(frozen=True)
class Panel:
    """A drawing of an image: its title, and its source as a data URI."""

    title: str
    src: str


@dataclass(frozen=True)
class ImageDifference:
    """An image on which two models differ: its file, a metric of it by model, and its drawings."""

    file: str
    metric: str
    scores: dict[str, float]
    panels: list[Panel]


@dataclass(frozen=True)
class PairImages:
    """The images on which two models differ most, and the files of images that could not be read."""

    first: str
    second: str
    seed: int | None
    images: list[ImageDifference]
    unreadable: list[str]


def most_different_images(runs: Mapping[RunKey, Path], count: int = 6) -> list[PairImages]:
    """Return drawings of the images on which the first model and each other one differ most.

    That is by the F1 of each image where the task finds objects, else by its first metric.

    Args:
        runs (Mapping[RunKey, Path]): Folders of the finished runs; of each pair the first common seed counts.
        count (int): Images for each pair.

    Returns:
        (list[PairImages]): For each pair that has a seed in common.
    """
    labels = list(dict.fromkeys(label for label, _ in runs))
    pairs = []
    for second in labels[1:]:
        first = labels[0]
        for seed in common_seeds(runs, first, second)[:1]:
            both = [recording.read(runs[RunKey(label, seed)] / PREDICTIONS) for label in (first, second)]
            images, unreadable = _draw_differences(dict(zip((first, second), both, strict=True)), count)
            pairs.append(PairImages(first, second, seed, images, unreadable))
    return pairs


def f1(predicted: Predictions) -> NDArray[np.float64]:
    """Return the F1 of each image at IoU 0.5, of the predictions with a score of 0.25 or more.

    Args:
        predicted (Predictions): Of one model.

    Returns:
        (np.ndarray): (N,); 1 for an image without objects and predictions.
    """
    right, wrong, missed = counts(predicted)
    return np.where(right + wrong + missed, 2 * right / np.maximum(2 * right + wrong + missed, 1), 1.0)


def counts(predicted: Predictions) -> Counts:
    """Return the number of right, wrong and missed boxes of each image, as `f1` counts them.

    Args:
        predicted (Predictions): Of one model.

    Returns:
        (Counts): (N,) each.
    """
    p, images = predicted, len(predicted.files)
    sure, hit = p.conf >= CONFIDENCE, p.right[:, 0]
    right = np.bincount(p.image[sure & hit], minlength=images)
    wrong = np.bincount(p.image[sure & ~hit], minlength=images)
    return Counts(right, wrong, np.bincount(p.target_image, minlength=images) - right)


def _scores(by_model: Mapping[str, Recorded]) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """Return a metric's name, and its value for each image, (N,), by model."""
    recorded = next(iter(by_model.values()))
    if isinstance(recorded, Predictions):
        return "F1", {label: f1(p) for label, p in by_model.items() if isinstance(p, Predictions)}
    name = next(iter(recorded.metrics))
    return name, {label: by_image(r.metrics[name]) for label, r in by_model.items() if isinstance(r, ImageScores)}


def by_image(ratio: Ratio) -> NDArray[np.float64]:
    """Return a metric of each image by itself, the mean over the classes that it has.

    Args:
        ratio (Ratio): Of N images and K classes.

    Returns:
        (np.ndarray): (N,); 0 for an image without any.
    """
    known = ratio.counts > 0
    values = np.where(known, ratio.above / np.where(ratio.below > 0, ratio.below, 1), 0)
    mean: NDArray[np.float64] = values.sum(1) / np.maximum(known.sum(1), 1)
    return mean


def _draw_differences(by_model: Mapping[str, Recorded], count: int) -> tuple[list[ImageDifference], list[str]]:
    """Return the images on which two models differ most, and the files that could not be read."""
    metric, scores = _scores(by_model)
    first, second = scores.values()
    gap = np.abs(second - first)
    files = next(iter(by_model.values())).files
    images: list[ImageDifference] = []
    unreadable: list[str] = []
    for i in np.argsort(-gap, kind="stable"):
        if len(images) == count or gap[i] == 0:
            break
        file = Path(files[i])
        image = _read(file)
        if image is None:
            unreadable.append(file.name)
            continue
        of_image = {label: float(values[i]) for label, values in scores.items()}
        boxes = {label: p for label, p in by_model.items() if isinstance(p, Predictions)}
        panels = _panels(image, boxes, int(i)) if boxes else [Panel("the image", _draw(image, image.shape[:2], []))]
        images.append(ImageDifference(file.name, metric, of_image, panels))
    return images, unreadable


def _read(file: Path) -> NDArray[np.uint8] | None:
    """Return an image as ultralytics reads it, (H, W, 3), or None if it cannot be read."""
    from ultralytics.utils.patches import imread

    try:
        image: NDArray[np.uint8] | None = imread(str(file))
    except (OSError, cv2.error):  # older releases let these through
        return None
    return image


def _panels(image: NDArray[np.uint8], by_model: Mapping[str, Predictions], i: int) -> list[Panel]:
    """Return drawings of image `i`: the truth, and each model's predictions."""
    truth = next(iter(by_model.values()))
    objects = int((truth.target_image == i).sum())
    panels = [Panel(f"truth: {objects} object{'s' * (objects != 1)}", _draw(image, truth.shape[i], _true(truth, i)))]
    for label, p in by_model.items():
        right, wrong, missed = (values[i] for values in counts(p))
        title = f"{label}: {right} right, {wrong} wrong, {missed} missed"
        panels.append(Panel(title, _draw(image, p.shape[i], _predicted(p, i))))
    return panels


def _true(truth: Predictions, i: int) -> list[Box]:
    """Return the true boxes of image `i`."""
    mine = np.flatnonzero(truth.target_image == i)
    return [Box(truth.target_box[t], truth.names[truth.target_cls[t]][:LONGEST], TRUE) for t in mine]


def _predicted(predicted: Predictions, i: int) -> list[Box]:
    """Return the predicted boxes of image `i`, the wrong ones last, on top."""
    p = predicted
    mine = np.flatnonzero((p.image == i) & (p.conf >= CONFIDENCE))
    mine = mine[np.argsort(~p.right[mine, 0], kind="stable")]
    return [
        Box(p.box[d], "", RIGHT)
        if p.right[d, 0]
        else Box(p.box[d], f"{p.names[p.cls[d]][:LONGEST]} {p.conf[d]:.2f}", WRONG)
        for d in mine
    ]


def _draw(image: NDArray[np.uint8], shape: Any, boxes: list[Box]) -> str:
    """Return the image with boxes (in pixels of `shape`, its height and width) as a data URI."""
    from ultralytics.utils.plotting import Annotator

    scale = min(WIDTH / image.shape[1], TALLEST / image.shape[0])
    width, height = (max(1, round(scale * n)) for n in image.shape[1::-1])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    annotator: Any = Annotator(
        np.ascontiguousarray(cv2.resize(image, (width, height), interpolation=interpolation)), line_width=1
    )
    ratio = np.tile(np.divide((width, height), shape[::-1]), 2)
    corners = [_corners(box.xywh * ratio) for box in boxes]
    for line, edge, labels in PASSES:
        annotator.lw = line
        for box, ends in zip(boxes, corners, strict=True):
            if box.label or not labels:
                annotator.box_label(ends, box.label if labels else "", BLACK if edge else box.colour, BLACK)
    _, jpeg = cv2.imencode(".jpg", annotator.result(), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"


def _corners(xywh: NDArray[Any]) -> list[int]:
    """Return the upper left and the lower right corner of a box, in whole pixels."""
    x, y, width, height = xywh
    return [int(value) for value in (x, y, x + width, y + height)]
