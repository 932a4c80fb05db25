# Ultralytics DiffAttn - AGPL-3.0 License
"""Attention maps as a picture: what was found, and for each object a row of maps over the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ultralytics_diffattn.maps.attention_maps import BlockMaps, ImageMaps, over_image

PANEL, DETECTIONS = 240, 480  # pixels of the longer side
GAP, LABELS, LINE, TEXT = 6, 184, 20, 15  # between panels; for the labels beside a row; a line; its letters
LEAST = 3.0  # times uniform attention at the end of a scale, else a map that is all but uniform would be full of colour
MORE, LESS = (213, 94, 0), (0, 114, 178)  # vermilion and blue of Okabe and Ito: the colour-blind can tell them apart
MARK = (255, 0, 255)
INK, SOFT = (28, 32, 36), (84, 92, 102)
PLAIN, A1, A2, SUBTRACTED, DIFFERENCE = "baseline", "A1", "A2", "λ·A2", "A1 − λ·A2"


class Row(NamedTuple):
    """One row of maps, laid over the image, as multiples of what uniform attention would give."""

    index: int  # of the object
    texts: list[str]
    maps: dict[str, Tensor]  # by title, (height, width)
    strongest: float  # what is drawn at full strength


def draw(maps: ImageMaps, blocks: list[list[str]] | None = None, heads: list[int | None] | None = None) -> np.ndarray:
    """Draw an image's detections, and below them the maps of each object.

    All panels of a row share one scale, whose end is the 99th percentile of the row's softmax maps, or three times what
    uniform attention would give. Orange is positive, blue negative, and what is not attended to stays grey.

    Args:
        maps (ImageMaps): From `attention_maps`.
        blocks (list[list[str]], optional): Names of attention blocks, in groups of which the mean makes a row; by
            default each by itself.
        heads (list[int | None], optional): Heads, each in a row, None for their mean; by default that.

    Returns:
        (np.ndarray): (height, width, 3), uint8, RGB.

    Examples:
        >>> from ultralytics_diffattn import attention_maps
        >>> (maps,) = attention_maps("yolo11n-diffattn.yaml", np.zeros((48, 64, 3), np.uint8), xy=(32, 24), imgsz=64)
        >>> draw(maps).shape
        (584, 1414, 3)
    """
    image = picture(maps)
    small = resized(image, PANEL)
    gray = faded(small)
    rows = list(rows_of(maps, small.shape[:2], blocks, heads))
    found = resized(_detections(maps, image), DETECTIONS)
    columns = list(max((row.maps for row in rows), key=len, default={}))  # not every block has a counterpart
    h, w = small.shape[:2]
    tall = max(h, 5 * LINE) + GAP
    top = max(found.shape[0], 7 * LINE) + 2 * GAP
    width = LABELS + max((1 + len(columns)) * (w + GAP), DETECTIONS + 360)
    canvas = Image.new("RGB", (width, top + (LINE + GAP + len(rows) * tall if rows else 0)), "white")
    pen, text_font = ImageDraw.Draw(canvas), font(TEXT)
    canvas.paste(Image.fromarray(found), (GAP, GAP))
    for i, text in enumerate(_legend(maps, rows)):
        pen.text((found.shape[1] + 3 * GAP, GAP + i * LINE), text, INK if i == 0 else SOFT, text_font)
    for j, title in enumerate(("object", *columns) if rows else ()):
        pen.text((LABELS + j * (w + GAP), top), title, INK, text_font)
    for i, row in enumerate(rows):
        y = top + LINE + GAP + i * tall
        for n, text in enumerate(row.texts):
            pen.text((GAP, y + n * LINE), text, INK if n == 0 else SOFT, text_font)
        canvas.paste(Image.fromarray(marked(small, maps, row.index)), (LABELS, y))
        for title, laid in row.maps.items():
            j = 1 + columns.index(title)
            canvas.paste(Image.fromarray(painted(gray, laid / row.strongest)), (LABELS + j * (w + GAP), y))
    return np.asarray(canvas)


def rows_of(
    maps: ImageMaps,
    size: tuple[int, int],
    blocks: list[list[str]] | None = None,
    heads: list[int | None] | None = None,
) -> Iterator[Row]:
    """Yield the rows of all objects.

    Args:
        maps (ImageMaps): From `attention_maps`.
        size (tuple[int, int]): Height and width of a panel.
        blocks (list[list[str]], optional): As for `draw`.
        heads (list[int | None], optional): As for `draw`.

    Yields:
        (Row): Object by object, block by block, head by head.
    """
    for i, label in enumerate(maps.labels):
        for names in blocks or [[name] for name in maps.blocks]:
            group = [(maps.blocks[name], counterpart(name, maps.blocks[name], maps.baseline)) for name in names]
            fewest = min(block.a1.shape[1] for block, _ in group)
            for head in heads or [None]:
                if head is not None and head >= fewest:
                    continue
                each = [_laid(block, plain, i, head, size) for block, plain in group]
                titles = max(each, key=len)  # plain blocks, and those without counterpart, have fewer
                laid = {t: torch.stack([one[t] for one in each if t in one]).mean(0) for t in titles}
                softmax = torch.stack([laid[t] for t in (PLAIN, A1, A2) if t in laid]).flatten()
                strongest = max(float(softmax.quantile(0.99)), LEAST)
                texts = [f"{i + 1}  {label}", names[0].removeprefix("model.") if len(names) == 1 else "mean of blocks"]
                texts.append("mean of heads" if head is None else f"head {head}")
                lam = [
                    block.lam.mean() if head is None else block.lam[head] for block, _ in group if block.lam is not None
                ]
                texts += [f"λ = {float(sum(lam) / len(lam)):.3f}"] if lam else []
                yield Row(i, [*texts, f"full colour: {strongest:.1f} ×"], laid, strongest)


def counterpart(name: str, block: BlockMaps, baseline: dict[str, BlockMaps]) -> BlockMaps | None:
    """Return the baseline's maps to show beside a block's: of the same name, else the last on a grid of the same size.

    Args:
        name (str): Of the block.
        block (BlockMaps): The block.
        baseline (dict[str, BlockMaps]): Of the baseline.

    Returns:
        (BlockMaps | None): None if there is none.
    """
    alike = [b for b in baseline.values() if b.a1.shape[-2:] == block.a1.shape[-2:]]
    return baseline.get(name) or (alike[-1] if alike else None)


def titled(block: BlockMaps, plain: BlockMaps | None) -> dict[str, tuple[BlockMaps, Tensor]]:
    """Return the maps of a block in the order of the columns.

    Args:
        block (BlockMaps): The block.
        plain (BlockMaps, optional): The baseline's.

    Returns:
        (dict[str, tuple[BlockMaps, Tensor]]): By title, whose grid the map is on, and the map, (objects, heads, h, w).
    """
    shown = {} if plain is None else {PLAIN: (plain, plain.a1)}
    shown[A1] = block, block.a1
    if block.a2 is not None:
        shown |= {A2: (block, block.a2), SUBTRACTED: (block, block.subtracted), DIFFERENCE: (block, block.difference)}
    return shown


def picture(maps: ImageMaps) -> np.ndarray:
    """Return the image, (height, width, 3), uint8, RGB; of one with other channels than three the first, in grey.

    Args:
        maps (ImageMaps): From `attention_maps`.

    Returns:
        (np.ndarray): A copy.
    """
    image = maps.result.orig_img
    image = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else np.atleast_3d(image)[..., [0, 0, 0]]
    return np.ascontiguousarray(image)


def resized(image: np.ndarray, longest: int) -> np.ndarray:
    """Return an image of which the longer side has a given length.

    Args:
        image (np.ndarray): (height, width, 3), uint8.
        longest (int): Pixels.

    Returns:
        (np.ndarray): (height, width, 3), uint8.

    Examples:
        >>> resized(np.zeros((30, 60, 3), np.uint8), 100).shape
        (50, 100, 3)
    """
    scale = longest / max(image.shape[:2])
    size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def faded(image: np.ndarray) -> np.ndarray:
    """Return an image in light grey, as the ground for `painted`.

    Args:
        image (np.ndarray): (height, width, 3), uint8, RGB.

    Returns:
        (np.ndarray): (height, width, 3), float.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    return gray * np.float32(0.5) + 110


