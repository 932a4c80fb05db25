# Ultralytics DiffAttn - AGPL-3.0 License
"""A whole comparison: its folder is locked, its runs are trained, its results are written; on one data set or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ultralytics_diffattn.comparison import across_report, report, schedule
from ultralytics_diffattn.comparison.exports import make_exports
from ultralytics_diffattn.comparison.run_files import is_finished
from ultralytics_diffattn.comparison.run_folders import check_run_folders, prepare_run_folders
from ultralytics_diffattn.comparison.specification import Specification
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.evaluation.export_formats import Export
from ultralytics_diffattn.evaluation.intervals import LEAST_SEEDS


def execute(
    specification: Specification, margin: float, over_ray: bool = False, exports: Sequence[Export] = ()
) -> bool:
    """Train all runs of a comparison that are not finished, and write its results.

    Args:
        specification (Specification): From `specify`.
        margin (float): Difference of mAP that does not matter.
        over_ray (bool): Whether the runs are spread over a Ray cluster, instead of one after another.
        exports (Sequence[Export]): What to make of each finished run and to measure, on this machine.

    Returns:
        (bool): True if every run is finished.

    Raises:
        UserError: If another process compares in this folder, or the folder holds another comparison.
    """
    from ultralytics.utils import LOGGER

    folder, runs = specification.folder, specification.run_folders()
    with _locked(folder):
        prepare_run_folders(specification)
        models, seeds = {key.model for key in runs}, {key.seed for key in runs}
        if None in seeds:
            LOGGER.info(f"compare: {len(runs)} models, evaluated as they are, in {folder}")
        else:
            LOGGER.info(f"compare: {len(runs)} runs ({len(models)} models x {len(seeds)} seeds) in {folder}")
        if None not in seeds and len(seeds) < LEAST_SEEDS:
            LOGGER.warning(f"compare: a verdict needs at least {LEAST_SEEDS} seeds; give more, as seeds=0,1,2.")
        train = schedule.over_ray if over_ray else schedule.one_by_one
        failed = train(list(runs.values()))
        make_exports([run for run in runs.values() if is_finished(run)], exports)
        report.write_report(folder, runs, margin, exports)
    return not failed


def execute_all(
    folder: Path,
    specifications: Mapping[str, Specification],
    margin: float,
    over_ray: bool = False,
    exports: Sequence[Export] = (),
) -> bool:
    """Do what `execute` does on one data set after another, and write what they say together.

    Args:
        folder (Path): Of the whole comparison, above that of each data set.
        specifications (Mapping[str, Specification]): By the name of the data set.
        margin (float): Difference of mAP that does not matter.
        over_ray (bool): Whether the runs are spread over a Ray cluster, instead of one after another.
        exports (Sequence[Export]): What to make of each finished run and to measure, on this machine.

    Returns:
        (bool): True if every run is finished.

    Raises:
        UserError: As of `execute`; before the first training, if the folder of any data set holds another comparison.
    """
    from ultralytics.utils import LOGGER

    with _locked(folder):
        for specification in specifications.values():
            check_run_folders(specification)
        finished = []
        for number, (name, specification) in enumerate(specifications.items(), 1):
            LOGGER.info(f"\ncompare: data set {number} of {len(specifications)}, {name}")
            finished.append(execute(specification, margin, over_ray, exports))
        across_report.write_across(folder, {name: s.folder for name, s in specifications.items()}, margin)
    return all(finished)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a comparison's folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another comparison is running in {folder}; wait for it, or choose another name=.") from None
    with lock:
        yield
