"""attention_maps.py: each object's maps at any size of image, and a model that does not change."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.utils import ASSETS

from tests.samples import awake
from ultralytics_diffattn import attention_maps
from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.maps import attention_maps as module
from ultralytics_diffattn.maps import drawing
from ultralytics_diffattn.maps.geometry import over_image

BLOCK = "model.10.m.0.attn"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return awake(YOLO("yolo11n-diffattn.yaml"))


SIZES = [(32, 32), (1, 1), (480, 640), (640, 480), (3000, 4000), (40, 4000), (101, 67)]


@pytest.mark.parametrize("shape", SIZES, ids=lambda s: f"{s[1]} x {s[0]} px")
def test_any_size_of_image(model, shape):
    """The image's window on the grid is where LetterBox puts it."""
    h, w = shape
    image = np.full((h, w, 3), 255, np.uint8)
    (maps,) = attention_maps(model, image, xy=(w - 1, h - 1, 0, 0), imgsz=320)
    block = maps.blocks[BLOCK]
    torch.testing.assert_close(block.a1.sum((2, 3)), torch.ones(2, 2))
    torch.testing.assert_close(block.a2.sum((2, 3)), torch.ones(2, 2))
    boxed = LetterBox((320, 320), auto=True, stride=32)(image=image)
    assert block.a1.shape[2:] == (boxed.shape[0] // 32, boxed.shape[1] // 32)
    inside = (boxed == 255).all(-1)
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    window = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 32
    np.testing.assert_allclose(block.window, window, atol=1e-5)
    assert over_image(block.difference, block.window, (h, w) if h * w < 1e6 else (30, 40)).isfinite().all()


def test_of_a_class_the_image():
    (maps,) = attention_maps(YOLO("yolo11n-cls.yaml"), np.zeros((60, 100, 3), np.uint8), imgsz=64)
    assert (maps.boxes.tolist(), len(maps.labels)) == ([[0, 0, 100, 60]], 1)


def test_batches_folders_and_arrays_agree(model, tmp_path):
    """One by one, in a batch, from files or as arrays: each image gets its own maps."""
    images = [np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8) for i in range(3)]
    for i, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    single = [attention_maps(model, image, xy=(10, 50), imgsz=96)[0].blocks[BLOCK].a2 for image in images]
    assert not torch.allclose(single[0], single[1])
    for source, batch in ((images, 1), (images, 3), (str(tmp_path), 1), (str(tmp_path), 2)):
        together = attention_maps(model, source, xy=(10, 50), imgsz=96, batch=batch)
        for maps, alone in zip(together, single, strict=True):
            torch.testing.assert_close(maps.blocks[BLOCK].a2, alone, rtol=1e-4, atol=1e-6)


def test_video(model, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (96, 64))
    for i in range(3):
        writer.write(np.full((64, 96, 3), 80 * i, np.uint8))
    writer.release()
    frames = module.each_image(model, str(tmp_path / "clip.avi"), xy=(5, 5), imgsz=96)
    assert iter(frames) is frames  # a camera never ends
    assert len([m.blocks[BLOCK].a1 for m in frames]) == 3


def test_the_model_does_not_change(model):
    before = deepcopy(model.model.state_dict())
    predictor = model.predictor
    attention_maps(model, np.zeros((64, 64, 3), np.uint8), xy=(1, 1), imgsz=64)
    after = model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())
    assert model.predictor is predictor


def test_objects_are_the_predictions_of_yolo(shared):
    coco_weights = shared / "weights" / "yolo11n_coco.pt"
    stock = YOLO(coco_weights)
    predicted = stock.predict(str(ASSETS), verbose=False, imgsz=320, max_det=3)
    for result, m in zip(predicted, attention_maps(coco_weights, str(ASSETS), imgsz=320, max_det=3), strict=True):
        assert len(m.labels) == 3
        torch.testing.assert_close(m.boxes, result.boxes.xyxy)
        assert m.labels[0] == f"{result.names[int(result.boxes.cls[0])]} {float(result.boxes.conf[0]):.2f}"
        assert m.blocks[BLOCK].a2 is None
        assert m.blocks[BLOCK].difference is m.blocks[BLOCK].a1


