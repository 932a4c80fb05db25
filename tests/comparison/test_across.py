"""Several data sets in one verdict: the average, the spread between them, and corrections that count them all."""

import pytest
from statsmodels.stats.multitest import multipletests

from tests.comparison.samples import make_results
from ultralytics_diffattn.comparison.across import compare_across
from ultralytics_diffattn.evaluation.student import Student

SEEDS = 0, 1, 2, 3


def across(*gains, labels=("stock", "ours"), **more):
    results = {f"set{n}": make_results(labels=labels, seeds=SEEDS, gain=gain, **more) for n, gain in enumerate(gains)}
    return results, compare_across(results, {name: name for name in results}, 0.005)


def test_the_average_lies_between_and_the_spread_is_theirs():
    results, found = across(0.0, 0.05)
    (model,) = found.models
    differences = [r.pairs[0].difference for r in results.values()]
    assert [s.difference for s in model.sets.values()] == differences
    assert model.difference == pytest.approx(sum(differences) / 2)
    assert model.spread == pytest.approx(abs(differences[1] - differences[0]) / 2**0.5)
    assert model.interval[0] < model.difference < model.interval[1]


def test_every_data_set_and_model_counts_in_the_correction():
    results, found = across(0.01, 0.03, labels=("stock", "a", "b"))
    alone = [p for r in results.values() for p in r.pairs if p.first == "stock" and p.metric == "mAP50-95"]
    order = [(model.model, name) for model in found.models for name in model.sets]
    raw = {(p.second, name): p for name, r in results.items() for p in r.pairs if p in alone}
    p_values = [Student(raw[k].difference, raw[k].error, raw[k].df).p_different() for k in order]
    said = [s.p_different for model in found.models for s in model.sets.values()]
    assert len(said) == 4
    assert said == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.2, 0.2), "better"),
        ((-0.2, -0.2), "worse"),
        ((0.2, -0.2), "not distinguishable"),
    ],
)
def test_verdict_on_average(gains, verdict):
    assert across(*gains)[1].models[0].verdict == verdict


def test_no_average_without_a_verdict_on_each():
    few = make_results(seeds=(0, 1), gain=0.2)
    found = compare_across({"few": few, "many": make_results(seeds=SEEDS, gain=0.2)}, {"few": "f", "many": "m"}, 0.005)
    (model,) = found.models
    assert (model.verdict, model.difference, model.interval) == ("no verdict", None, None)
    assert [s.verdict for s in model.sets.values()] == ["no verdict", "better"]


def test_a_model_that_one_data_set_lacks():
    both, one = make_results(labels=("a", "b", "c"), seeds=SEEDS), make_results(labels=("a", "b"), seeds=SEEDS)
    found = compare_across({"both": both, "one": one}, {"both": "both", "one": "one"}, 0.005)
    assert [(model.model, [*model.sets]) for model in found.models] == [("b", ["both", "one"]), ("c", ["both"])]
    assert [model.difference is None for model in found.models] == [False, True]
