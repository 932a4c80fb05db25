"""Predictions of a COCO results JSON against what ultralytics makes of the same predictions."""

import json
import logging

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import LOGGER

from ultralytics_diffattn.comparison.metrics import scores
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.coco_matching import evaluate


@pytest.fixture(scope="module", params=["scores of their own", "tied scores"])
def validated(request, tiny, tmp_path_factory):
    """Validate a model that half knows the answers and writes them as JSON without losing a digit.

    Its corners lie in the image, on eighths of a pixel, and its scores have five digits; ultralytics cuts off what lies
    outside, and rounds to three digits and five.
    """
    stock, rng, seen = DetectionValidator.preprocess, torch.Generator().manual_seed(0), {}
    digits = 5 if request.param == "scores of their own" else 1

    def preprocess(self, batch):
        seen.update(stock(self, batch))
        return batch

    def postprocess(self, _):
        out = []
        for i, image in enumerate(seen["img"]):
            mine = seen["batch_idx"] == i
            box, cls = seen["bboxes"][mine], seen["cls"][mine, 0]
            (ratio, _), (left, top) = seen["ratio_pad"][i]
            pad = torch.tensor([left, top, left, top])
            scale = torch.tensor(image.shape[1:])[[1, 0, 1, 0]]
            corners = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1) * scale
            corners = (corners - pad) / ratio
            corners = (corners + torch.randn(corners.shape, generator=rng) * 6).repeat(2, 1)
            corners = (corners * 8).round().div(8).clamp(0, 320) * ratio + pad
            conf = torch.rand(len(corners), generator=rng).round(decimals=digits).clamp(0.01)
            cls = torch.where(conf < 0.3, (cls.repeat(2) + 1) % 6, cls.repeat(2))
            rows = torch.cat([corners, conf[:, None], cls[:, None]], 1)[conf.argsort(descending=True, stable=True)]
            as_dict = {"bboxes": rows[:, :4], "conf": rows[:, 4], "cls": rows[:, 5], "extra": rows[:, 6:]}
            out.append(as_dict if hasattr(self, "scale_preds") else rows)  # the latter in ultralytics 8.3.108
        return out

    folder = tmp_path_factory.mktemp("val")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectionValidator, "preprocess", preprocess)
        patch.setattr(DetectionValidator, "postprocess", postprocess)
        patch.setattr(DetectionValidator, "eval_json", lambda self, stats: stats)
        model = YOLO("yolo11n.yaml")
        collected = recording.collect(model)
        results = model.val(
            data=str(tiny), imgsz=96, batch=3, plots=False, project=str(folder), name="v", workers=0, save_json=True
        )
    return collected[0], results.results_dict, folder / "v" / "predictions.json"


def evaluated(tiny, file, folder, **args):
    return evaluate(file, {"data": str(tiny), "imgsz": 96, **args}, "val", str(tiny), folder)


def test_map_is_ultralytics_own(validated, tiny, tmp_path):
    recorded, theirs, file = validated
    found = evaluated(tiny, file, tmp_path)
    ours = scores(found, "detect").metrics
    assert 0.05 < ours["mAP50-95"] < 0.9
    for name in ("mAP50-95", "mAP50", "precision", "recall"):
        assert ours[name] == pytest.approx(theirs[f"metrics/{name}(B)"], abs=1e-6), name
    expected = scores(recorded, "detect").metrics
    assert ours == pytest.approx(expected, abs=1e-6)  # with sizes
    assert (found.tp == recorded.tp).all()


def test_truth_is_that_of_a_validation(validated, tiny, tmp_path):
    found, recorded = (recording.by_name(p) for p in (evaluated(tiny, validated[2], tmp_path), validated[0]))
    assert found.files == recorded.files
    for name in ("shape", "target_cls", "target_box", "target_image"):
        assert np.array(getattr(found, name)) == pytest.approx(np.array(getattr(recorded, name))), name


def test_images_without_predictions_are_empty(validated, tiny, tmp_path):
    rows = json.loads(validated[2].read_text())
    first = [row for row in rows if row["image_id"] == rows[0]["image_id"]]
    (tmp_path / "p.json").write_text(json.dumps(first))
    found = evaluated(tiny, tmp_path / "p.json", tmp_path)
    assert len(found.files) == 4
    assert len({*found.image.tolist()}) == 1
    assert found.target_cls.tolist() == evaluated(tiny, validated[2], tmp_path).target_cls.tolist()
    assert 0 < scores(found, "detect").metrics["mAP50-95"] < scores(validated[0], "detect").metrics["mAP50-95"]


def test_what_a_validation_leaves_out_is_left_out_and_said(validated, tiny, tmp_path, caplog):
    LOGGER.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    rows = json.loads(validated[2].read_text())
    found = evaluated(tiny, validated[2], tmp_path, conf=0.5, max_det=2)
    LOGGER.removeHandler(caplog.handler)
    assert found.conf.min() >= 0.5
    assert np.bincount(found.image).max() == 2
    best = max(row["score"] for row in rows)
    assert found.conf.max() == pytest.approx(best)
    assert f"{len(rows) - len(found.conf)} predictions with a score below conf" in caplog.text


def test_one_class(validated, tiny, tmp_path):
    found = evaluated(tiny, validated[2], tmp_path, single_cls=True)
    assert {*found.cls.tolist(), *found.target_cls.tolist()} == {0}


def test_classes_that_count_from_0_are_refused(validated, tiny, tmp_path):
    rows = [{**row, "category_id": row["category_id"] - 1} for row in json.loads(validated[2].read_text())]
    rows = [row for row in rows if row["category_id"]]  # so that no id is unknown
    (tmp_path / "p.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"category_id seems to count from 0: read so, \d+ predictions"):
        evaluated(tiny, tmp_path / "p.json", tmp_path)
