# Ultralytics DiffAttn - AGPL-3.0 License
"""A whole comparison: its folder is locked, its runs are trained, its results are written."""

from __future__ import annotations

from filelock import FileLock, Timeout

from ultralytics_diffattn.comparison import report, schedule
from ultralytics_diffattn.comparison.specification import Specification, prepare_run_folders
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.intervals import LEAST_SEEDS


def execute(specification: Specification, margin: float, over_ray: bool = False) -> bool:
    """Train all runs of a comparison that are not finished, and write its results.

    Args:
        specification (Specification): From `specify`.
        margin (float): Difference of mAP that does not matter.
        over_ray (bool): Whether the runs are spread over a Ray cluster, instead of one after another.

    Returns:
        (bool): True if every run is finished.

    Raises:
        UserError: If another process compares in this folder, or the folder holds another comparison.
    """
    from ultralytics.utils import LOGGER

    folder, runs = specification.folder, specification.run_folders()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another comparison is at work in {folder}; wait for it, or choose another name=.") from None
    with lock:
        prepare_run_folders(specification)
        models, seeds = {key.model for key in runs}, {key.seed for key in runs}
        if None in seeds:
            LOGGER.info(f"compare: {len(runs)} models, evaluated as they are, in {folder}")
        else:
            LOGGER.info(f"compare: {len(runs)} runs ({len(models)} models x {len(seeds)} seeds) in {folder}")
        if None not in seeds and len(seeds) < LEAST_SEEDS:
            LOGGER.warning(
                f"compare: from fewer than {LEAST_SEEDS} seeds there is no verdict; give more, as seeds=0,1,2."
            )
        train = schedule.over_ray if over_ray else schedule.one_by_one
        failed = train(list(runs.values()))
        report.write_report(folder, runs, margin)
    return not failed
