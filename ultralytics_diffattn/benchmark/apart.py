# Ultralytics DiffAttn - AGPL-3.0 License
"""A group of the benchmark in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ultralytics_diffattn.benchmark.groups import Setting
from ultralytics_diffattn.child_process import run_module
from ultralytics_diffattn.output.files import read_json


def measure_apart(name: str, setting: Setting) -> dict[str, Any]:
    """Return what a group measures in a process of its own.

    What an allocator has learnt from one group makes the next one faster or slower: after maps of gigabytes, those of
    plain attention come without page faults, and a group would say one thing alone and another among others.
    """
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "group.json"
        threads, gpu = ",".join(map(str, setting.threads)), setting.gpu or ""
        status = run_module("ultralytics_diffattn.benchmark.groups", name, file, threads, setting.repeats, gpu)
        return read_json(file) if file.exists() else {"rows": [], "note": f"failed: its process ended with {status}"}
