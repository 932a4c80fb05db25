"""data/splits.py: which names are splits."""

import pytest

from ultralytics_diffattn.data.splits import split_of


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
