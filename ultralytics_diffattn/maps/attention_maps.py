# Ultralytics DiffAttn - AGPL-3.0 License
"""Where the objects in an image look: attention maps of a model, beside what it predicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics import RTDETR, YOLO
from ultralytics.engine.model import Model
from ultralytics.engine.results import Results
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from ultralytics_diffattn.maps.hooks import Seen, attentions, object_maps, watch

__all__ = "BlockMaps", "ImageMaps", "attention_maps", "over_image"

OTHERWISE = {"augment": False, "embed": None, "visualize": False, "compile": False}  # maps of another forward pass
FIXED = {"stream": True, **{key: value for key, value in OTHERWISE.items() if key in DEFAULT_CFG_DICT}}


class BlockMaps(NamedTuple):
    """Where the objects of an image look, in one attention block, on the grid of its tokens.

    Attributes:
        a1 (Tensor): First map, or that of plain attention, (objects, heads, h, w); each map sums to 1.
        a2 (Tensor | None): Second map, likewise; None for plain attention.
        lam (Tensor | None): Lambda of each head, (heads,); None for plain attention.
        window (tuple[float, float, float, float]): Left, top, right and bottom of the image on the grid, in cells; what
            lies outside is letterbox padding.

    Examples:
        >>> a1, a2 = torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[0.75, 0.25]]]])
        >>> BlockMaps(a1, a2, torch.tensor([0.5]), (0, 0, 2, 1)).difference
        tensor([[[[0.1250, 0.3750]]]])
    """

    a1: Tensor
    a2: Tensor | None
    lam: Tensor | None
    window: tuple[float, float, float, float]

    @property
    def subtracted(self) -> Tensor | None:
        """Return lambda times the second map; None for plain attention."""
        return None if self.a2 is None else self.lam[:, None, None] * self.a2

    @property
    def difference(self) -> Tensor:
        """Return what weighs the values: the first map minus lambda times the second."""
        return self.a1 if self.a2 is None else self.a1 - self.subtracted


class ImageMaps(NamedTuple):
    """The objects of one image, and where they look.

    Attributes:
        result (ultralytics.engine.results.Results): The prediction, with image, path and names.
        boxes (Tensor): (objects, 4) left, top, right and bottom, in pixels of the image; a point is a box without size.
        labels (list[str]): Of each object class and score, or its point.
        blocks (dict[str, BlockMaps]): By the name of the attention module.
        baseline (dict[str, BlockMaps]): Likewise of the baseline, for the same objects; empty without one.

    Examples:
        >>> import numpy as np
        >>> (maps,) = attention_maps("yolo11n.yaml", np.zeros((48, 64, 3), np.uint8), xy=(32, 24, 5, 6), imgsz=64)
        >>> maps.labels, maps.boxes.shape, list(maps.blocks)
        (['32, 24', '5, 6'], torch.Size([2, 4]), ['model.10.m.0.attn'])
    """

    result: Results
    boxes: Tensor
    labels: list[str]
    blocks: dict[str, BlockMaps]
    baseline: dict[str, BlockMaps]


def attention_maps(
    model: str | Path | Model, source: Any, xy: Any = None, baseline: str | Path | Model | None = None, **args: Any
) -> list[ImageMaps]:
    """Predict, and return where each object that was found attends to.

    The map of an object is the mean over the tokens whose centres lie in its box, at least the one below the box's
    centre; that of a point is its token's. Nothing in the model changes: it is copied first.

    Args:
        model (str | Path | ultralytics.YOLO): Weights, or a model.
        source (Any): Whatever ultralytics predicts: image, folder, video, camera, URL, array; of a camera see
            `each_image`.
        xy (Sequence[float], optional): Points x, y, x, y, ... in pixels of the image, in place of the objects found.
        baseline (str | Path | ultralytics.YOLO, optional): A second model, whose maps of the same objects come along.
        **args (Any): Further arguments of ultralytics' prediction: conf, imgsz, classes, max_det, device, ...

    Returns:
        (list[ImageMaps]): For each image, plain tensors on the CPU, float32.

    Raises:
        FileNotFoundError: If model or source does not exist.
        TypeError: If `model` is neither weights nor a model.
        ValueError: If a model is an export or has no attention, or a point lies outside the image.

    Examples:
        >>> import numpy as np
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> (maps,) = attention_maps("yolo11n-diffattn.yaml", image, xy=(32, 24), imgsz=64)
        >>> block = maps.blocks["model.10.m.0.attn"]
        >>> block.a1.shape, round(float(block.a1.sum()), 4)  # 1 object, 2 heads, a grid of 2 x 2 tokens
        (torch.Size([1, 2, 2, 2]), 2.0)

    References:
        Differential Transformer, equation 1 and figure 1; DiffCLIP, figure 2.
    """
    return list(each_image(model, source, xy, baseline, **args))


def each_image(
    model: str | Path | Model, source: Any, xy: Any = None, baseline: str | Path | Model | None = None, **args: Any
) -> Iterator[ImageMaps]:
    """Yield what `attention_maps` returns, image by image: for videos and cameras.

    Args:
        model (str | Path | ultralytics.YOLO): As for `attention_maps`, and so are the others.
        source (Any): Likewise.
        xy (Sequence[float], optional): Likewise.
        baseline (str | Path | ultralytics.YOLO, optional): Likewise.
        **args (Any): Likewise.

    Yields:
        (ImageMaps): One for each image or frame.

    Examples:
        >>> import numpy as np
        >>> frames = each_image("yolo11n-diffattn.yaml", np.zeros((48, 64, 3), np.uint8), xy=(32, 24), imgsz=64)
        >>> next(frames).labels
        ['32, 24']
    """
    for key in FIXED.keys() & args.keys():
        raise ValueError(f"{key}={args[key]} has no meaning here: maps are of one plain forward pass. Leave it out.")
    yolo, other = own(model), None if baseline is None else own(baseline, "baseline")
    args = {"verbose": False, "imgsz": trained_size(yolo), **args}  # one for both
    again_args = {k: v for k, v in args.items() if k in {"imgsz", "rect", "half", "quantize", "device"}}
    again_args["verbose"] = False
    with watch(yolo.model) as seen, watch(None if other is None else other.model) as seen_other:
        for result in yolo.predict(source, **args, **FIXED):
            boxes, labels = _objects(result) if xy is None else points(xy, result.orig_shape)
            blocks = _of_image(seen, yolo, result, boxes)
            base = {}
            if other is not None:
                for again in other.predict(result.orig_img, **again_args, **FIXED):
                    base = _of_image(seen_other, other, again, boxes)
            yield ImageMaps(result, boxes, labels, blocks, base)


def trained_size(yolo: Model) -> int | list[int]:
    """Return the imgsz that ultralytics takes for a model if it is left out: that of its training.

    Args:
        yolo (ultralytics.YOLO): The model.

    Returns:
        (int | list[int]): Pixels.

    Examples:
        >>> trained_size(YOLO("yolo11n.yaml"))
        640
    """
    return yolo.overrides.get("imgsz") or DEFAULT_CFG_DICT["imgsz"]


def own(model: str | Path | Model, name: str = "model") -> Model:
    """Return a model whose network is a copy, which hooks and prediction (that fuses it) may change.

    Args:
        model (str | Path | ultralytics.YOLO): Weights, a model YAML, or a model.
        name (str): What the argument is called, for messages.

    Returns:
        (ultralytics.YOLO): With at least one attention block over a feature map.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If it is none of these.
        ValueError: If it is an export, or has no attention.
    """
    if isinstance(model, (str, Path)):
        if Path(model).suffix not in {".pt", ".yaml", ".yml"}:
            raise ValueError(
                f"{name}={model} is no PyTorch checkpoint: an export has no modules to look into. Give the weights "
                "that it was made of, such as weights/best.pt."
            )
        known = Path(model).name in GITHUB_ASSETS_NAMES  # those that ultralytics downloads
        if Path(model).suffix == ".pt" and not Path(model).exists() and not known:
            raise FileNotFoundError(f"{name}={model} does not exist; give trained weights, such as weights/best.pt.")
        twin = YOLO(model)
    elif isinstance(model, Model) and isinstance(model.model, nn.Module):
        twin = copy(model)
        twin._modules = dict(model._modules)  # else putting the copied network there would change the model's, too
        twin.model, twin.predictor, twin.overrides = deepcopy(model.model), None, dict(model.overrides)
        twin.callbacks = defaultdict(list, {event: list(called) for event, called in model.callbacks.items()})
    else:
        raise TypeError(f"{name}={model!r} must be a checkpoint's path or a YOLO with a PyTorch model.")
    if not attentions(twin.model):
        raise ValueError(
            f"{name}={model} has no attention over a feature map; YOLO11, YOLO12, YOLO26 and RT-DETR have."
        )
    return twin


def _of_image(seen: Seen, yolo: Model, result: Results, boxes: Tensor) -> dict[str, BlockMaps]:
    """Return the maps of all blocks for boxes in pixels of the image that was predicted last."""
    scale, offset = letterbox(result.orig_shape, seen.size, yolo)
    on_input = boxes * torch.tensor(scale * 2) + torch.tensor(offset * 2)
    ends = [*offset, *(o + s * n for o, s, n in zip(offset, scale, result.orig_shape[::-1], strict=True))]
    image, seen.taken = seen.taken, seen.taken + 1
    out = {}
    for name, heads in seen.heads.items():
        cells = [heads.grid[1] / seen.size[1], heads.grid[0] / seen.size[0]] * 2  # for each pixel of the input
        a1, a2 = object_maps(heads, image, on_input * torch.tensor(cells))
        window = tuple(end * cell for end, cell in zip(ends, cells, strict=True))
        out[name] = BlockMaps(a1, a2, None if a2 is None else heads.lam.float().expand(a1.shape[1]).cpu(), window)
    return out


def letterbox(
    shape: tuple[int, int], size: tuple[int, int], yolo: Model
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how ultralytics brings an image to the size of the network's input.

    Args:
        shape (tuple[int, int]): Height and width of the image.
        size (tuple[int, int]): Height and width of the input.
        yolo (ultralytics.YOLO): Its task decides: classification crops, RT-DETR stretches, the others pad.

    Returns:
        scale (tuple[float, float]): Pixels of the input for one of the image, across and down.
        offset (tuple[float, float]): Where the image begins on the input; negative where it is cropped.
    """
    (h, w), (height, width) = shape, size
    if isinstance(yolo, RTDETR) or "RTDETR" in type(yolo.model).__name__:
        return (width / w, height / h), (0.0, 0.0)
    if yolo.task == "classify":
        scale = max(height / h, width / w)
        return (scale, scale), ((width - w * scale) / 2, (height - h * scale) / 2)
    scale = min(height / h, width / w)
    inner = [max(round(n * scale), 1) for n in (w, h)]
    offset = tuple(float(round((n - i) / 2 - 0.1)) for n, i in zip((width, height), inner, strict=True))
    return (inner[0] / w, inner[1] / h), offset


