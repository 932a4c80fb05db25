# Ultralytics DiffAttn - AGPL-3.0 License
"""What is to be said before any result of a comparison."""

from __future__ import annotations

from ultralytics_diffattn.comparison.pairs import NOTHING
from ultralytics_diffattn.comparison.schema import Results
from ultralytics_diffattn.evaluation.tasks import TASKS


def warnings(results: Results) -> list[str]:
    """Return what makes a comparison worthless, or narrower than it looks; the worst first.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[str]): Sentences; empty if all is well.
    """
    metric = next((name for name in TASKS[results.task].compared if name.endswith("mAP50")), results.main)
    best = max(model.metrics[metric].mean or 0.0 for model in results.models.values())
    mend = (
        "check that the data set is of the kind that they were trained for."
        if results.only_evaluated
        else "train longer before comparing."
    )
    what = "finds" if results.only_evaluated else "has learned"
    said = [f"No model {what} anything ({metric} {best:.3f}): {mend}"] * (best < NOTHING)
    measured = next(iter(results.models.values())).per_class
    if measured and (absent := [name for name in results.data.classes if name not in measured]):
        said.append(
            f"Classes in none of the images, which do not count ({len(absent)} of {len(results.data.classes)}): "
            f"{', '.join(absent[:5])}{', ...' if len(absent) > 5 else '.'}"
        )
    return said
