# Ultralytics DiffAttn - AGPL-3.0 License
"""What a validation says of each image, recorded for statistics that need no second inference, for every task."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ultralytics_diffattn.evaluation import image_scores, predictions
from ultralytics_diffattn.evaluation.image_scores import ImageScores
from ultralytics_diffattn.evaluation.nms_time_limit import lift
from ultralytics_diffattn.evaluation.predictions import Predictions

Recorded: TypeAlias = Predictions | ImageScores
Key = TypeVar("Key")


def listen(model: Any) -> None:
    """Have a model record its final validation; those between epochs stay as they are.

    Args:
        model (ultralytics.YOLO): The model that is about to be trained or validated.
    """
    model.add_callback("on_val_start", lift)
    model.add_callback("on_val_start", begin)


def collect(model: Any) -> list[Any]:
    """Return a list to which every validation of a model will append what it recorded.

    Args:
        model (ultralytics.YOLO): The model that is about to be validated.

    Returns:
        (list[Predictions] | list[ImageScores]): Empty until then.
    """
    collected: list[Recorded] = []
    listen(model)
    model.add_callback("on_val_end", lambda validator: collected.append(_kind(validator).gather(validator)))
    return collected


def begin(validator: Any) -> None:
    """Start to record a validation, unless it is one between epochs or sees a part of the images; for its start."""
    if _is_whole(validator):
        _kind(validator).begin(validator)


def save(validator: Any) -> None:
    """Write `predictions.npz` beside the run folder; a callback for the end of a validation."""
    if _is_whole(validator):
        write(Path(validator.save_dir).parent / "predictions.npz", _kind(validator).gather(validator))


def save_sorted(validator: Any) -> None:
    """Do what `save` does, the images by their names: a checkpoint and its export see them in different orders."""
    if _is_whole(validator):
        write(Path(validator.save_dir).parent / "predictions.npz", by_name(_kind(validator).gather(validator)))


def by_name(recorded: Recorded) -> Recorded:
    """Return what was recorded with the images in the order of their names.

    Args:
        recorded (Predictions | ImageScores): As from a validation.

    Returns:
        (Predictions | ImageScores): The same predictions in the same order, so that tied scores stay as they were.
    """
    kind = predictions if isinstance(recorded, Predictions) else image_scores
    order: list[int] = sorted(range(len(recorded.files)), key=recorded.files.__getitem__)
    sort: Any = kind.in_order
    sorted_: Recorded = sort(recorded, np.array(order, np.int64))
    return sorted_


def with_one_brightness(recorded: Mapping[Key, Recorded]) -> dict[Key, Recorded]:
    """Return what was recorded of several models, the brightness of the images that of the first model that saw them.

    A model sees the grey round an image, too, which differs between a checkpoint and its export, and predictions in a
    file have seen none; slices of images have to be the same for all.

    Args:
        recorded (dict[Any, Predictions | ImageScores]): By model, the images in the same order.

    Returns:
        (dict[Any, Predictions | ImageScores]): The same, by the same keys.
    """
    known = [p.brightness for p in recorded.values() if isinstance(p, Predictions) and p.brightness is not None]
    return {
        key: p._replace(brightness=known[0]) if known and isinstance(p, Predictions) else p
        for key, p in recorded.items()
    }


def _is_whole(validator: Any) -> bool:
    """Return whether a validation is a final one of all images; with several GPUs each process sees its share."""
    from ultralytics.utils import RANK

    return not validator.training and RANK == -1


def _kind(validator: Any) -> Any:
    """Return the file that records a validator's task."""
    return predictions if validator.args.task in predictions.TASKS else image_scores


def write(path: Path, recorded: Recorded) -> None:
    """Write what was recorded as a compressed NumPy archive, in one step.

    Args:
        path (Path): The file, .npz.
        recorded (Predictions | ImageScores): As from a validation.
    """
    beside = path.with_suffix(".tmp.npz")
    arrays = predictions.as_arrays(recorded) if isinstance(recorded, Predictions) else image_scores.as_arrays(recorded)
    np.savez_compressed(beside, **arrays)
    os.replace(beside, path)


def read(path: Path) -> Recorded:
    """Read what `write` wrote.

    Args:
        path (Path): The file, .npz.

    Returns:
        (Predictions | ImageScores): As it was written.
    """
    with np.load(path) as data:
        arrays = dict(data)
    return predictions.from_arrays(arrays) if "tp" in arrays else image_scores.from_arrays(arrays)
