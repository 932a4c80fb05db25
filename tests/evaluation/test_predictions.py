"""The recorded predictions of a validation, against what ultralytics itself made of it."""

import shutil

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.data.utils import img2label_paths
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ap_per_class

from ultralytics_diffattn.evaluation import bootstrap, predictions, recording
from ultralytics_diffattn.evaluation.ap_by_size import as_coco
from ultralytics_diffattn.evaluation.predictions import Predictions


@pytest.fixture(scope="module")
def validated(tiny, tmp_path_factory):
    """Return the recorded predictions and ultralytics' results of a model that half knows the answers."""
    stock, rng, seen = DetectionValidator.preprocess, torch.Generator().manual_seed(0), {}

    def preprocess(self, batch):
        seen.update(stock(self, batch))
        return batch

    def postprocess(self, _):
        out = []
        for i, image in enumerate(seen["img"]):
            mine = seen["batch_idx"] == i
            box, cls = seen["bboxes"][mine], seen["cls"][mine, 0]
            scale = torch.tensor(image.shape[1:])[[1, 0, 1, 0]]
            corners = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1) * scale
            corners = (corners + torch.randn(corners.shape, generator=rng) * 2).repeat(2, 1)
            conf = torch.rand(len(corners), generator=rng)
            cls = torch.where(conf < 0.3, (cls.repeat(2) + 1) % 6, cls.repeat(2))  # some of the wrong class
            rows = torch.cat([corners, conf[:, None], cls[:, None]], 1)[conf.argsort(descending=True)]
            as_dict = {"bboxes": rows[:, :4], "conf": rows[:, 4], "cls": rows[:, 5], "extra": rows[:, 6:]}
            out.append(as_dict if hasattr(self, "scale_preds") else rows)  # the latter in ultralytics 8.3.108
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectionValidator, "preprocess", preprocess)
        patch.setattr(DetectionValidator, "postprocess", postprocess)
        model = YOLO("yolo11n.yaml")
        collected = recording.collect(model)
        folder = tmp_path_factory.mktemp("val")
        results = model.val(data=str(tiny), imgsz=96, batch=3, plots=False, project=str(folder), workers=0)
    return collected[0], results


def test_scores_are_ultralytics_own(validated):
    recorded, results = validated
    _, _, p, r, _, ap, *_ = ap_per_class(recorded.tp, recorded.conf, recorded.cls, recorded.target_cls)
    expected = [results.results_dict[f"metrics/{name}(B)"] for name in ("precision", "recall", "mAP50", "mAP50-95")]
    assert 0.1 < expected[-1] < 0.9  # neither nothing nor all
    assert [p.mean(), r.mean(), ap[:, 0].mean(), ap.mean()] == pytest.approx(expected, abs=1e-12)
    assert bootstrap.mean_ap(bootstrap.prepare(recorded)) == pytest.approx((expected[3], expected[2]), abs=1e-12)


def test_images_and_truth_are_those_of_the_files(validated):
    recorded, _ = validated
    assert len(recorded.files) == 4
    for n, label in enumerate(img2label_paths(recorded.files)):
        rows = np.loadtxt(label, ndmin=2)
        mine = recorded.target_image == n
        height, width = recorded.shape[n]
        centre = recorded.target_box[mine][:, :2] + recorded.target_box[mine][:, 2:] / 2
        assert (recorded.target_cls[mine] == rows[:, 0]).all()
        assert centre / [width, height] == pytest.approx(rows[:, 1:3], abs=1e-5)
        assert recorded.target_box[mine][:, 2:] / [width, height] == pytest.approx(rows[:, 3:], abs=1e-5)


def test_boxes_are_in_pixels_of_the_image_and_belong_to_their_match(validated):
    """A prediction that ultralytics calls right at IoU 0.5 overlaps a true box of its class and image so far."""
    recorded, _ = validated
    for d in np.flatnonzero(recorded.tp[:, 0]):
        mine = (recorded.target_image == recorded.image[d]) & (recorded.target_cls == recorded.cls[d])
        truth, (x, y, w, h) = recorded.target_box[mine], recorded.box[d]
        wide = np.minimum(x + w, truth[:, 0] + truth[:, 2]) - np.maximum(x, truth[:, 0])
        high = np.minimum(y + h, truth[:, 1] + truth[:, 3]) - np.maximum(y, truth[:, 1])
        common = wide.clip(0) * high.clip(0)
        assert (common / (w * h + truth[:, 2] * truth[:, 3] - common)).max() > 0.49


def test_round_trip(validated, tmp_path):
    recorded, _ = validated
    recording.write(tmp_path / "p.npz", recorded)
    again = recording.read(tmp_path / "p.npz")
    assert [f.name for f in tmp_path.iterdir()] == ["p.npz"]
    for name in Predictions._fields:
        assert np.array_equal(getattr(recorded, name), getattr(again, name)), name
    assert ((recorded.brightness > 0) & (recorded.brightness < 1)).all()


