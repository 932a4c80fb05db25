# Ultralytics DiffAttn - AGPL-3.0 License
"""The groups that measure attention alone on the CPU: time, and how memory grows with the number of tokens."""

from __future__ import annotations

import statistics
from functools import partial

from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark import attention_cases, targets
from ultralytics_diffattn.benchmark.results import About, Group, Point, Row
from ultralytics_diffattn.benchmark.rows import Pair, Setting, measured, reason, require, row_of
from ultralytics_diffattn.evaluation import timing


def core(setting: Setting) -> Group:
    """Return the time of attention alone, on the CPU in float32, in PyTorch and as an ONNX graph.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`.
    """
    rows: list[Row] = []
    for threads in setting.threads:
        for sizes, backward in ((targets.CORE, False), (targets.BACKWARD, True)):
            for tokens, (turns, plain, slow) in sizes.items():
                what = f"core, forward{' and backward' * backward}, N = {tokens:,}"
                pairs: list[Pair] = [("ours", "plain", plain)]
                if not backward:
                    pairs += [("ours", "published", slow), ("flash", "plain", None), ("formula", "plain", None)]
                case = partial(attention_cases.core, tokens, backward=backward)
                rows += measured(setting, what, case, pairs, turns, threads)
                case = partial(attention_cases.modules, tokens, backward=backward)
                rows += measured(setting, what, case, [("ours", "timm", slow)], turns, threads, ["timm"])
        runtime, needs = targets.RUNTIMES["onnx"]
        for tokens, (turns, target) in targets.CORE_EXPORT.items():
            case, what = partial(attention_cases.exported, tokens), f"core exported, {runtime}, N = {tokens:,}"
            rows += measured(setting, what, case, [("ours", "plain", target)], turns, threads, needs)
    return {"rows": rows}


def memory(setting: Setting) -> Group:
    """Return peak memory, forward and backward, and the time forward by the number of tokens.

    Args:
        setting (Setting): The user's choices; the last number of threads counts.

    Returns:
        (Group): `rows` and `curves`.
    """
    threads = setting.threads[-1]
    curves: dict[str, list[Point]] = {name: [] for name in targets.CURVES}
    for tokens in sorted({tokens for sizes in targets.CURVES.values() for tokens in sizes}):
        for name, sizes in targets.CURVES.items():
            if tokens in sizes:
                LOGGER.info(f"{name}, N = {tokens:,}")
                curves[name].append(_point(name, tokens, setting.repeats or sizes[tokens], threads))
    peaks = {(name, p["tokens"]): p for name, points in curves.items() for p in points}
    rows = []
    for tokens in sorted(targets.CURVES["ours"])[-2:]:
        more, less = peaks["ours", tokens], peaks["ours", tokens // 4]
        pair = f"ours, N = {tokens:,}", f"ours, N = {tokens // 4:,}", targets.LINEAR
        rows.append(_memory_row({"what": "memory", "device": "cpu", "threads": threads}, pair, more, less))
    for other, target in targets.MEMORY.items():
        tokens = max(targets.CURVES[other])
        about: About = {"what": f"memory, N = {tokens:,}", "device": "cpu", "threads": threads}
        rows.append(_memory_row(about, ("ours", other, target), peaks["ours", tokens], peaks[other, tokens]))
    return {"rows": rows, "curves": curves}


def _point(name: str, tokens: int, turns: int, threads: int) -> Point:
    """Return time and peak memory of one implementation of attention, or the reason for none."""
    case = attention_cases.modules if name == "timm" else attention_cases.core
    try:
        require([name] if name == "timm" else [])
        with timing.threads(threads):
            times = timing.interleaved({name: case(tokens)[name]}, turns, warmup=1)
            run = case(tokens, backward=True)[name]
            run()  # what the first run caches for later ones is not part of the peak
            peak = timing.peak_memory(run)
            return {"tokens": tokens, "ms": statistics.median(times[name]), "mb": peak / 1e6}
    except Exception as e:
        return {"tokens": tokens, "why": reason(e)}


def _memory_row(about: About, pair: Pair, ours: Point, other: Point) -> Row:
    """Return the row of a ratio of peaks."""
    if "why" in ours or "why" in other:
        return row_of(about, *pair, None, repeats=0, why=ours.get("why") or other["why"])
    row = row_of(about, *pair, (ours["mb"] / other["mb"], None, None), repeats=1)
    return {**row, "ours_mb": ours["mb"], "other_mb": other["mb"]}
