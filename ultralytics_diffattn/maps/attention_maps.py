# Ultralytics DiffAttn - AGPL-3.0 License
"""Attention maps of the objects in an image, beside what the model predicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from ultralytics.engine.model import Model
from ultralytics.engine.results import Results
from ultralytics.models import YOLO
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.maps.geometry import letterbox, point_boxes
from ultralytics_diffattn.maps.hooks import Recording, attentions, object_maps, watch
from ultralytics_diffattn.weights.checkpoints import student

__all__ = "BlockMaps", "ImageMaps", "attention_maps", "each_image"

REFUSED = {"augment": False, "embed": None, "visualize": False, "compile": False}  # not one plain forward pass
FIXED: dict[str, Any] = {"stream": True, **{k: value for k, value in REFUSED.items() if k in DEFAULT_CFG_DICT}}
SHARED = {"imgsz", "rect", "half", "quantize", "device"}  # arguments that the baseline's prediction takes over


class BlockMaps(NamedTuple):
    """The attention maps of an image's objects in one attention block, on the grid of its tokens.

    Attributes:
        a1 (Tensor): First map, or that of plain attention, (objects, heads, h, w), float32; each map sums to 1.
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
        """Return lambda times the second map, (objects, heads, h, w); None for plain attention."""
        return None if self.a2 is None or self.lam is None else self.lam[:, None, None] * self.a2

    @property
    def difference(self) -> Tensor:
        """Return the weights of the values, (objects, heads, h, w): the first map minus lambda times the second."""
        subtracted = self.subtracted
        return self.a1 if subtracted is None else self.a1 - subtracted


