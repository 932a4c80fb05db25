"""Training images for the calibration of int8."""

from pathlib import Path

import pytest

from tests.task_data import make
from ultralytics_diffattn.data import calibration
from ultralytics_diffattn.data.check import check, list_images


@pytest.mark.parametrize("task", ["detect", "pose", "classify"])
@pytest.mark.parametrize("most", [3, 512])
def test_training_images_alone(task, most, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MOST", most)
    data = check(make(task, tiny, tmp_path / "data"), task=task)
    train = list_images(data, "train")
    file = calibration.calibration_data(data, tmp_path / "c", task)
    if task == "classify":
        images = [image for image in (tmp_path / "c" / "train").rglob("*") if image.is_file()]
        classes = {Path(image).read_bytes(): Path(image).parent.name for image in train}
        assert all(classes[image.read_bytes()] == image.parent.name for image in images)
    else:
        written = check(file)
        images = list_images(written, "train")
        assert list_images(written, "val") == images
        assert {*images} <= {*train}
        assert (written["names"], written.get("kpt_shape")) == (data["names"], data.get("kpt_shape"))
    assert len({*images}) == min(len(train), most)


def test_they_are_spread_over_all(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MOST", 4)
    monkeypatch.setattr(calibration, "list_images", lambda data, split: [f"/{n}.jpg" for n in range(9)])
    calibration.calibration_data({"names": {0: "a"}}, tmp_path, "detect")
    assert (tmp_path / "images.txt").read_text().split() == ["/0.jpg", "/2.jpg", "/5.jpg", "/8.jpg"]
