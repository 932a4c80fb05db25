"""The confusion matrix, against ultralytics' own on the same predictions, and one by one by hand."""

import inspect

import numpy as np
import pytest
import torch
from ultralytics.utils.metrics import ConfusionMatrix

from tests.evaluation.test_tide import drawn, make
from ultralytics_diffattn.evaluation.confusion import confusions


def ultralytics_own(p):
    """Return the matrix that ultralytics counts, by true class, then by predicted one."""
    if "batch" not in inspect.signature(ConfusionMatrix.process_batch).parameters:
        pytest.skip("this release has another interface")
    matrix = ConfusionMatrix(names=dict(enumerate(p.names)))
    for i in range(len(p.files)):
        mine, true = p.image == i, p.target_image == i
        corners = [np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in (p.box[mine], p.target_box[true])]
        boxes, targets = map(torch.tensor, corners)
        detections = {"bboxes": boxes, "conf": torch.tensor(p.conf[mine]), "cls": torch.tensor(p.cls[mine])}
        truth = {"bboxes": targets, "cls": torch.tensor(p.target_cls[true])}
        matrix.process_batch(detections, truth, conf=0.25, iou_thres=0.45)
    return matrix.matrix.T


BOX, MOVED, FAR = [10, 10, 40, 40], [18, 10, 40, 40], [100, 100, 40, 40]  # IoU of the first two is 2 / 3
HALF = [24, 10, 40, 40]  # with BOX 0.48, with MOVED 0.74


def by_score():
    """Return whether this ultralytics has the rule that is meant: the surer prediction chooses first."""
    matrix = ultralytics_own(make([(0, 0, BOX)], [(0, 1, 0.9, MOVED), (0, 0, 0.8, BOX)]))
    return matrix[0, 1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_ultralytics_own(seed):
    if not by_score():
        pytest.skip("this release gives each object to the prediction that overlaps it most")
    p = drawn(seed)
    if seed == 4:  # many with the same score, in an order of their own
        p = p._replace(conf=p.conf.round(1))
    ours = confusions(p)
    matrix = ours.matrix(4)
    assert np.array_equal(matrix, ultralytics_own(p))
    assert np.diag(matrix)[:3].all()
    assert matrix[:3, :3].sum() > np.trace(matrix)  # some are taken for another class
    assert len(ours.image) == matrix.sum()
    for i in range(len(p.files)):
        assert (ours.true[ours.image == i] < 3).sum() == (p.target_image == i).sum()


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [  # expected: (true, predicted) with 3 for the background
        ([], [], []),
        ([(0, 1, BOX)], [], [(1, 3)]),
        ([], [(0, 1, 0.9, BOX)], [(3, 1)]),
        ([(0, 1, BOX)], [(0, 1, 0.9, MOVED)], [(1, 1)]),
        ([(0, 1, BOX)], [(0, 2, 0.9, BOX)], [(1, 2)]),
        ([(0, 1, BOX)], [(0, 1, 0.25, BOX)], [(1, 3)]),  # not above the threshold
        ([(0, 1, BOX)], [(0, 1, 0.9, FAR)], [(1, 3), (3, 1)]),
        ([(0, 1, BOX)], [(1, 1, 0.9, BOX)], [(1, 3), (3, 1)]),  # in another image
        ([(0, 1, BOX)], [(0, 2, 0.8, BOX), (0, 1, 0.9, MOVED)], [(1, 1), (3, 2)]),  # the surer one has it
        ([(0, 0, BOX), (0, 1, MOVED)], [(0, 0, 0.9, HALF), (0, 1, 0.8, HALF)], [(0, 1), (1, 0)]),  # the next best
    ],
)
def test_one_by_one(objects, detections, expected):
    found = confusions(make(objects, detections, images=2))
    assert sorted(zip(found.true.tolist(), found.predicted.tolist(), strict=True)) == expected
    assert found.matrix(4).sum() == len(expected)
