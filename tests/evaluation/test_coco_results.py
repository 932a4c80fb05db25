"""Predictions in a COCO results JSON: what its ids mean, and what is refused."""

import json

import pytest

from ultralytics_diffattn.errors import MissingFileError, UserError
from ultralytics_diffattn.evaluation.coco_results import read

IMAGES = ["/d/val/0007.jpg", "/d/val/b.jpg", "/d/val/9.png"]
OTHERS = ["/d/train/0001.jpg", "/d/train/b.jpg"]
ROW = {"image_id": 7, "category_id": 1, "bbox": [8, 6, 32, 24], "score": 0.5}


def written(tmp_path, content):
    file = tmp_path / "p.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def found(tmp_path, rows, names=("cat", "dog"), source=None, images=IMAGES):
    return read(written(tmp_path, rows), images, OTHERS, list(names), source)


def test_ids_as_ultralytics_writes_them(tmp_path):
    rows = [{**ROW, "image_id": i, "category_id": c} for i, c in ((9, 2), ("b", 1), (7, 1), ("0007", 2), (1, 1))]
    result = found(tmp_path, rows)
    assert result.image.tolist() == [2, 1, 0, 0]  # that of train is left out
    assert result.cls.tolist() == [1, 0, 0, 1]
    assert result.box.tolist() == [ROW["bbox"]] * 4
    assert result.conf.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{torn", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ({"images": []}, "is not a COCO results JSON: give a list of objects with image_id, category_id, bbox, score"),
        ("7", "is not a COCO results JSON"),
        ([ROW, 5], "prediction 2 is not an object"),
        ([{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}], "prediction 1 has no score"),
        ([{**ROW, "image_id": None}], "prediction 1 has the image_id 'None', which is not a number or text"),
        ([{**ROW, "category_id": True}], "the category_id 'True', which is not a number"),
        ([{**ROW, "bbox": [1, 2, 3]}], r"the bbox \[1, 2, 3\], which is not x, y, width and height"),
        ([{**ROW, "bbox": [1, 2, -3, 4]}], "which is not x, y, width and height"),
        ('[{"image_id": 7, "category_id": 1, "bbox": [1, 2, NaN, 4], "score": 0.5}]', "which is not x, y"),
        ([{**ROW, "score": 1.5}], "the score 1.5; scores are from 0 to 1"),
        ([{**ROW, "score": -0.1}], "the score -0.1"),
        ('[{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]', "the score nan"),
        ([ROW, {**ROW, "image_id": 12}], r"image_id 12 is no image of the data set \(1 of 2 ids are not\).*include"),
        (
            [{**ROW, "category_id": 0}],
            r"category_id 0 is no class of the data set.*as ultralytics writes them, include 1, 2",
        ),
        ([{**ROW, "category_id": 3}], "category_id 3 is no class"),
        ([], "no prediction for any of the 3 images"),
        ([{**ROW, "image_id": 1}], "no prediction for any of the 3 images"),  # of train alone
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        found(tmp_path, content)


def test_no_such_file(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        read(tmp_path / "p.json", IMAGES, [], ["cat"])


def test_two_images_of_one_id(tmp_path):
    images = ["/d/val/a/1.jpg", "/d/val/b/01.jpg"]
    with pytest.raises(UserError, match="image_id 1 belongs to several images"):
        found(tmp_path, [{**ROW, "image_id": 1}], images=images)
    assert found(tmp_path, [{**ROW, "image_id": "01"}], images=images).image.tolist() == [1]


def test_a_file_that_says_what_its_ids_are(tmp_path):
    tables = {
        "images": [{"id": 3, "file_name": "b.jpg"}, {"id": 4, "file_name": "x/0007.jpg"}],
        "categories": [{"id": 0, "name": "dog"}, {"id": 8, "name": "cat"}],
    }
    rows = [{**ROW, "image_id": 3, "category_id": 8}, {**ROW, "image_id": 4, "category_id": 0}]
    result = found(tmp_path, {**tables, "annotations": rows})
    assert (result.image.tolist(), result.cls.tolist()) == ([1, 0], [0, 1])
    with pytest.raises(
        UserError, match=r"category_id 1 is no class of the data set.*as in the file's own lists, include 0, 8"
    ):
        found(tmp_path, {**tables, "annotations": [{**ROW, "image_id": 3}]})


def test_cocos_own_classes(tmp_path):
    import yaml
    from ultralytics.utils import ROOT

    coco = yaml.safe_load((ROOT / "cfg" / "datasets" / "coco.yaml").read_text())["names"]
    names = [coco[i] for i in range(80)]

    def classes(*ids):
        return found(tmp_path, [{**ROW, "category_id": i} for i in ids], names).cls.tolist()

    assert classes(1, 13, 90) == [0, 11, 79]  # person, stop sign, toothbrush
    assert classes(1, 12, 80) == [0, 11, 79]  # 12 is no id of COCO's
    with pytest.raises(
        UserError, match="category_id 13 means one thing with ids as ultralytics writes them, and another"
    ):
        classes(1, 13)
    assert classes(1, 2) == [0, 1]  # in both ways the same


def test_ids_of_the_annotations_that_a_data_set_was_converted_from(tmp_path, own_datasets_dir):
    from PIL import Image

    from ultralytics_diffattn.data.check import check, list_images
    from ultralytics_diffattn.data.conversion import convert, source_of

    rows = [{"id": 10 + i, "file_name": f"set{i % 2}/{i:03}.jpg", "width": 64, "height": 48} for i in range(12)]
    for row in rows:
        (tmp_path / "c" / row["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(tmp_path / "c" / row["file_name"])
    boxes = [{"image_id": row["id"], "category_id": 5, "bbox": [8, 6, 32, 24]} for row in rows]
    categories = [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
    source = tmp_path / "c" / "all.json"
    source.write_text(json.dumps({"images": rows, "annotations": boxes, "categories": categories}))
    data_yaml = convert(source)
    assert source_of(data_yaml) == source
    data = check(data_yaml)
    images, others = list_images(data, "val"), list_images(data, "train")
    names = [data["names"][i] for i in range(2)]
    predictions = [{**ROW, "image_id": row["id"], "category_id": 9} for row in rows]
    result = read(written(tmp_path, predictions), images, others, names, source)
    (seen,) = {*result.cls.tolist()}
    assert names[seen] == "dog"
    assert sorted(result.image.tolist()) == [*range(len(images))]
    stems = [{**ROW, "image_id": f"set{i % 2}_{i:03}", "category_id": 2} for i in range(12)]  # ultralytics' own
    assert read(written(tmp_path, stems), images, others, names, source).cls.tolist() == [1] * len(images)
    source.unlink()
    with pytest.raises(UserError, match="is no image of the data set"):
        read(written(tmp_path, predictions), images, others, names, source)
