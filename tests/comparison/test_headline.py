"""What a comparison found, in one line."""

from dataclasses import replace

import pytest

from tests.comparison.samples import make_results
from ultralytics_diffattn.comparison import page
from ultralytics_diffattn.comparison.headline import headline

LABELS = "stock", "a", "b", "c"


def results(*verdicts):
    found = make_results(labels=LABELS[: 1 + len(verdicts)])
    said = dict(zip(LABELS[1:], verdicts, strict=False))
    pairs = [replace(p, verdict=said[p.second] if p.first == "stock" else "better") for p in found.pairs]
    return replace(found, pairs=pairs)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["better"], "a is better than stock in mAP50-95, by {a}."),
        (["worse", "worse"], "a and b are worse than stock in mAP50-95, by {a} and {b}."),
        (["equal"], "a is as good as stock: mAP50-95 differs by less than 0.005."),
        (["not distinguishable"] * 3, "No difference from stock in mAP50-95 could be shown for a, b and c."),
        (["no verdict"], "Neither stock nor a has learned anything: train longer."),
        (
            ["no verdict", "better"],
            "b is better than stock in mAP50-95, by {b}. Neither stock nor a has learned anything: train longer.",
        ),
    ],
)
def test_headline(verdicts, expected):
    found = results(*verdicts)
    gaps = {p.second: f"{abs(p.difference):.3f}" for p in found.pairs if (p.first, p.metric) == ("stock", found.main)}
    assert headline(found) == expected.format(**gaps)


def test_too_few_seeds():
    found = make_results(labels=LABELS[:2], seeds=(0, 1))
    assert headline(found) == "Too little was measured to compare a with stock."


def test_what_else_a_manager_has_to_know():
    small = results("better")
    small = replace(small, pairs=[replace(p, p_unequal=0.01) for p in small.pairs])
    assert headline(small).endswith(", which is too small to matter (less than margin=0.005).")
    as_they_are = replace(results("equal"), arguments={"epochs": 0})
    assert headline(as_they_are).endswith(" (for these weights).")


def test_models_that_have_learned_nothing():
    found = make_results(labels=LABELS[:2])
    nothing = {
        label: replace(m, metrics={n: replace(s, mean=0.001) for n, s in m.metrics.items()})
        for label, m in found.models.items()
    }
    assert headline(replace(found, models=nothing)).startswith("No model has learned anything (mAP50 0.001)")


def test_it_is_the_first_that_the_page_says():
    found = results("equal")
    text = page.render(found, []).partition("</header>")[0]
    assert headline(found) in text


def test_no_pair():
    assert headline(replace(make_results(), pairs=[])) == ""
