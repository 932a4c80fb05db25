# Ultralytics DiffAttn - AGPL-3.0 License
"""Attention maps as a picture: the detections, and for each object a row of maps over the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ultralytics_diffattn.maps.attention_maps import BlockMaps, ImageMaps
from ultralytics_diffattn.maps.geometry import over_image

PANEL, DETECTIONS = 240, 480  # pixels of the longer side
GAP, LABELS, LINE, TEXT = 6, 184, 20, 15  # pixels: between panels, for a row's labels, height of a line and of letters
MINIMUM_SCALE = 3.0  # times uniform attention: a map that is all but uniform is not to be full of colour
POSITIVE, NEGATIVE = (213, 94, 0), (0, 114, 178)  # Okabe and Ito's vermilion and blue, for all eyes
MARK = (255, 0, 255)
INK, SOFT = (28, 32, 36), (84, 92, 102)
PLAIN, A1, A2, SUBTRACTED, DIFFERENCE = "baseline", "A1", "A2", "λ·A2", "A1 − λ·A2"


@dataclass(frozen=True)
class Row:
    """One row of maps over the image, in multiples of uniform attention.

    Attributes:
        index (int): Of the object.
        labels (list[str]): Lines of text to the left of the row.
        maps (dict[str, Tensor]): By title of the column, (height, width).
        scale (float): The value at which colours are full.
    """

    index: int
    labels: list[str]
    maps: dict[str, Tensor]
    scale: float


def draw(
    maps: ImageMaps, blocks: Sequence[Sequence[str]] | None = None, heads: Sequence[int | None] | None = None
) -> np.ndarray:
    """Draw an image's detections, and below them the maps of each object.

    All panels of a row share one scale, whose end is the 99th percentile of the row's softmax maps, at least three
    times uniform attention. Orange is positive, blue negative, grey is zero.

    Args:
        maps (ImageMaps): From `attention_maps`.
        blocks (Sequence[Sequence[str]], optional): Names of attention blocks, in groups of which the mean makes a row;
            by default each by itself.
        heads (Sequence[int | None], optional): Heads, each in a row, None for their mean; by default the mean alone.

    Returns:
        (np.ndarray): (height, width, 3), uint8, RGB.

    Examples:
        >>> from ultralytics_diffattn import attention_maps
        >>> (maps,) = attention_maps("yolo11n-diffattn.yaml", np.zeros((48, 64, 3), np.uint8), xy=(32, 24), imgsz=64)
        >>> draw(maps).shape
        (584, 1414, 3)
    """
    image = rgb_image(maps)
    thumbnail = resized(image, PANEL)
    h, w = thumbnail.shape[:2]
    rows = list(iterate_rows(maps, (h, w), blocks, heads))
    detections = resized(_detections(maps, image), DETECTIONS)
    columns = max((list(row.maps) for row in rows), key=lambda titles: len(titles), default=[])  # some rows lack some
    row_height = max(h, 5 * LINE) + GAP
    top = max(detections.shape[0], 7 * LINE) + 2 * GAP
    width = LABELS + max((1 + len(columns)) * (w + GAP), DETECTIONS + 360)
    canvas = Image.new("RGB", (width, top + (LINE + GAP + len(rows) * row_height if rows else 0)), "white")
    pen, letters = ImageDraw.Draw(canvas), font(TEXT)
    canvas.paste(Image.fromarray(detections), (GAP, GAP))
    _write(pen, (detections.shape[1] + 3 * GAP, GAP), _legend(maps, rows), letters)
    for j, title in enumerate(("object", *columns) if rows else ()):
        pen.text((LABELS + j * (w + GAP), top), title, INK, letters)
    background = faded(thumbnail)
    for i, row in enumerate(rows):
        y = top + LINE + GAP + i * row_height
        _write(pen, (GAP, y), row.labels, letters)
        canvas.paste(Image.fromarray(marked(thumbnail, maps, row.index)), (LABELS, y))
        for title, values in row.maps.items():
            x = LABELS + (1 + columns.index(title)) * (w + GAP)
            canvas.paste(Image.fromarray(painted(background, values / row.scale)), (x, y))
    return np.asarray(canvas)


def iterate_rows(
    maps: ImageMaps,
    size: tuple[int, int],
    blocks: Sequence[Sequence[str]] | None = None,
    heads: Sequence[int | None] | None = None,
) -> Iterator[Row]:
    """Yield the rows of all objects.

    Args:
        maps (ImageMaps): From `attention_maps`.
        size (tuple[int, int]): Height and width of a panel, in pixels.
        blocks (Sequence[Sequence[str]], optional): As for `draw`.
        heads (Sequence[int | None], optional): As for `draw`; those that a block lacks are left out.

    Yields:
        (Row): Object by object, block by block, head by head.
    """
    for i in range(len(maps.labels)):
        for names in blocks or [[name] for name in maps.blocks]:
            head_count = min(maps.blocks[name].a1.shape[1] for name in names)
            for head in heads or [None]:
                if head is None or head < head_count:
                    yield _row(maps, i, names, head, size)


def counterpart(name: str, block: BlockMaps, baseline: dict[str, BlockMaps]) -> BlockMaps | None:
    """Return the baseline's maps to show beside a block's: of the same name, else the last on a grid of the same size.

    Args:
        name (str): Of the block.
        block (BlockMaps): The block.
        baseline (dict[str, BlockMaps]): All blocks of the baseline.

    Returns:
        (BlockMaps | None): None if no grid has this size.

    Examples:
        >>> block = BlockMaps(torch.rand(1, 2, 3, 4), None, None, (0, 0, 4, 3))
        >>> counterpart("model.10.m.0.attn", block, {"model.11.attn": block}) is block
        True
    """
    alike = [b for b in baseline.values() if b.a1.shape[-2:] == block.a1.shape[-2:]]
    return baseline.get(name) or (alike[-1] if alike else None)


def titled(block: BlockMaps, plain: BlockMaps | None) -> dict[str, tuple[BlockMaps, Tensor]]:
    """Return the maps of a block in the order of the columns.

    Args:
        block (BlockMaps): The block.
        plain (BlockMaps, optional): The baseline's.

    Returns:
        (dict[str, tuple[BlockMaps, Tensor]]): By title the block whose grid the map is on, and the map,
            (objects, heads, h, w).

    Examples:
        >>> block = BlockMaps(torch.rand(1, 2, 3, 4), torch.rand(1, 2, 3, 4), torch.rand(2), (0, 0, 4, 3))
        >>> list(titled(block, None))[:3]
        ['A1', 'A2', 'λ·A2']
    """
    columns = {} if plain is None else {PLAIN: (plain, plain.a1)}
    columns[A1] = block, block.a1
    subtracted = block.subtracted
    if block.a2 is not None and subtracted is not None:
        columns |= {A2: (block, block.a2), SUBTRACTED: (block, subtracted), DIFFERENCE: (block, block.difference)}
    return columns


def rgb_image(maps: ImageMaps) -> np.ndarray:
    """Return the image as RGB; of one with other channels than three the first, in grey.

    Args:
        maps (ImageMaps): From `attention_maps`.

    Returns:
        (np.ndarray): (height, width, 3), uint8, a copy.
    """
    image = maps.result.orig_img
    image = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else np.atleast_3d(image)[..., [0, 0, 0]]
    return np.ascontiguousarray(image)


def resized(image: np.ndarray, longest: int) -> np.ndarray:
    """Return an image whose longer side has a given length.

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
    h, w = (max(1, round(n * scale)) for n in image.shape[:2])
    return np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def faded(image: np.ndarray) -> np.ndarray:
    """Return an image in light grey, as the background for `painted`.

    Args:
        image (np.ndarray): (height, width, 3), uint8, RGB.

    Returns:
        (np.ndarray): (height, width, 3), float32, 110 to 237.5.

    Examples:
        >>> faded(np.full((1, 1, 3), 100, np.uint8)).tolist()
        [[[160.0, 160.0, 160.0]]]
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    return np.asarray(gray * np.float32(0.5) + 110)


def painted(background: np.ndarray, values: Tensor) -> np.ndarray:
    """Return a map over an image: orange where it is positive, blue where negative, transparent where it is zero.

    Args:
        background (np.ndarray): (height, width, 3), 0 to 255.
        values (Tensor): (height, width); from 1 and -1 on, colours are full.

    Returns:
        (np.ndarray): (height, width, 3), uint8.

    Examples:
        >>> painted(np.full((1, 1, 3), 200.0), torch.zeros(1, 1)).tolist()
        [[[200, 200, 200]]]
    """
    value = values.numpy()[..., None]
    alpha = 0.9 * np.minimum(np.abs(value), 1)
    colour = np.where(value > 0, np.array(POSITIVE, np.float32), np.array(NEGATIVE, np.float32))
    return np.asarray((background * (1 - alpha) + colour * alpha + 0.5).astype(np.uint8))


def marked(image: np.ndarray, maps: ImageMaps, index: int) -> np.ndarray:
    """Return an image with the box of an object on it, or a cross where its point is.

    Args:
        image (np.ndarray): The image, of any size, (height, width, 3), uint8.
        maps (ImageMaps): From `attention_maps`.
        index (int): Of the object.

    Returns:
        (np.ndarray): (height, width, 3), uint8, a copy.
    """
    height, width = maps.result.orig_shape
    h, w = image.shape[:2]
    left, top, right, bottom = (
        round(float(v) * s) for v, s in zip(maps.boxes[index], (w / width, h / height) * 2, strict=True)
    )
    if (left, top) == (right, bottom):
        return np.asarray(cv2.drawMarker(image.copy(), (left, top), MARK, cv2.MARKER_CROSS, 16, 2))
    corners = (max(left, 1), max(top, 1)), (min(right, w - 2), min(bottom, h - 2))
    return np.asarray(cv2.rectangle(image.copy(), *corners, MARK, 2))


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which has λ and comes with Matplotlib.

    Args:
        size (int): Pixels.

    Returns:
        (PIL.ImageFont.FreeTypeFont): The font.

    Examples:
        >>> font(15).getname()
        ('DejaVu Sans', 'Book')
    """
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _row(maps: ImageMaps, index: int, names: Sequence[str], head: int | None, size: tuple[int, int]) -> Row:
    """Return the row of an object: the mean over a group of blocks, of one head or of the heads' mean."""
    group = [(maps.blocks[name], counterpart(name, maps.blocks[name], maps.baseline)) for name in names]
    each = [_overlays(block, plain, index, head, size) for block, plain in group]
    titles = max(each, key=lambda m: len(m))  # plain blocks, and those without counterpart, have fewer
    means = {title: torch.stack([one[title] for one in each if title in one]).mean(0) for title in titles}
    softmax = torch.stack([means[title] for title in (PLAIN, A1, A2) if title in means]).flatten()
    scale = max(float(softmax.quantile(0.99)), MINIMUM_SCALE)
    lambdas = [float(b.lam.mean() if head is None else b.lam[head]) for b, _ in group if b.lam is not None]
    labels = [
        f"{index + 1}  {maps.labels[index]}",
        names[0].removeprefix("model.") if len(names) == 1 else "mean of blocks",
        "mean of heads" if head is None else f"head {head}",
        *([f"λ = {sum(lambdas) / len(lambdas):.3f}"] if lambdas else []),
        f"full colour: {scale:.1f} ×",
    ]
    return Row(index, labels, means, scale)