def painted(ground: np.ndarray, strength: Tensor) -> np.ndarray:
    """Lay a map over an image: orange where it is positive, blue where negative, as it is where it is zero.

    Args:
        ground (np.ndarray): (height, width, 3), 0 to 255.
        strength (Tensor): (height, width); at 1 and -1 the colours are full.

    Returns:
        (np.ndarray): (height, width, 3), uint8.

    Examples:
        >>> painted(np.full((1, 1, 3), 200.0), torch.zeros(1, 1)).tolist()
        [[[200, 200, 200]]]
    """
    value = strength.numpy()[..., None]
    alpha = 0.9 * np.minimum(np.abs(value), 1)
    colour = np.where(value > 0, np.float32(MORE), np.float32(LESS))
    return (ground * (1 - alpha) + colour * alpha + 0.5).astype(np.uint8)


def marked(image: np.ndarray, maps: ImageMaps, i: int) -> np.ndarray:
    """Return an image with the box of an object on it, or a cross where its point is.

    Args:
        image (np.ndarray): The image, of any size, (height, width, 3), uint8.
        maps (ImageMaps): From `attention_maps`.
        i (int): The object.

    Returns:
        (np.ndarray): A copy.
    """
    height, width = maps.result.orig_shape
    h, w = image.shape[:2]
    left, top, right, bottom = (
        round(float(v) * s) for v, s in zip(maps.boxes[i], (w / width, h / height) * 2, strict=True)
    )
    if (left, top) == (right, bottom):
        return cv2.drawMarker(image.copy(), (left, top), MARK, cv2.MARKER_CROSS, 16, 2)
    corners = (max(left, 1), max(top, 1)), (min(right, w - 2), min(bottom, h - 2))
    return cv2.rectangle(image.copy(), *corners, MARK, 2)


