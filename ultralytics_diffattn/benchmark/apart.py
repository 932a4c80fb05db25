# Ultralytics DiffAttn - AGPL-3.0 License
"""A group of the benchmark measured in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ultralytics_diffattn.benchmark.results import Group
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.child_process import run_module
from ultralytics_diffattn.output.files import read_json


def measure_apart(name: str, setting: Setting) -> Group:
    """Return the measurements of a group, made in a process of its own.

    The state of the allocator after one group makes the next one faster or slower: after maps of gigabytes, those of
    plain attention come without page faults, so that a group would measure one thing alone and another among others.

    Args:
        name (str): One of `groups.GROUPS`.
        setting (Setting): The user's choices.

    Returns:
        (Group): Its measurements; a note if the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "group.json"
        threads, gpu = ",".join(map(str, setting.threads)), setting.gpu or ""
        status = run_module("ultralytics_diffattn.benchmark.groups", name, file, threads, setting.repeats, gpu)
        if not file.exists():
            return {"rows": [], "note": f"failed: its process ended with {status}"}
        group: Group = read_json(file)
        return group
