# Ultralytics DiffAttn - AGPL-3.0 License
"""Runs the trainings of a comparison: one after another, or spread over a Ray cluster."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from ultralytics_diffattn.child_process import run_module
from ultralytics_diffattn.output.files import read_json
from ultralytics_diffattn.output.formatting import duration

MODULE = "ultralytics_diffattn.comparison.run"  # trains one run, in a process of its own


def one_by_one(runs: list[Path]) -> list[Path]:
    """Train the runs that are not finished, each in its own process.

    Args:
        runs (list[Path]): Their folders, with `spec.json`.

    Returns:
        (list[Path]): Those that failed.

    Raises:
        OSError: If the disk is full; what is finished stays, and the same command continues.
    """
    from ultralytics.utils import LOGGER

    failed, spent = [], []
    for place, run in enumerate(runs, 1):
        if is_finished(run):
            LOGGER.info(f"compare: run {place} of {len(runs)}, {_title(run)}, is finished")
            continue
        remaining = sum(not is_finished(r) for r in runs[place - 1 :])
        left = f", about {duration(sum(spent) / len(spent) * remaining)} left" if spent else ""
        LOGGER.info(f"\ncompare: run {place} of {len(runs)}, {_title(run)}{left}")
        start = time.time()
        error = train(run, remaining)
        if error is None:
            spent.append(time.time() - start)
            continue
        LOGGER.error(f"compare: {_title(run)} failed, the other runs go on. {error}")
        failed.append(run)
        if is_disk_full(run):
            raise OSError(errno.ENOSPC, f"no space left below {run}; make room and give the same command again")
    return failed


def over_ray(runs: list[Path]) -> list[Path]:
    """Train the runs that are not finished as tasks of a Ray cluster, one for each GPU (or CPU where there is none).

    Args:
        runs (list[Path]): Their folders, which every machine of the cluster must see under the same path.

    Returns:
        (list[Path]): Those that failed, a killed worker's among them.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError("ray=True needs Ray: pip install ray", name="ray") from e
    from ultralytics.utils import LOGGER

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    gpu = ray.cluster_resources().get("GPU", 0) > 0
    # A run that fails is not tried again by Ray: the user's next command continues it.
    task = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=0)(train)
    waiting = [run for run in runs if not is_finished(run)]
    LOGGER.info(f"compare: {len(waiting)} of {len(runs)} runs over Ray, {ray.cluster_resources()}")
    pending = {task.remote(run, 0, gpu): run for run in waiting}
    failed, start = [], time.time()
    while pending:
        (done,), _ = ray.wait(list(pending))
        run = pending.pop(done)
        try:
            error = ray.get(done)
        except ray.exceptions.RayError as e:
            error = f"its Ray worker died: {str(e).splitlines()[0]}"
        if error is not None:
            failed.append(run)
            LOGGER.error(f"compare: {_title(run)} failed, the other runs go on. {error}")
            continue
        count = len(waiting) - len(pending)
        left = f", about {duration((time.time() - start) / count * len(pending))} left" if pending else ""
        LOGGER.info(f"compare: {_title(run)} is finished, {count} of {len(waiting)}{left}")
    return failed


def train(run: Path, remaining: int = 0, gpu: bool = False) -> str | None:
    """Train one run in a process of its own, which ends when this one does.

    Args:
        run (Path): Its folder.
        remaining (int): Runs from this one on, for the time left that its epochs show; 0 for none.
        gpu (bool): Whether Ray has chosen a GPU, by CUDA_VISIBLE_DEVICES; the run then takes the first visible.

    Returns:
        (str | None): Why it failed, or None.
    """
    if not (run / "spec.json").exists():
        return f"{run} is not to be seen from this machine; put project= on storage that all machines share."
    status = run_module(MODULE, run, remaining, *(["0"] if gpu else []))
    if status == 0 and is_finished(run):
        return None
    if (run / "error.txt").exists():
        return read_json(run / "error.txt")["error"]
    return f"its process ended with {status}" + (
        ", killed, perhaps for want of memory." if status in (-9, 137) else "."
    )


def is_finished(run: Path) -> bool:
    """Tell whether a run is finished.

    Args:
        run (Path): Its folder.

    Returns:
        (bool): True once `run.json` is written.
    """
    return (run / "run.json").exists()


def is_disk_full(run: Path) -> bool:
    """Tell whether a run failed for want of space.

    Args:
        run (Path): Its folder.

    Returns:
        (bool): True if its error says so, or if not even the error could be written.
    """
    error = run / "error.txt"
    if error.exists():
        return read_json(error)["errno"] in (errno.ENOSPC, errno.EDQUOT)
    try:
        (run / "probe").write_bytes(bytes(1 << 16))
    except OSError as e:
        return e.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        (run / "probe").unlink(missing_ok=True)
    return False


def _title(run: Path) -> str:
    return f"{run.parent.name} {run.name}"
