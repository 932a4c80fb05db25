"""Boxes of an image beside each other."""

import numpy as np
import torch
from torchvision.ops import box_iou

from ultralytics_diffattn.evaluation.box_pairs import iou, pairs_of_image


def test_all_pairs_of_the_same_image():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 20), np.sort(rng.integers(0, 5, 10))
    expected = np.argwhere(first[:, None] == second)
    assert np.stack(pairs_of_image(first, second, 5), 1).tolist() == expected.tolist()


def test_iou_of_torchvision():
    a, b = np.random.default_rng(0).uniform(1, 9, (2, 50, 4))
    corners = [torch.tensor(np.concatenate([x[:, :2], x[:, :2] + x[:, 2:]], 1)) for x in (a, b)]
    np.testing.assert_allclose(iou(a, b), box_iou(*corners).diagonal().numpy(), atol=1e-12)
    np.testing.assert_allclose(iou(a[:, None], b), box_iou(*corners).numpy(), atol=1e-12)


def test_boxes_without_an_area():
    assert iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [0.0]
