# Ultralytics DiffAttn - AGPL-3.0 License
"""Time and memory of callables measured in turns, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WARMUP = 3


def interleaved(
    runners: dict[str, Callable[[], Any]],
    repeats: int,
    warmup: int = WARMUP,
    synchronize: Callable[[], Any] | None = None,
) -> dict[str, list[float]]:
    """Return the times of each callable, all of them taking turns.

    Args:
        runners (dict[str, Callable]): The callables by name.
        repeats (int): Number of timed turns.
        warmup (int): Number of turns before them that are not timed.
        synchronize (Callable, optional): Waits for the device; called before the clock starts and before it stops.

    Returns:
        (dict[str, list[float]]): By name the milliseconds of each turn.

    Examples:
        >>> times = interleaved({"a": lambda: sum(range(9)), "b": lambda: None}, repeats=4)
        >>> {name: len(values) for name, values in times.items()}
        {'a': 4, 'b': 4}
    """
    wait = synchronize or (lambda: None)
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(warmup + repeats):
        for name, run in runners.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            if turn >= warmup:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def ratio(ours: list[float], other: list[float]) -> tuple[float, float, float]:
    """Return the median ratio of two callables' times, and its quartiles.

    Args:
        ours (list[float]): Times of the numerator, from `interleaved`.
        other (list[float]): Times of the denominator in the same turns.

    Returns:
        (tuple[float, float, float]): Median, lower and upper quartile of the ratios turn by turn.

    Examples:
        >>> ratio([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        (1.0, 0.75, 1.25)
    """
    turns = [a / b for a, b in zip(ours, other, strict=True)]
    low, median, high = statistics.quantiles(turns, n=4, method="inclusive") if len(turns) > 1 else turns * 3
    return median, low, high


def peak_memory(run: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """Return the peak memory of a callable in PyTorch's allocator, beyond what was allocated before.

    Args:
        run (Callable): The callable; it is not warmed up here.
        device (torch.device | str): The device whose memory counts, a CPU or a CUDA GPU.

    Returns:
        (int): Bytes.

    Examples:
        >>> peak_memory(lambda: torch.empty(1000, dtype=torch.uint8))
        1000
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # PyTorch keeps no statistics of the CPU's memory, but its profiler notes each allocation and release.
    os.environ["KINETO_LOG_LEVEL"] = "6"  # else, and with ultralytics' 5, each start and stop is announced on stderr
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    # `profile.events()` would leave out what happens inside an operator.
    changes = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda e: e.start_ns()):
        held += change.nbytes()
        most = max(most, held)
    return most


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Have PyTorch's operators use `count` threads of the CPU, and the former number afterwards.

    Args:
        count (int, optional): Number of threads; None changes nothing.

    Yields:
        (None): Nothing.

    Examples:
        >>> with threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
