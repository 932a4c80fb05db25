# Ultralytics DiffAttn - AGPL-3.0 License
"""The difference between two models on one image, box by box, and how large it may be."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from ultralytics.engine.results import Results
from ultralytics.utils.metrics import batch_probiou, box_iou

CONF = 0.25  # ultralytics' own threshold of predictions


class Tolerance(NamedTuple):
    """The largest difference from PyTorch in float32 to accept."""

    corner: float  # of a box, in pixels of the model's input
    score: float  # of a box, or probability of a class
    share: float  # of the boxes that may differ more, or be predicted by one of the two alone
    mask: float  # smallest IoU of the masks of two boxes
    keypoint: float  # in pixels of the model's input
    pixels: float  # share of an image's pixels with another class or depth


# By how the arithmetic rounds. Measured with yolo11n on 59 images of COCO, 415 boxes: float32 0.0006 px and 0.000003;
# float16 2.6 px (99 % below 0.4) and 0.008, 1 box alone; int8 of OpenVINO 16.7 px and 0.19, 2 alone, and loses 0.1
# points of mAP. The int8 of ONNX, 121 px and 0.5, loses 6 points and is to fail: 17 % of its boxes are outside. Of two
# candidates that score alike, rounding decides which one NMS keeps: hence a share in float32, too.
# Keypoints, yolo11n-pose on the same images at 320 px: 0.0002 px, 0.2 px and 14 px. Masks, of a head that was not
# trained: IoU 1.00; 0.86, 1 % below 0.9; int8 8 % below 0.5. Where ultralytics puts the choice of a pixel's class into
# the graph, it is made before the map is enlarged, not behind: of yolo26n-sem, random, 5 % of the pixels then differ.
# bfloat16 has no row. OpenVINO chooses it by the processor, and no tolerance tells its rounding from a wrong graph: of
# stock yolo11n's 674 boxes in 177 images at 320 px half move by 0.2 px, 1 % by more than 5 px, one by 24 px, and 4
# appear or vanish, while mAP stays (0.351 and 0.352; at 640 px 0.461 and 0.461). See openvino_precision.py.
TOLERANCES = {
    "float32": Tolerance(corner=0.1, score=0.001, share=0.01, mask=0.98, keypoint=0.1, pixels=0.1),
    # A GPU's float32 convolutions round alike (TF32).
    "float16": Tolerance(corner=2.0, score=0.02, share=0.02, mask=0.9, keypoint=2.0, pixels=0.15),
    "int8": Tolerance(corner=16.0, score=0.2, share=0.1, mask=0.5, keypoint=16.0, pixels=0.3),
}
DEPTH = 0.01  # of the depth of a pixel: what is within counts as the same


class Difference(NamedTuple):
    """The difference between the predictions of two models for an image."""

    boxes: int  # of the first model
    pairs: int  # boxes that both predict
    corner: float  # largest difference in a pair, in pixels of the model's input
    score: float  # largest difference in a pair, or of the probability of a class
    far: int  # pairs that differ more than the tolerance
    alone: int  # boxes that only one of the two predicts, except those within the tolerance of the threshold
    mask: float = 1.0  # smallest IoU of the masks of a pair
    keypoint: float = 0.0  # largest difference of a keypoint of a pair, in pixels of the model's input
    pixels: float = 0.0  # share of the image's pixels with another class, or a depth off by more than `DEPTH`


def difference(
    ours: Results, theirs: Results, tolerance: Tolerance, imgsz: list[int], conf: float = CONF, max_det: int = 300
) -> Difference:
    """Return the difference between the predictions of two models for the same image.

    Boxes are paired one to one, those of the same class that overlap most first, and more than half.

    Args:
        ours (Results): Predictions of the first model.
        theirs (Results): Predictions of the second model.
        tolerance (Tolerance): Beyond it a pair counts as far.
        imgsz (list[int]): Height and width of the models' input.
        conf (float): Threshold of the score in both.
        max_det (int): Largest number of boxes in both.

    Returns:
        (Difference): Numbers of boxes, and largest differences.

    Examples:
        >>> import numpy as np
        >>> a, b = torch.tensor([[10, 10, 50, 50, 0.9, 0]]), torch.tensor([[10, 12, 50, 50, 0.8, 0]])
        >>> image = np.zeros((64, 64, 3), np.uint8)
        >>> results = (Results(image, path="", names={0: "cell"}, boxes=boxes) for boxes in (a, b))
        >>> [round(value, 2) for value in difference(*results, TOLERANCES["int8"], [64, 64])]
        [1, 1, 2.0, 0.1, 0, 0, 1.0, 0.0, 0.0]
    """
    if ours.probs is not None and theirs.probs is not None:
        one, other = torch.as_tensor(ours.probs.data).cpu(), torch.as_tensor(theirs.probs.data).cpu()
        gap = float((one - other).abs().max())
        return Difference(0, 0, 0.0, gap, int(not gap <= _allowed(tolerance, float(ours.probs.top1conf))), 0)
    if boxes(ours) is None:
        share = _differing_pixels(ours, theirs)
        return Difference(0, 0, 0.0, 0.0, int(not share <= tolerance.pixels), 0, pixels=share)
    a, b = (boxes(r).cpu() for r in (ours, theirs))
    allowed = _allowed(tolerance, conf)
    gain = min(side / original for side, original in zip(imgsz, ours.orig_shape, strict=True))
    pairs = _pairs(a, b)
    corners = [_corner(a, i, b, j) * gain for i, j in pairs]
    scores = [abs(float(a.conf[i] - b.conf[j])) for i, j in pairs]
    masks = [_mask_iou(ours.masks, i, theirs.masks, j) for i, j in pairs]
    points = [_keypoint(ours.keypoints, i, theirs.keypoints, j) * gain for i, j in pairs]
    # A box may miss the threshold by a hair in one of the two; where there are too many, the last one is the threshold.
    edge = max([conf, *(float(r.conf.min()) for r in (a, b) if len(r) >= max_det)]) + allowed
    unpaired = [r.conf[i] for r, k in ((a, 0), (b, 1)) for i in set(range(len(r))) - {p[k] for p in pairs}]
    return Difference(
        boxes=len(a),
        pairs=len(pairs),
        corner=max(corners, default=0.0),
        score=max(scores, default=0.0),
        far=sum(
            c > tolerance.corner or s > allowed or m < tolerance.mask or k > tolerance.keypoint
            for c, s, m, k in zip(corners, scores, masks, points, strict=True)
        ),
        alone=sum(float(score) > edge for score in unpaired),
        mask=min(masks, default=1.0),
        keypoint=max(points, default=0.0),
    )


def _allowed(tolerance: Tolerance, score: float) -> float:
    """Return the accepted difference of scores: the lower they are, the less the same rounding moves them."""
    return tolerance.score * min(1.0, score / CONF)


def boxes(result: Results) -> Any:
    """Return ultralytics' `Boxes` of a result, or its `OBB`."""
    return result.boxes if result.obb is None else result.obb


