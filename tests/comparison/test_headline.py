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
        (["better"], "a is better than stock in mAP50-95: {a} against {stock}."),
        (["worse", "worse"], "a and b are worse than stock in mAP50-95: {a} and {b} against {stock}."),
        (["equal"], "a is as good as stock: mAP50-95 differs by less than 0.005."),
        (["not distinguishable"] * 3, "No difference from stock in mAP50-95 could be shown for a, b and c."),
        (["no verdict"], "Too little was measured to compare a with stock."),
        (
            ["no verdict", "better"],
            "b is better than stock in mAP50-95: {b} against {stock}. Too little was measured to compare a with stock.",
        ),
    ],
)
def test_headline(verdicts, expected):
    found = results(*verdicts)
    scores = {label: f"{model.metrics['mAP50-95'].mean:.3f}" for label, model in found.models.items()}
    assert headline(found) == expected.format(**scores)


def test_it_is_the_first_that_the_page_says():
    found = results("equal")
    text = page.render(found, []).partition("</header>")[0]
    assert headline(found) in text


def test_no_pair():
    assert headline(replace(make_results(), pairs=[])) == ""
