"""TIDE's errors, against the published code on the same detections, and one by one by hand."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from ultralytics_diffattn.evaluation import tide
from ultralytics_diffattn.evaluation.bootstrap import mean_ap, prepare
from ultralytics_diffattn.evaluation.predictions import Predictions

SHORT = {
    "background": "Bkg",
    "missed": "Miss",
    "localization": "Loc",
    "classification": "Cls",
    "both": "Both",
    "duplicate": "Dupe",
}


def make(objects, detections, images=1, classes=3):
    """Return predictions from rows of (image, class, box), for detections with a score before the box."""
    return Predictions(
        names=[str(c) for c in range(classes)],
        files=[str(i) for i in range(images)],
        shape=np.full((images, 2), 200),
        tp=np.zeros((len(detections), 10), bool),
        conf=np.array([row[2] for row in detections], float),
        cls=np.array([row[1] for row in detections], int),
        box=np.array([row[3] for row in detections], float).reshape(-1, 4),
        image=np.array([row[0] for row in detections], int),
        target_cls=np.array([row[1] for row in objects], int),
        target_box=np.array([row[2] for row in objects], float).reshape(-1, 4),
        target_image=np.array([row[0] for row in objects], int),
    )


def drawn(seed, images=40):
    """Return detections near objects: some moved, of another class, twice, or where nothing is."""
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for i in range(images):
        for _ in range(rng.integers(0, 5)):
            box, cls = np.concatenate([rng.uniform(0, 120, 2), rng.uniform(20, 80, 2)]), rng.integers(3)
            objects.append((i, cls, box))
            for _ in range(rng.choice(4, p=[0.1, 0.5, 0.3, 0.1])):
                moved = box + rng.normal(0, rng.choice([1, 8, 20]), 4)
                moved[2:] = moved[2:].clip(5)
                detections.append((i, cls if rng.random() < 0.7 else rng.integers(3), rng.random(), moved))
        for _ in range(rng.integers(0, 3)):
            detections.append((i, rng.integers(3), rng.random(), np.concatenate([rng.uniform(0, 120, 2), [30, 30]])))
    return make(objects, detections, images)


def published(p):
    """Return what the published code finds: the number of errors and the gain in AP50 by its own formula, by kind."""
    import tidecv

    truth, found = tidecv.Data("truth"), tidecv.Data("found")
    for i in range(len(p.files)):
        truth.add_image(i, str(i)), found.add_image(i, str(i))
    for data, *rows in (
        (truth, p.target_image, p.target_cls, p.target_box),
        (found, p.image, p.cls, p.box, p.conf),
    ):
        for c in range(len(p.names)):
            data.add_class(c, str(c))
        for image, cls, (x, y, w, h), *score in zip(*rows, strict=True):
            box = [x, y, x + w, y + h]
            add = data.add_ground_truth if data is truth else data.add_detection
            add(int(image), int(cls), *map(float, score), box)
    run = tidecv.TIDERun(truth, found, 0.5, 0.1, tidecv.TIDE.BOX, 1000)
    count = {error.short_name: len(run.error_dict[error]) for error in tidecv.TIDE._error_types}
    return count, {error.short_name: gain for error, gain in run.fix_main_errors().items()}, run.ap


def coco_ap50(p):
    """Return AP50 by COCO's formula, the mean over the classes that have objects."""
    values = []
    for c in np.unique(p.target_cls):
        tp = p.tp[p.cls == c, 0][np.argsort(-p.conf[p.cls == c])]
        true, recall = np.cumsum(tp), np.cumsum(tp) / (p.target_cls == c).sum()
        envelope = np.maximum.accumulate((true / np.arange(1, len(tp) + 1))[::-1])[::-1]
        at = np.searchsorted(recall, np.arange(101) / 100)
        values.append(np.where(at < len(tp), np.append(envelope, 0)[at.clip(max=len(tp))], 0).mean())
    return np.mean(values)


@pytest.mark.parametrize("seed", range(4))
def test_as_the_published_code(seed):
    pytest.importorskip("tidecv")
    p = drawn(seed)
    count, gain, ap = published(p)
    errors, mended = tide.find_errors(p), tide.without_errors(p)
    assert coco_ap50(mended[""]) == pytest.approx(ap / 100)
    for kind, short in SHORT.items():
        own = errors.missed.sum() if kind == "missed" else (errors.kind == tide.OF_DETECTIONS.index(kind)).sum()
        assert own == count[short] > 0, kind
        assert max(coco_ap50(mended[kind]) - ap / 100, 0) == pytest.approx(gain[short] / 100), kind


A, B = (10, 10, 40, 40), (100, 100, 40, 40)


@pytest.mark.parametrize(
    ("detections", "kinds", "missed"),
    [
        ([(0, 0, 0.9, A)], [None], [False, True]),
        ([(0, 0, 0.9, A), (0, 0, 0.8, A)], [None, "duplicate"], [False, True]),
        ([(0, 1, 0.9, A)], ["classification"], [False, True]),
        ([(0, 0, 0.9, (10, 10, 15, 40))], ["localization"], [False, True]),
        ([(0, 2, 0.9, (10, 10, 15, 40))], ["both"], [True, True]),
        ([(0, 0, 0.9, (150, 10, 10, 10))], ["background"], [True, True]),
        ([(1, 0, 0.9, A)], ["background"], [True, True]),  # in an image without objects
        ([], [], [True, True]),
    ],
)
def test_each_kind(detections, kinds, missed):
    errors = tide.find_errors(make([(0, 0, A), (0, 1, B)], detections, images=2))
    assert [tide.OF_DETECTIONS[k] if k >= 0 else None for k in errors.kind] == kinds
    assert errors.missed.tolist() == missed


def test_one_box_mends_an_object_and_the_others_go():
    near = [(0, 0, 0.5, (10, 10, 15, 40)), (0, 0, 0.9, (10, 10, 18, 40)), (0, 1, 0.7, A)]
    mended = tide.without_errors(make([(0, 0, A)], near))
    assert mended["localization"].conf.tolist() == [0.9, 0.7]  # the surest is right now, the wrong class is still there
    assert mended["localization"].tp[:, 0].tolist() == [True, False]
    assert mended["classification"].conf.tolist() == [0.5, 0.9]  # the object is the surer box's


def test_gains_are_of_ultralytics_ap():
    p = drawn(7)
    mended = {kind: mean_ap(prepare(q))[1] for kind, q in tide.without_errors(p).items()}
    assert all(mended[kind] >= mended[""] for kind in tide.KINDS)
    assert mended[""] == pytest.approx(coco_ap50(tide.without_errors(p)[""]), abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_nearest_objects_are_those_of_torchvision(seed):
    p = drawn(seed)
    corners = [torch.tensor(np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1)) for b in (p.box, p.target_box)]
    iou = box_iou(*corners).numpy() * (p.image[:, None] == p.target_image) * (p.cls[:, None] == p.target_cls)
    expected = np.where(iou.max(1) >= 0.5, iou.argmax(1), -1)
    assert tide.nearest_objects(p).tolist() == expected.tolist()
    assert -1 < expected.max()
    assert expected.min() == -1


def test_the_first_of_two_objects_that_overlap_alike_is_nearest():
    box = [10, 10, 40, 40]
    assert tide.nearest_objects(make([(0, 0, box), (0, 0, box)], [(0, 0, 0.9, box)])).tolist() == [0]
