# Ultralytics DiffAttn - AGPL-3.0 License
"""Does attention noise cancel? The mass of attention maps inside and outside labelled objects, over a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from ultralytics.engine.model import Model

from ultralytics_diffattn.data import catalogue
from ultralytics_diffattn.data.check import check
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import intervals, predictions
from ultralytics_diffattn.evaluation.nms_time_limit import lift
from ultralytics_diffattn.maps.attention_maps import network, training_imgsz
from ultralytics_diffattn.maps.geometry import coverage
from ultralytics_diffattn.maps.hooks import QueriesKeys, Recording, object_maps, watch
from ultralytics_diffattn.maps.statistics import STATISTICS, map_statistics

RESAMPLES = 1000


class MapStatistics(TypedDict):
    """Statistics of one map, each 0 to 1, means over labelled objects and heads; see `map_statistics`."""

    inside: float
    entropy: float
    sparsity: float


class RemovedShare(TypedDict):
    """Share of A1's mass that the subtraction removes: below zero where it adds mass, NaN where A1 has none."""

    share: float
    over_images: tuple[float, float] | None  # 95 % interval over resampled images; None from one image


class Difference(TypedDict):
    """Mean difference of a statistic between two maps."""

    difference: float
    over_images: tuple[float, float] | None  # 95 % interval over resampled images; None from one image


BlockMeasurement = TypedDict(
    "BlockMeasurement",
    {
        "lambda": float | None,  # mean over heads; None for plain attention
        "maps": dict[str, MapStatistics],  # baseline, A1, A2, difference, positive (the difference's positive part)
        "removed": dict[str, RemovedShare],  # outside all boxes, inside the object's own; empty for plain attention
        "versus": dict[str, dict[str, Difference]],  # difference minus baseline and minus A1, by statistic
    },
)
Measurement = TypedDict(
    "Measurement",
    {
        "images": int,
        "objects": int,  # labelled
        "area": float,  # share of the map that an object's box covers, mean: what uniform attention puts inside
        "mAP50-95": dict[str, float],  # model, baseline
        "blocks": dict[str, BlockMeasurement],  # by name of the attention module
    },
)


class BlockStatistics(NamedTuple):
    """Statistics of one attention block for each labelled object."""

    grid: tuple[int, int]  # of the last image
    maps: dict[str, np.ndarray]  # by name of the map, (objects, 3), in the order of STATISTICS
    mass: np.ndarray  # (objects, 4): outside all boxes, of A1 and of |A1 - lambda A2|; then inside the object's own box
    lam: float | None


class Validated(NamedTuple):
    """What a validation measures on the way."""

    images: np.ndarray  # (objects,) index of the image that each object is in
    areas: np.ndarray  # (objects,) share of the map that its box covers
    blocks: dict[str, BlockStatistics]
    score: float  # mAP50-95 of boxes


