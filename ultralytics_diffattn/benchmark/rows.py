# Ultralytics DiffAttn - AGPL-3.0 License
"""Rows of the benchmark: the callables of a case measured in turns, or the reason why they could not be."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark.case import Case
from ultralytics_diffattn.benchmark.results import About, Row
from ultralytics_diffattn.evaluation import timing

Pair = tuple[str, str, "float | None"]  # names of ours and of the other, and the target of their ratio


class Setting(NamedTuple):
    """The user's choices."""

    threads: Sequence[int] = (1,)  # of the CPU; each group is measured with each number
    repeats: int = 0  # turns of every case; 0 for the group's own
    gpu: torch.device | None = None


def measured(
    setting: Setting,
    what: str,
    case: Callable[[], Case],
    pairs: Sequence[Pair],
    turns: int,
    threads: int | None = None,
    needs: Sequence[str] = (),
    device: str = "cpu",
) -> list[Row]:
    """Return a row for each pair of a case; where it cannot be measured, a row with the reason.

    Args:
        setting (Setting): The user's choices.
        what (str): Name of the operation.
        case (Callable): Returns the callables by name.
        pairs (Sequence[tuple[str, str, float | None]]): Names of ours and of the other, and the target of their ratio.
        turns (int): Number of turns, unless the user chose one.
        threads (int, optional): Threads of the CPU.
        needs (Sequence[str]): Packages without which it cannot run.
        device (str): "cpu", or the name of the setting's GPU.

    Returns:
        (list[Row]): In the order of the pairs.

    Examples:
        >>> case = lambda: {"a": lambda: sum(range(9999)), "b": lambda: sum(range(9999))}
        >>> (row,) = measured(Setting(), "a sum", case, [("a", "b", 1000.0)], turns=4)
        >>> row["met"], row["repeats"]
        (True, 4)
    """
    turns = setting.repeats or turns
    about: About = {"what": what, "device": device, "threads": threads}
    gpu = setting.gpu if device != "cpu" else None
    try:
        require(needs)
        with timing.threads(threads):
            wait = partial(torch.cuda.synchronize, gpu) if gpu and gpu.type == "cuda" else None
            compared = {name for ours, other, _ in pairs for name in (ours, other)}
            runners = {name: run for name, run in case().items() if name in compared}
            times = timing.interleaved(runners, turns, timing.WARMUP if turns >= 20 else 1, wait)
    except Exception as e:  # out of memory, an export that fails: the other rows are still worth having
        return [row_of(about, *pair, None, repeats=0, why=reason(e)) for pair in pairs]
    rows = []
    for ours, other, target in pairs:
        row = row_of(about, ours, other, target, timing.ratio(times[ours], times[other]), repeats=turns)
        row["ours_ms"], row["other_ms"] = statistics.median(times[ours]), statistics.median(times[other])
        rows.append(row)
    return rows


def row_of(
    about: About,
    ours: str,
    other: str,
    target: float | None,
    ratio: tuple[float, float | None, float | None] | None,
    repeats: int,
    why: str | None = None,
) -> Row:
    """Return a row, and log it, since a complete run takes minutes.

    Args:
        about (About): What is measured, and where.
        ours (str): Name of the numerator.
        other (str): Name of the denominator.
        target (float | None): The largest ratio to accept.
        ratio (tuple[float, float | None, float | None] | None): The ratio and its quartiles; None if not measured.
        repeats (int): Number of turns.
        why (str, optional): The reason, if not measured.

    Returns:
        (Row): Without times and memory.
    """
    value, low, high = ratio or (None, None, None)
    on = f", threads {about['threads']}" if about["threads"] else ""
    LOGGER.info(
        f"{about['what']}{on}: {ours} over {other} {f'not measured: {why}' if ratio is None else f'{value:.3f}'}"
    )
    row: Row = {
        "what": about["what"],
        "device": about["device"],
        "threads": about["threads"],
        "ours": ours,
        "other": other,
        "ratio": value,
        "low": low,
        "high": high,
        "ours_ms": None,
        "other_ms": None,
        "repeats": repeats,
        "target": target,
        "met": None if value is None or target is None else value <= target,
    }
    if why is not None:
        row["why"] = why
    return row


def require(packages: Sequence[str]) -> None:
    """Raise `ModuleNotFoundError` unless all packages are installed; ultralytics would install some of them unasked."""
    for name in packages:
        if not find_spec(name):
            raise ModuleNotFoundError(f"{name} is not installed")


def reason(error: Exception) -> str:
    """Return an error in one line.

    Examples:
        >>> reason(RuntimeError("out of memory"))
        'RuntimeError: out of memory'
    """
    text = (str(error).strip().splitlines() or ["-"])[0]
    return text if isinstance(error, ModuleNotFoundError) and text != "-" else f"{type(error).__name__}: {text}"
