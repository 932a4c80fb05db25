# Ultralytics DiffAttn - AGPL-3.0 License
"""How often a rule for "better or worse" is right: simulated comparisons whose true difference is known.

`python scripts/comparison_rule.py seeds=2,3,5,10 images=10,20,159,500,5000`: the tables of docs/statistics.md. A
comparison draws the difference of each seed and image as the true one, plus one of the seed, one of the image
(Student's t with 5 degrees of freedom), and one of both; images are resampled as compare does, but 200 times. The last
table is of models that are only evaluated (`epochs=0`): what is true of these weights does not depend on chance in
their training, what is true of another training does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation import intervals
from ultralytics_diffattn.evaluation.estimates import Estimate, estimate, estimate_of_weights
from ultralytics_diffattn.output.markdown import table
from ultralytics_diffattn.verbs.arguments import listed, parse

OWN = {"seeds": (2, 3, 5, 10), "images": (10, 20, 159, 500, 5000), "experiments": 400, "resamples": 200}
SPREADS = {  # standard deviations over seeds, over images, over both
    "fine-tuned": (0.004, 0.04, 0.08),
    "from scratch": (0.015, 0.04, 0.15),
    "seeds alike": (0.0, 0.04, 0.08),
}
MARGIN, REAL = 0.005, 0.02  # differences in mAP: one that does not matter, and one that does
HEAD = (
    "spread",
    "seeds",
    "images",
    "truth inside: over seeds",
    "over images",
    "one interval",
    "alike, called different: two intervals",
    "one interval",
    f"{REAL} found: two intervals",
    "one interval",
    f"equal within {MARGIN}: of 0",
    f"of {MARGIN}",
)
NEEDED_HEAD = ("spread", "seeds", "images", "seeds needed, median", "quartiles", f"{REAL} found with the median")
WEIGHTS_HEAD = (
    "spread",
    "images",
    "truth of these weights inside: one interval",
    "percentiles",
    "alike, called different",
    f"{REAL} found",
    f"equal within {MARGIN}: of 0",
    f"of {MARGIN}",
    "truth of another training inside",
)
MOST_SEEDS = 100  # to try whether so many suffice


class Comparison(NamedTuple):
    """One simulated comparison of models whose true difference is 0."""

    per_seed: np.ndarray  # (S,)
    resamples: np.ndarray  # (resamples, S)


def comparisons(
    spread: tuple[float, float, float], seeds: int, images: int, experiments: int, resamples: int, seed: int = 0
) -> Iterator[Comparison]:
    """Yield simulated comparisons, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    of_seed, of_image, of_both = spread
    for _ in range(experiments):
        image = of_image * rng.standard_t(5, images) / np.sqrt(5 / 3)  # sqrt(5/3): the deviation of t5
        of_seeds = of_seed * rng.standard_normal((seeds, 1))
        by_image = of_seeds + image + of_both * rng.standard_normal((seeds, images))  # (S, N)
        counts = rng.multinomial(images, np.full(images, 1 / images), resamples)  # (resamples, N)
        yield Comparison(by_image.mean(1), counts @ by_image.T / images)


def shares(drawn: list[Comparison], images: int) -> list[float]:
    """Return, of the comparisons, the shares that HEAD names after its first three columns."""
    rows = []
    for per_seed, resamples in drawn:
        by_seed, by_image = intervals.over_seeds(per_seed), intervals.over_resamples(resamples.mean(1))
        found = estimate(per_seed, resamples, images)
        assert by_seed is not None
        assert by_image is not None
        assert found is not None
        spans = by_seed, by_image, found.student.interval()
        inside = [low <= 0 <= high for low, high in spans]
        # A true difference of REAL moves all of a comparison by as much: it is found if -REAL lies outside.
        missed = [low <= -REAL <= high for low, high in spans]
        low_p, high_p = (found._replace(difference=found.difference + d).student.p_unequal(MARGIN) for d in (0, MARGIN))
        different = [not (inside[0] or inside[1]), not inside[2]]
        rows.append([*inside, *different, not (missed[0] or missed[1]), not missed[2], low_p < 0.05, high_p < 0.05])
    return [float(share) for share in np.mean(rows, 0)]


