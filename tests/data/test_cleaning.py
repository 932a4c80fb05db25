"""data/cleaning.py: outlines and keypoints of a COCO JSON, as a conversion writes them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from tests.annotations import H, W, broken, coco, coco_folder, labels
from ultralytics_diffattn.data.conversion import convert as converted

pytestmark = pytest.mark.usefixtures("own_datasets_dir")

MASK = {
    "size": [H, W],
    "counts": [H * 10] + [10, 38] * 9 + [10, 38 + H * 44],
}  # columns 10 to 19, rows 0 to 9, uncompressed


@pytest.mark.parametrize(
    ("segmentation", "polygon", "problem"),
    [
        ([[8, 6, 40, 6, 40, 30]], [8, 6, 40, 6, 40, 30], None),
        ([[8, 6, 80, 6, 40, 30]], [8, 6, 64, 6, 40, 30], "partly outside"),
        (MASK, [10, 0, 10, 9, 19, 9, 19, 0], None),
        (None, [8, 6, 40, 6, 40, 30, 8, 30], "its box stands for it"),
        ([], [8, 6, 40, 6, 40, 30, 8, 30], "its box stands for it"),
        ([[1, 2, 3]], [8, 6, 40, 6, 40, 30, 8, 30], "its box stands for it"),
        ({"size": [9, 9], "counts": [81]}, [8, 6, 40, 6, 40, 30, 8, 30], "its box stands for it"),
        ([[8, 6, 40, 6, 40, 30], [1, 2]], [8, 6, 40, 6, 40, 30], "three or more points"),
    ],
)
def test_segments(tmp_path, segmentation, polygon, problem):
    if isinstance(segmentation, dict):
        pytest.importorskip("faster_coco_eval")
    root = coco_folder(tmp_path / "c", coco([{"segmentation": segmentation}]))
    data_yaml = converted(root, "segment")
    ((label, *points),) = labels(data_yaml)["a"]
    assert label == 1
    np.testing.assert_allclose(np.reshape(points, (-1, 2)) * (W, H), np.reshape(polygon, (-1, 2)), atol=1e-3)
    problems = [r["problem"] for r in broken(data_yaml) if r["file"] == "instances_train2017.json"]
    assert any(problem in p for p in problems) if problem else not problems
    assert converted(root) != data_yaml  # boxes are another data set
    assert len(labels(converted(root))["a"][0]) == 5


def test_segments_of_several_parts(tmp_path):
    parts = [[8, 6, 20, 6, 20, 30, 8, 30], [30, 6, 40, 6, 40, 30, 30, 30]]
    data_yaml = converted(coco_folder(tmp_path / "c", coco([{"segmentation": parts}])), "segment")
    ((_, *points),) = labels(data_yaml)["a"]
    actual = {tuple(p) for p in (np.reshape(points, (-1, 2)) * (W, H)).round(2).tolist()}
    assert actual == {tuple(map(float, p)) for part in parts for p in np.reshape(part, (-1, 2)).tolist()}


def test_pose(tmp_path):
    people = [{"id": 5, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}]
    sound = [10, 10, 2, 12, 8, 2, 8, 8, 1]
    boxes = [
        {"keypoints": k, "bbox": [8, 6, 30 + i, 24]}
        for i, k in enumerate((sound, [0] * 9, [99, 10, 2, *sound[3:]], sound[:6], None))
    ]
    train, val = coco(boxes, categories=people), coco([{"keypoints": sound}], [("v.jpg", 7)], people)
    names = "person_keypoints_train2017.json", "person_keypoints_val2017.json"
    data_yaml = converted(coco_folder(tmp_path / "c", train, val, names), "pose")
    data = yaml.safe_load(data_yaml.read_text())
    assert (data["kpt_shape"], data["flip_idx"]) == ([3, 3], [0, 2, 1])
    rows = labels(data_yaml)["a"]
    np.testing.assert_allclose(rows[0][5:], np.reshape([np.array(sound).reshape(3, 3) / (W, H, 1)], -1), atol=1e-6)
    np.testing.assert_allclose(rows[1][5:8], 0)
    assert len(rows) == 2
    problems = sorted(r["problem"] for r in broken(data_yaml))
    assert [p[:20] for p in problems] == [
        "6 numbers of keypoin",
        "a keypoint outside t",
        "no labelled keypoint",
        "no labelled keypoint",
    ]
    data = check_det_dataset(str(data_yaml))
    assert YOLODataset(data["train"], data=data, task="pose", imgsz=32, cache=False).labels[0]["keypoints"].shape == (
        2,
        3,
        3,
    )


@pytest.mark.parametrize(
    ("keypoint", "written", "problem"),
    [
        ([10, 10, 1], [10, 10, 1], None),
        ([10, 10, 0], [0, 0, 0], None),
        ([-1, -1, 0], [0, 0, 0], None),  # ultralytics drops an image with a coordinate outside
        ([99, 10, 2], [0, 0, 0], "a keypoint outside the image: taken as not labelled"),
        ([10, 10, -1], [0, 0, 0], "a keypoint of negative visibility: taken as not labelled"),
        ([0, -1, -1], [0, 0, 0], "a keypoint of negative visibility: taken as not labelled"),
        (["x", 10, 2], [0, 0, 0], "a keypoint outside the image: taken as not labelled"),
    ],
    ids=str,
)
def test_keypoints(tmp_path, keypoint, written, problem):
    labelled = [20, 20, 2]
    train = coco([{"keypoints": [*keypoint, *labelled]}])
    val = coco([{"keypoints": labelled * 2}], [("v.jpg", 7)])
    names = "person_keypoints_train2017.json", "person_keypoints_val2017.json"
    data_yaml = converted(coco_folder(tmp_path / "c", train, val, names), "pose")
    (row,) = labels(data_yaml)["a"]
    np.testing.assert_allclose(np.reshape(row[5:], (2, 3)) * (W, H, 1), [written, labelled], atol=1e-4)
    assert [r["problem"] for r in broken(data_yaml)] == ([problem] if problem else [])
    data = check_det_dataset(str(data_yaml))
    dataset = YOLODataset(data["train"], data=data, task="pose", imgsz=32, cache=False)
    assert sorted(Path(label["im_file"]).name for label in dataset.labels) == ["a.jpg", "b.jpg"]
