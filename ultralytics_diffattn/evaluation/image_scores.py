# Ultralytics DiffAttn - AGPL-3.0 License
"""A model's scores for each image of a split, of the tasks whose result is one for the whole image."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Ratio(NamedTuple):
    """A metric that is the mean over K classes of a sum over images divided by another.

    Attributes:
        above (np.ndarray): (N, K), what each image adds above the line.
        below (np.ndarray): (N, K), what it adds below.
        counts (np.ndarray): (N, K), above zero where the image has something of the class; a class that no image has is
            in no mean.
    """

    above: Floats
    below: Floats
    counts: Floats

    def by_class(self, weight: NDArray[np.integer] | None = None) -> Floats:
        """Return the ratio of each class, (..., K), nan where there is none; image i counts `weight[..., i]` times."""
        above, below, counts = (x.sum(0) if weight is None else weight @ x for x in self)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(counts > 0, np.where(below > 0, above / below, 0.0), np.nan)

    def mean(self, weight: NDArray[np.integer] | None = None) -> Floats:
        """Return the mean over the classes that there are, (...,); 0 where there is none."""
        values = self.by_class(weight)
        known = ~np.isnan(values)
        mean: Floats = np.where(known, values, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
        return mean


class ImageScores(NamedTuple):
    """Scores of a model for each image of a split.

    Attributes:
        names (list[str]): The classes.
        files (list[str]): The N images.
        metrics (dict[str, Ratio]): By the names of `tasks.TASKS`.
        per_class (Ratio | None): The first metric by class; None where the task has no classes.
        predicted (np.ndarray | None): (N,) class that an image is given, where the task gives it one.
        target (np.ndarray | None): (N,) its true class.
    """

    names: list[str]
    files: list[str]
    metrics: dict[str, Ratio]
    per_class: Ratio | None
    predicted: NDArray[np.int64] | None = None
    target: NDArray[np.int64] | None = None


def begin(validator: Any) -> None:
    """Have the validator's `update_metrics` record what ultralytics' own metrics make of each image by itself."""
    if validator.args.task == "classify":
        return  # its validator keeps the predictions of each image
    if "update_metrics" not in vars(validator):
        validator.update_metrics = partial(_update, validator, validator.update_metrics)
    validator.diffattn_rows = []


def _update(validator: Any, stock: Any, preds: Any, batch: dict[str, Any]) -> None:
    """Call the stock `update_metrics` for the batch, then once for each image with metrics of its own."""
    stock(preds, batch)
    task, whole = validator.args.task, validator.metrics
    truth = "depth" if task == "depth" else "semantic_mask"
    seen = getattr(validator, "seen", None)
    for i, file in enumerate(batch["im_file"]):
        validator.metrics = type(whole)(max_depth=whole.max_depth) if task == "depth" else type(whole)(whole.names)
        stock(preds[i : i + 1], {**batch, truth: batch[truth][i : i + 1], "im_file": [file]})
        validator.diffattn_rows.append((file, validator.metrics))
    validator.metrics = whole
    if seen is not None:
        validator.seen = seen


def gather(validator: Any) -> ImageScores:
    """Return the scores of a validation that has just ended.

    Args:
        validator (ultralytics.engine.validator.BaseValidator): Of classification, semantic segmentation or depth.

    Returns:
        (ImageScores): Of every image of the split.
    """
    return {"classify": _classified, "semantic": _segmented, "depth": _depths}[validator.args.task](validator)


def _classified(validator: Any) -> ImageScores:
    """Return the hits of each image."""
    import torch

    predicted, target = (torch.cat(x).numpy() for x in (validator.pred, validator.targets))  # (N, 5), (N,)
    names = [validator.names[i] for i in sorted(validator.names)]
    hit = (predicted == target[:, None]).astype(float)
    one = np.ones((len(target), 1))
    of_class = np.eye(len(names))[target]  # (N, K)
    return ImageScores(
        names=names,
        files=[str(sample[0]) for sample in validator.dataloader.dataset.samples],
        metrics={"top-1": Ratio(hit[:, :1], one, one), "top-5": Ratio(hit.max(1, keepdims=True), one, one)},
        per_class=Ratio(of_class * hit[:, :1], of_class, of_class),
        predicted=predicted[:, 0].astype(np.int64),
        target=target.astype(np.int64),
    )


def _segmented(validator: Any) -> ImageScores:
    """Return intersection and union of each image and class, by ultralytics' confusion matrix of the image."""
    size = validator.metrics.cm_nc
    matrices = [m.matrix for _, m in validator.diffattn_rows]
    matrix = np.stack([np.zeros((size, size)) if m is None else m.cpu().double().numpy() for m in matrices])
    shared, true, predicted = np.einsum("nkk->nk", matrix), matrix.sum(2), matrix.sum(1)  # (N, K)
    start = size - len(validator.names)  # of one class alone, the background is not counted
    by_class = Ratio(*(x[:, start:] for x in (shared, true + predicted - shared, true)))
    pixels = matrix.sum((1, 2))[:, None]
    return ImageScores(
        names=[validator.names[i] for i in sorted(validator.names)],
        files=[str(file) for file, _ in validator.diffattn_rows],
        metrics={"mIoU": by_class, "pixel accuracy": Ratio(shared.sum(1, keepdims=True), pixels, pixels)},
        per_class=by_class,
    )


