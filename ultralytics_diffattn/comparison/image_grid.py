# Ultralytics DiffAttn - AGPL-3.0 License
"""The validation images on which two models differ most, drawn with the truth and with both models' boxes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ultralytics_diffattn.evaluation import predictions
from ultralytics_diffattn.evaluation.predictions import Predictions

CONFIDENCE = 0.25  # ultralytics' own when it predicts
WIDTH, TALLEST = 360, 480  # pixels of a drawing
LONGEST = 16  # characters of a class on it
# As blue, green, red: white, and the sky blue and orange of Okabe and Ito, which the colour-blind can tell apart.
TRUE, RIGHT, WRONG = (255, 255, 255), (233, 180, 86), (0, 159, 230)


def differing(runs: dict[tuple[str, int], Path], count: int = 6) -> list[dict[str, Any]]:
    """Draw the images on which the first model and each other one differ most, by the F1 of each image.

    Args:
        runs (dict[tuple[str, int], Path]): Folders of the finished runs by model and seed; a pair of models is
            compared with the first seed that both have.
        count (int): Images for each pair.

    Returns:
        (list[dict]): For each pair `first`, `second`, `seed`, `images` and `unreadable`, the files of images that could
            not be read. An image has `file`, `f1` (by model) and `panels`, each with `title` and `src` (a data URI).
    """
    labels = list(dict.fromkeys(label for label, _ in runs))
    out = []
    for second in labels[1:]:
        first = labels[0]
        seed = next((s for label, s in runs if label == first and (second, s) in runs), None)
        if seed is not None:
            kept = {label: predictions.read(runs[label, seed] / "predictions.npz") for label in (first, second)}
            out.append({"first": first, "second": second, "seed": seed, **_images(kept, count)})
    return out


def f1(kept: Predictions) -> np.ndarray:
    """Return the F1 of each image at IoU 0.5, of the predictions with a score of 0.25 or more.

    Args:
        kept (Predictions): Of one model.

    Returns:
        (np.ndarray): (N,); 1 where nothing is to be found and nothing was.
    """
    right, wrong, missed = counts(kept)
    return np.where(right + wrong + missed, 2 * right / np.maximum(2 * right + wrong + missed, 1), 1.0)


def counts(kept: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many boxes of each image are right, wrong and missed, as `f1` counts them.

    Args:
        kept (Predictions): Of one model.

    Returns:
        right (np.ndarray): (N,) predictions that match an object.
        wrong (np.ndarray): (N,) those that do not.
        missed (np.ndarray): (N,) objects without a prediction.
    """
    sure, hit = kept.conf >= CONFIDENCE, kept.tp[:, 0]
    n = len(kept.files)
    right, wrong = (np.bincount(kept.image[which], minlength=n) for which in (sure & hit, sure & ~hit))
    return right, wrong, np.bincount(kept.target_image, minlength=n) - right


def _images(kept: dict[str, Predictions], count: int) -> dict[str, list]:
    """Return `images` and `unreadable` of a pair of models."""
    from ultralytics.utils.patches import imread

    scores = {label: f1(p) for label, p in kept.items()}
    numbers = {label: counts(p) for label, p in kept.items()}
    first, second = kept
    gap = np.abs(scores[second] - scores[first])
    images, unreadable = [], []
    for i in np.argsort(-gap, kind="stable"):
        if len(images) == count or gap[i] == 0:
            break
        file = Path(kept[first].files[i])
        try:
            image = imread(str(file))
        except (OSError, cv2.error):  # older releases let these through
            image = None
        if image is None:
            unreadable.append(file.name)
            continue
        objects = int((kept[first].target_image == i).sum())
        panels = [{"title": f"truth: {objects} object{'s' * (objects != 1)}", "src": _truth(image, kept[first], i)}]
        for label, p in kept.items():
            right, wrong, missed = (n[i] for n in numbers[label])
            title = f"{label}: {right} right, {wrong} wrong, {missed} missed"
            panels.append({"title": title, "src": _predicted(image, p, i)})
        images.append({"file": file.name, "f1": {label: float(s[i]) for label, s in scores.items()}, "panels": panels})
    return {"images": images, "unreadable": unreadable}


def _truth(image: np.ndarray, kept: Predictions, i: int) -> str:
    mine = kept.target_image == i
    rows = zip(kept.target_box[mine], (kept.names[c][:LONGEST] for c in kept.target_cls[mine]), strict=True)
    return _draw(image, kept.shape[i], [(box, name, TRUE) for box, name in rows])


def _predicted(image: np.ndarray, kept: Predictions, i: int) -> str:
    mine = np.flatnonzero((kept.image == i) & (kept.conf >= CONFIDENCE))
    mine = mine[np.argsort(~kept.tp[mine, 0], kind="stable")]  # the wrong ones last, on top
    boxes = []
    for d in mine:
        right = kept.tp[d, 0]
        label = "" if right else f"{kept.names[kept.cls[d]][:LONGEST]} {kept.conf[d]:.2f}"
        boxes.append((kept.box[d], label, RIGHT if right else WRONG))
    return _draw(image, kept.shape[i], boxes)


def _draw(image: np.ndarray, shape: np.ndarray, boxes: list) -> str:
    """Return the image with boxes (in pixels of `shape`, its height and width) as a data URI."""
    from ultralytics.utils.plotting import Annotator

    scale = min(WIDTH / image.shape[1], TALLEST / image.shape[0])
    size = [max(1, round(scale * n)) for n in image.shape[1::-1]]
    drawing = np.ascontiguousarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    )
    annotator = Annotator(drawing, line_width=1)
    scaled = [(box * np.tile(np.divide(size, shape[::-1]), 2), label, colour) for box, label, colour in boxes]
    corners = [([int(v) for v in (x, y, x + w, y + h)], label, colour) for (x, y, w, h), label, colour in scaled]
    for width, edge, text in ((4, True, False), (2, False, False), (2, False, True)):
        annotator.lw = width
        for box, label, colour in corners:
            if label or not text:  # labels come last, above all boxes; the dark edge shows a box on a bright image
                annotator.box_label(box, label if text else "", (0, 0, 0) if edge else colour, (0, 0, 0))
    _, jpeg = cv2.imencode(".jpg", annotator.result(), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