def _overlays(
    block: BlockMaps, plain: BlockMaps | None, index: int, head: int | None, size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return an object's maps over the image by title, in multiples of uniform attention."""
    overlays = {}
    for title, (home, m) in titled(block, plain).items():
        one = m[index].mean(0) if head is None or head >= m.shape[1] else m[index, head]
        overlays[title] = over_image(one * one.numel(), home.window, size)
    return overlays


def _detections(maps: ImageMaps, image: np.ndarray) -> np.ndarray:
    """Return the image with ultralytics' own drawing of the detections."""
    line_width = max(1, round(2.4 * max(image.shape[:2]) / DETECTIONS))
    return np.asarray(maps.result.plot(img=image[..., ::-1].copy(), line_width=line_width))[..., ::-1]


def _legend(maps: ImageMaps, rows: list[Row]) -> list[str]:
    """Return the lines beside the detections."""
    h, w = maps.result.orig_shape
    lines = [f"{Path(maps.result.path).name}, {w} × {h} pixels"]
    if not rows:
        return [*lines, "No object was detected: lower conf=, or give a point, xy=x,y."]
    titles = rows[0].maps
    lines += ["", "Where the tokens of each object attend to:"]
    lines += [f"{PLAIN}: the map of plain attention"] if PLAIN in titles else []
    lines += (
        ["A1, A2: the softmax maps; A1 − λ·A2: what weighs the values"] if A2 in titles else [f"{A1}: the softmax map"]
    )
    lines.append("orange: positive, blue: negative, one scale in each row,")
    lines.append("as multiples of uniform attention")
    return lines


def _write(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Sequence[str], letters: ImageFont.FreeTypeFont
) -> None:
    """Write lines below each other, the first in full ink."""
    for i, line in enumerate(lines):
        pen.text((corner[0], corner[1] + i * LINE), line, INK if i == 0 else SOFT, letters)
