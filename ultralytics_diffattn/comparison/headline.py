# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison found, for somebody who reads one line."""

from __future__ import annotations

from ultralytics_diffattn.comparison.schema import PairResult, Results
from ultralytics_diffattn.comparison.warnings import warnings
from ultralytics_diffattn.evaluation.intervals import LEAST_IMAGES, LEAST_SEEDS, LEVEL, NO_VERDICT

NOTHING_LEARNED = "nothing learned"  # why there is no verdict though seeds and images would do
SAID = {  # verdict: how it begins, for the models that have it
    "better": "{names} {is_are} better than {first} in {metric}",
    "worse": "{names} {is_are} worse than {first} in {metric}",
    "equal": "{names} {is_are} as good as {first}: {metric} differs by less than {margin:g}",
    "not distinguishable": "No difference from {first} in {metric} could be shown for {names}",
    NOTHING_LEARNED: "Neither {first} nor {names} has learned anything: train longer",
    "no verdict": "Too little was measured to compare {names} with {first}",
}


def headline(results: Results) -> str:
    """Return what was found of each model beside the first one.

    Args:
        results (Results): Of the comparison.

    Returns:
        (str): A sentence for each kind of verdict; empty where no two models can be paired.
    """
    first = next(iter(results.models))
    if results.pairs and (said := [line for line in warnings(results) if line.startswith("No model")]):
        return said[0]
    by_verdict: dict[str, list[PairResult]] = {verdict: [] for verdict in SAID}
    for pair in results.pairs:
        if pair.first == first and pair.metric == results.main:
            enough = len(pair.seeds) >= LEAST_SEEDS and results.data.images >= LEAST_IMAGES
            by_verdict[NOTHING_LEARNED if pair.verdict == NO_VERDICT and enough else pair.verdict].append(pair)
    return " ".join(_sentence(verdict, pairs, results) for verdict, pairs in by_verdict.items() if pairs)


def _sentence(verdict: str, pairs: list[PairResult], results: Results) -> str:
    """Return what was found of the models with the same verdict."""
    *names, last = (pair.second for pair in pairs)
    said = SAID[verdict].format(
        names=f"{', '.join(names)} and {last}" if names else last,
        is_are="are" if names else "is",
        first=pairs[0].first,
        metric=results.main,
        margin=results.margin,
    )
    if verdict in ("better", "worse"):
        said += f", by {' and '.join(f'{abs(pair.difference):.3f}' for pair in pairs)}"
        small = [pair.p_unequal is not None and pair.p_unequal < 1 - LEVEL for pair in pairs]
        said += f", which is too small to matter (less than margin={results.margin:g})" if all(small) else ""
    return said + (" (for these weights)." if results.only_evaluated and verdict != NO_VERDICT else ".")
