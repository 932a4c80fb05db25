"""Where the differences of a comparison come from."""

import numpy as np
import pytest

from tests.evaluation.test_facets import sample
from ultralytics_diffattn.comparison.facet_differences import RESAMPLES, facet_results
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation.estimates import estimate
from ultralytics_diffattn.evaluation.facets import FACETS
from ultralytics_diffattn.evaluation.image_scores import ImageScores


def by_hand(facet, recorded, v):
    """Return the estimate of value `v` of a facet, each resample drawn and each run measured by itself."""
    draws = [np.random.default_rng([0, n]).integers(0, 40, 40) for n in range(RESAMPLES)]
    weights = [np.ones(40, int), *(np.bincount(draw, minlength=40) for draw in draws)]
    values = {}
    for key, p in recorded.items():
        measure = facet.measure(p)
        values[key] = np.array([measure(w)[v] for w in weights])
    gaps = np.stack([values[RunKey("ours", s)] - values[RunKey("stock", s)] for s in range(3)], 1)
    return estimate(gaps[0].tolist(), gaps[1:], 40)


def test_models_and_their_differences():
    recorded = {RunKey(m, s): sample(s + 10 * (m == "ours")) for s in range(3) for m in ("stock", "ours")}
    results = facet_results(recorded, "detect")
    assert [r.title for r in results] == [facet.title for facet in FACETS]
    assert results[0].names[0] == "background"
    for result, facet in zip(results, FACETS, strict=True):
        by_run = {key: np.array(facet.measure(p)(np.ones(40, int))) for key, p in recorded.items()}
        for model, values in result.models.items():
            expected = np.mean([by_run[RunKey(model, s)] for s in range(3)], 0)
            assert np.array(values, float) == pytest.approx(expected, nan_ok=True)
        (pair,) = result.pairs
        expected = np.mean([by_run[RunKey("ours", s)] - by_run[RunKey("stock", s)] for s in range(3)], 0)
        assert np.array(pair.differences, float) == pytest.approx(expected, nan_ok=True)
        for v in (0, -1):
            ends = pair.intervals[v]
            by_itself = by_hand(facet, recorded, v)
            assert (ends is None) == np.isnan(by_itself.student.error)
            assert ends is None or ends == pytest.approx(by_itself.student.interval())


def test_one_seed_has_no_interval():
    recorded = {RunKey("stock", 0): sample(0), RunKey("ours", 0): sample(1)}
    assert {ends for r in facet_results(recorded, "detect") for ends in r.pairs[0].intervals} == {None}


def test_masks_count_where_the_task_is_about_them():
    p = sample(0)
    recorded = {RunKey("stock", 0): p._replace(tp_task=p.tp & False), RunKey("ours", 0): p._replace(tp_task=p.tp)}
    by_title = {r.title: r for r in facet_results(recorded, "segment")}
    assert by_title["IoU"].models["stock"] == [0.0] * 10
    assert by_title["IoU"].models["ours"][0] > 0


def test_rotated_boxes_have_those_that_take_no_overlap():
    recorded = {RunKey(m, 0): sample(n) for n, m in enumerate(("stock", "ours"))}
    upright = {r.title: r for r in facet_results(recorded, "detect")}
    rotated = {r.title: r for r in facet_results(recorded, "obb")}
    assert [*rotated] == ["IoU", "Recall", "Confidence", "Calibration", "Images"]
    assert all(rotated[title].models == upright[title].models for title in rotated)


def test_a_task_without_boxes_has_none():
    scores = ImageScores(names=["a"], files=["1"], metrics={}, per_class=None)
    assert facet_results({RunKey("a", 0): scores}, "classify") == []
