"""What is recorded of each task, against what ultralytics itself makes of the same validation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.engine.validator import BaseValidator

from tests.comparison.samples import with_boxes
from tests.samples import random_predictions, stir
from tests.task_data import MODELS, make
from ultralytics_diffattn.comparison.metrics import measure, scores
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.image_scores import ImageScores, Ratio
from ultralytics_diffattn.evaluation.tasks import TASKS

ULTRALYTICS = {  # its names of our metrics, as far as it has them
    "detect": {"mAP50-95": "mAP50-95(B)", "mAP50": "mAP50(B)", "precision": "precision(B)", "recall": "recall(B)"},
    "segment": {"mask mAP50-95": "mAP50-95(M)", "mask mAP50": "mAP50(M)", "box mAP50-95": "mAP50-95(B)"},
    "pose": {"pose mAP50-95": "mAP50-95(P)", "pose mAP50": "mAP50(P)", "box mAP50": "mAP50(B)"},
    "obb": {"mAP50-95": "mAP50-95(B)", "mAP50": "mAP50(B)", "precision": "precision(B)", "recall": "recall(B)"},
    "classify": {"top-1": "accuracy_top1", "top-5": "accuracy_top5"},
    "semantic": {"mIoU": "mIoU", "pixel accuracy": "pixel_acc"},
    "depth": {name: name for name in TASKS["depth"].metrics},
}


@pytest.fixture
def any_match(monkeypatch):
    """Have predictions overlap objects by chance, each kind of overlap by itself, as an untrained model's hardly do."""
    stock, rng = BaseValidator.match_predictions, torch.Generator().manual_seed(0)

    def match(self, predicted, true, iou, *more):
        return stock(self, predicted, true, torch.rand(iou.shape, generator=rng), *more)

    monkeypatch.setattr(BaseValidator, "match_predictions", match)


@pytest.mark.usefixtures("any_match")
@pytest.mark.parametrize("task", MODELS)
def test_metrics_are_ultralytics_own(task, tiny, tmp_path):
    data = make(task, tiny, tmp_path / "data")
    torch.manual_seed(0)
    budget = dict(data=str(data), imgsz=64, batch=3, workers=0, plots=False, device="cpu", project=str(tmp_path))
    yolo = YOLO(MODELS[task][1])
    yolo.train(**budget, epochs=1, val=False, verbose=False)  # which gives it the classes of the data
    yolo = stir(YOLO(yolo.trainer.last))
    collected = recording.collect(yolo)
    results = yolo.val(**budget)
    (recorded,) = collected
    own = scores(recorded, task)
    assert tuple(own.metrics) == TASKS[task].metrics
    assert own.metrics[TASKS[task].main] > 0
    for name, theirs in ULTRALYTICS[task].items():
        assert own.metrics[name] == pytest.approx(results.results_dict[f"metrics/{theirs}"], abs=1e-6), name
    assert len(own.per_class) == (0 if task == "depth" else 6)
    once = measure(recorded, task)(np.ones(len(recorded.files), int))
    assert once == pytest.approx([own.metrics[name] for name in TASKS[task].compared], abs=1e-12)
    if task in ("segment", "pose"):
        assert (recorded.tp != recorded.right).any()  # by masks and keypoints, and by boxes
    recording.write(tmp_path / "p.npz", recorded)
    assert scores(recording.read(tmp_path / "p.npz"), task) == own


def test_a_column_of_results_csv_for_each_task():
    for task, names in ULTRALYTICS.items():
        assert TASKS[task].column == f"metrics/{names[TASKS[task].main]}"


def test_a_process_that_sees_a_part_of_the_images_records_nothing(monkeypatch, tmp_path):
    """With several GPUs each validates its share; the run is then evaluated once more, on one."""
    validator = SimpleNamespace(training=False, save_dir=tmp_path / "train", args=SimpleNamespace(task="detect"))
    monkeypatch.setattr("ultralytics.utils.RANK", 0)
    recording.begin(validator)
    recording.save(validator)
    assert not hasattr(validator, "diffattn_rows")
    assert list(tmp_path.iterdir()) == []


def test_images_by_name_leave_every_metric_as_it_is():
    """Boxes and whole images, in an order that is not that of their names."""
    rng = np.random.default_rng(0)
    p = with_boxes(random_predictions(0))._replace(brightness=rng.random(30))
    p = p._replace(files=[f"{i}.jpg" for i in rng.permutation(30)], shape=rng.integers(100, 600, (30, 2)))
    values = [Ratio(rng.random((30, 5)), np.ones((30, 5)), rng.integers(0, 2, (30, 5))) for _ in range(2)]
    whole = ImageScores(list("abcde"), p.files, {"mIoU": values[0], "pixel accuracy": values[1]}, values[0])
    for recorded, task in ((p, "detect"), (whole, "semantic")):
        moved = recording.by_name(recorded)
        assert moved.files == sorted(p.files) != p.files
        for name in ("metrics", "per_class"):
            assert getattr(scores(moved, task), name) == pytest.approx(getattr(scores(recorded, task), name)), task
        weight = rng.integers(0, 3, 30)
        again = weight[[p.files.index(file) for file in moved.files]]
        assert measure(moved, task)(again) == pytest.approx(measure(recorded, task)(weight))
    moved = recording.by_name(p)
    place = [moved.files.index(file) for file in p.files]
    assert np.diff(moved.target_image).min() >= 0  # objects come image by image
    assert moved.shape[place].tolist() == p.shape.tolist()
    assert moved.brightness[place].tolist() == p.brightness.tolist()
    assert moved.image.tolist() == [place[i] for i in p.image]


def test_one_brightness_for_all_that_have_seen_the_same_images():
    seen = with_boxes(random_predictions(0))._replace(brightness=np.arange(30.0))
    unseen, other = seen._replace(brightness=None), seen._replace(brightness=np.zeros(30))
    found = recording.with_one_brightness({"json": unseen, "pt": seen, "onnx": other})
    assert [p.brightness.tolist() for p in found.values()] == [seen.brightness.tolist()] * 3
    assert recording.with_one_brightness({"json": unseen}) == {"json": unseen}
