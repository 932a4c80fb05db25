"""Boxes on a machine that is too busy: ultralytics loses them, what we measure does not."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from ultralytics import YOLO

from tests.comparison.test_run import spec
from tests.samples import stir
from ultralytics_diffattn.comparison import run
from ultralytics_diffattn.evaluation import nms_time_limit, robustness
from ultralytics_diffattn.evaluation.box_map import box_map
from ultralytics_diffattn.maps import measurement

IMAGES = 4  # of val, which are one batch
VALIDATION = {"imgsz": 64, "batch": IMAGES, "workers": 0, "device": "cpu", "plots": False, "rect": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a checkpoint that finds boxes in every image."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "stirred.pt"
    stir(YOLO("yolo11n-diffattn.yaml")).save(file)
    return str(file)


@pytest.fixture
def busy(monkeypatch):
    """Have each look at the clock take 1,000 s; return a list of the number of images with boxes, batch by batch."""
    module, with_boxes = nms_time_limit._module(), []
    stock, clock = module.non_max_suppression, itertools.count(0, 1000)

    def count(*args, **kwargs):
        found = stock(*args, **kwargs)
        with_boxes.append(sum(len(boxes) > 0 for boxes in found))
        return found

    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: next(clock)))
    monkeypatch.setattr(module, "non_max_suppression", count)
    return with_boxes


def test_stock_loses_all_but_one_image(weights, eighty, busy, tmp_path):
    """The control: else the tests below could not fail."""
    YOLO(weights).val(data=str(eighty), project=str(tmp_path), **VALIDATION)
    assert 1 in busy
    assert IMAGES not in busy


def train(weights, eighty, folder):
    """One epoch of a comparison: a validation before it, one behind it, and the final one."""
    run.train(spec(folder / "run", eighty, pretrained=weights))


ENTRANCES = {
    "compare": (train, 3),
    "convert": (lambda weights, eighty, folder: box_map(YOLO(weights), str(eighty), 64), 1),
    "attend": (lambda weights, eighty, folder: measurement.validate(YOLO(weights), str(eighty), VALIDATION), 1),
    "robustness": (lambda weights, eighty, folder: robustness.predict(weights, eighty, folder, VALIDATION), 1),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_ours_keeps_them(entrance, weights, eighty, busy, tmp_path):
    measure, validations = ENTRANCES[entrance]
    measure(weights, eighty, tmp_path)
    assert [images for images in busy if images] == [IMAGES] * validations  # a warm-up finds nothing


def test_the_class_stays_as_it_is(weights, eighty, busy, tmp_path):
    """Two epochs wrap a validator once, and the next model is stock's again."""
    yolo, seen = YOLO(weights), []
    yolo.add_callback("on_val_start", nms_time_limit.lift)
    yolo.add_callback("on_val_start", nms_time_limit.lift)
    yolo.add_callback("on_val_start", seen.append)
    yolo.val(data=str(eighty), project=str(tmp_path), **VALIDATION)
    assert IMAGES in busy
    assert seen[0].postprocess.args == (type(seen[0]).postprocess.__get__(seen[0]),)
    busy.clear()
    YOLO(weights).val(data=str(eighty), project=str(tmp_path), **VALIDATION)
    assert IMAGES not in busy
