"""geometry.py: pixels, cells and letterbox against ultralytics' own transforms and OpenCV's resizing."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics import RTDETR, YOLO
from ultralytics.data.augment import classify_transforms

from ultralytics_diffattn.maps import geometry


def test_classification_crops_and_rtdetr_stretches():
    image = np.zeros((60, 100, 3), np.uint8)
    image[:, 40:60] = 255  # a stripe in the middle
    cls = YOLO("yolo11n-cls.yaml")
    scale, offset = geometry.letterbox((60, 100), (64, 64), cls)
    seen = classify_transforms(64)(Image.fromarray(image))[0] > 0.5
    columns = torch.where(seen.any(0))[0]
    assert columns[0].item() == pytest.approx(40 * scale[0] + offset[0], abs=1.5)
    assert columns[-1].item() + 1 == pytest.approx(60 * scale[0] + offset[0], abs=1.5)
    detr = RTDETR("rtdetr-l-diffattn-paired.yaml")
    assert geometry.letterbox((60, 100), (64, 64), detr) == ((0.64, 64 / 60), (0.0, 0.0))


def test_coverage_adds_up_to_the_area():
    boxes = torch.tensor([[0.25, 0.5, 3.5, 2.0], [0.0, 0.0, 4.0, 3.0], [1.2, 1.2, 1.4, 1.3], [2.0, 1.0, 2.0, 1.0]])
    cover = geometry.coverage(boxes, (3, 4))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    torch.testing.assert_close(cover.sum((1, 2)), area)
    assert cover[0, 0, 0].item() == pytest.approx(0.75 * 0.5)
    assert (cover[1] == 1).all()
    assert cover[2].nonzero().tolist() == [[1, 1]]


def test_over_image_is_bilinear_between_centres():
    """Against OpenCV's bilinear resizing, of a window that begins inside the grid."""
    grid = torch.rand(2, 6, 8)
    full = geometry.over_image(grid, (0, 0, 8, 6), (60, 80))
    np.testing.assert_allclose(full[1], cv2.resize(grid[1].numpy(), (80, 60)), atol=1e-5)
    torch.testing.assert_close(geometry.over_image(grid, (2, 1, 6, 4), (30, 40)), full[:, 10:40, 20:60])
    assert geometry.over_image(grid[:0], (0, 0, 8, 6), (5, 5)).shape == (0, 5, 5)
