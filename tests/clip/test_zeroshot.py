"""clip/zeroshot.py: accuracy by counting, folders of classes, the nearest classes."""

import csv

import pytest
import torch

pytest.importorskip("open_clip")
from tests.photos import photos_of_classes
from ultralytics_diffattn.clip.zeroshot import accuracy, as_csv, mean_accuracy, read_folders
from ultralytics_diffattn.errors import MissingFileError


def test_accuracy():
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0]])
    assert accuracy(logits, torch.tensor([0, 4, 5])) == pytest.approx({"top1": 1 / 3, "top5": 2 / 3})


def test_mean_accuracy():
    rows = [{"top1": 0.1, "top5": 0.5}, {"top1": 0.2, "top5": 0.7}, {"top1": 0.6, "top5": 0.9}]
    assert mean_accuracy(rows) == pytest.approx({"top1": 0.3, "top5": 0.7})


@pytest.mark.parametrize("above", ["", "val", "test", "train"])
def test_folders_of_classes(above, tmp_path):
    photos_of_classes(tmp_path / above)
    (tmp_path / above / "bird").mkdir()  # a class without an image
    files, labels, folders = read_folders(tmp_path)
    assert folders == ["bird", "cat", "dog", "traffic_light"]
    assert [folders[label] for label in labels] == [file.parent.name for file in files]
    assert len(files) == 10


def test_no_folders_of_classes(tmp_path):
    with pytest.raises(MissingFileError, match="holds no folders with images"):
        read_folders(photos_of_classes(tmp_path) / "cat")


def test_csv():
    rows = [{"image": "a,b.jpg", "classes": [('"cat"', 0.75), ("dog", 0.25)]}]
    assert list(csv.reader(as_csv(rows).splitlines())) == [
        ["image", "rank", "class", "share"], ["a,b.jpg", "1", '"cat"', "0.75"], ["a,b.jpg", "2", "dog", "0.25"]
    ]  # fmt: skip
