# Ultralytics DiffAttn - AGPL-3.0 License
"""Whether attention noise cancels: where the mass of attention maps lies, measured over a validated data set."""

from __future__ import annotations

import math
import tempfile
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from ultralytics.engine.model import Model

from ultralytics_diffattn.data import catalogue
from ultralytics_diffattn.data.check import check
from ultralytics_diffattn.evaluation import intervals, predictions
from ultralytics_diffattn.maps.attention_maps import trained_size
from ultralytics_diffattn.maps.hooks import Seen, object_maps, watch

RESAMPLES = 1000
MEASURES = "inside", "entropy", "sparsity"


class Block(NamedTuple):
    """What was measured in one attention block, for each labelled object."""

    grid: tuple[int, int]  # of the last image
    maps: dict[str, np.ndarray]  # by the map's name, (objects, 3), in the order of MEASURES
    mass: np.ndarray  # (objects, 4): outside all boxes, of A1 and of |A1 - lambda A2|; then inside the object's own box
    lam: float | None


def measure(yolo: Model, data: str, baseline: Model | None = None, **args: Any) -> dict[str, Any]:
    """Validate, and measure where the attention of each labelled object lies.

    The map of an object is the mean over the tokens in its labelled box. The difference has negative weights, too; its
    mass is that of the absolute values, and beside it stands the mass of its positive part.

    Args:
        yolo (ultralytics.YOLO): From `maps.own`: prediction fuses it.
        data (str): Whatever `catalogue.resolve` takes.
        baseline (ultralytics.YOLO, optional): Likewise, to stand beside it.
        **args (Any): Further arguments of ultralytics' validation.

    Returns:
        (dict): `images`, `objects`, `area` (share of the map that an object's box covers: what uniform attention puts
            inside), `mAP50-95` (of `model` and `baseline`), and `blocks`: by name `lambda`, `maps` (by name `inside`,
            `entropy`, `sparsity`), `removed` (`outside` and `inside`, each `share` and `over_images`) and `versus`, how
            the difference differs from the baseline's map and from A1.

    Raises:
        ValueError: If the task has no boxes, the classes do not fit, or nothing is labelled.

    References:
        Share of mass by relevance: Differential Transformer, section 3.3; entropy over its greatest value, the log of
        the number of tokens; sparsity: Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5
        (2004), section 3.1.
    """
    if yolo.task not in predictions.TASKS:
        raise ValueError(
            f"data= is for {', '.join(predictions.TASKS)}, whose labels are boxes; this model is for {yolo.task}."
        )
    dataset = catalogue.resolve(data, yolo.task)
    args = {"imgsz": trained_size(yolo), **args}  # one for both
    known = len(check(dataset.data, dataset.classes)["names"])
    for name, model in (("model", yolo), ("baseline", baseline)):
        if model is not None and len(model.names) != known:
            raise ValueError(f"{name}= knows {len(model.names)} classes, the data set has {known}.")
    images, area, ours, score = collect(yolo, dataset.data, args)
    found = {"images": int(images.max(initial=-1)) + 1, "objects": len(images), "area": float(area.mean())}
    found["mAP50-95"] = {"model": score}
    base: dict[str, Block] = {}
    if baseline is not None:
        again, _, base, found["mAP50-95"]["baseline"] = collect(baseline, dataset.data, args)
        if not np.array_equal(images, again):
            raise ValueError("model and baseline were given different images; are they for the same task?")
    n = found["images"]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    resample = partial(_resample, images, weights)
    found["blocks"] = {
        name: _summary(block, base.get(name) or _alike(block, base), resample) for name, block in ours.items()
    }
    return found


def collect(yolo: Model, data: str, args: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Block], float]:
    """Validate a model, and measure the maps of each labelled object on the way.

    Args:
        yolo (ultralytics.YOLO): The model.
        data (str): A data YAML.
        args (dict): Further arguments of ultralytics' validation.

    Returns:
        images (np.ndarray): (objects,) index of the image that each object is in.
        area (np.ndarray): (objects,) share of the map that its box covers.
        blocks (dict[str, Block]): By name.
        score (float): mAP50-95 of boxes.
    """
    images: list[int] = []
    area: list[float] = []
    kept: dict[str, list] = {}

    def update(seen: Seen, stock: Any, preds: Any, batch: dict) -> None:
        stock(preds, batch)
        for i in range(len(batch["im_file"])):
            boxes = batch["bboxes"][batch["batch_idx"] == i].cpu().float()
            if len(boxes):
                images.extend([images[-1] + 1 if images else 0] * len(boxes))
                for name, heads in seen.heads.items():
                    kept.setdefault(name, []).append(_of_objects(heads, i, boxes))
                area.extend((boxes[:, 2] * boxes[:, 3]).tolist())

    with watch(yolo.model) as seen:

        def begin(validator: Any) -> None:
            validator.update_metrics = partial(update, seen, validator.update_metrics)

        yolo.add_callback("on_val_start", begin)
        with tempfile.TemporaryDirectory() as room:  # where ultralytics saves what nobody asked for
            given = {"plots": False, "verbose": False, **args, "data": data, "project": room}
            results = yolo.val(**given)
    if not images:
        raise ValueError(f"{data} has no labelled objects to validate on.")
    blocks = {}
    for name, parts in kept.items():
        maps = {key: np.concatenate([p.maps[key] for p in parts]) for key in parts[0].maps}
        blocks[name] = parts[-1]._replace(maps=maps, mass=np.concatenate([p.mass for p in parts]))
    return np.array(images), np.array(area), blocks, float(results.box.map)