def measure(yolo: Model, data: str, baseline: Model | None = None, **args: Any) -> Measurement:
    """Validate, and measure where the attention of each labelled object lies.

    The map of an object is the mean over the tokens in its labelled box. The difference has negative weights, too; its
    mass is that of the absolute values, and beside it stands the mass of its positive part.

    Args:
        yolo (ultralytics.YOLO): From `attention_maps.load_copy`: prediction fuses it.
        data (str): Any data set that `catalogue.resolve` accepts.
        baseline (ultralytics.YOLO, optional): Likewise, for comparison.
        **args (Any): Further arguments of ultralytics' validation.

    Returns:
        (Measurement): The content of attention.json; docs/attention.md describes each field.

    Raises:
        UserError: If the task has no boxes, the classes do not fit, or nothing is labelled.

    Examples:
        >>> from ultralytics_diffattn.maps.attention_maps import load_copy
        >>> measure(load_copy("best.pt"), "data.yaml")["images"]  # doctest: +SKIP
        159
    """
    if yolo.task not in predictions.UPRIGHT:
        raise UserError(
            f"data= is for {', '.join(predictions.UPRIGHT)}, whose labels are boxes; this model is for {yolo.task}."
        )
    dataset = catalogue.resolve(data, yolo.task)
    args = {"imgsz": training_imgsz(yolo), **args}  # one size for both models
    class_count = len(check(dataset.data, dataset.classes)["names"])
    for name, model in (("model", yolo), ("baseline", baseline)):
        if model is not None and len(model.names) != class_count:
            raise UserError(f"{name}= has {len(model.names)} classes, the data set has {class_count}.")
    ours = validate(yolo, dataset.data, args)
    scores, plain = {"model": ours.score}, {}
    if baseline is not None:
        theirs = validate(baseline, dataset.data, args)
        if not np.array_equal(ours.images, theirs.images):
            raise UserError("model and baseline were validated on different images; are they for the same task?")
        scores["baseline"], plain = theirs.score, theirs.blocks
    n = int(ours.images.max()) + 1
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    resample = partial(_resample, ours.images, weights)
    return {
        "images": n,
        "objects": len(ours.images),
        "area": float(ours.areas.mean()),
        "mAP50-95": scores,
        "blocks": {
            name: _summary(block, plain.get(name) or _alike(block, plain), resample)
            for name, block in ours.blocks.items()
        },
    }


def validate(yolo: Model, data: str, args: dict[str, Any]) -> Validated:
    """Validate a model, and measure the maps of each labelled object on the way.

    Args:
        yolo (ultralytics.YOLO): The model.
        data (str): A data YAML.
        args (dict): Further arguments of ultralytics' validation.

    Returns:
        (Validated): Statistics by object, and mAP50-95.

    Raises:
        UserError: If nothing is labelled.
    """
    with watch(network(yolo)) as recording, tempfile.TemporaryDirectory() as folder:  # ultralytics saves into it
        collector = _Collector(recording)
        yolo.add_callback("on_val_start", collector.attach)
        yolo.add_callback("on_val_start", lift)
        metrics = yolo.val(**{"plots": False, "verbose": False, **args, "data": data, "project": folder})
    if not collector.images:
        raise UserError(f"{data} has no labelled objects to validate on.")
    return Validated(np.array(collector.images), np.array(collector.areas), collector.merged(), float(metrics.box.map))


class _Collector:
    """Gathers statistics batch by batch, behind a validator's `update_metrics`."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.images: list[int] = []
        self.areas: list[float] = []
        self.blocks: dict[str, list[BlockStatistics]] = {}

    def attach(self, validator: Any) -> None:
        """Wrap the validator's `update_metrics`; a callback."""
        stock = validator.update_metrics

        def update(preds: Any, batch: dict[str, Any]) -> None:
            stock(preds, batch)
            self.add(batch)

        validator.update_metrics = update

    def add(self, batch: dict[str, Any]) -> None:
        """Measure the labelled objects of a batch."""
        for i in range(len(batch["im_file"])):
            boxes = batch["bboxes"][batch["batch_idx"] == i].cpu().float()  # (objects, 4) centre, size; 0 to 1
            if len(boxes):
                self.images += [self.images[-1] + 1 if self.images else 0] * len(boxes)
                self.areas += (boxes[:, 2] * boxes[:, 3]).tolist()
                for name, heads in self.recording.heads.items():
                    self.blocks.setdefault(name, []).append(_block_statistics(heads, i, boxes))

    def merged(self) -> dict[str, BlockStatistics]:
        """Return the statistics of all images together."""
        merged = {}
        for name, parts in self.blocks.items():
            maps = {key: np.concatenate([p.maps[key] for p in parts]) for key in parts[0].maps}
            merged[name] = parts[-1]._replace(maps=maps, mass=np.concatenate([p.mass for p in parts]))
        return merged


