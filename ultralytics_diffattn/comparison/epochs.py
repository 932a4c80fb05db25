# Ultralytics DiffAttn - AGPL-3.0 License
"""What a comparison notes by ultralytics' callbacks: metrics before training; time, memory and lambda of an epoch."""

from __future__ import annotations

import csv
import os
import random
import statistics
import sys
import time
from copy import copy, deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.output.files import write_json
from ultralytics_diffattn.output.formatting import duration
from ultralytics_diffattn.plugin.lambda_log import read as read_lambdas

COLUMNS = ("process", "epoch", "seconds", "memory_mb")  # before those of lambda, which differ by model
REMAINING = 0  # runs of the comparison from this one on; set in the process of a run


def listen(model) -> None:
    """Add the callbacks to a model that is about to be trained.

    Args:
        model (ultralytics.YOLO): The model; what is noted goes into `epochs.csv` beside the run folder.
    """
    model.add_callback("on_pretrain_routine_end", before)
    model.add_callback("on_train_epoch_start", start)
    model.add_callback("on_train_epoch_end", stop)
    model.add_callback("on_model_save", note)


def before(trainer) -> None:
    """Validate a model that starts from weights as it is before the first step, into `step0.json`."""
    args = trainer.args
    if trainer.start_epoch or trainer.world_size > 1 or not any(_is_weights(x) for x in (args.model, args.pretrained)):
        return
    validator = type(trainer.validator)(dataloader=trainer.test_loader, save_dir=trainer.save_dir, args=copy(args))
    validator.args.plots = False
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        found = validator(model=deepcopy(trainer.ema.ema))  # a copy, since validation fuses it
    random.setstate(state)
    np.random.set_state(numpy_state)
    write_json(Path(trainer.save_dir).parent / "step0.json", {name: float(value) for name, value in found.items()})


def _is_weights(value: object) -> bool:
    return Path(str(value)).suffix == ".pt"


def start(trainer) -> None:
    """Take the time at which the epoch begins."""
    trainer.diffattn_start = time.perf_counter()


def stop(trainer) -> None:
    """Take the time that the epoch's training took, without its validation."""
    trainer.diffattn_seconds = time.perf_counter() - trainer.diffattn_start


def note(trainer) -> None:
    """Append the epoch's row, and say how long the comparison will still take."""
    file = Path(trainer.save_dir).parent / "epochs.csv"
    row = {
        "process": os.getpid(),
        "epoch": trainer.epoch + 1,
        "seconds": round(trainer.diffattn_seconds, 3),
        "memory_mb": round(peak_memory(trainer.device)),
        **{name: round(value, 6) for name, value in lambdas(trainer.ema.ema).items()},
    }
    before = file.read_bytes() if file.exists() else b""
    with open(file, "a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, row)
        if not before:
            writer.writeheader()
        elif not before.endswith(b"\n"):  # a kill in the middle of the last row, which the next one must not join
            f.write("\n")
        writer.writerow(row)
    epochs = trainer.epochs * REMAINING - trainer.epoch - 1
    if epochs > 0:
        trainer.diffattn_spent = getattr(trainer, "diffattn_spent", 0) + time.perf_counter() - trainer.diffattn_start
        mean = trainer.diffattn_spent / (trainer.epoch + 1 - trainer.start_epoch)
        LOGGER.info(
            f"compare: {REMAINING} {'run' if REMAINING == 1 else 'runs'} to go, about {duration(mean * epochs)}"
        )


def lambdas(model) -> dict[str, float]:
    """Return the present lambda of each differential attention, averaged over its heads.

    Args:
        model (torch.nn.Module): Any model.

    Returns:
        (dict[str, float]): By the module's name; empty for a stock model.
    """
    return {name: float(value.mean()) for name, value in read_lambdas(model).items()}


def peak_memory(device) -> float:
    """Return the peak memory of this process in MB: the GPU's allocations, or on a CPU what stands in RAM.

    Args:
        device (torch.device): Where the training runs.

    Returns:
        (float): Megabytes (10^6 bytes).
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read(folder: Path) -> list[dict[str, str]]:
    """Return the rows of `epochs.csv`, one for each epoch: of an epoch that was trained twice, the later.

    Args:
        folder (Path): The run's folder.

    Returns:
        (list[dict]): The rows in the order of epochs; empty if nothing was noted.
    """
    file = folder / "epochs.csv"
    if not file.exists():  # several GPUs with an ultralytics that does not hand callbacks on
        return []
    with open(file, newline="", encoding="utf-8") as f:
        rows = {int(row["epoch"]): row for row in csv.DictReader(f) if row.get("memory_mb")}  # else torn by a kill
    return [rows[epoch] for epoch in sorted(rows)]


def summary(folder: Path) -> dict:
    """Return time, memory and the epochs before which the run was taken up again.

    Args:
        folder (Path): The run's folder.

    Returns:
        (dict): `epochs`, `seconds_per_epoch` (median), `seconds`, `peak_memory_mb`, `resumed_after` (epochs).
    """
    rows = read(folder)
    seconds = [float(row["seconds"]) for row in rows]
    changes = [int(a["epoch"]) for a, b in pairwise(rows) if a["process"] != b["process"]]
    return {
        "epochs": len(rows),
        "seconds_per_epoch": statistics.median(seconds) if rows else None,
        "seconds": sum(seconds),
        "peak_memory_mb": max((float(row["memory_mb"]) for row in rows), default=None),
        "resumed_after": changes,
    }
