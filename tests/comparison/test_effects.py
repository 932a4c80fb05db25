"""Main effects and interaction of models and teachers, beside least squares on the same made-up runs."""

import numpy as np
import pandas
import pytest
import statsmodels.formula.api as smf

from ultralytics_diffattn.comparison.effects import compare_effects, contrasts, effects
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.comparison.teachers import NONE, Taught

SEEDS = 0, 1, 2, 3
TWO = [Taught(m, t) for t in (NONE, "large") for m in ("stock", "ours")]


def runs(model=0.0, teacher=0.0, interaction=0.0, noise=0.001, taught=TWO, seeds=SEEDS):
    """Return a metric of every run and its resamples, with known effects."""
    rng = np.random.default_rng(0)
    values = {
        RunKey(t.label, s): 0.4
        + model * (t.model == "ours")
        + teacher * (t.teacher == "large")
        + interaction * (t == ("ours", "large"))
        + noise * rng.standard_normal()
        for t in taught
        for s in seeds
    }
    return values, {key: value + noise * rng.standard_normal(200) for key, value in values.items()}


def test_labels():
    assert [t.label for t in TWO] == ["stock", "ours", "stock+large", "ours+large"]


def test_effects_are_those_of_least_squares():
    """With one of two levels as -1/2 and the other as 1/2, the coefficients are the effects."""
    values, resampled = runs(0.02, 0.05, -0.03, noise=0.01)
    found = effects(TWO, values, resampled, 500, 0.005)
    by_label = {t.label: t for t in TWO}
    table = pandas.DataFrame(
        [
            (v, (by_label[k.model].model == "ours") - 0.5, (by_label[k.model].teacher == "large") - 0.5)
            for k, v in values.items()
        ],
        columns=["y", "m", "t"],
    )
    fitted = smf.ols("y ~ m * t", table).fit().params
    assert [e.difference for e in found] == pytest.approx([fitted["m"], fitted["t"], fitted["m:t"]])
    assert [e.kind for e in found] == ["model", "teacher", "interaction"]


@pytest.mark.parametrize(
    ("true", "verdicts"),
    [
        ({"model": 0.05}, ["better", "equal", "equal"]),
        ({"teacher": -0.05}, ["equal", "worse", "equal"]),
        ({"interaction": 0.1}, ["better", "better", "better"]),
        ({}, ["equal", "equal", "equal"]),
    ],
    ids=str,
)
def test_verdicts(true, verdicts):
    values, resampled = runs(**true)
    assert [e.verdict for e in effects(TWO, values, resampled, 500, 0.005)] == verdicts


def test_of_models_that_have_learned_nothing_nothing_is_said():
    values, resampled = ({key: 0 * value for key, value in part.items()} for part in runs())
    assert {e.verdict for e in effects(TWO, values, resampled, 500, 0.005)} == {"no verdict"}


def test_a_model_without_one_of_the_teachers_has_no_effects():
    assert compare_effects(TWO[:3], {}, {}, 100, "detect", 0.005) == []


def test_more_models_and_teachers():
    taught = [Taught(m, t) for t in (NONE, "s", "l") for m in ("stock", "a", "b")]
    found = contrasts(taught)
    names = [(c.kind, c.model, c.teacher) for c in found]
    assert names[:4] == [("model", "a", ""), ("model", "b", ""), ("teacher", "", "s"), ("teacher", "", "l")]
    assert len(names) == 4 + 4
    assert all(sum(c.weights.values()) == pytest.approx(0) for c in found)


def test_only_seeds_that_all_have():
    values, resampled = runs()
    del values[RunKey("ours+large", 1)]
    assert effects(TWO, values, resampled, 500, 0.005)[0].seeds == [0, 2, 3]
    assert effects(TWO, {k: v for k, v in values.items() if k.model != "ours"}, resampled, 500, 0.005) == []