def _block_statistics(heads: QueriesKeys, image: int, boxes: Tensor) -> BlockStatistics:
    """Return the statistics of one image, from boxes as centre and size, 0 to 1 over the network's input."""
    h, w = heads.grid
    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    cells = torch.cat([centre - half, centre + half], 1) * torch.tensor([w, h, w, h])
    cover = coverage(cells, heads.grid)
    outside = 1 - cover.amax(0)  # of a cell that several boxes share, the largest share
    a1, a2 = object_maps(heads, image, cells)
    maps, lam = {"A1": a1}, None
    if a2 is not None and heads.lam is not None:
        lam = heads.lam.float().cpu().expand(a1.shape[1])
        difference = a1 - lam[:, None, None] * a2
        maps |= {"A2": a2, "difference": difference, "positive": difference.clamp(min=0)}
    weights = maps.get("difference", a1).abs()
    mass = [(m * c).sum((-2, -1)).mean(1) for c in (outside, cover[:, None]) for m in (a1, weights)]
    statistics = {name: map_statistics(m, cover[:, None]).mean(1).numpy() for name, m in maps.items()}
    return BlockStatistics(
        heads.grid, statistics, torch.stack(mass, 1).numpy(), None if lam is None else float(lam.mean())
    )


def _alike(block: BlockStatistics, baseline: dict[str, BlockStatistics]) -> BlockStatistics | None:
    """Return the baseline's last block on a grid of the same size."""
    return next((b for b in reversed(baseline.values()) if b.grid == block.grid), None)


def _resample(images: np.ndarray, weights: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of values, (objects, k), and that of each resample of the images, (resamples, k)."""
    sums = np.zeros((weights.shape[1], values.shape[1]))
    np.add.at(sums, images, values)
    counts = np.bincount(images, minlength=len(sums))
    weights = weights if len(sums) > 1 else weights[:0]  # each resample of one image would be that one
    return values.mean(0), (weights @ sums) / (weights @ counts)[:, None]


Resample = Callable[[np.ndarray], "tuple[np.ndarray, np.ndarray]"]


def _summary(block: BlockStatistics, plain: BlockStatistics | None, resample: Resample) -> BlockMeasurement:
    """Return the means of a block over objects, and what the subtraction changes, with intervals."""
    maps = {**({"baseline": plain.maps["A1"]} if plain else {}), **block.maps}
    differential = "difference" in maps
    return {
        "lambda": block.lam,
        "maps": {name: _means(values) for name, values in maps.items()},
        "removed": _removed(block.mass, resample) if differential else {},
        "versus": {
            other: _differences(maps["difference"] - maps[other], resample)
            for other in ("baseline", "A1")
            if differential and other in maps
        },
    }


def _means(values: np.ndarray) -> MapStatistics:
    """Return the means of (objects, 3) values."""
    inside, entropy, sparsity = map(float, values.mean(0))
    return {"inside": inside, "entropy": entropy, "sparsity": sparsity}


def _removed(mass: np.ndarray, resample: Resample) -> dict[str, RemovedShare]:
    """Return the shares of A1's mass that the subtraction removes, from `BlockStatistics.mass`."""
    mean, spread = resample(mass)
    return {
        region: {
            "share": float(_one_minus_ratio(mean[after], mean[before])),
            "over_images": intervals.over_resamples(_one_minus_ratio(spread[:, after], spread[:, before])),
        }
        for region, before, after in (("outside", 0, 1), ("inside", 2, 3))
    }


def _one_minus_ratio(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return 1 - after / before, not a number where there was nothing before."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before > 0, 1 - after / before, np.nan)


def _differences(values: np.ndarray, resample: Resample) -> dict[str, Difference]:
    """Return the mean of each statistic's differences, (objects, 3)."""
    mean, spread = resample(values)
    return {
        key: {"difference": float(mean[k]), "over_images": intervals.over_resamples(spread[:, k])}
        for k, key in enumerate(STATISTICS)
    }