def _objects(result: Results) -> tuple[Tensor, list[str]]:
    """Return boxes and labels of what was found; of a classified image, the image."""
    if result.probs is not None:
        h, w = result.orig_shape
        return torch.tensor([[0.0, 0.0, w, h]]), [_label(result, result.probs.top1, result.probs.top1conf)]
    found = result.obb if result.obb is not None else result.boxes
    if found is None:
        raise ValueError("this model finds no objects with boxes; give a point of the image, as in xy=320,240.")
    labels = [_label(result, int(c), p) for c, p in zip(found.cls, found.conf, strict=True)]
    return found.xyxy.cpu().float(), labels


def _label(result: Results, index: int, score: Any) -> str:
    return f"{result.names[index]} {float(score):.2f}"


def points(xy: Any, shape: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Return points as boxes without size, with labels.

    Args:
        xy (Sequence[float]): x, y, x, y, ... in pixels.
        shape (tuple[int, int]): Height and width of the image.

    Returns:
        boxes (Tensor): (points, 4).
        labels (list[str]): Such as "320, 240".

    Raises:
        ValueError: If these are no pairs of numbers, or one lies outside the image.

    Examples:
        >>> points((3, 4), (10, 10))
        (tensor([[3., 4., 3., 4.]]), ['3, 4'])
    """
    try:
        pairs = torch.as_tensor(xy, dtype=torch.float32).reshape(-1, 2)
    except (TypeError, ValueError, RuntimeError):
        pairs = torch.zeros(0, 2)
    if not len(pairs) or not pairs.isfinite().all():
        raise ValueError(f"xy={xy!r} must be pairs of pixels, such as xy=320,240 or xy=320,240,100,80.")
    h, w = shape
    for x, y in pairs.tolist():
        if not (0 <= x < w and 0 <= y < h):
            raise ValueError(f"xy={x:g},{y:g} lies outside the image, which is {w} pixels wide and {h} high.")
    return torch.cat([pairs, pairs], 1), [f"{x:g}, {y:g}" for x, y in pairs.tolist()]


def over_image(maps: Tensor, window: tuple[float, float, float, float], size: tuple[int, int]) -> Tensor:
    """Lay maps over the image, without the letterbox padding, bilinear between the centres of the tokens.

    Args:
        maps (Tensor): (..., h, w) on a grid.
        window (tuple[float, float, float, float]): Where the image lies on it, `BlockMaps.window`.
        size (tuple[int, int]): Height and width of the result.

    Returns:
        (Tensor): (..., *size), the values as they are: a pixel's is that of its place on the grid.

    Examples:
        >>> over_image(torch.tensor([[0.0, 1.0]]), (0, 0, 2, 1), (1, 4))
        tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    h, w = maps.shape[-2:]
    left, top, right, bottom = window
    y, x = (
        (low + (torch.arange(n) + 0.5) / n * (high - low)) / cells * 2 - 1  # grid_sample counts from -1 to 1
        for n, low, high, cells in zip(size, (top, left), (bottom, right), (h, w), strict=True)
    )
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(maps.dtype)
    flat = maps.reshape(1, -1, h, w)
    if not flat.shape[1]:
        return maps.new_zeros(*maps.shape[:-2], *size)
    over = F.grid_sample(flat, places, mode="bilinear", padding_mode="border", align_corners=False)
    return over.reshape(*maps.shape[:-2], *size)
