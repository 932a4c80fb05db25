# Ultralytics DiffAttn - AGPL-3.0 License
"""Predictions of a COCO results JSON, matched with a data set's boxes by ultralytics' validator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import coco_results
from ultralytics_diffattn.evaluation.coco_results import EXPLICIT, Detections
from ultralytics_diffattn.evaluation.predictions import Predictions

MAX_DET, CONF = 300, 0.001  # ultralytics' defaults for the predictions of an image in a validation


def evaluate(file: Path, args: Mapping[str, Any], split: str, source: str, folder: Path) -> Predictions:
    """Return predictions as if ultralytics' validator had just seen them.

    As with a model, those below `conf` and more than `max_det` for an image do not count.

    Args:
        file (Path): As for `coco_results.read`.
        args (dict[str, Any]): Of ultralytics' validation, with `data`.
        split (str): "val" or "test".
        source (str): The data set before images were held out; it may have been converted from COCO annotations.
        folder (Path): Where ultralytics may write.

    Returns:
        (Predictions): Of every image of the split.

    Raises:
        UserError: As `coco_results.read` does, and if the boxes show that the classes count from 0.
    """
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.models.yolo.detect import DetectionValidator
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data.check import list_images
    from ultralytics_diffattn.data.conversion import source_of

    data = check_det_dataset(str(args["data"]))
    validator: Any = DetectionValidator(save_dir=folder, args={**args, "task": "detect", "split": split})
    validator.data, validator.stride = data, 32
    labels = validator.build_dataset(data[split]).labels
    files = [label["im_file"] for label in labels]
    others = {f for name in ("train", "val", "test") for f in list_images(data, name)} - {*files}
    names = [data["names"][i] for i in sorted(data["names"])]
    all_of_them = coco_results.read(file, files, others, names, source_of(Path(source)))
    most = args.get("max_det") or max(MAX_DET, *(len(label["cls"]) for label in labels))
    found = _as_validated(all_of_them, args.get("conf") or CONF, most)
    if left_out := len(all_of_them.conf) - len(found.conf):
        LOGGER.info(f"{file}: {left_out:,} predictions with a score below conf, or beyond max_det, do not count")
    if args.get("single_cls"):
        found.cls[:] = 0
    shape = np.array([label["shape"] for label in labels])  # (N, 2)
    target_image = np.repeat(np.arange(len(files)), [len(label["cls"]) for label in labels])
    size = shape[target_image][:, [1, 0, 1, 0]]
    target = np.concatenate([label["bboxes"].reshape(-1, 4) for label in labels]) * size  # round their centre
    target_cls = np.concatenate([label["cls"].reshape(-1) for label in labels]).astype(np.int32)
    target_box = np.concatenate([target[:, :2] - target[:, 2:] / 2, target[:, 2:]], 1)
    tp = _match(validator, file, found, target_image, target_cls, target_box)
    truth = target_cls, target_box, target_image
    conf = found.conf.astype(np.float32)  # as ultralytics has them, so that ties are sorted alike
    return Predictions(names, files, shape, tp, conf, found.cls, found.box, found.image, *truth)


def _as_validated(found: Detections, conf: float, max_det: int) -> Detections:
    """Return what a validation would have left: by image, in the file's order of these, and by falling score."""
    rank: dict[int, int] = {}
    of_image = np.array([rank.setdefault(i, len(rank)) for i in found.image.tolist()])
    order = np.lexsort((-found.conf, of_image))  # stable: of equal scores the first in the file stays first
    order = order[found.conf[order] >= conf]
    starts = np.searchsorted(of_image[order], of_image[order])
    order = order[np.arange(len(order)) - starts < max_det]
    return Detections(found.image[order], found.cls[order], found.box[order], found.conf[order])


def _match(
    validator: Any,
    file: Path,
    found: Detections,
    target_image: NDArray[np.int64],
    target_cls: NDArray[np.integer],
    target_box: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """Return (D, 10), whether each prediction is right at each IoU, as ultralytics' validator matches them."""
    import torch
    from ultralytics.utils.metrics import box_iou

    cls, true_cls = (torch.as_tensor(c, dtype=torch.float32) for c in (found.cls, target_cls))
    boxes, true_boxes = (
        torch.as_tensor(np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1), dtype=torch.float32)
        for b in (found.box, target_box)
    )
    tp = np.zeros((len(found.conf), 10), bool)
    as_said = as_if_from_0 = 0
    # Both come image by image.
    changes = np.flatnonzero(np.diff(found.image)) + 1
    for d in np.split(np.arange(len(found.image)), changes):
        t = np.arange(*np.searchsorted(target_image, [found.image[d[0]], found.image[d[0]] + 1])) if len(d) else d
        if not len(t):
            continue
        iou = box_iou(true_boxes[t], boxes[d])  # (T, D)
        tp[d] = validator.match_predictions(cls[d], true_cls[t], iou).cpu().numpy()
        on_object = iou.max(0).values >= 0.5
        gap = (true_cls[t][iou.argmax(0)] - cls[d])[on_object]
        as_said, as_if_from_0 = as_said + int((gap == 0).sum()), as_if_from_0 + int((gap == 1).sum())
    if as_if_from_0 > as_said:
        raise UserError(
            f"{file}: category_id seems to count from 0: read so, {as_if_from_0} predictions that lie on an object "
            f"have its class; as it stands, {as_said} have. Add 1 to each category_id, or {EXPLICIT}"
        )
    return tp