def _laid(
    block: BlockMaps, plain: BlockMaps | None, i: int, head: int | None, size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return an object's maps over the image by title, of a head or of the heads' mean, as multiples of uniform."""
    laid = {}
    for title, (home, m) in titled(block, plain).items():
        one = m[i].mean(0) if head is None or head >= m.shape[1] else m[i, head]
        laid[title] = over_image(one * one.numel(), home.window, size)
    return laid


def _detections(maps: ImageMaps, image: np.ndarray) -> np.ndarray:
    """Return the image with ultralytics' own drawing of what was found."""
    line = max(1, round(2.4 * max(image.shape[:2]) / DETECTIONS))
    return maps.result.plot(img=image[..., ::-1].copy(), line_width=line)[..., ::-1]


def _legend(maps: ImageMaps, rows: list[Row]) -> list[str]:
    """Return the lines beside the detections."""
    h, w = maps.result.orig_shape
    lines = [f"{Path(maps.result.path).name}, {w} × {h} pixels"]
    if not rows:
        return [*lines, "Nothing was found: lower conf=, or give a point, xy=x,y."]
    titles = rows[0].maps
    lines += ["", "Where the tokens of each object attend to:"]
    lines += [f"{PLAIN}: the map of plain attention"] if PLAIN in titles else []
    lines += (
        ["A1, A2: the softmax maps; A1 − λ·A2: what weighs the values"] if A2 in titles else [f"{A1}: the softmax map"]
    )
    lines.append("orange: positive, blue: negative, one scale in each row,")
    lines.append("as multiples of uniform attention")
    return lines


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font that has λ and comes with a dependency.

    Args:
        size (int): Pixels.

    Returns:
        (PIL.ImageFont.FreeTypeFont): DejaVu Sans.
    """
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
