# Ultralytics DiffAttn - AGPL-3.0 License
"""One forward pass, kept: its boxes, and the queries and keys that the maps of any box are computed from."""

from __future__ import annotations

from copy import copy
from typing import Any, NamedTuple, cast

import numpy as np
from torch import Tensor
from ultralytics.engine.results import Results

from ultralytics_diffattn.demo.detectors import Detector, Pair
from ultralytics_diffattn.maps.attention_maps import (
    BlockMaps,
    block_maps,
    detections,
    training_imgsz,
)
from ultralytics_diffattn.maps.hooks import Recording

LEAST_CONFIDENCE = 0.05  # where the page's slider ends; above it, boxes are hidden and not predicted anew
MAX_BOXES = 100


class Pass(NamedTuple):
    """A forward pass of one model for one image."""

    detector: Detector
    result: Results
    recording: Recording

    def maps(self, boxes: Tensor) -> dict[str, BlockMaps]:
        """Return the attention maps of boxes in pixels of the image, (objects, 4), by block."""
        return block_maps(self.recording, 0, self.detector.yolo, self.result, boxes)

    def boxes(self) -> list[dict[str, Any]]:
        """Return the boxes for the page: corners in pixels of the image, class and score, score."""
        result = self.result
        if all(found is None for found in (result.boxes, result.obb, result.probs)):
            return []  # a task without boxes: its points can be looked at
        found: Any = result.obb if result.obb is not None else result.boxes
        scores = [float(result.probs.top1conf)] if result.probs is not None else found.conf.tolist()
        corners, labels = detections(result)
        rows = zip(corners.tolist(), labels, scores, strict=True)
        return [{"box": [round(v, 1) for v in box], "label": label, "score": score} for box, label, score in rows]


def forward(detector: Detector, image: np.ndarray, imgsz: int | list[int], lam: float | None = None) -> Pass:
    """Predict, and keep what the maps need.

    Args:
        detector (Detector): The model.
        image (np.ndarray): (height, width, 3), uint8, BGR.
        imgsz (int | list[int]): Size of the network's input, in pixels.
        lam (float, optional): Lambda by hand, in place of what the model has learned.

    Returns:
        (Pass): With all boxes above `LEAST_CONFIDENCE`.

    Examples:
        >>> from ultralytics_diffattn.demo.detectors import from_command
        >>> from ultralytics_diffattn.demo.images import example
        >>> seen = forward(from_command("", "").model, example(0), 320)
        >>> import torch
        >>> len(seen.boxes()) > 0, list(seen.maps(torch.tensor([[3.0, 4.0, 50.0, 60.0]])))
        (True, ['model.8.m.0.attn', 'model.8.m.1.attn'])
    """
    args: dict[str, Any] = {"imgsz": imgsz, "conf": LEAST_CONFIDENCE, "max_det": MAX_BOXES, "verbose": False}
    with detector.lock:
        detector.lam = lam
        (result,) = detector.yolo.predict(image, **args)
        return Pass(detector, cast(Results, result), copy(detector.recording))


def both(pair: Pair, image: np.ndarray) -> tuple[Pass, Pass | None]:
    """Return the passes of both models for an image, at the size that the first was trained at.

    Args:
        pair (Pair): The models.
        image (np.ndarray): (height, width, 3), uint8, BGR.

    Returns:
        (tuple[Pass, Pass | None]): Of the model, and of the baseline if there is one.
    """
    imgsz = training_imgsz(pair.model.yolo)
    other = None if pair.baseline is None else forward(pair.baseline, image, imgsz)
    return forward(pair.model, image, imgsz), other