def seeds_said(drawn: list[Comparison], images: int) -> list[float]:
    """Return the quartiles of the number of seeds that is said to be needed to find REAL; infinity for none."""
    said = []
    for per_seed, resamples in drawn:
        found = estimate(per_seed, resamples, images)
        assert found is not None
        said.append(found._replace(difference=found.difference + REAL).seeds_needed() or np.inf)
    return [float(quartile) for quartile in np.percentile(said, [25, 50, 75], method="nearest")]


def needed_row(drawn: list[Comparison], images: int, spread: tuple[float, float, float], resamples: int) -> list[str]:
    """Return the cells that NEEDED_HEAD names after its first three columns."""
    low, median, high = seeds_said(drawn, images)
    share = "-"
    if median <= MOST_SEEDS:
        others = comparisons(spread, int(median), images, len(drawn), resamples, seed=1)
        share = f"{100 * shares(list(others), images)[6]:.1f} %"
    return [_count(median), f"{_count(low)} to {_count(high)}", share]


def shares_of_weights(weights: list[Comparison], trainings: list[Comparison], images: int) -> list[float]:
    """Return the shares that WEIGHTS_HEAD names after its first two columns.

    `weights` are comparisons in which seeds do nothing, so that 0 is what is true of the weights as they are; in
    `trainings` they do, and 0 is what is true of the mean over all trainings.
    """

    def found_in(drawn: Comparison) -> tuple[Estimate, tuple[float, float]]:
        found = estimate_of_weights(drawn.per_seed[0], drawn.resamples[:, 0], images)
        percentiles = intervals.over_resamples(drawn.resamples[:, 0])
        assert found is not None
        assert percentiles is not None
        return found, percentiles

    rows = []
    for found, percentiles in map(found_in, weights):
        moved = [found._replace(difference=found.difference + d) for d in (0, REAL, MARGIN)]
        different = [e.student.p_different() < 0.05 for e in moved]
        equal = [e.student.p_unequal(MARGIN) < 0.05 for e in moved]
        low, high = found.student.interval()
        within = [low <= 0 <= high, percentiles[0] <= 0 <= percentiles[1]]
        rows.append([*within, *different[:2], equal[0], equal[2]])
    spans = [found_in(drawn)[0].student.interval() for drawn in trainings]
    return [*(float(share) for share in np.mean(rows, 0)), float(np.mean([low <= 0 <= high for low, high in spans]))]


def row_of_weights(spread: tuple[float, float, float], images: int, experiments: int, resamples: int) -> list[str]:
    """Return the cells that WEIGHTS_HEAD names after its first two columns."""
    weights, trainings = (list(comparisons(s, 1, images, experiments, resamples)) for s in ((0.0, *spread[1:]), spread))
    return [f"{100 * share:.1f} %" for share in shares_of_weights(weights, trainings, images)]


def _count(number: float) -> str:
    """Return a number of seeds."""
    return f"{number:.0f}" if np.isfinite(number) else "none"


def main(words: list[str]) -> None:
    """Print a row for each spread, seeds and images; then how many seeds are said to be needed; then without seeds."""
    own = {**OWN, **parse(words, OWN)}
    numbers = [int(n) for n in listed(own["seeds"])], [int(n) for n in listed(own["images"])]
    if min(min(n) for n in numbers) < 2:
        raise UserError("seeds= and images= must be 2 or more: one has no spread. Give seeds=2,3,5 images=20,500")
    rows, needed = [], []
    for name, spread in SPREADS.items():
        for seeds in numbers[0]:
            for images in numbers[1]:
                drawn = list(comparisons(spread, seeds, images, own["experiments"], own["resamples"]))
                case = [name, str(seeds), f"{images:,}"]
                rows.append([*case, *(f"{100 * share:.1f} %" for share in shares(drawn, images))])
                needed.append([*case, *needed_row(drawn, images, spread, own["resamples"])])
                print(*rows[-1], *needed[-1][3:], sep=" | ", flush=True)
    weights = [
        [name, f"{images:,}", *row_of_weights(spread, images, own["experiments"], own["resamples"])]
        for name, spread in SPREADS.items()
        for images in numbers[1]
    ]
    print("\n".join([*table(HEAD, rows), "", *table(NEEDED_HEAD, needed), "", *table(WEIGHTS_HEAD, weights)]))


if __name__ == "__main__":
    main(sys.argv[1:])
