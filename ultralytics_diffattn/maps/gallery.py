# Ultralytics DiffAttn - AGPL-3.0 License
"""The page of `diffattn attend`: its pictures, the share of attention inside each box, and the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ultralytics_diffattn.maps.attention_maps import BlockMaps, ImageMaps
from ultralytics_diffattn.maps.drawing import SUBTRACTED, counterpart, titled
from ultralytics_diffattn.maps.geometry import coverage
from ultralytics_diffattn.maps.measurement import Measurement
from ultralytics_diffattn.maps.statistics import map_statistics
from ultralytics_diffattn.maps.summary import EXPLANATION, TITLES, scope, summarize
from ultralytics_diffattn.output.html import template

TEMPLATE = Path(__file__).with_name("gallery.html.j2")


@dataclass(frozen=True)
class Entry:
    """One picture on the page.

    Attributes:
        file (str): Name of the picture, which lies beside the page.
        source (str): Name of the image.
        width (int): Of the picture, in pixels.
        height (int): Likewise.
        alt (str): Text in place of the picture.
        columns (list[str]): Heads of the table of shares inside boxes; empty if no object has a box.
        rows (list[list[str]]): A row for each object and block.
    """

    file: str
    source: str
    width: int
    height: int
    alt: str
    columns: list[str]
    rows: list[list[str]]


def page(
    model: str, baseline: str | None, command: str, entries: Sequence[Entry], measurement: Measurement | None
) -> str:
    """Return the page.

    Args:
        model (str): Name of the model.
        baseline (str, optional): Name of the baseline.
        command (str): The command line that made it.
        entries (Sequence[Entry]): From `entry`.
        measurement (Measurement, optional): From `measure`.

    Returns:
        (str): HTML, which shows pictures that lie beside it.
    """
    return template(TEMPLATE).render(
        model=model,
        baseline=baseline,
        command=command,
        entries=entries,
        widest=max((entry.width for entry in entries), default=0),
        blocks=summarize(measurement) if measurement else [],
        explanation=f"{scope(measurement)} {EXPLANATION}" if measurement else "",
    )


def entry(maps: ImageMaps, file: str, source: str, size: tuple[int, int]) -> Entry:
    """Return what the page shows of one image.

    Args:
        maps (ImageMaps): From `attention_maps`.
        file (str): Name of the picture.
        source (str): Name of the image.
        size (tuple[int, int]): Width and height of the picture, in pixels.

    Returns:
        (Entry): With the mean over heads of the share of each map inside the object's box.
    """
    columns: list[str] = []
    shares: list[tuple[list[str], dict[str, str]]] = []
    for name, block in maps.blocks.items():
        shown = titled(block, counterpart(name, block, maps.baseline))
        if shown.pop(SUBTRACTED, None):  # a multiple of A2, so its share is A2's
            shown[TITLES["positive"]] = block, block.difference.clamp(min=0)
        columns = max(columns, list(shown), key=lambda titles: len(titles))  # not every block has a counterpart
        for i, (label, box) in enumerate(zip(maps.labels, maps.boxes, strict=True)):
            if box[0] != box[2]:  # a point has no inside
                cells = [f"{i + 1}  {label}", name.removeprefix("model."), f"{_share_of_image(box, maps):.3f}"]
                inside = {title: f"{_inside(m[i], box, home, maps):.3f}" for title, (home, m) in shown.items()}
                shares.append((cells, inside))
    return Entry(
        file,
        source,
        *size,
        alt=f"Attention maps of {source}: {', '.join(maps.labels) or 'no detections'}",
        columns=["object", "block", "box / image", *columns] if shares else [],
        rows=[[*cells, *(inside.get(title, "-") for title in columns)] for cells, inside in shares],
    )


def _share_of_image(box: Tensor, maps: ImageMaps) -> float:
    """Return the share of the image that a box covers."""
    h, w = maps.result.orig_shape
    return float((box[2] - box[0]) * (box[3] - box[1]) / (h * w))


def _inside(m: Tensor, box: Tensor, block: BlockMaps, maps: ImageMaps) -> float:
    """Return the share of a map, (heads, h, w), inside a box in pixels of the image; mean over heads."""
    h, w = maps.result.orig_shape
    left, top, right, bottom = block.window
    cells = box * torch.tensor([(right - left) / w, (bottom - top) / h] * 2) + torch.tensor([left, top] * 2)
    return float(map_statistics(m, coverage(cells[None], (m.shape[-2], m.shape[-1])))[:, 0].mean())
