# Ultralytics DiffAttn - AGPL-3.0 License
"""Draws the bundled data set: striped shapes whose class depends on a key somewhere else in the image.

Each 320 x 320 image holds one key, a framed tile whose stripes run either across or down, some shapes with stripes of
their own, and unlabelled distractors with stripes, too. What a shape *is* (disc, square, triangle) can be read from its
own pixels; whether it is `same` or `other` can only be read by comparing its stripes with those of the key. A detector
without long-range context names the shape and guesses the rest.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ultralytics_diffattn.errors import ExistingFileError

SIZE = 320  # pixels
SHAPES = "disc", "square", "triangle"
NAMES = [f"{shape}_{relation}" for relation in ("same", "other") for shape in SHAPES]
COUNTS = {"train": 256, "val": 64}


def generate(root: str | Path, seed: int = 0) -> None:
    """Write the data set in Ultralytics layout, all of it or nothing; `cfg/datasets/shapes.yaml` calls this.

    Args:
        root (str | Path): Folder to create, with `images/` and `labels/` inside.
        seed (int): Seed of the first image; the same seed gives the same files.

    Raises:
        ExistingFileError: If `root` exists, is not empty and is not such a data set.
        OSError: If the files cannot be written.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()) / "shapes"
        >>> generate(root)
        >>> len(list(root.glob("images/train/*.jpg"))), len(list(root.glob("labels/val/*.txt")))
        (256, 64)
    """
    root = Path(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _write_split(draft, "train", [np.random.default_rng([seed, i]) for i in range(COUNTS["train"])])
        _write_split(draft, "val", [np.random.default_rng([seed, COUNTS["train"] + i]) for i in range(COUNTS["val"])])
        draft.chmod(0o755)  # mkdtemp's folders are for their owner alone
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        try:
            draft.rename(root)
        except OSError:
            if not root.exists():
                raise
            if not (root / "images" / "val").is_dir():  # else another process was faster
                raise ExistingFileError(
                    f"{root} holds something that is not the shapes data set: move it away, or set another `path:` in "
                    "a copy of shapes.yaml."
                ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_split(root: Path, split: str, rngs: Iterable[np.random.Generator]) -> None:
    """Write an image and its labels for each generator."""
    images, labels = (root / kind / split for kind in ("images", "labels"))
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i, rng in enumerate(rngs):
        image, boxes = draw(rng)
        file = images / f"{i:04}.jpg"
        if not cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 90]):  # OpenCV raises nothing
            raise OSError(f"{file} could not be written: is there room on the disk, and the right to write?")
        rows = (f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in boxes)
        (labels / f"{i:04}.txt").write_text("".join(rows), encoding="utf-8")


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, float, float, float, float]]]:
    """Draw one image.

    Args:
        rng (np.random.Generator): Source of everything that varies.

    Returns:
        image (np.ndarray): (320, 320, 3), uint8, BGR.
        boxes (list): A row (class, x, y, width, height) for each shape, centres and sides in shares of the image.

    Examples:
        >>> image, boxes = draw(np.random.default_rng(0))
        >>> image.shape, len(boxes) >= 2
        ((320, 320, 3), True)
    """
    image = _background(rng)
    taken: list[tuple[int, int, int]] = []
    boxes = []
    key_across = bool(rng.integers(2))
    key = _free_square(rng, taken, 44, 60)
    assert key is not None, "the first square is always free"
    x, y, side = key
    _paint(rng, image, _mask("square", x, y, side), key_across)
    cv2.rectangle(image, (x, y), (x + side, y + side), (255, 255, 255), 5)
    cv2.rectangle(image, (x, y), (x + side, y + side), (0, 0, 0), 2)
    for _ in range(rng.integers(2, 6)):
        square = _free_square(rng, taken, 40, 96)
        if square is None:
            break
        shape, across = int(rng.integers(len(SHAPES))), bool(rng.integers(2))
        x, y, w, h = _paint(rng, image, _mask(SHAPES[shape], *square), across)
        label = shape + len(SHAPES) * (across != key_across)
        boxes.append((label, (x + w / 2) / SIZE, (y + h / 2) / SIZE, w / SIZE, h / SIZE))
    for _ in range(rng.integers(3, 7)):
        square = _free_square(rng, taken, 24, 56)
        if square is not None:
            _paint(rng, image, _mask("cross" if rng.integers(2) else "bar", *square), bool(rng.integers(2)))
    noise = rng.integers(-10, 11, image.shape, dtype=np.int16)
    return np.clip(image + noise, 0, 255).astype(np.uint8), boxes


def _background(rng: np.random.Generator) -> np.ndarray:
    """Return a cloudy image, (320, 320, 3), uint8."""
    coarse = rng.integers(60, 196, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _free_square(
    rng: np.random.Generator, taken: list[tuple[int, int, int]], smallest: int, largest: int
) -> tuple[int, int, int] | None:
    """Return the corner and side of a free square, which is taken from then on, or None after 50 tries."""
    for _ in range(50):
        side = int(rng.integers(smallest, largest + 1))
        x, y = (int(v) for v in rng.integers(4, SIZE - side - 4, 2))
        if all(x > a + s + 4 or a > x + side + 4 or y > b + s + 4 or b > y + side + 4 for a, b, s in taken):
            taken.append((x, y, side))
            return x, y, side
    return None


def _mask(shape: str, x: int, y: int, side: int) -> np.ndarray:
    """Return the pixels of a shape in the square at (x, y), (320, 320), uint8, 255 inside."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if shape == "disc":
        cv2.circle(mask, (x + side // 2, y + side // 2), side // 2, 255, -1)
    elif shape == "square":
        cv2.rectangle(mask, (x, y), (x + side, y + side), 255, -1)
    elif shape == "triangle":
        cv2.fillPoly(mask, [np.array([(x + side // 2, y), (x, y + side), (x + side, y + side)])], 255)
    elif shape == "cross":
        cv2.line(mask, (x, y), (x + side, y + side), 255, side // 4)
        cv2.line(mask, (x + side, y), (x, y + side), 255, side // 4)
    else:  # bar
        cv2.line(mask, (x, y + side), (x + side, y), 255, side // 3)
    return mask


def _paint(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, across: bool) -> tuple[int, int, int, int]:
    """Fill the mask with stripes of two colours that run across the image or down, and return its box (x, y, w, h)."""
    x, y, w, h = cv2.boundingRect(mask)
    period, phase = rng.uniform(8, 14), rng.uniform(0, 2 * np.pi)
    dark, light = rng.integers(0, 90, 3), rng.integers(165, 256, 3)
    position = np.arange(h)[:, None] if across else np.arange(w)[None, :]
    bright = np.sin(position * 2 * np.pi / period + phase) > 0  # (h, 1) or (1, w)
    stripes = np.where(np.broadcast_to(bright, (h, w))[..., None], light, dark)  # (h, w, 3)
    inside = mask[y : y + h, x : x + w] > 0
    image[y : y + h, x : x + w][inside] = stripes[inside]
    return x, y, w, h
