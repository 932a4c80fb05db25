"""data/splits.py: which names are splits."""

import pytest

from ultralytics_diffattn.data.annotations import AnnotatedImage
from ultralytics_diffattn.data.splits import resolve, split_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("training", "train"),
        ("train2017", "train"),
        ("train_1", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("VALIDATION", "val"),
        ("dev", "val"),
        ("test", "test"),
        ("testing", "test"),
        ("trainval", "trainval"),
        ("default", "trainval"),
        ("all", "trainval"),
        ("training_day", None),
        ("strain", None),
        ("evaluate", None),
        ("holdout", None),
        ("", None),
    ],
)
def test_names(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        ([None, None], None),
        (["train", "train", "val"], "in several splits: train, val"),
        (["trainval", "trainval", "test"], "in several splits: train or val, test"),
    ],
)
def test_an_image_in_several_splits(splits, problem):
    images = [AnnotatedImage("f", "a.jpg", None, None, split, []) for split in splits]
    images.append(images[0]._replace(name="b.jpg"))
    _, issues = resolve(images, "source")
    assert [issue.problem for issue in issues] == ([problem] if problem else [])
