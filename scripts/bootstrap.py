"""Time and memory of the bootstrap that `diffattn compare` makes: 1,000 resamples of 5,000 images, two models.

Detections are made up in COCO's numbers: 200 for each image, 7 boxes, 80 classes of which few are frequent.
"""

import os
import time

import numpy as np
import torch

from ultralytics_diffattn.comparison.epochs import peak_memory
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.predictions import Predictions

IMAGES, DETECTIONS, BOXES, CLASSES = 5000, 200, 7, 80


def made_up(seed: int) -> Predictions:
    """Return predictions of which about every seventh box's best is right, at falling IoU."""
    rng = np.random.default_rng(seed)
    target_image = np.repeat(np.arange(IMAGES), BOXES)
    target_cls = np.minimum(rng.geometric(0.1, len(target_image)) - 1, CLASSES - 1)
    image, cls = np.repeat(np.arange(IMAGES), DETECTIONS), rng.integers(0, CLASSES, IMAGES * DETECTIONS)
    hit = (np.arange(IMAGES)[:, None] * DETECTIONS + np.arange(BOXES)).ravel()  # one detection for each box
    cls[hit] = target_cls
    level = np.zeros(len(image), int)
    level[hit] = rng.integers(0, 11, len(hit))
    conf = (rng.random(len(image)) * (1 + level) / 11).astype(np.float32)
    tp = level[:, None] > np.arange(10)
    names, files = [str(c) for c in range(CLASSES)], [str(i) for i in range(IMAGES)]
    none = np.zeros((0, 4))
    return Predictions(names, files, none, tp, conf, cls, none, image, target_cls, none, target_image)


if __name__ == "__main__":
    runs = [bootstrap.prepare(made_up(seed)) for seed in range(2)]
    start = time.perf_counter()
    found = bootstrap.resample(runs)
    seconds = time.perf_counter() - start
    print(
        f"{len(found):,} resamples of {IMAGES:,} images, {len(runs)} models with {IMAGES * DETECTIONS:,} detections "
        f"each: {seconds:.0f} s on {os.cpu_count()} cores, peak memory {peak_memory(torch.device('cpu')) / 1e3:.2f} GB"
    )