def test_releases_that_leave_out_images_without_anything():
    """Ultralytics 8.3.108 has no entry in its statistics for an image without objects and predictions."""
    from types import SimpleNamespace

    tp = torch.ones(1, 10, dtype=torch.bool)
    args = SimpleNamespace(task="detect")
    validator = SimpleNamespace(args=args, metrics=None, stats={"tp": []}, diffattn_rows=[], diffattn_matched=0)
    box = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.9, 0.0]])
    batch = {
        "im_file": ["nothing.jpg", "found.jpg", "missed.jpg"],
        "ori_shape": [(10, 10)] * 3,
        "ratio_pad": [((1.0, 1.0), (0, 0))] * 3,
        "batch_idx": torch.tensor([1.0, 2.0]),
    }

    def stock(preds, batch):
        validator.stats["tp"] += [tp, torch.zeros(0, 10)]

    predictions._update(validator, stock, [box[:0], box, box[:0]], batch)
    predictions._update(validator, stock, [box[:0], box, box[:0]], batch)
    assert [(file, len(rows), len(right)) for file, _, rows, right, *_ in validator.diffattn_rows] == [
        ("nothing.jpg", 0, 0),
        ("found.jpg", 1, 1),
        ("missed.jpg", 0, 0),
    ] * 2


@pytest.fixture
def twins(tiny, tmp_path):
    """Return a data YAML whose val images have one name in two folders, and one image has no objects."""
    for i, folder in enumerate("ab"):
        for kind in ("images", "labels"):
            (tmp_path / kind / folder).mkdir(parents=True)
        for j, image in enumerate(sorted((tiny.parent / "images" / "val").iterdir())[2 * i : 2 * i + 2]):
            shutil.copy(image, tmp_path / "images" / folder / f"{j}.jpg")
            shutil.copy(tiny.parent / "labels" / "val" / f"{image.stem}.txt", tmp_path / "labels" / folder / f"{j}.txt")
    (tmp_path / "labels" / "b" / "1.txt").write_text("")
    names = tiny.read_text().partition("names:")[2]
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames:{names}")
    return tmp_path / "data.yaml"


def test_predictions_of_images_of_one_name_stay_apart(twins, tmp_path):
    """Ultralytics' own JSON names an image by its stem; recorded is what `predict` finds in each file."""
    torch.manual_seed(0)
    model = YOLO("yolo11n-diffattn.yaml")
    for m in model.model.modules():  # the scores are far from zero, and the image has an effect on them
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.fill_(2.5)
    for head in model.model.model[-1].cv3:
        head[-1].bias.data.zero_()
        head[-1].weight.data *= 0.1
    model.save(tmp_path / "m.pt")
    model = YOLO(tmp_path / "m.pt")
    collected = recording.collect(model)
    budget = dict(imgsz=64, max_det=5, conf=0.1, iou=0.7, device="cpu", verbose=False)
    model.val(data=str(twins), batch=3, rect=False, plots=False, project=str(tmp_path), **budget)
    truth, results = as_coco(collected[0])
    assert all(set(p) == {"image_id", "category_id", "bbox", "score"} for p in results)
    assert [sum(a["image_id"] == i for a in truth["annotations"]) > 0 for i in range(1, 5)] == [True, True, True, False]
    scores = []
    for image in truth["images"]:
        best = max((p for p in results if p["image_id"] == image["id"]), key=lambda p: p["score"])
        (result,) = YOLO(tmp_path / "m.pt").predict(image["file_name"], rect=False, **budget)
        x, y, w, h = best["bbox"]
        assert best["score"] == pytest.approx(float(result.boxes.conf[0]), abs=1e-4)
        assert best["category_id"] == int(result.boxes.cls[0]) + 1
        np.testing.assert_allclose([x, y, x + w, y + h], result.boxes.xyxy[0], atol=0.5)
        scores.append(best["score"])
    assert len(set(scores)) == 4  # so that a mistaken image would show


@pytest.mark.parametrize(
    ("ratio_pad", "expected"),
    [
        (((0.5, 0.5), (0, 0)), (20, 40, 60, 80)),
        (((0.5, 0.25), (0, 0)), (40, 40, 100, 80)),  # each axis by its own ratio; clipped to the width
        (((1.0, 1.0), (5, 10)), (5, 10, 25, 30)),
    ],
)
def test_corners_in_the_original_image(ratio_pad, expected):
    rows = torch.tensor([[10.0, 20.0, 30.0, 40.0, 0.9, 2.0]])
    assert predictions._in_image(rows, ratio_pad, (90, 100)).tolist() == [pytest.approx([*expected, 0.9, 2.0])]
