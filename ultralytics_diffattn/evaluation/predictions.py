# Ultralytics DiffAttn - AGPL-3.0 License
"""A model's predictions on a split, image by image, so that statistics need no second inference."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """Predictions of a model for each image of a split, matched with the true boxes by ultralytics' validator.

    Boxes are x, y (of the upper left corner), width and height in pixels of the original image.

    Attributes:
        names (list[str]): The classes.
        files (list[str]): The N images.
        shape (np.ndarray): (N, 2) their height and width.
        tp (np.ndarray): (D, 10) bool, whether detection d is right at IoU 0.50, 0.55, ..., 0.95.
        conf (np.ndarray): (D,) its score.
        cls (np.ndarray): (D,) its class.
        box (np.ndarray): (D, 4) its box.
        image (np.ndarray): (D,) index of its image.
        target_cls (np.ndarray): (T,) class of each true box.
        target_box (np.ndarray): (T, 4) the box.
        target_image (np.ndarray): (T,) index of its image.
    """

    names: list[str]
    files: list[str]
    shape: NDArray[np.integer]
    tp: NDArray[np.bool_]
    conf: NDArray[np.floating]
    cls: NDArray[np.integer]
    box: NDArray[np.floating]
    image: NDArray[np.integer]
    target_cls: NDArray[np.integer]
    target_box: NDArray[np.floating]
    target_image: NDArray[np.integer]


TASKS = "detect", "segment", "pose"  # those whose results have upright boxes


def listen(model: Any) -> None:
    """Have a model record the predictions of its final validation; those between epochs stay as they are.

    Args:
        model (ultralytics.YOLO): The model that is about to be trained or validated.
    """
    model.add_callback("on_val_start", begin)


def collect(model: Any) -> list[Predictions]:
    """Return a list to which every validation of a model will append its predictions.

    Args:
        model (ultralytics.YOLO): The model that is about to be validated.

    Returns:
        (list[Predictions]): Empty until then.
    """
    collected: list[Predictions] = []
    listen(model)
    model.add_callback("on_val_end", lambda validator: collected.append(gather(validator)))
    return collected


def save(validator: Any) -> None:
    """Write `predictions.npz` beside the run folder; a callback for the end of a validation."""
    if not validator.training:
        write(Path(validator.save_dir).parent / "predictions.npz", gather(validator))


def begin(validator: Any) -> None:
    """Have the validator's `update_metrics` record the boxes, too.

    Its own `save_json` names an image by the stem of its file, so that a/1.jpg and b/1.jpg are one.
    """
    if validator.training or validator.args.task not in TASKS:
        return
    if "update_metrics" not in vars(validator):
        validator.update_metrics = partial(_update, validator, validator.update_metrics)
    validator.diffattn_rows = []
    validator.diffattn_matched = 0


def _update(validator: Any, stock: Any, preds: Any, batch: dict[str, Any]) -> None:
    """Call the stock `update_metrics`, then record file, shape, predictions and matches of each image."""
    stock(preds, batch)  # first, since it sets the classes with single_cls
    stats = getattr(validator.metrics, "stats", None) or validator.stats  # the latter in ultralytics 8.3
    matched = stats["tp"][validator.diffattn_matched :]
    validator.diffattn_matched += len(matched)
    complete, matched = len(matched) == len(batch["im_file"]), iter(matched)
    for i, file in enumerate(batch["im_file"]):
        rows, shape = _rows(preds, i), batch["ori_shape"][i]
        rows = _in_image(rows, batch["ratio_pad"][i], shape)
        nothing = not len(rows) and not (batch["batch_idx"] == i).any()
        # Ultralytics 8.3.108 has no entry for an image without objects and predictions.
        tp = np.zeros((0, 10)) if nothing and not complete else _array(next(matched))
        validator.diffattn_rows.append((file, shape, _array(rows), tp))


def _rows(preds: Any, i: int) -> Any:
    """Return a copy of the predictions of image `i` of a batch, (D, 6): corners, score, class."""
    import torch

    image = (preds[0] if isinstance(preds, tuple) else preds)[i]  # segment's are (boxes, prototypes) in ultralytics 8.3
    if isinstance(image, dict):
        return torch.cat([image["bboxes"], image["conf"][:, None], image["cls"][:, None]], 1)
    return image[:, :6].clone()


def _in_image(rows: Any, ratio_pad: tuple[tuple[float, float], tuple[float, float]], shape: tuple[int, int]) -> Any:
    """Return the rows with corners moved from the letterboxed to the original image, by the ratio of each axis.

    Ultralytics 8.4.120 and older divide both axes by that of the height, which moves boxes by up to a pixel.
    """
    from ultralytics.utils.ops import clip_boxes

    (ratio_y, ratio_x), (left, top) = ratio_pad
    rows[:, :4] -= rows.new_tensor([left, top, left, top])
    rows[:, :4] /= rows.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    clip_boxes(rows, shape)
    return rows


def gather(validator: Any) -> Predictions:
    """Return the predictions of a validation that has just ended.

    Args:
        validator (ultralytics.models.yolo.detect.DetectionValidator): With the callbacks of `listen`.

    Returns:
        (Predictions): Of every image of the split.
    """
    files, shapes, rows_of, tp = zip(*validator.diffattn_rows, strict=True)
    count = [len(rows) for rows in rows_of]
    rows = np.concatenate(rows_of)  # (D, 6)
    by_file = {label["im_file"]: label for label in validator.dataloader.dataset.labels}
    labels = [by_file[file] for file in files]
    targets = [len(label["cls"]) for label in labels]
    target = np.concatenate([label["bboxes"].reshape(-1, 4) for label in labels])  # (T, 4) relative, round their centre
    indices, shape = np.arange(len(files)), np.array(shapes)  # (N,), (N, 2)
    target_image = np.repeat(indices, targets)
    target = target * shape[target_image][:, [1, 0, 1, 0]]
    return Predictions(
        names=[validator.names[i] for i in sorted(validator.names)],
        files=list(files),
        shape=shape,
        tp=np.concatenate(tp).astype(bool).reshape(-1, 10),
        conf=rows[:, 4],
        cls=rows[:, 5].astype(np.int32),
        box=np.concatenate([rows[:, :2], rows[:, 2:4] - rows[:, :2]], 1),
        image=np.repeat(indices, count),
        target_cls=np.concatenate([label["cls"].reshape(-1) for label in labels]).astype(np.int32),
        target_box=np.concatenate([target[:, :2] - target[:, 2:] / 2, target[:, 2:]], 1),
        target_image=target_image,
    )


def write(path: Path, predictions: Predictions) -> None:
    """Write predictions as a compressed NumPy archive, in one step.

    Args:
        path (Path): The file, .npz.
        predictions (Predictions): The predictions.
    """
    beside = path.with_suffix(".tmp.npz")
    np.savez_compressed(beside, **predictions._asdict())
    os.replace(beside, path)


def read(path: Path) -> Predictions:
    """Read what `write` wrote.

    Args:
        path (Path): The file, .npz.

    Returns:
        (Predictions): The predictions as they were written.
    """
    with np.load(path) as data:
        return Predictions(**{k: data[k].tolist() if k in ("names", "files") else data[k] for k in Predictions._fields})


def _array(x: Any) -> NDArray[Any]:
    """Return a tensor or an array as an array."""
    return x.cpu().numpy() if hasattr(x, "cpu") else np.asarray(x)
