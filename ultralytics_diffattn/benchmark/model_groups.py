# Ultralytics DiffAttn - AGPL-3.0 License
"""The groups that measure the block and the model on the CPU, in inference, in training and exported."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ultralytics_diffattn.benchmark import model_cases, targets
from ultralytics_diffattn.benchmark.case import Case
from ultralytics_diffattn.benchmark.results import Group, Row
from ultralytics_diffattn.benchmark.rows import Pair, Setting, measured

CONTROL: Pair = ("again", "stock", None)  # stock beside a second copy of itself: nothing but noise


def block(setting: Setting) -> Group:
    """Return the time of layer 10 of the fused models.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`.
    """
    return _beside_stock(setting, "C2PSA_Diff, {0} x {0} positions", model_cases.block, targets.BLOCK)


def model(setting: Setting) -> Group:
    """Return the time of the whole fused model.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`.
    """
    return _beside_stock(setting, "model, {} px", model_cases.whole, targets.MODEL)


def train(setting: Setting) -> Group:
    """Return the time of a training step.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`.
    """
    what, step = f"training step, {{}} px, batch {targets.BATCH}", partial(model_cases.step, batch=targets.BATCH)
    return _beside_stock(setting, what, step, targets.TRAIN)


def _beside_stock(
    setting: Setting, what: str, case: Callable[[int], Case], sizes: Mapping[int, targets.BesideStock]
) -> Group:
    """Return the rows of a case beside stock's, by number of threads and size."""
    rows: list[Row] = []
    for threads in setting.threads:
        for size, (turns, target) in sizes.items():
            pairs: list[Pair] = [("ours", "stock", target), CONTROL]
            rows += measured(setting, what.format(size), partial(case, size), pairs, turns, threads)
    return {"rows": rows}


def export(setting: Setting) -> Group:
    """Return the time of the whole exported model, and the number of nodes of its graph.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`; `nodes` of ours and of stock's ONNX graph, if both were exported.
    """
    rows: list[Row] = []
    nodes: dict[str, int] = {}
    for kind, (runtime, needs) in targets.RUNTIMES.items():
        for imgsz, (turns, target) in targets.EXPORT.items():
            with tempfile.TemporaryDirectory() as folder:
                files = functools.cache(partial(model_cases.export, Path(folder), kind, imgsz))  # once for all threads
                for threads in setting.threads:
                    what = f"model exported, {runtime}, {imgsz} px"
                    case = partial(model_cases.exported, files, kind, imgsz)
                    pairs: list[Pair] = [("ours", "stock", target), CONTROL]
                    rows += measured(setting, what, case, pairs, turns, threads, needs)
                if kind == "onnx" and rows[-1]["ratio"] is not None:
                    nodes = {label: model_cases.nodes(files()[label]) for label in ("ours", "stock")}
    return {"rows": rows, "nodes": nodes}
