# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn bench`: what differential attention costs beside plain attention, measured on this machine."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark import report
from ultralytics_diffattn.benchmark.apart import measure_apart
from ultralytics_diffattn.benchmark.groups import GROUPS, Setting
from ultralytics_diffattn.evaluation.environment import hardware, optional_versions, versions
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known, chosen, listed

OWN = {"only": ",".join(GROUPS), "threads": (1, 2), "repeats": 0}
ALLOWED = (*OWN, "device", "project", "name", "exist_ok")


def bench(**given: Any) -> dict[str, Any]:
    """Measure ours beside timm's, the published formula and stock's, and say which targets are met.

    Args:
        **given (Any): `only` (groups with commas between, by default all), `threads` (of the CPU, several with commas
            between), `repeats` (turns of every case; 0 for each group's own), `device` (a GPU's number, or cpu to leave
            the GPU out), `project`, `name` and `exist_ok` (the folder; `project` from the current directory).

    Returns:
        (dict[str, Any]): What `performance.json` holds.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Examples:
        >>> bench(only="core", threads=1, project=".", name="docs", exist_ok=True)  # doctest: +SKIP
    """
    check_known("bench", given, ALLOWED)
    groups = parse_groups(given.get("only", OWN["only"]))
    repeats = parse_repeats(given.get("repeats", OWN["repeats"]))
    setting = Setting(parse_threads(given.get("threads", OWN["threads"])), repeats, parse_device(given.get("device")))
    folder = _folder(given.get("project"), given.get("name"), given.get("exist_ok", False))
    folder.mkdir(parents=True, exist_ok=True)
    LOGGER.info(f"bench: {folder}")

    found: dict[str, Any] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": " ".join(["diffattn bench", *(f"{key}={_typed(value)}" for key, value in given.items())]),
        "versions": versions() | optional_versions(),
        "hardware": hardware(),
        "groups": {},
    }
    for name in groups:
        LOGGER.info(f"\nbench: {name}")
        start = time.perf_counter()
        group = measure_apart(name, setting)
        group["rows"] = [{"group": name, **row} for row in group["rows"]]
        found["groups"][name] = {**group, "seconds": time.perf_counter() - start}
        report.write(folder, found)  # after each, so that a run which is cut leaves what it has
    LOGGER.info(f"\n{report.summary(found)}\n\nbench: {folder}")
    return found


def parse_groups(only: str | list | tuple) -> list[str]:
    """Return the groups by name.

    Args:
        only (str | list | tuple): Some of `GROUPS`, in a text with commas between.

    Returns:
        (list[str]): In the order given.

    Raises:
        ValueError: If one is unknown, with the nearest.

    Examples:
        >>> parse_groups("core,block")
        ['core', 'block']
    """
    return chosen(only, GROUPS, f"only={only!r}: NAME is no group.")


def parse_threads(threads: int | str | list | tuple) -> list[int]:
    """Return the numbers of threads as a list.

    Args:
        threads (int | str | list | tuple): Whole numbers from 1 on.

    Returns:
        (list[int]): In the order given.

    Raises:
        ValueError: If one is not.

    Examples:
        >>> parse_threads("1,2")
        [1, 2]
    """
    found = listed(threads)
    if not found or not all(t.isdecimal() and int(t) for t in found):
        raise ValueError(f"threads={threads!r} must be whole numbers from 1 on, with commas between: threads=1,2.")
    return [int(t) for t in dict.fromkeys(found)]


def parse_repeats(repeats: int | str) -> int:
    """Return how many turns each case takes.

    Args:
        repeats (int | str): A whole number; 0 for the group's own.

    Returns:
        (int): The number.

    Raises:
        ValueError: If it is not.

    Examples:
        >>> parse_repeats(5)
        5
    """
    if not str(repeats).isdecimal():
        raise ValueError(f"repeats={repeats!r} must be a whole number, such as repeats=20, or 0 for each group's own.")
    return int(repeats)


def parse_device(device: int | str | None) -> torch.device | None:
    """Return the GPU to measure on.

    Args:
        device (int | str, optional): A GPU's number, "cuda:0", "cpu" for none, or None for the first if there is one.

    Returns:
        (torch.device | None): The GPU, or None for none.

    Raises:
        ValueError: If there is no such GPU.

    Examples:
        >>> parse_device("cpu")
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = "" if device is None else str(device).strip().lower()
    if name == "cpu" or (not name and not count):
        return None
    number = name.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal() or int(number) >= count:
        there = f"GPUs here are {', '.join(map(str, range(count)))}" if count else "there is no CUDA GPU here"
        raise ValueError(f"device={device!r} cannot be used: {there}. Give the number of one, or device=cpu.")
    return torch.device("cuda", int(number))


def _folder(project: Any, name: Any, exist_ok: Any) -> Path:
    """Return the folder; a relative `project` is below the current directory, as its user sees it, not below runs/."""
    if not isinstance(exist_ok, bool):
        raise ValueError(f"exist_ok={exist_ok!r} must be True, to write into a folder that is there, or False.")
    project = str(Path(str(project)).resolve()) if project else None
    return run_folder("detect", "val", str(name or "bench"), project, exist_ok)


def _typed(value: Any) -> str:
    """Return an argument's value as one types it."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
