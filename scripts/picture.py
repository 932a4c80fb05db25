# Ultralytics DiffAttn - AGPL-3.0 License
"""Draw the picture of the bundled data set: `python scripts/picture.py docs/shapes.jpg`."""

import sys

import cv2
import numpy as np
from ultralytics.utils.plotting import Annotator, colors

from ultralytics_diffattn.data import shapes


def picture(seeds: tuple[int, ...]) -> np.ndarray:
    """Return one image for each seed beside the others, with its boxes and classes, (480, 480 * n, 3), uint8, BGR."""
    panels = []
    for seed in seeds:
        image, boxes = shapes.draw(np.random.default_rng([0, seed]))
        annotator = Annotator(cv2.resize(image, (480, 480), interpolation=cv2.INTER_CUBIC), line_width=2, font_size=13)
        for label, x, y, w, h in boxes:
            corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * 480
            annotator.box_label(corners.tolist(), shapes.NAMES[label], colors(label, bgr=True))
        panels.append(np.pad(annotator.result(), ((0, 0), (0, 8), (0, 0)), constant_values=255))
    return np.hstack(panels)[:, :-8]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Give the file: python scripts/picture.py docs/shapes.jpg")
    if not cv2.imwrite(sys.argv[1], picture((0, 2, 4)), [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise SystemExit(f"{sys.argv[1]} could not be written: does its folder exist?")
