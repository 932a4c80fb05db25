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
from ultralytics_diffattn.benchmark.groups import GROUPS, ON_REQUEST
from ultralytics_diffattn.benchmark.results import Performance
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.evaluation.environment import hardware, optional_versions, versions
from ultralytics_diffattn.evaluation.intervals import check_scipy
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known, chosen, listed

OWN: dict[str, Any] = {
    "only": ",".join(name for name in GROUPS if name not in ON_REQUEST),
    "threads": (1, 2),
    "repeats": 0,
    "device": "",
    "project": "",
    "name": "bench",
    "exist_ok": False,
}


def bench(**arguments: Any) -> Performance:
    """Return the time and memory of ours beside timm's, the published formula and stock's, and the targets met.

    Args:
        **arguments (Any): `only` (groups with commas between, by default all but
            `retrieval`, which measures how well the block reads and not its cost), `threads` (of the CPU, several with
            commas between), `repeats` (turns of every case; 0 for each group's own), `device` (a GPU's number, or cpu
            to leave the GPU out), `project`, `name` and `exist_ok` (the folder; `project` from the current directory).

    Returns:
        (Performance): What `performance.json` holds.

    Raises:
        UserError: If an argument is unknown or out of range.
        MissingPackageError: If `only` has `retrieval` and SciPy is not installed.

    Examples:
        >>> bench(only="core", threads=1, project=".", name="docs", exist_ok=True)  # doctest: +SKIP
    """
    check_known("bench", arguments, OWN)
    groups = parse_groups(arguments.get("only", OWN["only"]))
    threads = parse_threads(arguments.get("threads", OWN["threads"]))
    repeats = parse_repeats(arguments.get("repeats", OWN["repeats"]))
    setting = Setting(threads, repeats, parse_device(arguments.get("device")))
    if "retrieval" in groups:
        check_scipy("only=retrieval")
    folder = _folder(arguments.get("project"), arguments.get("name"), arguments.get("exist_ok", False))
    with as_user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    LOGGER.info(f"bench: {folder}")

    results: Performance = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": " ".join(["diffattn bench", *(f"{key}={_typed(value)}" for key, value in arguments.items())]),
        "versions": versions() | optional_versions(),
        "hardware": hardware(),
        "groups": {},
    }
    for name in groups:
        LOGGER.info(f"\nbench: {name}")
        start = time.perf_counter()
        group = measure_apart(name, setting)
        for row in group["rows"]:
            row["group"] = name
        group["seconds"] = time.perf_counter() - start
        results["groups"][name] = group
        report.write(folder, results)  # after each, so that an interrupted run leaves what it has
    LOGGER.info(f"\n{report.summary(results)}\n\nbench: {folder}")
    return results


def parse_groups(only: object) -> list[str]:
    """Return the names of groups.

    Args:
        only (str | Sequence[str]): Some of `GROUPS`; a text has commas between them.

    Returns:
        (list[str]): The groups in their order, each once.

    Raises:
        UserError: If one is unknown, with the nearest known one.

    Examples:
        >>> parse_groups("core,block")
        ['core', 'block']
    """
    return chosen(only, GROUPS, f"only={only!r}: NAME is no group.")


def parse_threads(threads: object) -> list[int]:
    """Return numbers of threads.

    Args:
        threads (int | str | Sequence[int]): Whole numbers from 1 on.

    Returns:
        (list[int]): The numbers in their order, each once.

    Raises:
        UserError: If one is no such number.

    Examples:
        >>> parse_threads("1,2")
        [1, 2]
    """
    items = listed(threads)
    if not items or not all(t.isdecimal() and int(t) for t in items):
        raise UserError(f"threads={threads!r} must be whole numbers from 1 on, with commas between: threads=1,2.")
    return [int(t) for t in dict.fromkeys(items)]


def parse_repeats(repeats: int | str) -> int:
    """Return the number of turns of each case.

    Args:
        repeats (int | str): A whole number; 0 for the group's own.

    Returns:
        (int): The number.

    Raises:
        UserError: If it is no such number.

    Examples:
        >>> parse_repeats(5)
        5
    """
    if not str(repeats).isdecimal():
        raise UserError(f"repeats={repeats!r} must be a whole number, such as repeats=20, or 0 for each group's own.")
    return int(repeats)


def parse_device(device: int | str | None) -> torch.device | None:
    """Return the GPU to measure on.

    Args:
        device (int | str, optional): A GPU's number, "cuda:0", "cpu" for none, or None for the first if there is one.

    Returns:
        (torch.device | None): The GPU, or None for none.

    Raises:
        UserError: If there is no such GPU.

    Examples:
        >>> parse_device("cpu")
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = "" if device is None else str(device).strip().lower()
    if name == "cpu" or (not name and not count):
        return None
    number = name.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal() or int(number) >= count:
        available = f"GPUs here are {', '.join(map(str, range(count)))}" if count else "there is no CUDA GPU here"
        raise UserError(f"device={device!r} cannot be used: {available}. Give the number of one, or device=cpu.")
    return torch.device("cuda", int(number))


def _folder(project: Any, name: Any, exist_ok: Any) -> Path:
    """Return the folder; a relative `project` is below the current directory, as its user sees it, not below runs/."""
    if not isinstance(exist_ok, bool):
        raise UserError(f"exist_ok={exist_ok!r} must be True, to write into an existing folder, or False.")
    project = str(Path(str(project)).resolve()) if project else None
    return run_folder("detect", "val", str(name or "bench"), project, exist_ok)


def _typed(value: Any) -> str:
    """Return an argument's value as one types it."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
