# Ultralytics DiffAttn - AGPL-3.0 License
"""The group that measures what the plugin adds to each start of an interpreter."""

from __future__ import annotations

import statistics
from functools import partial

from ultralytics_diffattn.benchmark import startup, targets
from ultralytics_diffattn.benchmark.results import Group, ImportTime, Row
from ultralytics_diffattn.benchmark.rows import Setting, measured, reason


def start(setting: Setting) -> Group:
    """Return the time of fresh interpreters with and without the line that the installed package adds.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`; `at_start`, the cost of our import.
    """
    rows: list[Row] = []
    for what, (code, turns) in targets.START.items():
        rows += measured(setting, what, partial(startup.start, code), [("with", "without", None)], turns)
    try:
        turns = setting.repeats or max(turns for _, turns in targets.START.values())
        starts = [startup.at_start() for _ in range(max(2, turns))]  # of one there are no quartiles
    except Exception as e:
        return {"rows": rows, "note": reason(e)}
    low, median, high = statistics.quantiles([ms for ms, _ in starts], n=4, method="inclusive")
    modules = starts[0].modules
    at_start: ImportTime = {"ms": median, "low": low, "high": high, "repeats": len(starts), "modules": modules}
    return {"rows": rows, "at_start": at_start}