def _depths(validator: Any) -> ImageScores:
    """Return the errors of each image; one with too few pixels of known depth counts for nothing."""
    from ultralytics_diffattn.evaluation.tasks import TASKS

    known, values = [], []
    for _, metrics in validator.diffattn_rows:
        known.append(float(metrics._count))  # ultralytics does not tell it otherwise
        metrics.process()
        values.append([metrics.results_dict[f"metrics/{name}"] for name in TASKS["depth"].metrics])
    count = np.array(known)[:, None]  # (N, 1)
    value = np.array(values, dtype=float) * count  # (N, metrics)
    return ImageScores(
        names=[],
        files=[str(file) for file, _ in validator.diffattn_rows],
        metrics={name: Ratio(value[:, [m]], count, count) for m, name in enumerate(TASKS["depth"].metrics)},
        per_class=None,
    )


def in_order(scores: ImageScores, order: NDArray[np.int64]) -> ImageScores:
    """Return scores with image `order[i]` at place i."""

    def moved(ratio: Ratio) -> Ratio:
        return Ratio(*(values[order] for values in ratio))

    return scores._replace(
        files=[scores.files[i] for i in order],
        metrics={name: moved(ratio) for name, ratio in scores.metrics.items()},
        per_class=moved(scores.per_class) if scores.per_class else None,
        predicted=None if scores.predicted is None else scores.predicted[order],
        target=None if scores.target is None else scores.target[order],
    )


def as_arrays(scores: ImageScores) -> dict[str, Any]:
    """Return scores as arrays by name, for a NumPy archive."""
    ratios = {**scores.metrics, **({"per class": scores.per_class} if scores.per_class else {})}
    classes = {key: value for key in ("predicted", "target") if (value := getattr(scores, key)) is not None}
    return {"names": np.array(scores.names, dtype=str), "files": scores.files, **classes} | {
        f"{name}/{part}": values for name, ratio in ratios.items() for part, values in ratio._asdict().items()
    }


def from_arrays(arrays: dict[str, Any]) -> ImageScores:
    """Return what `as_arrays` has taken apart."""
    names, files = (arrays.pop(key).tolist() for key in ("names", "files"))
    classes = {key: arrays.pop(key, None) for key in ("predicted", "target")}
    ratios = {
        name: Ratio(*(arrays[f"{name}/{part}"] for part in Ratio._fields))
        for name in dict.fromkeys(key.rpartition("/")[0] for key in arrays)
    }
    return ImageScores(names, files, per_class=ratios.pop("per class", None), metrics=ratios, **classes)
