# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn bench`: what differential attention costs beside plain attention, measured on this machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import LOGGER, IterableSimpleNamespace

from ultralytics_diffattn import measure, performance
from ultralytics_diffattn.cli import chosen, listed
from ultralytics_diffattn.compare import versions
from ultralytics_diffattn.groups import GROUPS, Setting
from ultralytics_diffattn.output.files import read_json, write_json, write_text

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
    for key in given:
        if key not in ALLOWED:
            raise ValueError(f"{key}= is not an argument of bench; it takes {', '.join(f'{k}=' for k in ALLOWED)}.")
    groups = parse_groups(given.get("only", OWN["only"]))
    repeats = parse_repeats(given.get("repeats", OWN["repeats"]))
    setting = Setting(parse_threads(given.get("threads", OWN["threads"])), repeats, parse_device(given.get("device")))
    folder = _folder(given.get("project"), given.get("name"), given.get("exist_ok", False))
    folder.mkdir(parents=True, exist_ok=True)
    LOGGER.info(f"bench: {folder}")

    found: dict[str, Any] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": " ".join(["diffattn bench", *(f"{key}={_typed(value)}" for key, value in given.items())]),
        "versions": versions() | _optional(),
        "hardware": measure.hardware(),
        "groups": {},
    }
    for name in groups:
        LOGGER.info(f"\nbench: {name}")
        start = time.perf_counter()
        group = _apart(name, setting)
        group["rows"] = [{"group": name, **row} for row in group["rows"]]
        found["groups"][name] = {**group, "seconds": time.perf_counter() - start}
        _write(folder, found)  # after each, so that a run which is cut leaves what it has
    LOGGER.info(f"\n{performance.summary(found)}\n\nbench: {folder}")
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


def _write(folder: Path, found: dict[str, Any]) -> None:
    """Write what was measured as JSON, Markdown and, if there are curves, a picture."""
    write_json(folder / "performance.json", found)
    write_text(folder / "performance.md", performance.as_markdown(found))
    picture = performance.as_png(found)
    if picture:
        (folder / "performance.png").write_bytes(picture)


def _apart(name: str, setting: Setting) -> dict[str, Any]:
    """Return what a group measures in a process of its own.

    What an allocator has learnt from one group makes the next one faster or slower: after maps of gigabytes, those of
    plain attention come without page faults, and a group would say one thing alone and another among others.
    """
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "group.json"
        threads, gpu = ",".join(map(str, setting.threads)), str(setting.gpu or "")
        command = [sys.executable, "-m", "ultralytics_diffattn.groups", name, file, threads, setting.repeats, gpu]
        # A session of its own: with stdin closed, by our end of any kind, the group ends itself and its children.
        with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, start_new_session=True) as child:
            try:
                status = child.wait()
            finally:
                child.stdin.close()
        return read_json(file) if file.exists() else {"rows": [], "note": f"failed: its process ended with {status}"}


def _folder(project: Any, name: Any, exist_ok: Any) -> Path:
    """Return the folder; a relative `project` is below the current directory, as its user sees it, not below runs/."""
    from ultralytics.cfg import get_save_dir

    if not isinstance(exist_ok, bool):
        raise ValueError(f"exist_ok={exist_ok!r} must be True, to write into a folder that is there, or False.")
    where = {"project": str(Path(str(project)).resolve()) if project else None, "name": str(name or "bench")}
    return get_save_dir(IterableSimpleNamespace(task="detect", mode="val", exist_ok=exist_ok, save_dir=None, **where))


def _typed(value: Any) -> str:
    """Return an argument's value as one types it."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _optional() -> dict[str, str]:
    """Return the versions of what some groups need."""
    found = {}
    for name in ("timm", "onnxruntime", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