def _pairs(a: Any, b: Any) -> list[tuple[int, int]]:
    """Return the indices of the boxes of the same class that overlap most, one to one; of equals, alike in score."""
    iou = batch_probiou(a.xywhr, b.xywhr) if hasattr(a, "xywhr") else box_iou(a.xyxy, b.xyxy)
    iou = iou - 1e-4 * (a.conf[:, None] - b.conf[None]).abs() / a.conf.amax().clamp(1e-9) if len(a) else iou
    iou = iou * (a.cls[:, None] == b.cls[None])
    pairs = []
    while iou.numel() and iou.max() > 0.5:
        i, j = divmod(int(iou.argmax()), iou.shape[1])
        pairs.append((i, j))
        iou[i], iou[:, j] = 0, 0
    return pairs


def _corner(a: Any, i: int, b: Any, j: int) -> float:
    """Return the largest difference of a coordinate between two boxes, in pixels of the image."""
    if not hasattr(a, "xywhr"):
        return float((a.xyxy[i] - b.xyxy[j]).abs().max())
    ours, theirs = a.xyxyxyxy[i], b.xyxyxyxy[j]  # (4, 2); a square turned by 90 degrees begins at another corner
    return min(float((ours - torch.roll(theirs, k, 0)).abs().max()) for k in range(4))


def _mask_iou(a: Any, i: int, b: Any, j: int) -> float:
    """Return the IoU of the masks of two boxes; 1 where the task has none, or both are empty."""
    if a is None or b is None:
        return 1.0
    one, other = (torch.as_tensor(m.data)[k].cpu().bool() for m, k in ((a, i), (b, j)))
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def _keypoint(a: Any, i: int, b: Any, j: int) -> float:
    """Return the largest difference of a keypoint of two boxes, in pixels of the image; 0 where the task has none."""
    if a is None or b is None:
        return 0.0
    return float((torch.as_tensor(a.data)[i, :, :2].cpu() - torch.as_tensor(b.data)[j, :, :2].cpu()).abs().max())


def _differing_pixels(ours: Results, theirs: Results) -> float:
    """Return the share of pixels with another class, or with a depth that is off by more than `DEPTH` of it."""
    if ours.depth is not None:
        one, other = (torch.as_tensor(r.depth.data).cpu() for r in (ours, theirs))  # type: ignore[union-attr]
        same = (one - other).abs() <= DEPTH * one.abs()
    else:
        one, other = (torch.as_tensor(r.semantic_mask.data).cpu() for r in (ours, theirs))  # type: ignore[union-attr]
        same = one == other
    return float((~same).float().mean())  # of nan, nothing is the same
