# Ultralytics DiffAttn - AGPL-3.0 License
"""A model's boxes on a split, image by image, and whether they are right."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """Predictions of a model for each image of a split, matched with the true boxes by ultralytics' validator.

    Boxes are x, y (of the upper left corner), width and height in pixels of the original image; of a rotated box, the
    upright one around it.

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
        tp_task (np.ndarray | None): As `tp`, by the masks of segmentation or the keypoints of pose; None where there
            are but boxes.
        brightness (np.ndarray | None): (N,) mean of the image as the model sees it, 0 to 1; None in files of earlier
            versions.
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
    tp_task: NDArray[np.bool_] | None = None
    brightness: NDArray[np.floating] | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return (D, 10), whether detection d is right by what the task is about."""
        return self.tp if self.tp_task is None else self.tp_task


UPRIGHT = "detect", "segment", "pose"  # tasks whose results have upright boxes
TASKS = (*UPRIGHT, "obb")
TASK_MATCHES = {"segment": "tp_m", "pose": "tp_p"}  # what ultralytics calls them


def begin(validator: Any) -> None:
    """Have the validator's `update_metrics` record the boxes, too.

    Its own `save_json` names an image by the stem of its file, so that a/1.jpg and b/1.jpg are one.
    """
    if "update_metrics" not in vars(validator):
        validator.update_metrics = partial(_update, validator, validator.update_metrics)
    validator.diffattn_rows = []
    validator.diffattn_matched = 0


def _update(validator: Any, stock: Any, preds: Any, batch: dict[str, Any]) -> None:
    """Call the stock `update_metrics`, then record file, shape, predictions and matches of each image."""
    stock(preds, batch)  # first, since it sets the classes with single_cls
    stats = getattr(validator.metrics, "stats", None) or validator.stats  # the latter in ultralytics 8.3
    of_task = stats.get(TASK_MATCHES.get(validator.args.task, "tp"))
    start = validator.diffattn_matched
    matched = list(zip(stats["tp"][start:], of_task[start:], strict=True))
    validator.diffattn_matched += len(matched)
    complete, remaining = len(matched) == len(batch["im_file"]), iter(matched)
    for i, file in enumerate(batch["im_file"]):
        rows, shape = _rows(preds, i, rotated=validator.args.task == "obb"), batch["ori_shape"][i]
        rows = _in_image(rows, batch["ratio_pad"][i], shape)
        nothing = not len(rows) and not (batch["batch_idx"] == i).any()
        # Ultralytics 8.3.108 has no entry for an image without objects and predictions.
        tp = [np.zeros((0, 10))] * 2 if nothing and not complete else map(_array, next(remaining))
        brightness = float(batch["img"][i].float().mean()) if "img" in batch else np.nan
        validator.diffattn_rows.append((file, shape, _array(rows), *tp, brightness))


def _rows(preds: Any, i: int, rotated: bool) -> Any:
    """Return a copy of the predictions of image `i` of a batch, (D, 6): corners, score, class."""
    import torch
    from ultralytics.utils.ops import xywhr2xyxyxyxy

    image = (preds[0] if isinstance(preds, tuple) else preds)[i]  # segment's are (boxes, prototypes) in ultralytics 8.3
    if isinstance(image, dict):
        boxes, rest = image["bboxes"], torch.stack([image["conf"], image["cls"]], 1)
    else:  # of rotated boxes, the angle stands behind the class
        boxes, rest = image[:, [0, 1, 2, 3, 6]] if rotated else image[:, :4], image[:, 4:6]
    if rotated:
        corners = xywhr2xyxyxyxy(boxes)  # (D, 4, 2)
        boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    return torch.cat([boxes, rest], 1)


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
        validator (ultralytics.models.yolo.detect.DetectionValidator): With the callbacks of `recording.listen`.

    Returns:
        (Predictions): Of every image of the split.
    """
    files, shapes, rows_of, tp, tp_task, brightness = zip(*validator.diffattn_rows, strict=True)
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
        tp_task=np.concatenate(tp_task).astype(bool).reshape(-1, 10) if validator.args.task in TASK_MATCHES else None,
        brightness=np.array(brightness),
    )


def in_order(p: Predictions, order: NDArray[np.int64]) -> Predictions:
    """Return predictions with image `order[i]` at place i; the boxes of truth follow, the predictions stay."""
    place = np.argsort(order)
    by_image = np.argsort(place[p.target_image], kind="stable")
    return p._replace(
        files=[p.files[i] for i in order],
        shape=p.shape[order],
        image=place[p.image],
        target_cls=p.target_cls[by_image],
        target_box=p.target_box[by_image],
        target_image=place[p.target_image][by_image],
        brightness=None if p.brightness is None else p.brightness[order],
    )


def as_arrays(predictions: Predictions) -> dict[str, Any]:
    """Return predictions as arrays by name, for a NumPy archive."""
    return {name: value for name, value in predictions._asdict().items() if value is not None}


def from_arrays(arrays: dict[str, Any]) -> Predictions:
    """Return what `as_arrays` has taken apart."""
    return Predictions(**{k: v.tolist() if k in ("names", "files") else v for k, v in arrays.items()})


def _array(x: Any) -> NDArray[Any]:
    """Return a tensor or an array as an array."""
    return x.cpu().numpy() if hasattr(x, "cpu") else np.asarray(x)
