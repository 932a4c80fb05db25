"""data/coco_json.py, coco_images.py and coco_relative.py: whose image it is, what values mean, layouts of tools."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.annotations import H, W, coco, coco_folder, image, labels
from tests.annotations import broken as rows_of
from tests.places import ROOT
from ultralytics_diffattn.data.conversion import convert
from ultralytics_diffattn.errors import UserError

pytestmark = pytest.mark.usefixtures("own_datasets_dir")


def broken(data_yaml):
    return [(row["item"], row["problem"], row["done"]) for row in rows_of(data_yaml)]


def grey(path, value):
    """Write an image that can be told from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((H, W, 3), value, np.uint8)).save(path)


def shade(data_yaml, name, split="train"):
    return int(np.asarray(Image.open(data_yaml.parent / "images" / split / name)).mean().round())


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def names(*stems):
    """Return a COCO JSON with one box for each image."""
    return coco([{"image_id": i} for i in range(len(stems))], [(s, i) for i, s in enumerate(stems)])


def test_the_images_beside_a_json_come_before_those_above(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        grey(tmp_path / "c" / "train" / name, 50)
        grey(tmp_path / "c" / name, 200)
    write_json(tmp_path / "c" / "train" / "train.json", names("a.jpg", "b.jpg"))
    data_yaml = convert(tmp_path / "c" / "train" / "train.json")
    assert {shade(data_yaml, f.name, f.parent.name) for f in (data_yaml.parent / "images").rglob("*.jpg")} == {50}
    assert len([p for _, p, d in broken(data_yaml) if "1 other images of that name" in p and d == "kept"]) == 2


def test_each_split_has_its_own_image_of_one_name(tmp_path):
    root = tmp_path / "c"
    for folder, value in (("", 10), ("images", 60), ("images/train", 110), ("images/val", 160), ("images/test", 210)):
        grey(root / folder / "a.jpg", value)
    for split in ("train", "val", "test"):
        write_json(root / "annotations" / f"instances_{split}.json", names("a.jpg"))
    data_yaml = convert(root)
    assert [shade(data_yaml, "a.jpg", split) for split in ("train", "val", "test")] == [110, 160, 210]


def test_copies_of_an_image_are_no_doubt(tmp_path):
    root = coco_folder(tmp_path / "c", names("a.jpg"))
    for folder in ("images", "."):
        image(root / folder / "a.jpg")
    assert not broken(convert(root))


@pytest.mark.parametrize(
    ("listed", "files", "images", "rows"),
    [
        (["a.jpg", "y/a.jpg"], ["a.jpg"], ["a"], [("", "image y/a.jpg not found", "left out")]),
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"], [], [("", "image x/a.jpg not found", "left out")]),
        (["x/a.jpg"], ["a.jpg"], ["a"], [("x/a.jpg", "not found as it is named; a.jpg is taken", "kept")]),
        (["x/a.jpg", "a.jpg"], ["a.jpg", "x/a.jpg"], ["a", "x_a"], []),
        (["x\\a.jpg"], ["x/a.jpg"], ["x_a"], []),
        ([" a.jpg "], ["a.jpg"], ["a"], []),
    ],
)
def test_an_image_has_one_entry(tmp_path, listed, files, images, rows):
    root = tmp_path / "c"
    for name in (*files, "b.jpg", "c.jpg"):
        image(root / "images" / "train" / name)
    write_json(root / "annotations" / "instances_train.json", names(*listed, "b.jpg", "c.jpg"))
    image(root / "images" / "val" / "v.jpg")
    write_json(root / "annotations" / "instances_val.json", names("v.jpg"))
    data_yaml = convert(root)
    assert sorted(labels(data_yaml)) == sorted([*images, "b", "c"])
    assert set(rows) <= set(broken(data_yaml))
    assert bool(rows) == bool(broken(data_yaml))


def test_relative_boxes(tmp_path):
    """As Azure AI Vision documents them."""
    box = {
        "bbox": [0.05, 0.2, 0.25, 0.6],
        "segmentation": [[0.05, 0.2, 0.3, 0.2, 0.3, 0.8]],
        "keypoints": [0.1, 0.5, 2],
    }
    root = coco_folder(tmp_path / "c", coco([box]))
    data_yaml = convert(root)
    assert labels(data_yaml)["a"] == [[1, 0.175, 0.5, 0.25, 0.6]]
    assert broken(data_yaml) == [("", "all boxes lie in 0 to 1: taken as parts of width and height", "kept")]
    segments = labels(convert(root, "segment"))["a"][0]
    np.testing.assert_allclose(segments[1:], [0.05, 0.2, 0.3, 0.2, 0.3, 0.8], atol=1e-6)


def test_relative_boxes_without_a_size(tmp_path):
    data = coco([{"bbox": [0.05, 0.2, 0.25, 0.6]}])
    for row in data["images"]:
        del row["width"]
    assert labels(convert(coco_folder(tmp_path / "c", data)))["a"] == [[1, 0.175, 0.5, 0.25, 0.6]]


@pytest.mark.parametrize(
    ("boxes", "refused"),
    [
        ([[0.05, 0.2, 0.25, 0.6], [8, 6, 32, 24]], True),
        ([[0, 0, 1, 1], [8, 6, 32, 24]], False),  # a pixel in the corner
        ([[0, 0, 0, 0], [8, 6, 32, 24]], False),
        ([[0.5, 0.5, 32.5, 24], [8, 6, 32, 24]], False),
    ],
)
def test_a_mixture_of_relative_boxes_and_others(tmp_path, boxes, refused):
    root = coco_folder(tmp_path / "c", coco([{"bbox": box} for box in boxes]))
    if refused:
        with pytest.raises(UserError, match=r"instances_train2017.json has 1 boxes in 0 to 1.* and 1 in pixels: write"):
            convert(root)
    else:
        assert len(labels(convert(root))["a"]) >= 1


@pytest.mark.parametrize(
    ("change", "count"),
    [
        *(({"iscrowd": value}, 0) for value in (1, "1", "true", True, 1.0, "1.0")),
        *(({"iscrowd": value}, 1) for value in (0, "0", "false", False, 0.0, "0.0", "", None, "False")),
        *(({"image_id": value}, 1) for value in ("7", 7.0, "7.0", " 7 ")),
        *(({"category_id": value}, 1) for value in ("5", 5.0, "5.0", " 5 ")),
        *(({"image_id": value}, 0) for value in (True, "7.5", "seven")),
    ],
    ids=str,
)
def test_flags_and_ids_by_truth(tmp_path, change, count):
    assert len(labels(convert(coco_folder(tmp_path / "c", coco([change])))).get("a", [])) == count


def test_names_of_categories_by_truth(tmp_path):
    categories = [{"id": 5, "name": 0}, {"id": 3, "name": " cat "}, {"id": 4, "name": "cat"}]
    boxes = [{}, {"category_id": 3, "bbox": [1, 1, 9, 9]}, {"category_id": 4, "bbox": [2, 2, 9, 9]}]
    root = coco_folder(tmp_path / "c", coco(boxes, categories=categories), coco([{}], [("v.jpg", 7)], categories))
    data_yaml = convert(root)
    assert "names:\n  0: cat\n  1: '0'\n" in data_yaml.read_text()
    assert sorted(row[0] for row in labels(data_yaml)["a"]) == [0, 0, 1]


OUTLINED = coco([{"segmentation": [[8, 6, 40, 6, 40, 30]]}], [("v.jpg", 7)])  # a sound val


def test_a_flat_polygon(tmp_path):
    polygon = [8, 6, 40, 6, 40, 30]
    data_yaml = convert(coco_folder(tmp_path / "c", coco([{"segmentation": polygon}]), OUTLINED), "segment")
    assert len(labels(data_yaml)["a"][0]) == 1 + len(polygon)
    assert not broken(data_yaml)


def test_a_mask_with_a_hole_says_so(tmp_path):
    pytest.importorskip("faster_coco_eval")
    mask = np.zeros((H, W), np.uint8)
    mask[10:30, 10:40] = 1
    mask[15:20, 15:20] = 0
    runs = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel(), [0]]))).tolist()
    counts = np.diff([0, *runs, H * W]).tolist()
    root = coco_folder(tmp_path / "c", coco([{"segmentation": {"size": [H, W], "counts": counts}}]), OUTLINED)
    data_yaml = convert(root, "segment")
    assert [(p, d) for _, p, d in broken(data_yaml)] == [
        ("a mask with 1 hole, which an outline cannot have: filled", "kept")
    ]
    assert len(labels(data_yaml)["a"][0]) == 1 + 8


