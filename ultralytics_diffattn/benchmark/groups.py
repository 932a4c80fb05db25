# Ultralytics DiffAttn - AGPL-3.0 License
"""The groups of `diffattn bench` by name; `python -m` this file measures one of them in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark.attention_groups import core, memory
from ultralytics_diffattn.benchmark.gpu_group import cuda
from ultralytics_diffattn.benchmark.model_groups import block, export, model, train
from ultralytics_diffattn.benchmark.results import Group
from ultralytics_diffattn.benchmark.retrieval_group import retrieval
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.benchmark.startup_group import start
from ultralytics_diffattn.child_process import end_with_parent
from ultralytics_diffattn.output.files import write_json

GROUPS: dict[str, Callable[[Setting], Group]] = {
    f.__name__: f for f in (core, memory, block, model, train, export, start, cuda, retrieval)
}
ON_REQUEST = ("retrieval",)  # measures no cost, and takes many minutes


def run(name: str, setting: Setting) -> Group:
    """Return the measurements of a group, or a note with the reason for none: other groups are still worth having.

    Args:
        name (str): One of `GROUPS`.
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`, and what else the group has.

    Examples:
        >>> run("cuda", Setting())["rows"]
        []
    """
    try:
        return GROUPS[name](setting)
    except Exception as e:
        LOGGER.warning(f"bench: {name} failed: {type(e).__name__}: {e}")
        return {"rows": [], "note": f"failed: {type(e).__name__}: {e}"}


def main(name: str, file: str, threads: str, repeats: str, gpu: str) -> None:
    """Write the measurements of one group, for `apart.measure_apart`.

    Args:
        name (str): One of `GROUPS`.
        file (str): The JSON file to write.
        threads (str): Numbers of threads with commas between.
        repeats (str): A whole number, 0 for the group's own.
        gpu (str): A device; empty for none.
    """
    setting = Setting([int(n) for n in threads.split(",")], int(repeats), torch.device(gpu) if gpu else None)
    write_json(Path(file), run(name, setting))


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
