"""`ap_by_size` against pycocotools, on random objects and on a validator's own predictions."""

import copy

import numpy as np
import pytest

from tests.comparison.samples import with_boxes
from tests.oracles import pycocotools_ap
from tests.samples import random_predictions
from ultralytics_diffattn.evaluation.ap_by_size import ap_by_size, ap_of_sizes, as_coco


def scene(seed, images=12, classes=3, sizes=(8, 300)):
    """Random objects, and predictions: some near an object, some of another class, some of nothing, more than 100."""
    rng = np.random.default_rng(seed)
    annotations, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 12)):
            box = [*rng.uniform(0, 400, 2), *rng.uniform(*sizes, 2)]
            c, area = int(rng.integers(1, classes + 1)), box[2] * box[3]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": c, "bbox": box, "area": area}
            )
            annotations[-1]["iscrowd"] = 0
            for _ in range(rng.integers(0, 3)):
                guess = [v + rng.normal(0, 0.06 * max(box[2:])) for v in box[:2]] + [
                    v * rng.uniform(0.8, 1.2) for v in box[2:]
                ]
                label = c if rng.random() < 0.8 else int(rng.integers(1, classes + 1))
                predictions.append(
                    {"image_id": image, "category_id": label, "bbox": guess, "score": round(rng.random(), 2)}
                )
        for _ in range(rng.integers(0, 130)):
            box = [*rng.uniform(0, 400, 2), *rng.uniform(*sizes, 2)]
            c = int(rng.integers(1, classes + 1))
            predictions.append({"image_id": image, "category_id": c, "bbox": box, "score": round(rng.random() / 2, 2)})
    truth = {
        "images": [{"id": i} for i in range(1, images + 1)],
        "categories": [{"id": c} for c in range(1, classes + 1)],
    }
    return {**truth, "annotations": annotations}, predictions


@pytest.mark.parametrize("sizes", [(8, 300), (4, 30), (33, 95), (100, 300)], ids=["all", "small", "medium", "large"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools(seed, sizes):
    truth, predictions = scene(seed, sizes=sizes)
    before = copy.deepcopy((truth, predictions))
    ap = ap_by_size(truth, predictions)
    for name, expected in pycocotools_ap(truth, predictions).items():
        assert ap[name] == (None if expected is None else pytest.approx(expected, abs=1e-9, rel=0)), name
    assert ap["AP"] > 0.02
    assert [k for k in ("small", "medium", "large") if ap[k] is None] == {
        (8, 300): [],
        (4, 30): ["medium", "large"],
        (33, 95): ["small", "large"],
        (100, 300): ["small", "medium"],
    }[sizes]
    assert (truth, predictions) == before  # faster-coco-eval writes into what it is given


@pytest.mark.parametrize("predicted", [0, 5])
@pytest.mark.parametrize("sizes", [(10.0, 50.0, 200.0), (10.0,), (50.0, 200.0), ()], ids=str)
def test_sizes_alone_are_the_same(sizes, predicted):
    p = with_boxes(random_predictions(0, predicted=predicted))
    kept = np.isin(p.target_box[:, 2], sizes)
    p = p._replace(target_cls=p.target_cls[kept], target_box=p.target_box[kept], target_image=p.target_image[kept])
    both = ap_by_size(*as_coco(p))
    assert ap_of_sizes(p) == {size: both[size] for size in ("small", "medium", "large")}
    assert [both[size] is None for size in ("small", "medium", "large")] == [s not in sizes for s in (10, 50, 200)]


def test_prints_nothing(capfd):
    ap_by_size(*scene(0))
    ap_of_sizes(with_boxes(random_predictions(0)))
    assert capfd.readouterr() == ("", "")


OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
RIGHT = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "score": 0.9}


@pytest.mark.parametrize(
    ("objects", "predictions", "expected"),
    [
        ([OBJECT], [RIGHT], (1, 1, None, 1, None)),
        ([OBJECT], [], (0, 0, None, 0, None)),  # nothing predicted
        ([OBJECT], [{**RIGHT, "category_id": 2}], (0, 0, None, 0, None)),
        (
            [OBJECT],
            [{**RIGHT, "bbox": [10, 10, 50, 31]}],
            (0.3, 1, None, 0.3, None),
        ),  # IoU 0.62: right at 0.5, 0.55, 0.6
        ([], [RIGHT], (None,) * 5),
        ([], [], (None,) * 5),
    ],
)
def test_by_hand(objects, predictions, expected):
    truth = {"images": [{"id": 1}], "categories": [{"id": 1}, {"id": 2}], "annotations": objects}
    ap = ap_by_size(truth, predictions)
    assert list(ap.values()) == [e if e is None else pytest.approx(e, abs=1e-6) for e in expected]


def test_predictions_of_an_unknown_image():
    truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [OBJECT]}
    with pytest.raises(ValueError, match=r"1 images have predictions but are not in the truth.*'0001'"):
        ap_by_size(truth, [{**RIGHT, "image_id": "0001"}])