LAYOUTS = {  # as each tool exports: JSON files with their images, and images (and as many boxes) of train, val and test
    "COCO": (
        {
            "annotations/instances_train2017.json": ["images/train2017/a.jpg", "images/train2017/b.jpg"],
            "annotations/instances_val2017.json": ["images/val2017/c.jpg"],
        },
        (2, 1, 0),
    ),
    "CVAT": (
        {
            "annotations/instances_Train.json": ["images/Train/a.jpg", "images/Train/b.jpg"],
            "annotations/instances_Validation.json": ["images/Validation/a.jpg"],
            "annotations/instances_Test.json": ["images/Test/a.jpg"],
        },
        (2, 1, 1),
    ),
    "CVAT, one subset": (
        {"annotations/instances_default.json": [f"images/default/{s}.jpg" for s in "abcde"]},
        (4, 1, 0),
    ),
    "Datumaro": (
        {
            "annotations/instances_train.json": ["images/train/a.jpg", "images/train/b.jpg"],
            "annotations/instances_val.json": ["images/val/a.jpg"],
            "annotations/instances_test.json": ["images/test/a.jpg"],
        },
        (2, 1, 1),
    ),
    "FiftyOne": ({"labels.json": [f"data/{s}.jpg" for s in "abcde"]}, (4, 1, 0)),
    "FiftyOne, splits": (
        {
            "train/labels.json": ["train/data/a.jpg", "train/data/b.jpg"],
            "validation/labels.json": ["validation/data/a.jpg"],
        },
        (2, 1, 0),
    ),
    "Label Studio": ({"result.json": [f"images/{s}.jpg" for s in "abcde"]}, (4, 1, 0)),
    "Roboflow": (
        {
            "train/_annotations.coco.json": ["train/a.jpg", "train/b.jpg"],
            "valid/_annotations.coco.json": ["valid/a.jpg"],
            "test/_annotations.coco.json": ["test/a.jpg"],
        },
        (2, 1, 1),
    ),
}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_layouts_of_tools(tmp_path, tool):
    jsons, counts = LAYOUTS[tool]
    value = 0
    for name, files in jsons.items():
        for file in files:
            grey(tmp_path / "set" / file, value := value + 20)
        # Label Studio alone writes the folder into the name
        listed = [file if tool == "Label Studio" else file.rpartition("/")[2] for file in files]
        write_json(tmp_path / "set" / name, names(*listed))
    data_yaml = convert(tmp_path / "set")
    found = {split: labels(data_yaml, split) for split in ("train", "val", "test")}
    assert tuple(len(rows) for rows in found.values()) == counts
    assert all(len(rows) == 1 for split in found.values() for rows in split.values())
    assert not broken(data_yaml)
    images = list((data_yaml.parent / "images").rglob("*.jpg"))
    assert len({shade(data_yaml, f.name, f.parent.name) for f in images}) == len(images), (
        "each is the file of its split"
    )


def test_the_docs_list_these_layouts():
    text = (ROOT / "docs" / "how-to" / "coco.md").read_text()
    assert all(f"| {tool.partition(',')[0]} |" in text for tool in LAYOUTS)


def test_a_folder_of_no_known_split_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("ultralytics_diffattn.data.coco_json.LOGGER.warning", said.append)
    for split in ("train", "valid", "holdout"):
        image(tmp_path / "set" / split / "a.jpg")
        write_json(tmp_path / "set" / split / "_annotations.coco.json", names("a.jpg"))
    convert(tmp_path / "set")
    assert "holdout/_annotations.coco.json is in the folder of no split that is known" in said[0]
