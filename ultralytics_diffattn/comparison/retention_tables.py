# Ultralytics DiffAttn - AGPL-3.0 License
"""What exports keep of a model's main metric, in words and as cells of tables."""

from __future__ import annotations

from ultralytics_diffattn.comparison.schema import Results, Retention, RunResult
from ultralytics_diffattn.evaluation.intervals import LEAST_SEEDS
from ultralytics_diffattn.output.formatting import interval, percent, signed


def notes(results: Results) -> list[str]:
    """Return how to read what the exports keep, and what is to be said against it.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[str]): Sentences; empty without exports.
    """
    if not results.retention:
        return []
    how = (
        f"Kept: the exported model's {results.main} as a share of PyTorch's, then the difference and its 95 % interval "
        "over seeds and images. Both are measured on the same images, padded to squares, as exports need them."
    )
    return [how, *remarks(results)]


def remarks(results: Results) -> list[str]:
    """Return what is to be said against what the exports keep: few seeds, and exports that failed.

    Args:
        results (Results): Of the comparison.

    Returns:
        (list[str]): Sentences; empty if all is well.
    """
    few = [r for r in results.retention if 0 < len(r.seeds) < LEAST_SEEDS]
    doubt = (
        f"With fewer than {LEAST_SEEDS} seeds, what exports keep may be chance, and the intervals cannot be trusted."
    )
    failed = [f"{r.title} of {r.model}, {failure}" for r in results.retention for failure in r.failures]
    return [doubt] * bool(few) + [f"Not measured, and not counted: {text}" for text in failed]


def kept(retention: Retention) -> str:
    """Return what an export keeps, the difference and its interval.

    Args:
        retention (Retention): Of one model and one export.

    Returns:
        (str): Such as "98.2 % (-0.007, -0.012 to -0.002)"; a dash where nothing was measured.
    """
    if retention.difference is None:
        return "-"
    share = "-" if retention.kept is None else percent(retention.kept)
    ends = f", {interval(retention.interval)}" if retention.interval else ""
    return f"{share} ({signed(retention.difference)}{ends})"


def of_model(label: str, results: Results) -> dict[str, str]:
    """Return what a model's exports keep, by column.

    Args:
        label (str): Of the model.
        results (Results): Of the comparison.

    Returns:
        (dict[str, str]): The same columns for every model; empty without exports.
    """
    return {f"kept by {r.title}": kept(r) for r in results.retention if r.model == label}


def of_run(run: RunResult, results: Results) -> dict[str, float | None]:
    """Return the first metric of a run's exports by column, after PyTorch's own on the same images, padded to squares.

    Args:
        run (RunResult): One of the runs.
        results (Results): Of the comparison.

    Returns:
        (dict[str, float | None]): The same columns for every run; empty without exports.
    """
    mine = [r for r in results.retention if r.model == run.model]
    pytorch = [value for r in mine for seed, value in zip(r.seeds, r.pytorch, strict=True) if seed == run.seed]
    exported = {
        f"{results.main} {r.title}": dict(zip(r.seeds, r.exported, strict=True)).get(run.seed or 0) for r in mine
    }
    return {f"{results.main} PyTorch, square images": next(iter(pytorch), None), **exported} if mine else {}
