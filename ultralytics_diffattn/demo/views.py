# Ultralytics DiffAttn - AGPL-3.0 License
"""An image as a user looks at it: both models' passes, and the maps of the box or point that was clicked."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from ultralytics_diffattn.demo.detectors import Pair
from ultralytics_diffattn.demo.images import data_url
from ultralytics_diffattn.demo.passes import Pass, both, forward
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps.attention_maps import ImageMaps, training_imgsz
from ultralytics_diffattn.maps.drawing import draw, faded, iterate_rows, marked, painted, resized, rgb_image
from ultralytics_diffattn.maps.geometry import point_boxes

PANEL, SHOWN = 420, 1280  # pixels of the longer side: of a map, and of the image
LAMBDA = -1.0, 2.0  # ends of the slider


@dataclass
class View:
    """One image with the passes of both models; the last one with a lambda by hand is kept, too."""

    pair: Pair
    image: np.ndarray
    name: str
    model: Pass
    baseline: Pass | None
    by_hand: dict[float, Pass] = field(default_factory=dict)

    def at(self, lam: float | None) -> Pass:
        """Return the model's pass with a lambda by hand, or with what it has learned."""
        if lam is None or not self.pair.model.differential:
            return self.model
        seen = self.by_hand.get(lam)
        if seen is None:
            seen = forward(self.pair.model, self.image, training_imgsz(self.pair.model.yolo), lam)
            self.by_hand = {lam: seen}
        return seen


@dataclass(frozen=True)
class Look:
    """What of an image is to be shown."""

    box: tuple[float, float, float, float]  # left, top, right and bottom, in pixels; a point has no size
    label: str
    block: int
    head: int | None  # None for the mean of the heads
    lam: float | None  # None for the learned one
    confidence: float  # of the boxes in the picture that is downloaded


def open_view(pair: Pair, image: np.ndarray, name: str) -> View:
    """Predict with both models.

    Args:
        pair (Pair): The models.
        image (np.ndarray): (height, width, 3), uint8, BGR.
        name (str): Of the image, for the picture.

    Returns:
        (View): The image with all that later clicks need.
    """
    return View(pair, image, name, *both(pair, image))


def describe(view: View, with_image: bool = True) -> dict[str, Any]:
    """Return what the page needs to show an image with its boxes.

    Args:
        view (View): The image.
        with_image (bool): Whether the image itself is wanted; of a frame the page has it.

    Returns:
        (dict): For JSON.
    """
    h, w = view.image.shape[:2]
    whole = torch.tensor([[0.0, 0.0, w, h]])
    blocks = [
        {
            "name": name.removeprefix("model."),
            "heads": block.a1.shape[1],
            "lambda": None if block.lam is None else block.lam.tolist(),
        }
        for name, block in view.model.maps(whole).items()
    ]
    shown = {"image": data_url(_reduced(np.ascontiguousarray(view.image[..., ::-1])))} if with_image else {}
    return {
        **shown,
        "width": w,
        "height": h,
        "blocks": blocks,
        "boxes": view.model.boxes(),
        "baseline_boxes": None if view.baseline is None else view.baseline.boxes(),
    }


def parse_look(view: View, asked: Any) -> Look:
    """Return what a request asks for, checked.

    Args:
        view (View): The image.
        asked (Any): The request's JSON: `box` or `point`, `label`, `block`, `head`, `lambda`, `confidence`.

    Returns:
        (Look): What is to be shown.

    Raises:
        UserError: If something is missing, of a wrong type or out of range.
    """
    h, w = view.image.shape[:2]
    try:
        corners = [float(v) for v in asked.get("box") or [*asked["point"], *asked["point"]]]
        block, head, lam = int(asked.get("block", 0)), asked.get("head"), asked.get("lambda")
        look = Look(
            box=_clipped(corners, w, h),
            label=str(asked.get("label", ""))[:80],
            block=block,
            head=None if head is None else int(head),
            lam=None if lam is None else float(lam),
            confidence=float(asked.get("confidence", 0.25)),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError("the request must name a box of four numbers, or a point of two, in the image.") from error
    blocks = view.model.recording.heads
    if not 0 <= block < len(blocks):
        raise UserError(f"block {block} is out of range: there are {len(blocks)}, counted from 0.")
    heads = list(blocks.values())[block].pairs[0][0].shape[1]
    if look.head is not None and not 0 <= look.head < heads:
        raise UserError(f"head {look.head} is out of range: there are {heads}, counted from 0.")
    if look.lam is not None and not LAMBDA[0] <= look.lam <= LAMBDA[1]:
        raise UserError(f"lambda {look.lam:g} is out of range: {LAMBDA[0]:g} to {LAMBDA[1]:g}.")
    return look


def panels(view: View, look: Look) -> dict[str, Any]:
    """Return the maps of a box or point, over the image.

    Args:
        view (View): The image.
        look (Look): What is to be shown.

    Returns:
        (dict): For JSON: `panels`, each with title and picture, `notes` (block, head, lambda, scale), and the `boxes`
            that the model finds with the lambda asked for.
    """
    maps = _image_maps(view, look)
    thumbnail = resized(rgb_image(maps), PANEL)
    (row,) = iterate_rows(maps, thumbnail.shape[:2], [[_block(maps, look)]], [look.head])
    background = faded(thumbnail)
    drawn = {title: painted(background, values / row.scale) for title, values in row.maps.items()}
    return {
        "panels": [{"title": title, "src": data_url(marked(image, maps, 0))} for title, image in drawn.items()],
        "notes": row.labels[1:],
        "boxes": view.at(look.lam).boxes(),
    }


def picture(view: View, look: Look) -> bytes:
    """Return the picture to download: the model's boxes, and below them the maps, as `diffattn attend` draws them.

    Args:
        view (View): The image.
        look (Look): What is to be shown.

    Returns:
        (bytes): A PNG.
    """
    maps = _image_maps(view, look)
    result: Any = maps.result
    if result.boxes is not None:
        result = result[(result.boxes.conf >= look.confidence).cpu()]
    result = copy(result)
    result.path = view.name
    file = BytesIO()
    drawn = draw(maps._replace(result=result), [[_block(maps, look)]], [look.head])
    Image.fromarray(drawn).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _image_maps(view: View, look: Look) -> ImageMaps:
    """Return the maps of the one box that is looked at."""
    box = torch.tensor([look.box])
    seen = view.at(look.lam)
    beside = {} if view.baseline is None else view.baseline.maps(box)
    label = look.label or point_boxes(look.box[:2], view.image.shape[:2])[1][0]
    return ImageMaps(seen.result, box, [label], seen.maps(box), beside)


def _block(maps: ImageMaps, look: Look) -> str:
    """Return the name of the block that is looked at."""
    return list(maps.blocks)[look.block]


def _clipped(corners: list[float], w: int, h: int) -> tuple[float, float, float, float]:
    """Return the part of a box that lies in the image; raise if there is none."""
    left, top, right, bottom = corners
    inside = 0 <= right and left <= w and 0 <= bottom and top <= h  # not so of nan
    if not inside or right < left or bottom < top:
        raise ValueError("no such box")
    x, y = w - 0.01, h - 0.01  # the last that is in a token
    return min(max(left, 0.0), x), min(max(top, 0.0), y), min(right, x), min(bottom, y)


def _reduced(image: np.ndarray) -> np.ndarray:
    """Return an image no larger than a screen shows."""
    return resized(image, SHOWN) if max(image.shape[:2]) > SHOWN else image
