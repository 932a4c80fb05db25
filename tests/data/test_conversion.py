"""data/conversion.py, its readers and cleaning.py: the same boxes in another layout, and nothing lost without a row."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from tests.annotations import GOOD, SOUND, H, W, broken, coco, coco_folder, image, labels, voc_folder, voc_with, xml
from ultralytics_diffattn.data import coco_json, conversion
from ultralytics_diffattn.data.conversion import convert as converted
from ultralytics_diffattn.errors import ExistingFileError, MissingFileError, UserError

pytestmark = pytest.mark.usefixtures("own_datasets_dir")


def test_the_real_voc_folder_has_the_same_boxes(shared, capsys):
    data_yaml = converted(shared / "data" / "bccd_voc")
    reference = shared / "data" / "bccd" / "data.yaml"
    assert yaml.safe_load(data_yaml.read_text())["names"] == yaml.safe_load(reference.read_text())["names"]
    compared = 0
    for split, parts in (("train", ["train"]), ("val", ["test", "val"])):  # the reference validates on both
        ours, theirs = {}, labels(reference, split)
        for part in parts:
            ours |= labels(data_yaml, part)
        assert sorted(ours) == list(theirs)
        images = [
            sorted(f.name for s in s_of for f in (y.parent / "images" / s).iterdir())
            for y, s_of in ((data_yaml, parts), (reference, [split]))
        ]
        assert images[0] == images[1]
        for stem, rows in theirs.items():
            np.testing.assert_allclose(ours[stem], rows, rtol=0, atol=1.1e-6)  # both are rounded to six digits
            compared += len(rows)
    assert compared == 2804 + 2082
    assert [(r["file"], r["done"]) for r in broken(data_yaml)] == [
        ("Annotations/BloodImage_00343.xml", "left out"),
        ("Annotations/BloodImage_00338.xml", "left out"),
    ]
    assert all("width 0 and height 0" in r["problem"] for r in broken(data_yaml))


@pytest.mark.parametrize(
    ("objects", "count", "problem", "done"),
    [
        ([("cat", (8, 6, 8, 30))], 0, "width 0", "left out"),
        ([("cat", (40, 6, 8, 30))], 0, "width -32", "left out"),
        ([("cat", (8, 6, "nan", 30))], 0, "four finite numbers", "left out"),
        ([("cat", (8, 6, "inf", 30))], 0, "four finite numbers", "left out"),
        ([("cat", (8, 6, "", 30))], 0, "four finite numbers", "left out"),
        ([("cat", (8, 6, "1e999", 30))], 0, "four finite numbers", "left out"),
        ([("cat", (70, 6, 90, 30))], 0, "outside the image", "left out"),
        ([("cat", (64, 6, 90, 30))], 0, "outside the image", "left out"),  # touches the border
        ([("cat", (-8, 6, 40, 30))], 1, "partly outside", "clipped"),
        ([("cat", (8, 6, 40, 49))], 1, "partly outside", "clipped"),
        ([("cat", (0, 0, 64, 48))], 1, None, None),  # the whole image
        ([("cat", (8, 6, 40, 48.01))], 1, None, None),  # by rounding alone
        ([(" ", GOOD)], 0, "empty name", "left out"),
        ([("cat", GOOD, "<difficult>1</difficult>")], 0, "difficult", "left out"),
        ([("cat", GOOD, "<difficult>0</difficult>")], 1, None, None),
        ([("cat", GOOD, "<part><name>head</name><bndbox/></part>")], 1, None, None),  # a part is no object
        ([("cat", GOOD), ("cat", GOOD)], 1, "twice", "left out"),
        ([("cat", GOOD), ("dog", GOOD)], 2, None, None),
    ],
)
def test_boxes_of_voc(tmp_path, objects, count, problem, done):
    data_yaml = converted(voc_with(xml(objects), tmp_path / "v"))
    rows = labels(data_yaml).get("x", [])
    assert len(rows) == count
    assert all(0 <= c - s / 2 and c + s / 2 <= 1 for row in rows for c, s in zip(row[1:3], row[3:], strict=True))
    rows = [r for r in broken(data_yaml) if r["file"] == "Annotations/x.xml"]
    assert [(r["done"], problem in r["problem"]) for r in rows] == ([(done, True)] if problem else [])
    assert (data_yaml.parent / "images" / "train" / "x.jpg").exists()  # without boxes, it is a background


@pytest.mark.parametrize(
    ("text", "problem", "done"),
    [
        ("<annotation><object>", "not readable as XML", "left out"),
        ("", "not readable as XML", "left out"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not readable as XML", "left out"),
        (xml([("cat", GOOD)], size=(H, W)), "64 x 48 but annotated as 48 x 64", "left out"),
        (xml([("cat", GOOD)], size=(128, 96)), "64 x 48 but annotated as 128 x 96", "left out"),
        (xml([("cat", GOOD)], size=(0, 0)), "no size annotated", "kept"),
        (xml([("cat", GOOD)], size=None), "no size annotated", "kept"),
        (
            xml([("cat", GOOD)], head='<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>', filename="&e;"),
            "XML",
            "",
        ),
    ],
)
def test_annotation_files_of_voc(tmp_path, text, problem, done):
    data_yaml = converted(voc_with(text, tmp_path / "v"))
    (row,) = [r for r in broken(data_yaml) if r["file"] == "Annotations/x.xml"]
    assert problem in row["problem"]
    assert "root:" not in row["problem"]
    assert row["done"] == (done or "left out")
    assert len(labels(data_yaml).get("x", [])) == (done == "kept")


def test_entity_bomb(tmp_path):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 11))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "{"ha" * 50}">{laughs}]>'
    start = time.perf_counter()
    data_yaml = converted(voc_with(xml([("&l10;", GOOD)], head=bomb), tmp_path / "v"))  # 1 TB if it went off
    assert time.perf_counter() - start < 60
    assert any(r["file"] == "Annotations/x.xml" and "not readable" in r["problem"] for r in broken(data_yaml))


def tiny_image(path):
    image(path, (9, 9))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "not found"),
        (lambda path: path.write_bytes(b"not a picture"), "not readable"),
        (lambda path: path.write_bytes(b""), "not readable"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not readable"),
        (tiny_image, "10 pixels"),
        (lambda path: Image.new("RGB", (W, H)).save(path, "GIF"), "is gif"),
    ],
)
def test_images_of_voc(tmp_path, spoil, problem):
    root = voc_with(SOUND, tmp_path / "v")
    spoil(root / "JPEGImages" / "x.jpg")
    data_yaml = converted(root)
    (row,) = broken(data_yaml)
    assert problem in row["problem"]
    assert row["done"] == "left out"
    assert sorted(os.listdir(data_yaml.parent / "images" / "train")) == ["a.jpg"]


def test_repair_by_ultralytics_spares_the_source(tmp_path):
    root = voc_with(SOUND, tmp_path / "v")
    original = root / "JPEGImages" / "x.jpg"
    before = original.read_bytes() + b"what some camera adds"
    original.write_bytes(before)
    data_yaml = converted(root)
    (row,) = broken(data_yaml)
    assert "does not end as a JPEG" in row["problem"]
    assert not (data_yaml.parent / "images" / "train" / "x.jpg").samefile(original)
    data = check_det_dataset(str(data_yaml))
    assert len(YOLODataset(data["train"], data=data, imgsz=32, cache=False).labels) == 2
    assert original.read_bytes() == before
    assert (data_yaml.parent / "images" / "train" / "x.jpg").read_bytes()[-2:] == b"\xff\xd9"


def test_what_one_folder_may_hold_besides(tmp_path):
    root = voc_with(xml([("cat", GOOD)], filename="x.png"), tmp_path / "a set")
    image(root / "JPEGImages" / "x.png")  # the XML names this one of two
    image(root / "JPEGImages" / "alone.jpg")
    data_yaml = converted(root)
    assert data_yaml.parent.name.startswith("a_set-")
    assert sorted(os.listdir(data_yaml.parent / "images" / "train")) == ["a.jpg", "x.png"]
    problems = {r["file"]: r["problem"] for r in broken(data_yaml)}
    assert "same name" in problems.pop("Annotations/x.xml")
    assert problems == {"a set/JPEGImages/alone.jpg": "image without an annotation file"}


def test_ultralytics_reads_it_and_images_are_links(tmp_path):
    data_yaml = converted(voc_with(xml([("dog", GOOD), ("cat", (0, 0, 64, 48))]), tmp_path / "v"))
    data = check_det_dataset(str(data_yaml))
    assert data["names"] == {0: "cat", 1: "dog"}
    train = YOLODataset(data["train"], data=data, imgsz=32, cache=False)
    actual = {Path(label["im_file"]).stem: np.c_[label["cls"], label["bboxes"]] for label in train.labels}
    np.testing.assert_allclose(actual["a"], [[0, 24 / W, 18 / H, 32 / W, 24 / H]], atol=1e-6)
    assert {tuple(row) for row in actual["x"].round(4)} == {(0, 0.5, 0.5, 1, 1), (1, 0.375, 0.375, 0.5, 0.5)}
    assert os.path.samefile(data_yaml.parent / "images" / "train" / "a.jpg", tmp_path / "v" / "JPEGImages" / "a.jpg")
    counts = json.loads((data_yaml.parent / "counts.json").read_text())
    assert counts["train"] == {"images": 2, "boxes": 3, "classes": {"cat": 2, "dog": 1}}
    assert counts["val"] == {"images": 1, "boxes": 1, "classes": {"cat": 1, "dog": 0}}


def change_xml(root):
    (root / "Annotations" / "a.xml").write_text(xml([("cat", GOOD), ("cat", (1, 1, 9, 9))]))


def change_a_digit(root):
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>8", "<xmin>7"))


def change_list(root):
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")


def add_image(root):
    voc_folder(root, {"new": SOUND})


@pytest.mark.parametrize("change", [change_xml, change_a_digit, change_list, add_image])
def test_once_and_anew_when_the_source_changes(tmp_path, change, monkeypatch):
    root = voc_with(SOUND, tmp_path / "v")
    first = converted(root)
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_convert", None)  # would raise if it were called
        assert converted(root) == first
    change(root)
    second = converted(root)
    assert second != first
    assert second.is_file()


def test_killed_conversion_is_not_taken_for_a_finished_one(tmp_path):
    root = voc_with(SOUND, tmp_path / "v")
    code = (
        "import os\nfrom ultralytics.utils import SETTINGS\nfrom ultralytics_diffattn.data import conversion\n"
        f"dict.__setitem__(SETTINGS, 'datasets_dir', {str(tmp_path / 'datasets')!r})\n"
        "conversion._link = lambda *a: os._exit(9)\n"
        f"conversion.convert({str(root)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 9
    assert [p.name[0] for p in (tmp_path / "datasets" / "diffattn").iterdir()] == ["."]  # the draft
    assert sorted(labels(converted(root))) == ["a", "x"]


def test_two_at_once(tmp_path, monkeypatch):
    root = voc_with(SOUND, tmp_path / "v")
    replace, faster = os.replace, []

    def replace_late(source, target):
        if not faster:  # while the first is about to publish, a second one is from begin to end
            faster.append(True)
            faster.append(converted(root))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", replace_late)
    data_yaml = converted(root)
    assert faster[1] == data_yaml
    assert sorted(labels(data_yaml)) == ["a", "x"]
    assert len(list(data_yaml.parent.parent.iterdir())) == 1  # no draft is left


def test_something_else_in_the_way(tmp_path):
    root = voc_with(SOUND, tmp_path / "v")
    data_yaml = converted(root)
    data_yaml.unlink()
    with pytest.raises(ExistingFileError, match="is not a converted data set"):
        converted(root)


@pytest.mark.parametrize(
    ("annotations", "rows", "problem", "done"),
    [
        ([{}], [[1, 0.375, 0.375, 0.5, 0.5]], None, None),
        ([{"category_id": 3}], [[0, 0.375, 0.375, 0.5, 0.5]], None, None),
        ([{"category_id": "3", "image_id": 7.0}], [[0, 0.375, 0.375, 0.5, 0.5]], None, None),
        ([{"bbox": [32, 24, 32.004, 24]}], [[1, 0.75, 0.75, 0.5, 0.5]], None, None),
        ([{"bbox": [32, 24, 64, 24]}], [[1, 0.75, 0.75, 0.5, 0.5]], "partly outside", "clipped"),
        ([{"bbox": [80, 24, 64, 24]}], [], "outside the image", "left out"),
        ([{"bbox": [8, 6, 0, 24]}], [], "width 0", "left out"),
        ([{"bbox": [8, 6, -1, 24]}], [], "width -1", "left out"),
        ([{"bbox": [8, 6, float("nan"), 24]}], [], "four finite numbers", "left out"),
        ([{"bbox": [8, 6, 10**400, 24]}], [], "four finite numbers", "left out"),
        ([{"bbox": [8, 6, 24]}], [], "four finite numbers", "left out"),
        ([{"bbox": None}], [], "four finite numbers", "left out"),
        ([{"bbox": "abcd"}], [], "four finite numbers", "left out"),
        ([{"category_id": 4}], [], "unknown category 4", "left out"),
        ([{"category_id": [3]}], [], "unknown category", "left out"),
        ([{"image_id": 99}], [], "unknown image 99", "left out"),
        ([{"image_id": None}], [], "unknown image None", "left out"),
        ([{"iscrowd": 1}], [], "crowd", "left out"),
        ([{}, {"id": 9}], [[1, 0.375, 0.375, 0.5, 0.5]], "twice", "left out"),
    ],
)
def test_annotations_of_coco(tmp_path, annotations, rows, problem, done):
    data_yaml = converted(coco_folder(tmp_path / "c", coco(annotations)))
    np.testing.assert_allclose(labels(data_yaml).get("a", []), rows, atol=1e-6)
    actual = [(problem is not None and problem in r["problem"], r["done"]) for r in broken(data_yaml)]
    assert actual == ([(True, done)] if problem else [])
    assert sorted(os.listdir(data_yaml.parent / "images" / "train")) == ["a.jpg", "b.jpg"]
    assert yaml.safe_load(data_yaml.read_text())["names"] == {0: "cat", 1: "dog"}


@pytest.mark.parametrize(
    ("change", "images", "problem"),
    [
        ({"images": [("a.jpg", 7), ("a.jpg", 8)]}, {"a": 2}, "a.jpg is listed more than once"),
        ({"images": [("a.jpg", 7), ("b.jpg", 7), ("c.jpg", 8)]}, {"c": 1}, "id of both a.jpg and b.jpg"),
        ({"images": [("a.jpg", 7), (None, 8)]}, {"a": 1}, "image without a file_name"),
        ({"images": [("a.jpg", 7), ("b.jpg", None)]}, {"a": 1}, "image without an id"),
        ({"images": [("s1/a.jpg", 7), ("s2/a.jpg", 8)]}, {"s1_a": 1, "s2_a": 1}, None),
        ({"images": [("a.jpg", 7), ("a.png", 8)]}, {"a": 1, "a-2": 1}, None),
        ({"images": [("a.b.jpg", 7)]}, {"a.b": 1}, "unknown image 8"),
        ({"categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": " "}]}, {"a": 1}, "category without a name"),
        ({"categories": [{"id": 5, "name": "dog"}, {"id": 5, "name": "cat"}]}, {"a": 1}, "its id is that of"),
        ({"categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "dog"}]}, {"a": 1, "b": 1}, "put together"),
    ],
)
def test_images_and_categories_of_coco(tmp_path, change, images, problem):
    annotations = [{}, {"image_id": 8, "category_id": 3, "bbox": [1, 1, 9, 9]}]
    data_yaml = converted(coco_folder(tmp_path / "c", coco(annotations, **change)))
    assert {stem: len(rows) for stem, rows in labels(data_yaml).items()} == images
    problems = [r["problem"] for r in broken(data_yaml)]
    assert any(problem in p for p in problems) if problem else not problems
    data = check_det_dataset(str(data_yaml))
    actual = YOLODataset(data["train"], data=data, imgsz=32, cache=False).labels
    assert sum(len(label["cls"]) for label in actual) == sum(images.values())


@pytest.mark.parametrize(
    "folder", ["annotations", ".", "images", "train2017", "images/train2017", "images/train", "train"]
)
def test_where_the_images_of_coco_may_be(tmp_path, folder):
    root = coco_folder(tmp_path / "c", coco([{}], [("a.jpg", 7)]))
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "images" / "train2017" / "a.jpg").rename(root / folder / "a.jpg")
    assert sorted(labels(converted(root))) == ["a"]


def test_task_chooses_among_the_files(tmp_path):
    for name in ("instances", "person_keypoints", "captions"):
        for split in ("train2017", "val2017"):
            file = tmp_path / "annotations" / f"{name}_{split}.json"
            file.parent.mkdir(exist_ok=True)
            file.touch()
    assert [f.name for f in coco_json.family(tmp_path)] == ["instances_train2017.json", "instances_val2017.json"]
    names = [f.name for f in coco_json.family(tmp_path, "pose")]
    assert names == ["person_keypoints_train2017.json", "person_keypoints_val2017.json"]
    for file in tmp_path.glob("annotations/instances*"):
        file.unlink()
    with pytest.raises(UserError, match="several annotations"):
        coco_json.family(tmp_path)


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("{", "detect", "not readable as JSON"),
        ("[" * 100_000, "detect", "not readable as JSON"),
        ("[]", "detect", "no list of images, annotations, categories"),
        ('{"images": [], "annotations": {}}', "detect", "no list of annotations, categories"),
        (coco([{}]), "obb", "serves task=detect, segment, pose"),
        (coco([{}]), "pose", "use task=detect"),
    ],
)
def test_unusable_coco(tmp_path, text, task, message):
    root = coco_folder(tmp_path / "c", text)
    with pytest.raises(UserError, match=message):
        converted(root / "annotations" / "instances_train2017.json", task)


def test_rows_that_are_no_mappings(tmp_path):
    train = coco([{}])
    for key in train:
        train[key] += [None, 3, "x"]
    data_yaml = converted(coco_folder(tmp_path / "c", train))
    assert len(labels(data_yaml)["a"]) == 1
    assert len(broken(data_yaml)) == 9


def test_nothing_usable(tmp_path):
    root = coco_folder(tmp_path / "c", coco([{}]))
    for file in (root / "images" / "val2017").iterdir():
        file.unlink()
    with pytest.raises(MissingFileError, match=r"2 usable images to train and 0 to validate(.|\n)*v.jpg not found"):
        converted(root)
    assert not list((tmp_path / "datasets").rglob("*.*"))
    with pytest.raises(UserError, match="boxes only: use task=detect, not task=segment"):
        converted(voc_with(SOUND, tmp_path / "v"), "segment")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="neither Annotations"):
        converted(tmp_path / "empty")
    with pytest.raises(MissingFileError, match="does not exist"):
        converted(tmp_path / "train" / "missing.json")


@pytest.mark.parametrize("refused", [(), ("symlink",), ("symlink", "link")])
def test_links_where_the_file_system_allows(tmp_path, monkeypatch, refused):
    def refuse(*args):
        raise OSError("not on this file system")

    for way in refused:
        monkeypatch.setattr(os, way, refuse)
    root = voc_with(SOUND, tmp_path / "v")
    written = converted(root).parent / "images" / "train" / "a.jpg"
    assert written.is_symlink() == ("symlink" not in refused)
    assert os.path.samefile(written, root / "JPEGImages" / "a.jpg") == ("link" not in refused)
    assert written.read_bytes() == (root / "JPEGImages" / "a.jpg").read_bytes()


def test_report(tmp_path, monkeypatch):
    from ultralytics.utils import LOGGER

    lines = []
    monkeypatch.setattr(LOGGER, "info", lines.append)
    monkeypatch.setattr(LOGGER, "warning", lines.append)
    bad = xml([("cat", (x, 6, x, 30)) for x in range(12)] + [("cat", GOOD)])
    data_yaml = converted(voc_with(bad, tmp_path / "v"))
    log = "\n".join(lines)
    assert "train 2 images with 2 boxes, val 1 images with 1 boxes" in log
    assert "cat 2/1" in log
    assert f"12 broken annotations, all of them in {data_yaml.parent / 'broken.csv'}" in log
    assert log.count("(left out)") == 10
    assert "and 2 more" in log
    assert len(broken(data_yaml)) == 12
