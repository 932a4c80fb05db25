# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison records by ultralytics' callbacks: metrics before training; time, memory and lambda of an epoch."""

from __future__ import annotations

import csv
import os
import random
import statistics
import sys
import time
from copy import copy, deepcopy
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from ultralytics.utils import LOGGER, RANK

from ultralytics_diffattn.comparison.schema import RunRecord
from ultralytics_diffattn.evaluation.nms_time_limit import lift
from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.output.formatting import duration
from ultralytics_diffattn.plugin.lambda_log import read as read_lambdas

COLUMNS = ("process", "epoch", "seconds", "memory_mb")  # before those of lambda, which differ by model


class EpochRow(NamedTuple):
    """A row of `epochs.csv`.

    Attributes:
        process (int): Id of the process that trained the epoch.
        epoch (int): From 1 on.
        seconds (float): Time of its training part.
        memory_mb (float): Peak memory of the process so far, in 10^6 bytes.
        lambdas (dict[str, float]): Mean over the heads, by the name of the attention module.
    """

    process: int
    epoch: int
    seconds: float
    memory_mb: float
    lambdas: dict[str, float]


def listen(model: Any, remaining: int = 0) -> None:
    """Add the callbacks to a model that is about to be trained.

    They are plain functions of this module, or a partial of one, so that ultralytics can send them to the processes of
    several GPUs.

    Args:
        model (ultralytics.YOLO): The model; its records go into `epochs.csv` beside the run folder.
        remaining (int): Runs of the comparison from this one on, for the time left; 0 shows none.
    """
    model.add_callback("on_pretrain_routine_end", record_step0)
    model.add_callback("on_train_epoch_start", start_timer)
    model.add_callback("on_train_epoch_end", stop_timer)
    model.add_callback("on_model_save", partial(record_epoch, remaining=remaining))


def record_step0(trainer: Any) -> None:
    """Write `step0.json`, the metrics of a model that starts from weights, before its first step.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): Ready to train.
    """
    args = trainer.args
    if trainer.start_epoch or RANK != -1 or not any(_is_weights(x) for x in (args.model, args.pretrained)):
        return
    validator = type(trainer.validator)(dataloader=trainer.test_loader, save_dir=trainer.save_dir, args=copy(args))
    validator.args.plots = False
    lift(validator)
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        metrics = validator(model=deepcopy(trainer.ema.ema))  # a copy, since validation fuses it
    random.setstate(state)
    np.random.set_state(numpy_state)
    write_json(Path(trainer.save_dir).parent / "step0.json", {name: float(value) for name, value in metrics.items()})


def _is_weights(value: object) -> bool:
    """Return whether an argument names a checkpoint."""
    return Path(str(value)).suffix == ".pt"


def start_timer(trainer: Any) -> None:
    """Start the clock of an epoch.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): At the start of an epoch.
    """
    trainer.diffattn_start = time.perf_counter()


def stop_timer(trainer: Any) -> None:
    """Stop the clock of an epoch before its validation.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): At the end of an epoch's training part.
    """
    trainer.diffattn_seconds = time.perf_counter() - trainer.diffattn_start


def record_epoch(trainer: Any, remaining: int = 0) -> None:
    """Append a row to `epochs.csv`, and log how long the comparison will still take.

    Args:
        trainer (ultralytics.engine.trainer.BaseTrainer): After the checkpoint of an epoch.
        remaining (int): Runs of the comparison from this one on; 0 logs nothing.
    """
    row = EpochRow(
        os.getpid(),
        trainer.epoch + 1,
        round(trainer.diffattn_seconds, 3),
        round(peak_memory(trainer.device)),
        {name: round(value, 6) for name, value in mean_lambdas(trainer.ema.ema).items()},
    )
    _append(Path(trainer.save_dir).parent / "epochs.csv", row)
    epochs_left = trainer.epochs * remaining - trainer.epoch - 1
    if epochs_left > 0:
        trainer.diffattn_spent = getattr(trainer, "diffattn_spent", 0) + time.perf_counter() - trainer.diffattn_start
        mean = trainer.diffattn_spent / (trainer.epoch + 1 - trainer.start_epoch)
        runs = f"{remaining} {'run' if remaining == 1 else 'runs'}"
        LOGGER.info(f"compare: {runs} to go, about {duration(mean * epochs_left)}")


def _append(file: Path, row: EpochRow) -> None:
    """Append a row to `epochs.csv`, with a header where it is the first."""
    existing = file.read_bytes() if file.exists() else b""
    with open(file, "a", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        if not existing:
            writer.writerow([*COLUMNS, *row.lambdas])
        elif not existing.endswith(b"\n"):  # a kill in the middle of the last row, which the next one must not join
            f.write("\n")
        writer.writerow([*row[: len(COLUMNS)], *row.lambdas.values()])


def mean_lambdas(model: nn.Module) -> dict[str, float]:
    """Return the present lambda of each differential attention, averaged over its heads.

    Args:
        model (torch.nn.Module): Any model.

    Returns:
        (dict[str, float]): By the module's name; empty for a stock model.

    Examples:
        >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
        >>> mean_lambdas(nn.Sequential(PairedAttention_Diff(128, num_heads=2)))
        {'0': 0.0}
    """
    return {name: float(value.mean()) for name, value in read_lambdas(model).items()}


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process in MB: the GPU's allocations, or on a CPU its resident memory.

    Args:
        device (torch.device): Where the training runs.

    Returns:
        (float): Megabytes (10^6 bytes).

    Examples:
        >>> peak_memory(torch.device("cpu")) > 10
        True
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read(folder: Path) -> list[EpochRow]:
    """Return the rows of `epochs.csv`, one for each epoch: of an epoch that was trained twice, the later.

    Args:
        folder (Path): The run's folder.

    Returns:
        (list[EpochRow]): In the order of epochs; empty if nothing was recorded.
    """
    file = folder / "epochs.csv"
    if not file.exists():  # several GPUs with an ultralytics that does not hand callbacks on
        return []
    with open(file, newline="", encoding="utf-8") as f:
        # A row that a kill has torn is shorter than the header.
        rows = [_row(cells) for cells in csv.DictReader(f) if None not in cells.values()]
    by_epoch = {row.epoch: row for row in rows}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _row(cells: dict[str, str]) -> EpochRow:
    """Return a row from its cells by column."""
    lambdas = {name: float(value) for name, value in cells.items() if name not in COLUMNS}
    return EpochRow(
        int(cells["process"]), int(cells["epoch"]), float(cells["seconds"]), float(cells["memory_mb"]), lambdas
    )


def summary(folder: Path, seconds_last_process: float) -> RunRecord:
    """Return what a training took, for its `run.json`.

    Args:
        folder (Path): The run's folder.
        seconds_last_process (float): Wall time of the process that finishes the run.

    Returns:
        (RunRecord): Time, memory, and the epochs after which the run was continued by another process.
    """
    rows = read(folder)
    seconds = [row.seconds for row in rows]
    return RunRecord(
        epochs=len(rows),
        seconds_per_epoch=statistics.median(seconds) if rows else None,
        seconds=sum(seconds),
        peak_memory_mb=max((row.memory_mb for row in rows), default=None),
        resumed_after=[a.epoch for a, b in pairwise(rows) if a.process != b.process],
        seconds_last_process=seconds_last_process,
    )