class ImageMaps(NamedTuple):
    """The objects of one image and their attention maps.

    Attributes:
        result (ultralytics.engine.results.Results): The prediction, with image, path and names.
        boxes (Tensor): (objects, 4) left, top, right and bottom, in pixels of the image; a point is a box without size.
        labels (list[str]): Class and score of each object, or the coordinates of a point.
        blocks (dict[str, BlockMaps]): By the name of the attention module.
        baseline (dict[str, BlockMaps]): Likewise of the baseline, for the same objects; empty without a baseline.

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
    model: str | Path | Model,
    source: Any,
    xy: Sequence[float] | None = None,
    baseline: str | Path | Model | None = None,
    **args: Any,
) -> list[ImageMaps]:
    """Predict, and return the attention maps of each detected object.

    The map of an object is the mean over the tokens whose centres lie in its box, at least the one below the box's
    centre; that of a point is its token's. The model is copied first and does not change.

    Args:
        model (str | Path | ultralytics.YOLO): Weights, or a model.
        source (Any): Any source of ultralytics' prediction: image, folder, video, URL, array; for cameras see
            `each_image`.
        xy (Sequence[float], optional): Points x, y, x, y, ... in pixels of the image, in place of the detections.
        baseline (str | Path | ultralytics.YOLO, optional): A second model, to add its maps of the same objects.
        **args (Any): Further arguments of ultralytics' prediction: conf, imgsz, classes, max_det, device, ...

    Returns:
        (list[ImageMaps]): One for each image; plain tensors on the CPU, float32.

    Raises:
        MissingFileError: If model or source does not exist.
        UserError: If `model` is neither weights nor a model, is an export or has no attention, or a point lies outside
            the image.

    Examples:
        >>> import numpy as np
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> (maps,) = attention_maps("yolo11n-diffattn.yaml", image, xy=(32, 24), imgsz=64)
        >>> block = maps.blocks["model.10.m.0.attn"]
        >>> block.a1.shape, round(float(block.a1.sum()), 4)  # 1 object, 2 heads, a grid of 2 x 2 tokens
        (torch.Size([1, 2, 2, 2]), 2.0)

    References:
        Differential Transformer, arXiv:2410.05258, equation 1 and figure 1; DiffCLIP, arXiv:2503.06626, figure 2.
    """
    return list(each_image(model, source, xy, baseline, **args))


def each_image(
    model: str | Path | Model,
    source: Any,
    xy: Sequence[float] | None = None,
    baseline: str | Path | Model | None = None,
    **args: Any,
) -> Iterator[ImageMaps]:
    """Yield the results of `attention_maps` image by image: for videos and cameras.

    Args:
        model (str | Path | ultralytics.YOLO): Weights, or a model.
        source (Any): Any source of ultralytics' prediction.
        xy (Sequence[float], optional): Points in place of the detections.
        baseline (str | Path | ultralytics.YOLO, optional): A second model.
        **args (Any): Further arguments of ultralytics' prediction.

    Yields:
        (ImageMaps): One for each image or frame.

    Raises:
        UserError: As `attention_maps`, at the first image.

    Examples:
        >>> import numpy as np
        >>> frames = each_image("yolo11n-diffattn.yaml", np.zeros((48, 64, 3), np.uint8), xy=(32, 24), imgsz=64)
        >>> next(frames).labels
        ['32, 24']
    """
    for key in FIXED.keys() & args.keys():
        raise UserError(f"{key}={args[key]} has no meaning here: maps are of one plain forward pass. Leave it out.")
    yolo, other = load_copy(model), None if baseline is None else load_copy(baseline, "baseline")
    args = {"verbose": False, "imgsz": training_imgsz(yolo), **args}  # one size for both models
    baseline_args = {"verbose": False, **{k: v for k, v in args.items() if k in SHARED}}
    with watch(network(yolo)) as recording, watch(None if other is None else network(other)) as seen_other:
        for result in _predictions(yolo, source, args):
            boxes, labels = detections(result) if xy is None else point_boxes(xy, result.orig_shape)
            blocks = _next_maps(recording, yolo, result, boxes)
            beside: dict[str, BlockMaps] = {}
            if other is not None:
                (again,) = _predictions(other, result.orig_img, baseline_args)
                beside = _next_maps(seen_other, other, again, boxes)
            yield ImageMaps(result, boxes, labels, blocks, beside)


def load_copy(model: str | Path | Model, name: str = "model") -> Model:
    """Return a model whose network is a copy, which hooks and prediction (that fuses it) may change.

    Args:
        model (str | Path | ultralytics.YOLO): Weights, a model YAML, or a model.
        name (str): Name of the argument, for messages.

    Returns:
        (ultralytics.YOLO): With at least one attention block over a feature map.

    Raises:
        MissingFileError: If the file does not exist.
        UserError: If `model` is none of these, is an export, or has no attention.

    Examples:
        >>> stock = YOLO("yolo11n.yaml")
        >>> load_copy(stock).model is stock.model
        False
    """
    if isinstance(model, (str, Path)):
        copied = _load(model, name)
        copied.model = student(copied.model)
    elif isinstance(model, Model) and isinstance(model.model, nn.Module):
        copied = copy(model)
        copied._modules = dict(model._modules)  # else setting the copied network would change the caller's model, too
        copied.model, copied.predictor, copied.overrides = deepcopy(model.model), None, dict(model.overrides)
        copied.callbacks = defaultdict(list, {event: list(called) for event, called in model.callbacks.items()})
    else:
        raise UserError(f"{name}={model!r} must be a checkpoint's path or a YOLO with a PyTorch model.")
    if not attentions(network(copied)):
        raise UserError(f"{name}={model} has no attention over a feature map; YOLO11, YOLO12, YOLO26 and RT-DETR have.")
    return copied


def network(yolo: Model) -> nn.Module:
    """Return the PyTorch network of a model.

    Args:
        yolo (ultralytics.YOLO): From `load_copy`; ultralytics annotates its `model` as text.

    Returns:
        (torch.nn.Module): The network.

    Examples:
        >>> type(network(YOLO("yolo11n.yaml"))).__name__
        'DetectionModel'
    """
    return cast(nn.Module, yolo.model)


def training_imgsz(yolo: Model) -> int | list[int]:
    """Return the image size that a model was trained at, which ultralytics takes by default.

    Args:
        yolo (ultralytics.YOLO): The model.

    Returns:
        (int | list[int]): Pixels; of a list, height and width.

    Examples:
        >>> training_imgsz(YOLO("yolo11n.yaml"))
        640
    """
    return cast("int | list[int]", yolo.overrides.get("imgsz") or DEFAULT_CFG_DICT["imgsz"])


def block_maps(recording: Recording, image: int, yolo: Model, result: Results, boxes: Tensor) -> dict[str, BlockMaps]:
    """Return the maps of all blocks, of the forward pass that was recorded last.

    Args:
        recording (Recording): From `hooks.watch`.
        image (int): Index of the image in the batch of that pass.
        yolo (ultralytics.YOLO): The model, from `load_copy`.
        result (ultralytics.engine.results.Results): Its prediction for the image.
        boxes (Tensor): (objects, 4) left, top, right and bottom, in pixels of the image.

    Returns:
        (dict[str, BlockMaps]): By the name of the attention module.

    Examples:
        >>> import numpy as np
        >>> yolo = load_copy("yolo11n-diffattn.yaml")
        >>> with watch(network(yolo)) as recording:
        ...     (result,) = yolo.predict(np.zeros((48, 64, 3), np.uint8), imgsz=64, verbose=False)
        >>> maps = block_maps(recording, 0, yolo, result, torch.tensor([[3.0, 4.0, 30.0, 40.0]]))
        >>> maps["model.10.m.0.attn"].a1.shape
        torch.Size([1, 2, 2, 2])
    """
    scale, offset = letterbox(result.orig_shape, recording.size, yolo)
    on_input = boxes * torch.tensor(scale * 2) + torch.tensor(offset * 2)
    h, w = result.orig_shape
    edges = (*offset, offset[0] + scale[0] * w, offset[1] + scale[1] * h)  # of the image, in pixels of the input
    maps = {}
    for name, heads in recording.heads.items():
        down, across = (cells / pixels for cells, pixels in zip(heads.grid, recording.size, strict=True))
        a1, a2 = object_maps(heads, image, on_input * torch.tensor([across, down] * 2))
        window = (edges[0] * across, edges[1] * down, edges[2] * across, edges[3] * down)
        lam = None if a2 is None or heads.lam is None else heads.lam.float().expand(a1.shape[1]).cpu()
        maps[name] = BlockMaps(a1, a2, lam, window)
    return maps


def detections(result: Results) -> tuple[Tensor, list[str]]:
    """Return boxes and labels of the detected objects; of a classified image, the image.

    Args:
        result (ultralytics.engine.results.Results): A prediction.

    Returns:
        boxes (Tensor): (objects, 4) left, top, right and bottom, in pixels of the image, float32.
        labels (list[str]): Class and score of each.

    Raises:
        UserError: If the model's task has no boxes.

    Examples:
        >>> import numpy as np
        >>> found = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.9, 0.0]])
        >>> detections(Results(np.zeros((9, 9, 3), np.uint8), path="a.jpg", names={0: "cell"}, boxes=found))
        (tensor([[1., 2., 3., 4.]]), ['cell 0.90'])
    """
    if result.probs is not None:
        h, w = result.orig_shape
        return torch.tensor([[0.0, 0.0, w, h]]), [_label(result, result.probs.top1, result.probs.top1conf)]
    detected: Any = result.obb if result.obb is not None else result.boxes
    if detected is None:
        raise UserError("this model finds no objects with boxes; give a point of the image, as in xy=320,240.")
    labels = [_label(result, int(c), p) for c, p in zip(detected.cls, detected.conf, strict=True)]
    return detected.xyxy.cpu().float(), labels


def _load(model: str | Path, name: str) -> Model:
    """Load weights or a YAML."""
    if Path(model).suffix not in {".pt", ".yaml", ".yml"}:
        raise UserError(
            f"{name}={model} is no PyTorch checkpoint: an export has no modules to look into. Give the weights "
            "that it was made of, such as weights/best.pt."
        )
    downloadable = Path(model).name in GITHUB_ASSETS_NAMES
    if Path(model).suffix == ".pt" and not Path(model).exists() and not downloadable:
        raise MissingFileError(f"{name}={model} does not exist; give trained weights, such as weights/best.pt.")
    try:
        return YOLO(model)
    except FileNotFoundError as error:  # a YAML
        raise MissingFileError(f"{name}={model} does not exist: {error}") from error


def _predictions(yolo: Model, source: Any, args: dict[str, Any]) -> Iterator[Results]:
    """Yield ultralytics' predictions one by one."""
    try:
        yield from cast("Iterator[Results]", yolo.predict(source, **args, **FIXED))
    except FileNotFoundError as error:
        raise MissingFileError(str(error)) from error


def _next_maps(recording: Recording, yolo: Model, result: Results, boxes: Tensor) -> dict[str, BlockMaps]:
    """Return the maps of all blocks for boxes in pixels of the image that was predicted last."""
    image, recording.images_used = recording.images_used, recording.images_used + 1
    return block_maps(recording, image, yolo, result, boxes)


def _label(result: Results, index: int, score: Any) -> str:
    """Return class and score."""
    return f"{result.names[index]} {float(score):.2f}"