def test_baseline_looks_at_the_same_objects(model):
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    plain = awake(YOLO("yolo11n.yaml"))
    (both,) = attention_maps(model, image, xy=(10, 50), baseline=plain, imgsz=96)
    (alone,) = attention_maps(plain, image, xy=(10, 50), imgsz=96)
    torch.testing.assert_close(both.baseline[BLOCK].a1, alone.blocks[BLOCK].a1)


def test_both_see_the_size_that_the_model_was_trained_at(model):
    plain, ours = YOLO("yolo11n.yaml"), module.load_copy(model)
    plain.overrides["imgsz"], ours.overrides["imgsz"] = 64, 96
    (both,) = attention_maps(ours, np.zeros((96, 96, 3), np.uint8), xy=(1, 1), baseline=plain)
    assert both.blocks[BLOCK].a1.shape == both.baseline[BLOCK].a1.shape == (1, 2, 3, 3)


def test_mean_of_blocks_of_which_one_is_plain(model):
    """A2 and the difference are those of the block that has them."""
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    (seen,) = attention_maps(model, image, xy=(10, 50), imgsz=96)
    block = seen.blocks[BLOCK]
    seen.blocks["plain"] = block._replace(a2=None, lam=None)
    mean, alone = (next(drawing.iterate_rows(seen, (20, 30), [group])) for group in (["plain", BLOCK], [BLOCK]))
    torch.testing.assert_close(mean.maps["A2"], alone.maps["A2"])
    assert list(mean.maps) == list(alone.maps)


def test_paired_begins_with_the_map_of_stock():
    """Lambda is zero and the queries and keys are stock's: the difference is stock's map."""
    plain, paired = awake(YOLO("yolo11n.yaml")), YOLO("yolo11n-diffattn-paired.yaml")
    paired.model.load_state_dict(plain.model.state_dict(), strict=False)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    (both,) = attention_maps(paired, image, xy=(10, 50), baseline=plain, imgsz=96)
    torch.testing.assert_close(both.blocks[BLOCK].difference, both.baseline[BLOCK].a1)
    assert both.baseline[BLOCK].a1.std() > 0.001
    assert both.blocks[BLOCK].lam.tolist() == [0, 0]


REFUSED = [
    (dict(model="best.onnx"), UserError, r"model=best.onnx is no PyTorch checkpoint: an export has no modules"),
    (dict(model="gone.pt"), MissingFileError, r"model=gone.pt does not exist"),
    (dict(model=3), UserError, r"model=3 must be a checkpoint's path or a YOLO"),
    (dict(model="yolov8n.yaml"), UserError, r"model=yolov8n.yaml has no attention over a feature map"),
    (dict(baseline="yolov8n.yaml"), UserError, r"baseline=yolov8n.yaml has no attention"),
    (dict(xy=(64, 3)), UserError, r"xy=64,3 lies outside the image, which is 64 pixels wide and 32 high"),
    (dict(xy=(-1, 3)), UserError, r"xy=-1,3 lies outside"),
    (dict(xy=(1, 2, 3)), UserError, r"xy=\(1, 2, 3\) must be pairs of pixels"),
    (dict(xy="a,b"), UserError, r"xy='a,b' must be pairs of pixels"),
    (dict(xy=()), UserError, r"xy=\(\) must be pairs of pixels"),
    (dict(xy=(float("nan"), 1)), UserError, r"must be pairs of pixels"),
    (dict(augment=True), UserError, r"augment=True has no meaning here"),
    (dict(model="gone.yaml"), MissingFileError, r"model=gone.yaml does not exist"),
    (dict(source="nowhere.jpg"), MissingFileError, r"nowhere\.jpg"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED, ids=[str(arguments) for arguments, *_ in REFUSED])
def test_refused(arguments, error, message):
    defaults = {"model": "yolo11n-diffattn.yaml", "source": np.zeros((32, 64, 3), np.uint8), "imgsz": 64}
    with pytest.raises(error, match=message):
        attention_maps(**{**defaults, **arguments})
