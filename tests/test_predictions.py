"""What is kept of a validation, against what ultralytics itself made of it."""

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.data.utils import img2label_paths
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ap_per_class

from ultralytics_diffattn import bootstrap, predictions
from ultralytics_diffattn.predictions import Predictions


@pytest.fixture(scope="module")
def validated(tiny, tmp_path_factory):
    """Return the kept predictions and ultralytics' results of a model that half knows the answers."""
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
            order = conf.argsort(descending=True)
            out.append(
                {"bboxes": corners[order], "conf": conf[order], "cls": cls[order], "extra": corners[order][:, 4:]}
            )
        return out

    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectionValidator, "preprocess", preprocess)
        patch.setattr(DetectionValidator, "postprocess", postprocess)
        model = YOLO("yolo11n.yaml")
        predictions.listen(model)
        model.add_callback("on_val_end", lambda validator: kept.append(predictions.gather(validator)))
        folder = tmp_path_factory.mktemp("val")
        results = model.val(data=str(tiny), imgsz=96, batch=3, plots=False, project=str(folder), workers=0)
    return kept[0], results


def test_scores_are_ultralytics_own(validated):
    kept, results = validated
    _, _, p, r, _, ap, *_ = ap_per_class(kept.tp, kept.conf, kept.cls, kept.target_cls)
    expected = [results.results_dict[f"metrics/{name}(B)"] for name in ("precision", "recall", "mAP50", "mAP50-95")]
    assert 0.1 < expected[-1] < 0.9  # neither nothing nor all
    assert [p.mean(), r.mean(), ap[:, 0].mean(), ap.mean()] == pytest.approx(expected, abs=1e-12)
    assert bootstrap.mean_ap(bootstrap.prepare(kept)) == pytest.approx((expected[3], expected[2]), abs=1e-12)


def test_images_and_truth_are_those_of_the_files(validated):
    kept, _ = validated
    assert len(kept.files) == 4
    for n, label in enumerate(img2label_paths(kept.files)):
        rows = np.loadtxt(label, ndmin=2)
        mine = kept.target_image == n
        height, width = kept.shape[n]
        centre = kept.target_box[mine][:, :2] + kept.target_box[mine][:, 2:] / 2
        assert (kept.target_cls[mine] == rows[:, 0]).all()
        assert centre / [width, height] == pytest.approx(rows[:, 1:3], abs=1e-5)
        assert kept.target_box[mine][:, 2:] / [width, height] == pytest.approx(rows[:, 3:], abs=1e-5)


def test_boxes_are_in_pixels_of_the_image_and_belong_to_their_match(validated):
    """A prediction that ultralytics calls right at IoU 0.5 overlaps a true box of its class and image so far."""
    kept, _ = validated
    for d in np.flatnonzero(kept.tp[:, 0]):
        mine = (kept.target_image == kept.image[d]) & (kept.target_cls == kept.cls[d])
        truth, (x, y, w, h) = kept.target_box[mine], kept.box[d]
        wide = np.minimum(x + w, truth[:, 0] + truth[:, 2]) - np.maximum(x, truth[:, 0])
        high = np.minimum(y + h, truth[:, 1] + truth[:, 3]) - np.maximum(y, truth[:, 1])
        common = wide.clip(0) * high.clip(0)
        assert (common / (w * h + truth[:, 2] * truth[:, 3] - common)).max() > 0.49


def test_round_trip(validated, tmp_path):
    kept, _ = validated
    predictions.write(tmp_path / "p.npz", kept)
    again = predictions.read(tmp_path / "p.npz")
    assert [f.name for f in tmp_path.iterdir()] == ["p.npz"]
    for name in Predictions._fields:
        assert np.array_equal(getattr(kept, name), getattr(again, name)), name


def test_releases_that_leave_out_images_are_refused(validated):
    from types import SimpleNamespace

    row = ("a.jpg", (10, 10), np.zeros((0, 6)))
    with pytest.raises(RuntimeError, match="1 of 2 images"):
        predictions.gather(SimpleNamespace(diffattn_kept=[row, row], diffattn_tp=[np.zeros((0, 10))]))
