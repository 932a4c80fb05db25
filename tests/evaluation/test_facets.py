"""Each facet against a formula of its own, and resampled as images that really stand there several times."""

import numpy as np
import pytest

from tests.evaluation.test_tide import drawn, make
from tests.samples import random_predictions
from ultralytics_diffattn.evaluation import facets
from ultralytics_diffattn.evaluation.bootstrap import ap_by_iou, mean_ap, prepare

BY_TITLE = {facet.title: facet for facet in facets.FACETS}


def sample(seed=0):
    """Return predictions with boxes near objects, right at rising IoU by chance."""
    p = drawn(seed)
    rng = np.random.default_rng(seed)
    tp = rng.integers(0, 11, len(p.conf))[:, None] > np.arange(10)
    return p._replace(tp=tp, brightness=rng.random(len(p.files)), shape=np.full((len(p.files), 2), 200))


def values(facet, p, weight=None):
    return facet.measure(p)(np.ones(len(p.files), int) if weight is None else weight)


def repeated(p, weight):
    """Return predictions in which image i stands `weight[i]` times, as an image of its own each time."""
    copies = np.repeat(np.arange(len(p.files)), weight)
    rows = [np.flatnonzero(p.image == i) for i in copies]
    truths = [np.flatnonzero(p.target_image == i) for i in copies]
    d, t = np.concatenate(rows), np.concatenate(truths)
    return p._replace(
        files=[str(i) for i in range(len(copies))],
        shape=p.shape[copies],
        **{name: getattr(p, name)[d] for name in ("tp", "conf", "cls", "box")},
        **{name: getattr(p, name)[t] for name in ("target_cls", "target_box")},
        image=np.repeat(np.arange(len(copies)), [len(r) for r in rows]),
        target_image=np.repeat(np.arange(len(copies)), [len(r) for r in truths]),
        brightness=p.brightness[copies],
    )


@pytest.mark.parametrize("title", BY_TITLE)
def test_as_many_values_as_names(title):
    facet = BY_TITLE[title]
    assert len(values(facet, sample())) == len(facet.names)
    assert len(set(facet.names)) == len(facet.names)


@pytest.mark.parametrize("title", [t for t in BY_TITLE if t != "Images"])  # whose halves are of the whole
def test_weights_are_repeated_images(title):
    p = sample(1)
    weight = np.random.default_rng(2).integers(0, 3, len(p.files))
    assert values(BY_TITLE[title], p, weight) == pytest.approx(
        values(BY_TITLE[title], repeated(p, weight)), abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize("title", BY_TITLE)
def test_several_samples_as_one_by_one(title):
    p = sample(1)
    weights = np.random.default_rng(2).integers(0, 3, (4, len(p.files)))
    weights[3] = 0  # nothing at all
    expected = np.array([values(BY_TITLE[title], p, weight) for weight in weights])
    assert values(BY_TITLE[title], p, weights) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("title", BY_TITLE)
@pytest.mark.parametrize("empty", ["detections", "objects"])
def test_nothing_predicted_and_nothing_there(title, empty):
    p = random_predictions(0, predicted=0) if empty == "detections" else random_predictions(0, true=0)
    p = p._replace(brightness=np.linspace(0, 1, len(p.files)))
    shown = values(BY_TITLE[title], p)
    if title == "Objects" or (title, empty) in {
        ("Calibration", "detections"),
        ("Images", "objects"),
    }:  # nothing to measure
        assert np.isnan(shown).any()
    else:
        assert np.isfinite(shown).all()


def test_iou_is_ultralytics():
    p = sample()
    ap = values(BY_TITLE["IoU"], p)
    assert ap == pytest.approx(ap_by_iou(prepare(p)))
    assert (np.mean(ap), ap[0]) == pytest.approx(mean_ap(prepare(p)))


def test_recall_is_the_share_found_of_each_class():
    p = sample()
    by_class = [p.tp[p.cls == c].sum(0) / (p.target_cls == c).sum() for c in range(3)]
    mean = np.mean(by_class, 0)
    assert values(BY_TITLE["Recall"], p) == pytest.approx([mean[0], mean[5], mean.mean()])


def test_confidence_by_hand():
    p = sample()
    sure = p.conf >= 0.25
    precision, recall = p.tp[sure, 0].mean(), p.tp[sure, 0].sum() / len(p.target_cls)
    f1 = 2 * precision * recall / (precision + recall)
    named = dict(zip(BY_TITLE["Confidence"].names, values(BY_TITLE["Confidence"], p), strict=True))
    shown = [named[f"{name} from 0.25"] for name in ("precision", "recall", "F1")]
    assert shown == pytest.approx([precision, recall, f1])


def test_scores_that_mean_what_they_say_are_calibrated():
    rng = np.random.default_rng(0)
    p = random_predictions(0, images=400, predicted=40)
    right = rng.random(len(p.conf)) < p.conf
    error, *shares = values(BY_TITLE["Calibration"], p._replace(tp=np.repeat(right[:, None], 10, 1)))
    assert error < 0.02
    assert shares[1:] == pytest.approx(np.arange(0.15, 1, 0.1), abs=0.05)
    overconfident = values(BY_TITLE["Calibration"], p._replace(tp=np.repeat(right[:, None] & False, 10, 1)))[0]
    assert overconfident == pytest.approx(p.conf[p.conf >= facets.LEAST_SURE].mean())


def test_slices_are_those_of_their_images_and_objects():
    p = sample(3)
    named = dict(zip(BY_TITLE["Images"].names, values(BY_TITLE["Images"], p), strict=True))
    bright = (p.brightness > np.median(p.brightness)).astype(int)
    assert named["bright"] == pytest.approx(mean_ap(prepare(p), bright)[0])
    crowd = np.bincount(p.target_image, minlength=len(p.files))
    assert named["many objects"] == pytest.approx(mean_ap(prepare(p), (crowd > np.median(crowd)).astype(int))[0])


def test_sizes_are_those_of_the_objects():
    """A found object of each size; a box on the large one does not count against the small one, one on nothing does."""
    boxes = [(0, 0, 20, 20), (50, 50, 60, 60), (20, 120, 100, 100)]
    objects = [(0, 0, box) for box in boxes]
    found = make(objects, [(0, 0, 0.9 - 0.1 * i, box) for i, box in enumerate(boxes)], images=2)
    found = found._replace(tp=np.ones((3, 10), bool), brightness=np.array([0.1, 0.9]))
    assert values(BY_TITLE["Objects"], found) == pytest.approx([1, 1, 1], abs=0.01)
    nothing = make(objects, [(0, 0, 0.95, (150, 0, 10, 10)), (0, 0, 0.9, boxes[0]), (0, 0, 0.8, boxes[2])], images=2)
    nothing = nothing._replace(tp=np.array([[False] * 10, [True] * 10, [True] * 10]), brightness=np.array([0.1, 0.9]))
    small, medium, large = values(BY_TITLE["Objects"], nothing)
    assert (small, medium, large) == pytest.approx((0.5, 0, 1), abs=0.01)
