"""What is right, written down without this package: formulas, and other people's programs."""

import copy
import math

import torch

STATS = {"AP": 0, "AP50": 1, "small": 3, "medium": 4, "large": 5}  # places in COCO's list of results


def equation_1(q1, k1, q2, k2, v, lam, mask=None):
    """Write equation 1 out, query by query, for tensors (N, d) in float64."""

    def weights(query, keys, row):
        e = [math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query)) + m)
             for key, m in zip(keys, row, strict=True)]  # fmt: skip
        return [x / sum(e) for x in e]

    mask = [[0.0] * len(k1) for _ in q1] if mask is None else mask.tolist()
    rows = []
    for a, b, row in zip(q1.tolist(), q2.tolist(), mask, strict=True):
        w = [x - lam * y for x, y in zip(weights(a, k1.tolist(), row), weights(b, k2.tolist(), row), strict=True)]
        rows.append([sum(x * y for x, y in zip(w, column, strict=True)) for column in v.T.tolist()])
    return torch.tensor(rows, dtype=torch.float64)


def pycocotools_ap(truth, predictions):
    """Return what COCO's own program says of the same."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    objects = COCO()
    objects.dataset = copy.deepcopy(truth)
    objects.createIndex()
    coco = COCOeval(objects, objects.loadRes(copy.deepcopy(predictions)), "bbox")
    coco.evaluate()
    coco.accumulate()
    coco.summarize()
    return {name: None if coco.stats[i] == -1 else coco.stats[i] for name, i in STATS.items()}
