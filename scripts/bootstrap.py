# Ultralytics DiffAttn - AGPL-3.0 License
"""Print time and memory of the bootstrap of `diffattn compare`: 1,000 resamples of 5,000 images, two models.

Detections are random in COCO's numbers: 200 for each image, 7 boxes, 80 classes of which few are frequent.
"""

import os
import time

import numpy as np
import torch

from ultralytics_diffattn.comparison.epochs import peak_memory
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.predictions import Predictions

IMAGES, DETECTIONS, BOXES, CLASSES = 5000, 200, 7, 80


def random_predictions(seed: int) -> Predictions:
    """Return predictions with one matched detection for each box, correct up to a random IoU threshold."""
    rng = np.random.default_rng(seed)
    target_image = np.repeat(np.arange(IMAGES), BOXES)
    target_cls = np.minimum(rng.geometric(0.1, len(target_image)) - 1, CLASSES - 1)
    image, cls = np.repeat(np.arange(IMAGES), DETECTIONS), rng.integers(0, CLASSES, IMAGES * DETECTIONS)
    matched = (np.arange(IMAGES)[:, None] * DETECTIONS + np.arange(BOXES)).ravel()  # one detection for each box
    cls[matched] = target_cls
    level = np.zeros(len(image), int)
    level[matched] = rng.integers(0, 11, len(matched))
    conf = (rng.random(len(image)) * (1 + level) / 11).astype(np.float32)
    tp = level[:, None] > np.arange(10)
    names, files = [str(c) for c in range(CLASSES)], [str(i) for i in range(IMAGES)]
    no_boxes = np.zeros((0, 4))
    return Predictions(names, files, no_boxes, tp, conf, cls, no_boxes, image, target_cls, no_boxes, target_image)


if __name__ == "__main__":
    runs = [bootstrap.prepare(random_predictions(seed)) for seed in range(2)]
    start = time.perf_counter()
    scores = bootstrap.resample(runs)
    seconds = time.perf_counter() - start
    print(
        f"{len(scores):,} resamples of {IMAGES:,} images, {len(runs)} models with {IMAGES * DETECTIONS:,} detections "
        f"each: {seconds:.0f} s on {os.cpu_count()} cores, peak memory {peak_memory(torch.device('cpu')) / 1e3:.2f} GB"
    )
