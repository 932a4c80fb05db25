"""Draw images with captions, for `diffattn clip-train`: `python scripts/captions.py folder [seed] [views]`.

Two shapes, each with a shape, a colour and a size, and where the one is of the other. No caption is in both splits.
"""

import csv
import itertools
import sys
from pathlib import Path

import cv2
import numpy as np

COLOURS = {
    "red": (40, 40, 220), "green": (60, 180, 60), "blue": (220, 90, 40), "yellow": (50, 220, 230),
    "white": (245, 245, 245), "purple": (180, 60, 150),
}  # fmt: skip
SHAPES = "circle", "square", "triangle", "cross"
POSITIONS = {"above": ((32, 17), (32, 47)), "left of": ((17, 32), (47, 32))}


def draw(rng, things, position):
    """Return an image of 64 x 64 px, BGR."""
    image = np.full((64, 64, 3), rng.integers(60, 140), np.uint8)
    for (colour, shape), centre in zip(things, POSITIONS[position], strict=True):
        x, y = (int(v) for v in np.add(centre, rng.integers(-4, 5, 2)))
        r = int(rng.integers(8, 13))
        bgr = [int(v) for v in np.clip(np.add(COLOURS[colour], rng.integers(-15, 16, 3)), 0, 255)]
        if shape == "circle":
            cv2.circle(image, (x, y), r, bgr, -1, cv2.LINE_AA)
        elif shape == "square":
            cv2.rectangle(image, (x - r, y - r), (x + r, y + r), bgr, -1)
        elif shape == "triangle":
            cv2.fillPoly(image, [np.array([(x, y - r), (x - r, y + r), (x + r, y + r)])], bgr, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x - r, y - 3), (x + r, y + 3), bgr, -1)
            cv2.rectangle(image, (x - 3, y - r), (x + 3, y + r), bgr, -1)
    noise = rng.normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def main(folder, seed=0, views=16):
    """Write `train.csv`, `val.csv` and their images, `views` of each caption in train; 200 of 1,104 are held out."""
    rng = np.random.default_rng(seed)
    things = list(itertools.product(COLOURS, SHAPES))
    every = [(a, b, position) for a, b in itertools.permutations(things, 2) for position in POSITIONS]
    rng.shuffle(every := np.array(every, dtype=object))
    for split, chosen, drawings in (("val", every[:200], 1), ("train", every[200:], views)):
        (Path(folder) / split).mkdir(parents=True, exist_ok=True)
        rows = [("image", "caption")]
        for i, (a, b, position) in enumerate(chosen):
            for view in range(drawings):
                name = f"{split}/{i:04}-{view}.png"
                cv2.imwrite(str(Path(folder) / name), draw(rng, (a, b), position))
                rows.append((name, f"a {' '.join(a)} {position} a {' '.join(b)}"))
        with open(Path(folder) / f"{split}.csv", "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) < 2 or "help" in sys.argv[1]:
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
