"""Validation images that are set apart."""

import shutil
from pathlib import Path

import pytest

from tests.annotations import data_set
from tests.task_data import MODELS, make
from ultralytics_diffattn.data.check import check, fingerprint, has_test, list_images
from ultralytics_diffattn.data.holdout import hold_out
from ultralytics_diffattn.errors import UserError

pytestmark = pytest.mark.usefixtures("here")


def written(files):
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return next(iter(files))


@pytest.mark.parametrize(("share", "apart"), [(0.5, 5), (0.2, 2), (0.04, 0), (0.96, 10)])
def test_a_share_is_set_apart(here, share, apart):
    data = check(data_set(here / "set", val=10))
    if not 0 < apart < 10:
        with pytest.raises(UserError, match=rf"holdout={share} of 10 validation images leaves none"):
            hold_out(data, share, here / "holdout", "detect")
        return
    files = hold_out(data, share, here / "holdout", "detect")
    assert not (here / "holdout").exists()
    assert hold_out(data, share, here / "holdout", "detect") == files, "the same for the same command"
    parted = check(written(files))
    parts = {split: set(list_images(parted, split)) for split in ("train", "val", "test")}
    assert len(parts["test"]) == apart
    assert not parts["val"] & parts["test"]
    assert parts["val"] | parts["test"] == set(list_images(data, "val"))
    assert parts["train"] == set(list_images(data, "train"))
    assert parted["names"] == data["names"]
    assert has_test(parted)


@pytest.mark.parametrize("task", [task for task in MODELS if task != "classify"])
def test_every_task_keeps_what_its_data_yaml_says(task, tiny, here):
    data = check(make(task, tiny, here / "data"), task=task)
    parted = check(written(hold_out(data, 0.5, here / "holdout", task)), task=task)
    assert has_test(parted, task)
    for key in ("names", "kpt_shape", "masks_dir", "channels"):
        assert parted.get(key) == data.get(key)
    assert fingerprint(parted, task) != fingerprint(parted, task, ("train", "val", "test"))


def test_a_test_of_its_own_is_enough(here):
    data_yaml = data_set(here / "set", val=4)
    data_yaml.write_text(data_yaml.read_text() + "test: images/other\n")
    shutil.copytree(here / "set" / "images" / "val", here / "set" / "images" / "other")
    shutil.copytree(here / "set" / "labels" / "val", here / "set" / "labels" / "other")
    assert has_test(check(data_yaml))
    with pytest.raises(UserError, match=r"the data set has test: .*images/other; take that out, or holdout="):
        hold_out(check(data_yaml), 0.5, here / "holdout", "detect")


@pytest.mark.parametrize("test", ["images/val", "images/train", "images/none", "images/bare"])
def test_a_test_that_is_none(here, test):
    """As that of VOC.yaml, which is its val; one that is trained on, is not there, or has no labels, as COCO's."""
    data_yaml = data_set(here / "set", val=4)
    (here / "set" / "images" / "bare").mkdir()
    Path(here / "set" / "images" / "bare" / "0.jpg").write_bytes((here / "set/images/val/0.jpg").read_bytes())
    data_yaml.write_text(data_yaml.read_text() + f"test: {test}\n")
    assert not has_test(check(data_yaml))
    assert hold_out(check(data_yaml), 0.5, here / "holdout", "detect")


def test_classes_in_folders_are_refused_with_the_remedy(tiny, here):
    data = check(make("classify", tiny, here / "data"), task="classify")
    with pytest.raises(UserError, match="move images to a folder test/ beside val/"):
        hold_out(data, 0.5, here / "holdout", "classify")


def test_a_part_without_objects_is_refused(here):
    data_yaml = data_set(here / "set", val=4)
    for label in sorted((here / "set" / "labels" / "val").iterdir())[1:]:
        label.write_text("")
    with pytest.raises(UserError, match=r"leaves no object in the 2 images of (val|test): give another share"):
        hold_out(check(data_yaml), 0.5, here / "holdout", "detect")


def test_images_that_are_trained_on_are_in_neither_part(here):
    data_yaml = data_set(here / "set", val=6)
    listed = [f"./images/{f}" for f in ("train/0.jpg", *(f"val/{i}.jpg" for i in range(6)), "val/0.jpg")]
    (here / "set" / "val.txt").write_text("\n".join(listed))
    data_yaml.write_text(data_yaml.read_text().replace("images/val", "val.txt"))
    parted = check(written(hold_out(check(data_yaml), 0.5, here / "holdout", "detect")))
    parts = [list_images(parted, split) for split in ("val", "test")]
    assert [len(part) for part in parts] == [3, 3]
    assert not {*parts[0]} & {*parts[1]}
    assert not any("train" in Path(file).parts for part in parts for file in part)