def measures(maps: Tensor, cover: Tensor) -> Tensor:
    """Return the share of a map's mass that lies inside a box, its entropy and its sparsity.

    Args:
        maps (Tensor): (..., h, w); of negative weights the absolute values count.
        cover (Tensor): (..., h, w) or what broadcasts to it: which share of each cell lies inside the box.

    Returns:
        (Tensor): (..., 3): 0 to 1; 1 for a uniform map, 0 for one that looks at one token; the other way round.

    Examples:
        >>> measures(torch.full((2, 2), 0.25), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).tolist()
        [0.25, 1.0, 0.0]
    """
    n = maps.shape[-1] * maps.shape[-2]
    mass = maps.abs()
    share = mass / mass.sum((-2, -1), keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)
    inside = (share * cover).sum((-2, -1))
    if n == 1:
        return torch.stack([inside, torch.zeros_like(inside), torch.ones_like(inside)], -1)
    entropy = torch.special.entr(share).sum((-2, -1)) / math.log(n)
    norm = share.square().sum((-2, -1)).sqrt().clamp_min(torch.finfo(mass.dtype).tiny)
    return torch.stack([inside, entropy, (math.sqrt(n) - 1 / norm) / (math.sqrt(n) - 1)], -1)


def covered(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return which share of each cell lies inside each box.

    Args:
        boxes (Tensor): (objects, 4) left, top, right and bottom in cells.
        grid (tuple[int, int]): Rows and columns.

    Returns:
        (Tensor): (objects, h, w).

    Examples:
        >>> covered(torch.tensor([[0.5, 0.0, 2.0, 1.0]]), (1, 3))
        tensor([[[0.5000, 1.0000, 0.0000]]])
    """
    down, across = (
        (boxes[:, [high]].clamp(max=torch.arange(n) + 1) - boxes[:, [low]].clamp(min=torch.arange(n))).clamp(min=0)
        for n, low, high in ((grid[0], 1, 3), (grid[1], 0, 2))
    )
    return down[:, :, None] * across[:, None]


def _of_objects(heads: Any, i: int, boxes: Tensor) -> Block:
    """Return what is measured of one image, from its labelled boxes: centre and size over the network's input."""
    h, w = heads.grid
    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    cells = torch.cat([centre - half, centre + half], 1) * torch.tensor([w, h, w, h])
    cover = covered(cells, heads.grid)
    outside = 1 - cover.amax(0)  # of a cell that several boxes share, the largest share
    a1, a2 = object_maps(heads, i, cells)
    maps, lam = {"A1": a1}, None
    if a2 is not None:
        lam = heads.lam.float().cpu().expand(a1.shape[1])
        maps |= {"A2": a2, "difference": a1 - lam[:, None, None] * a2}
        maps["positive"] = maps["difference"].clamp(min=0)
    last = maps.get("difference", a1).abs()
    mass = [(m * c).sum((-2, -1)).mean(1) for c in (outside, cover[:, None]) for m in (a1, last)]
    measured = {name: measures(m, cover[:, None]).mean(1).numpy() for name, m in maps.items()}
    return Block(heads.grid, measured, torch.stack(mass, 1).numpy(), None if lam is None else float(lam.mean()))


def _alike(block: Block, base: dict[str, Block]) -> Block | None:
    """Return the baseline's last block on a grid of the same size."""
    return next((b for b in reversed(base.values()) if b.grid == block.grid), None)


def _resample(images: np.ndarray, weights: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of values, (objects, k), and that of each resample of the images, (resamples, k)."""
    sums = np.zeros((weights.shape[1], values.shape[1]))
    np.add.at(sums, images, values)
    counts = np.bincount(images, minlength=len(sums))
    return values.mean(0), (weights @ sums) / (weights @ counts)[:, None]


def _summary(block: Block, base: Block | None, resample: Any) -> dict[str, Any]:
    """Return what `measure` returns of a block."""
    maps = {"baseline": base.maps["A1"]} if base else {}
    maps |= block.maps
    out: dict[str, Any] = {"lambda": block.lam}
    out["maps"] = {name: dict(zip(MEASURES, map(float, values.mean(0)), strict=True)) for name, values in maps.items()}
    out["removed"], out["versus"] = {}, {}
    if "difference" not in maps:
        return out
    mean, spread = resample(block.mass)
    for place, before, after in (("outside", 0, 1), ("inside", 2, 3)):
        interval = intervals.over_resamples(1 - spread[:, after] / spread[:, before])
        out["removed"][place] = {"share": float(1 - mean[after] / mean[before]), "over_images": interval}
    for other in [name for name in ("baseline", "A1") if name in maps]:
        mean, spread = resample(maps["difference"] - maps[other])
        out["versus"][other] = {
            key: {"difference": float(mean[k]), "over_images": intervals.over_resamples(spread[:, k])}
            for k, key in enumerate(MEASURES)
        }
    return out
