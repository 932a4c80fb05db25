"""data/check.py: what ultralytics would drop or train in vain is refused; each data set has its own hash."""

import re
import shutil

import pytest

from tests.annotations import data_set, jpeg
from tests.task_data import MODELS, make
from ultralytics_diffattn.data.check import check, fingerprint
from ultralytics_diffattn.errors import MissingFileError, UserError

pytestmark = pytest.mark.usefixtures("here")


def test_check(here):
    data = check(data_set(here / "set"), 2)
    assert (data["nc"], data["names"]) == (2, {0: "a", 1: "b"})


@pytest.mark.parametrize(
    ("options", "expected", "error", "message"),
    [
        ({"train": 0}, None, MissingFileError, "no images in `train: .*images/train`"),
        ({"val": 0}, None, MissingFileError, "no images in `val: .*images/val`"),
        ({"label": ""}, None, MissingFileError, "2 images in `train: .*not one box: .*labels/train/0.txt"),
        ({}, 80, UserError, "has 2 classes where 80 are expected"),
        ({"head": "nc: 3\n"}, None, UserError, "length 2 and 'nc: 3' must match"),
        ({"head": "names: [\n"}, None, UserError, "set/data.yaml is not a data YAML that ultralytics can use"),
        (
            {"label": "0 .5 .5 .1 .1\n\n2 .5 .5 .1 .1\n"},
            None,
            UserError,
            r"labels/train/\d.txt, line 3: class 2, .* 0 to 1",
        ),
        ({"label": "-1 .5 .5 .1 .1\n"}, None, UserError, "line 1: class -1"),
        ({"label": "cat .5 .5 .1 .1\n"}, None, UserError, "line 1: class cat"),
        ({"label": "nan .5 .5 .1 .1\n"}, None, UserError, "line 1: class nan"),
    ],
)
def test_check_refuses(here, options, expected, error, message):
    data_yaml = data_set(here / "set", **options)
    with pytest.raises(error, match=message):
        check(data_yaml, expected)


def test_a_data_yaml_without_images(here):
    data_yaml = data_set(here / "set")
    shutil.rmtree(here / "set" / "images" / "val")
    with pytest.raises(MissingFileError, match="images/val"):
        check(data_yaml)


def test_check_takes_what_ultralytics_takes(here):
    data_yaml = data_set(here / "set", label="\ufeff1.0 0.5 0.5 0.5 0.5")
    (here / "set" / "labels" / "train" / "0.txt").unlink()  # a background
    assert check(data_yaml)["nc"] == 2


def test_images_of_a_list(here):
    data_yaml = data_set(here / "set")
    (here / "set" / "train.txt").write_text("./images/train/0.jpg\n./images/train/gone.jpg\n")
    data_yaml.write_text(data_yaml.read_text().replace("train: images/train", "train: train.txt"))
    with pytest.raises(MissingFileError, match=r"1 of the 2 images .* do not exist, the first is .*gone.jpg"):
        check(data_yaml)
    (here / "set" / "train.txt").write_text("./images/train/0.jpg\n")
    listed = fingerprint(check(data_yaml))
    (here / "set" / "train.txt").write_text("./images/train/0.jpg\n./images/train/1.jpg\n")
    assert fingerprint(check(data_yaml)) != listed


def test_fingerprint_tells_train_from_val(here):
    data_yaml = data_set(here / "set", train=3)
    data_yaml.write_text(data_yaml.read_text().replace("images/train", "one.txt").replace("images/val", "two.txt"))
    digests = set()
    for lists in (("01", "2"), ("0", "12")):  # the same images in the same order
        for file, images in zip(("one.txt", "two.txt"), lists, strict=True):
            (here / "set" / file).write_text("".join(f"./images/train/{i}.jpg\n" for i in images))
        digests.add(fingerprint(check(data_yaml)))
    assert len(digests) == 2


def rename(root):
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        (root / kind / "val" / f"0.{suffix}").rename(root / kind / "val" / f"9.{suffix}")


def move_to_val(root):
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        (root / kind / "train" / f"1.{suffix}").rename(root / kind / "val" / f"1.{suffix}")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda root: None, True),
        (lambda root: (root / "images" / "note.md").touch(), True),
        (lambda root: (root / "labels" / "train.cache").touch(), True),
        (lambda root: (root / "labels" / "val" / "0.txt").write_text("1 0.5 0.5 0.5 0.5\n"), False),
        (lambda root: (root / "labels" / "train" / "1.txt").unlink(), False),
        (lambda root: (root / "images" / "train" / "0.jpg").write_bytes(jpeg((64, 64))), False),
        (lambda root: (root / "images" / "train" / "2.jpg").write_bytes(jpeg()), False),
        (rename, False),
        (move_to_val, False),
    ],
)
def test_fingerprint(here, change, same):
    data_yaml = data_set(here / "set")
    first = fingerprint(check(data_yaml))
    shutil.copytree(here / "set", here / "elsewhere")
    change(here / "elsewhere")
    assert (fingerprint(check(here / "elsewhere" / "data.yaml")) == first) == same
    assert re.fullmatch("[0-9a-f]{64}", first)


@pytest.mark.parametrize("task", MODELS)
def test_data_of_every_task(task, tiny, here):
    made = make(task, tiny, here / "data")
    data = check(made, 1 if task == "depth" else 6, task)
    digest = fingerprint(data, task)
    assert fingerprint(check(made, task=task), task) == digest
    if task == "detect":
        return
    labels = {"semantic": "masks", "depth": "depth", "classify": "val"}.get(task, "labels")
    file = sorted(f for f in (here / "data" / labels).rglob("*.*") if f.suffix != ".cache")[-1]
    file.write_bytes(file.read_bytes() + b"\n")
    assert fingerprint(check(made, task=task), task) != digest, "of other labels"


@pytest.mark.parametrize(("task", "labels"), [("semantic", "masks"), ("depth", "depth")])
def test_maps_of_labels_that_are_missing(task, labels, tiny, here):
    made = make(task, tiny, here / "data")
    shutil.rmtree(here / "data" / labels)
    with pytest.raises(MissingFileError, match=f"not one map of labels: .*{labels}"):
        check(made, task=task)


def test_a_folder_of_classes_without_val(tiny, here):
    make("classify", tiny, here / "data")
    shutil.rmtree(here / "data" / "val")
    with pytest.raises(MissingFileError, match="no images in `val"):
        check(here / "data", task="classify")
