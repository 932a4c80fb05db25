"""data/splits.py: which names are splits, and what a conversion makes of them."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.annotations import SOUND, broken, coco, image, labels, voc_folder
from ultralytics_diffattn.data import conversion
from ultralytics_diffattn.data.annotations import AnnotatedImage
from ultralytics_diffattn.data.conversion import convert as converted
from ultralytics_diffattn.data.splits import resolve, split_of
from ultralytics_diffattn.errors import UserError

pytestmark = pytest.mark.usefixtures("own_datasets_dir")


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


@pytest.mark.parametrize(
    ("lists", "splits", "rows"),
    [
        ({"train": "ab", "val": "c", "test": "de"}, "ab c de", []),
        ({"trainval": "abcd", "val": "d"}, "abc d ", ["e.xml: in no list"]),
        ({"trainval": "abcd", "train": "ab", "test": "e"}, "ab cd e", []),
        ({"train": "ab", "val": "cd", "trainval": "abcde"}, "ab cd ", ["e.xml: in trainval, but neither"]),
        ({"train": "ab", "val": "cd", "trainval": "abcd", "test": "e"}, "ab cd e", []),
        ({"train": "abe", "val": "bcd"}, "abe bcd ", ["b.xml: in several splits: train, val"]),
        ({"train": "abe", "val": "cd", "test": "d"}, "abe cd d", ["d.xml: in several splits: test, val"]),
        ({"train": "abde", "val": "cz"}, "abde c ", ["val.txt: no readable annotation"]),
        ({"train": ["a.jpg", "b "], "val": "cde"}, "ab cde ", []),
        ({"train": "abc", "valid": "de"}, "abc de ", []),
        ({"Train": "abc", "Validation": "d", "TEST": "e"}, "abc d e", []),
        ({"training": "abc", "dev": "d", "testing": "e"}, "abc d e", []),
        ({"train2007": "abc", "val2007": "de"}, "abc de ", []),
        ({"train": "abc", "val": "d", "valid": "de"}, "abc de ", []),  # both are read
        ({"train": "abcd", "val": "e", "cat_train": ["a 1", "b -1"]}, "abcd e ", []),  # which images hold cats
        (
            {"train": "abc", "val": "d", "holdout": "e"},
            "abc d ",
            ["e.xml: in no list", "holdout.txt: not the name of a split"],
        ),
    ],
    ids=str,
)
def test_split_of_voc(tmp_path, lists, splits, rows):
    data_yaml = converted(voc_folder(tmp_path / "v", dict.fromkeys("abcde", SOUND), lists))
    assert ["".join(labels(data_yaml, s)) for s in ("train", "val", "test")] == splits.split(" ")
    counts = json.loads((data_yaml.parent / "counts.json").read_text())
    assert counts["split"] == "the source's own"
    listed = sorted(f"{Path(r['file']).name}: {r['problem']}" for r in broken(data_yaml))
    assert len(listed) == len(rows)
    assert all(map(str.startswith, listed, rows)), listed
    assert counts["broken"] == Counter(r["done"] for r in broken(data_yaml))
    assert ("test" in yaml.safe_load(data_yaml.read_text())) == bool(splits.split(" ")[2])


@pytest.mark.parametrize(
    ("lists", "test"),
    [
        ({"train": "abcde", "test": "fg"}, "fg"),
        ({"trainval": "abcde", "test": "fg"}, "fg"),
        ({"trainval": "abcde"}, ""),
        ({"default": "abcde"}, ""),  # CVAT, Datumaro
    ],
)
def test_images_of_test_do_not_become_val(tmp_path, lists, test):
    data_yaml = converted(voc_folder(tmp_path / "v", dict.fromkeys("abcdefg", SOUND), lists))
    train, val = ("".join(labels(data_yaml, s)) for s in ("train", "val"))
    assert (sorted(train + val), len(val), "".join(labels(data_yaml, "test"))) == (list("abcde"), 1, test)
    assert "hash" in json.loads((data_yaml.parent / "counts.json").read_text())["split"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [({"val": "ab"}, "has val and nothing"), ({"test": "a", "val": "b"}, "has val and test and nothing")],
)
def test_nothing_to_train_on(tmp_path, lists, message):
    with pytest.raises(UserError, match=message):
        converted(voc_folder(tmp_path / "v", dict.fromkeys("abc", SOUND), lists))


def test_an_unknown_list_is_said_before_anything_is_converted(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("ultralytics_diffattn.data.voc.LOGGER.warning", said.append)
    monkeypatch.setattr(conversion, "clean", None)  # raises when it is called
    with pytest.raises(TypeError):
        converted(voc_folder(tmp_path / "v", dict.fromkeys("abc", SOUND), {"train": "ab", "holdout": "c"}))
    assert "holdout.txt is no list that is known" in said[0]


@pytest.mark.parametrize("lists", [{}, {"train": [f"i{k}" for k in range(10)]}])
def test_split_by_hash(tmp_path, lists):
    sets = []
    for name in ("one", "two"):  # elsewhere, too, the same images are in val
        data_yaml = converted(voc_folder(tmp_path / name, {f"i{k}": SOUND for k in range(10)}, lists))
        sets.append(tuple(tuple(labels(data_yaml, s)) for s in ("train", "val")))
        assert "hash" in json.loads((data_yaml.parent / "counts.json").read_text())["split"]
    assert sets[0] == sets[1]
    assert [len(s) for s in sets[0]] == [8, 2]


@pytest.mark.parametrize(
    ("files", "source", "splits"),
    [
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"], ".", True),
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"], 1, True),
        (["annotations/instances_train2017.json", "annotations/instances_val2014.json"], 0, False),
        (["train.json", "valid.json"], 0, True),
        (["Train.json", "Validation.json"], 0, True),
        (["instances_training.json", "instances_dev.json"], 0, True),
        (["trainval.json", "val.json"], 0, True),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], 0, True),
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ".", True),
        (["train_val.json"], 0, False),
        (["annotations.json"], 0, False),
        (["annotations.json"], ".", False),
    ],
)
def test_family_and_split_of_coco(tmp_path, files, source, splits):
    root = tmp_path / "c"
    for i, name in enumerate(files):
        names = [f"{i}{k}.jpg" for k in range(5)]
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = coco([{"image_id": k} for k in range(5)], [(n, k) for k, n in enumerate(names)])
        (root / name).write_text(json.dumps(rows))
        for n in names:
            image((root / name).parent / n)
    data_yaml = converted(root if source == "." else root / files[source])
    actual = {s: [stem[0] for stem in labels(data_yaml, s)] for s in ("train", "val")}
    assert actual == ({"train": ["0"] * 5, "val": ["1"] * 5} if splits else {"train": ["0"] * 4, "val": ["0"]})


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        (["train/_annotations.coco.json", "valid/_annotations.coco.json", "test/_annotations.coco.json"], [5, 5, 5]),
        (["train.json", "val.json", "test.json"], [5, 5, 5]),
        (["train.json", "val.json", "trainval.json"], [5, 5, 0]),  # as VOC in COCO's format
        (["train.json", "test.json"], [4, 1, 5]),
        (["trainval.json", "test.json"], [4, 1, 5]),
    ],
)
def test_test_split_of_coco(tmp_path, files, counts):
    root = tmp_path / "c"
    for i, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        names = [f"{i}{k}.jpg" for k in range(5)]
        names = [f"{j}{k}.jpg" for j in (0, 1) for k in range(5)] if name == "trainval.json" and i else names
        rows = coco([{"image_id": k} for k in range(len(names))], [(n, k) for k, n in enumerate(names)])
        (root / name).write_text(json.dumps(rows))
        for n in names:
            image((root / name).parent / n)
    data_yaml = converted(root / files[0])
    assert [len(labels(data_yaml, s)) for s in ("train", "val", "test")] == counts
    assert ("test" in yaml.safe_load(data_yaml.read_text())) == bool(counts[2])
