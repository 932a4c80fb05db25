# Ultralytics DiffAttn - AGPL-3.0 License
"""What the objects of each class are taken for, counted as ultralytics' confusion matrix counts them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.evaluation.box_pairs import iou, pairs_of_image
from ultralytics_diffattn.evaluation.image_scores import ImageScores
from ultralytics_diffattn.evaluation.predictions import Predictions

CONFIDENCE = 0.25  # both are ultralytics' own
IOU = 0.45


class Confusions(NamedTuple):
    """Objects with what they are taken for, and predictions where nothing is; of objects, class C is the background.

    Attributes:
        true (np.ndarray): (K,) class of each object, C for a prediction that has none.
        predicted (np.ndarray): (K,) class of its prediction, C for an object that is missed.
        image (np.ndarray): (K,) index of the image.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    image: NDArray[np.int64]

    def matrix(self, classes: int) -> NDArray[np.int64]:
        """Return the number of each, (classes, classes) with the background, by true class, then by predicted one."""
        counts: NDArray[np.int64] = np.bincount(self.true * classes + self.predicted, minlength=classes**2)
        return counts.reshape(classes, classes)


def confusions(p: Predictions) -> Confusions:
    """Return what the objects are taken for.

    Of the predictions with a score above 0.25, by falling score, each takes the free object that it overlaps most, of
    whatever class, with an IoU above 0.45. What is left over on either side goes with the background.

    Args:
        p (Predictions): With upright boxes.

    Returns:
        (Confusions): One for each object, and for each prediction without one.

    References:
        ultralytics/utils/metrics.py, `ConfusionMatrix.process_batch`.
    """
    sure = np.flatnonzero(p.conf > CONFIDENCE)
    sure = sure[np.lexsort((-p.conf[sure], p.image[sure]))]  # image by image, by falling score; ties as they come
    detection, target = pairs_of_image(p.image[sure], p.target_image, len(p.files))
    overlap = iou(p.box[sure[detection]], p.target_box[target])
    near = np.flatnonzero(overlap > IOU)
    near = near[np.lexsort((target[near], -overlap[near], detection[near]))]  # each detection's objects, the best first
    taken, owner = np.full(len(p.target_cls), -1), np.full(len(sure), -1)
    for d, t in zip(detection[near].tolist(), target[near].tolist(), strict=True):
        if taken[t] < 0 and owner[d] < 0:
            taken[t], owner[d] = d, t
    background, alone = len(p.names), owner < 0
    cls = np.append(p.cls[sure], background).astype(np.int64)  # the last is what -1 points to
    return Confusions(
        true=np.concatenate([p.target_cls, np.full(int(alone.sum()), background)]).astype(np.int64),
        predicted=np.concatenate([cls[taken], cls[:-1][alone]]),
        image=np.concatenate([p.target_image, p.image[sure][alone]]).astype(np.int64),
    )


def of_classes(scores: ImageScores) -> Confusions:
    """Return what images are taken for.

    Args:
        scores (ImageScores): Of classification.

    Returns:
        (Confusions): One for each image.
    """
    assert scores.target is not None
    assert scores.predicted is not None
    return Confusions(scores.target, scores.predicted, np.arange(len(scores.files)))
