# Ultralytics DiffAttn - AGPL-3.0 License
"""Runs the trainings of a comparison: one after another, or spread over a Ray cluster."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from ultralytics_diffattn.child_process import run_module
from ultralytics_diffattn.comparison.run_files import SPEC, is_finished, read_failure
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.output.formatting import duration
from ultralytics_diffattn.plugin import user_files

MODULE = "ultralytics_diffattn.comparison.run"  # trains one run, in a process of its own
DISK_FULL = errno.ENOSPC, errno.EDQUOT


class FullDiskError(UserError, OSError):
    """The disk is full; what is finished stays, and the same command continues. Also an `OSError`."""


def one_by_one(runs: list[Path]) -> list[Path]:
    """Train the runs that are not finished, each in its own process.

    Args:
        runs (list[Path]): Their folders, with `spec.json`.

    Returns:
        (list[Path]): Those that failed.

    Raises:
        FullDiskError: If the disk is full; what is finished stays, and the same command continues.
    """
    from ultralytics.utils import LOGGER

    failed: list[Path] = []
    durations: list[float] = []
    for number, run in enumerate(runs, 1):
        if is_finished(run):
            LOGGER.info(f"compare: run {number} of {len(runs)}, {_title(run)}, is finished")
            continue
        remaining = sum(not is_finished(r) for r in runs[number - 1 :])
        left = f", about {duration(sum(durations) / len(durations) * remaining)} left" if durations else ""
        LOGGER.info(f"\ncompare: run {number} of {len(runs)}, {_title(run)}{left}")
        start = time.time()
        error = train(run, remaining)
        if error is None:
            durations.append(time.time() - start)
            continue
        LOGGER.error(f"compare: {_title(run)} failed; the other runs continue. {error}")
        failed.append(run)
        if is_disk_full(run):
            raise FullDiskError(f"no disk space is left for {run}; make room and give the same command again")
    return failed


def over_ray(runs: list[Path]) -> list[Path]:
    """Train the runs that are not finished as tasks of a Ray cluster, one for each GPU (or CPU without GPUs).

    Args:
        runs (list[Path]): Their folders, which every machine of the cluster must see under the same path.

    Returns:
        (list[Path]): Those that failed, a killed worker's among them.

    Raises:
        MissingPackageError: If Ray is not installed.
    """
    from ultralytics.utils import LOGGER

    ray = _connect()
    resources = ray.cluster_resources()
    gpu = resources.get("GPU", 0) > 0
    # Ray does not retry a failed run: the user's next command continues it.
    users = user_files.environment()  # a worker of a running cluster has the environment of its machine
    options = {"runtime_env": {"env_vars": users}} if users else {}
    task = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=0, **options)(train)
    waiting = [run for run in runs if not is_finished(run)]
    LOGGER.info(f"compare: {len(waiting)} of {len(runs)} runs left, spread over Ray: {resources}")
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
            LOGGER.error(f"compare: {_title(run)} failed; the other runs continue. {error}")
            continue
        count = len(waiting) - len(pending)
        left = f", about {duration((time.time() - start) / count * len(pending))} left" if pending else ""
        LOGGER.info(f"compare: {_title(run)} is finished, {count} of {len(waiting)}{left}")
    return failed


def _connect() -> Any:
    """Return Ray, connected to the cluster of RAY_ADDRESS or to one that it starts here."""
    try:
        import ray
    except ModuleNotFoundError as e:
        raise MissingPackageError("ray=True needs Ray: pip install ray") from e
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    return ray


def train(run: Path, remaining: int = 0, gpu: bool = False) -> str | None:
    """Train one run in a process of its own, which ends when this one does.

    Args:
        run (Path): Its folder.
        remaining (int): Runs of the comparison from this one on, for the time left that its epochs show; 0 for none.
        gpu (bool): Whether Ray has chosen a GPU, by CUDA_VISIBLE_DEVICES; the run then takes the first visible.

    Returns:
        (str | None): Why it failed, or None.
    """
    if not (run / SPEC).exists():
        return f"{run} does not exist on this machine; put project= on storage that all machines share."
    status = run_module(MODULE, run, remaining, *(["0"] if gpu else []))
    if status == 0 and is_finished(run):
        return None
    failure = read_failure(run)
    if failure:
        return failure.error
    killed = ": it was killed, perhaps for lack of memory" if status in (-9, 137) else ""
    return f"its process ended with status {status}{killed}."


def is_disk_full(run: Path) -> bool:
    """Return whether a run failed for want of space.

    Args:
        run (Path): Its folder.

    Returns:
        (bool): True if its error says so, or if not even the error could be written.
    """
    failure = read_failure(run)
    if failure:
        return failure.errno in DISK_FULL
    probe = run / "probe"
    try:
        probe.write_bytes(bytes(1 << 16))
    except OSError as e:
        return e.errno in DISK_FULL
    finally:
        probe.unlink(missing_ok=True)
    return False


def _title(run: Path) -> str:
    """Return model and seed of a run."""
    return f"{run.parent.name} {run.name}"
