"""scripts/comparison_rule.py: what it draws has the spread it says, and what it counts is what the rules say."""

import runpy

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from tests.places import ROOT
from ultralytics_diffattn.errors import UserError


@pytest.fixture(scope="module")
def rule():
    return runpy.run_path(str(ROOT / "scripts" / "comparison_rule.py"))


def test_draws_have_the_spread(rule):
    """The variance of a mean over S seeds and N images is that of seeds / S + of images / N + of both / (S N)."""
    drawn = list(rule["comparisons"]((0.02, 0.1, 0.3), 3, 50, 2000, 2))
    expected = 0.02**2 / 3 + 0.1**2 / 50 + 0.3**2 / 150
    assert np.var([c.per_seed.mean() for c in drawn]) == pytest.approx(expected, rel=0.1)
    (one,) = rule["comparisons"]((0.02, 0.1, 0.3), 3, 50, 1, 4000)
    mean = one.resamples.mean(1)
    assert mean.mean() == pytest.approx(one.per_seed.mean(), abs=3 * mean.std() / 4000**0.5)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [  # inside of the three intervals, called different by the two rules, 0.02 found by both, equal at 0 and at 0.005
        (0.0, [1, 1, 1, 0, 0, 1, 1, 1, 0]),
        (0.1, [0, 0, 0, 1, 1, 1, 1, 0, 0]),
        (-0.02, [0, 0, 0, 1, 1, 0, 0, 0, 0]),  # moved by 0.02 it is nothing
    ],
)
def test_shares_of_one_comparison_with_hardly_any_spread(rule, difference, expected):
    around = np.repeat(difference + np.linspace(-0.001, 0.001, 200)[:, None], 3, 1)
    drawn = rule["Comparison"](difference + np.array([-0.0001, 0.0, 0.0001]), around)
    assert rule["shares"]([drawn], 100) == expected


def test_a_row_for_each_case(rule, capsys):
    rule["main"](["seeds=2,3", "images=20", "experiments=20", "resamples=50"])
    lines = capsys.readouterr().out.splitlines()
    cases = [[f"| {name}", seeds, "20"] for name in rule["SPREADS"] for seeds in "23"]
    for rows, head in ((lines[-21:-15], "HEAD"), (lines[-12:-6], "NEEDED_HEAD")):
        assert [row.split(" | ")[:3] for row in rows] == cases
        assert all(row.count("|") == len(rule[head]) + 1 for row in rows)
    assert [row.split(" | ")[:2] for row in lines[-3:]] == [[f"| {name}", "20"] for name in rule["SPREADS"]]
    assert all(row.count("|") == len(rule["WEIGHTS_HEAD"]) + 1 for row in lines[-3:])


@pytest.mark.parametrize(
    ("difference", "expected"),
    [  # inside of both intervals, called different, 0.02 found, equal at 0 and at 0.005, inside of another training's
        (0.0, [1, 1, 0, 1, 1, 0, 1]),
        (0.1, [0, 0, 1, 1, 0, 0, 0]),
        (-0.02, [0, 0, 1, 0, 0, 0, 0]),
    ],
)
def test_shares_of_weights_with_hardly_any_spread(rule, difference, expected):
    around = difference + np.linspace(-0.0005, 0.0005, 200)[:, None]
    drawn = [rule["Comparison"](np.array([difference]), around)]
    assert rule["shares_of_weights"](drawn, drawn, 100) == expected


def test_seeds_said_are_those_of_the_true_spread(rule):
    """With many seeds the spread is known, so what is said is what the t-test with the true one takes."""
    drawn = list(rule["comparisons"]((0.02, 0.0, 0.0), 200, 50, 40, 10))
    expected = TTestPower().solve_power(1.0, power=0.8, alpha=0.05)  # REAL over 0.02
    low, median, high = rule["seeds_said"](drawn, 50)
    assert low - 1 <= expected <= high
    assert median == pytest.approx(expected, abs=1.5)


def test_one_seed_is_refused(rule):
    with pytest.raises(UserError, match=r"seeds=.*2 or more"):
        rule["main"](["seeds=1"])


@pytest.mark.parametrize(("name", "seeds"), [("fine-tuned", 3), ("from scratch", 2)])
def test_the_page_has_what_it_prints(rule, name, seeds):
    """Draws depend on NumPy's generator, whose streams may change, but hardly do: one experiment in 400 may differ."""
    page = (ROOT / "docs" / "statistics.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {name} | {seeds} | 20 |"))
    own = rule["OWN"]
    drawn = list(rule["comparisons"](rule["SPREADS"][name], seeds, 20, own["experiments"], own["resamples"]))
    shown = [float(cell.strip(" %")) for cell in row.strip("| ").split("|")[3:]]
    assert shown == pytest.approx([100 * share for share in rule["shares"](drawn, 20)], abs=0.3)


def test_the_page_has_what_it_prints_of_weights(rule):
    page = (ROOT / "docs" / "statistics.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| fine-tuned | 20 |")]
    own = rule["OWN"]
    cells = rule["row_of_weights"](rule["SPREADS"]["fine-tuned"], 20, own["experiments"], own["resamples"])
    shown, expected = ([float(cell.strip(" %")) for cell in c] for c in (rows[0].strip("| ").split("|")[2:], cells))
    assert shown == pytest.approx(expected, abs=0.3)
