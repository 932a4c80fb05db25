# Ultralytics DiffAttn - AGPL-3.0 License
"""The groups of `diffattn bench`: which cases, how often, and what a ratio of ours to the other should not exceed."""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark import cases, startup
from ultralytics_diffattn.child_process import end_with_parent
from ultralytics_diffattn.evaluation import timing
from ultralytics_diffattn.output.files import write_json

# Turns, so that a complete run takes about ten minutes on two cores; then targets, None where there is none.
CORE = {400: (60, None, 0.8), 1600: (20, 1.0, 0.5), 6400: (7, 0.85, 0.5)}  # by N; beside plain; timm and published
BACKWARD = {1600: (20, None, 0.6)}  # by N; beside plain; beside timm
CURVES = {  # turns by N; beyond, those whose maps are held whole would need tens of gigabytes
    "ours": {100: 30, 400: 20, 1600: 7, 6400: 3, 25600: 2},
    **{name: {100: 30, 400: 20, 1600: 7, 6400: 3} for name in ("timm", "published", "plain")},
}
CONTROL = ("again", "stock", None)  # stock beside a second copy of itself: what is nothing but noise
LINEAR = 4.4  # of memory, for four times the tokens
MEMORY = {"published": 0.1, "plain": None, "timm": None}  # ours beside each, at the most tokens that both have
BLOCK = {20: (60, 1.10), 40: (60, 1.00)}  # by side of the feature map: 640 and 1280 px
MODEL = {640: (40, 1.01), 1280: (16, 1.00)}  # by side of the image
TRAIN = {640: (12, 1.01)}
BATCH = 4  # images of a training step
EXPORT = {640: (40, 1.01)}
RUNTIMES = {"onnx": ("ONNX Runtime", ["onnx", "onnxruntime"]), "openvino": ("OpenVINO", ["openvino"])}
START = {
    "python -c pass": ("pass", 15),
    "import ultralytics": ("import ultralytics", 15),
    "building yolo11n": ("from ultralytics import YOLO; YOLO('yolo11n.yaml')", 15),
}
CUDA_CORE = {1600: (30, 2.1, 0.5), 6400: (30, 2.1, 0.5), 25600: (10, 2.1, 0.5)}  # by N; beside plain; beside timm
CUDA_MODEL = {640: (30, 1.02), 1280: (30, 1.02)}
CUDA_BATCHES = 1, 32
CUDA_DTYPES = torch.float16, torch.bfloat16
CUDA_MODES = "eager", "compile", "graph"


class Setting(NamedTuple):
    """What the user chose."""

    threads: Sequence[int] = (1,)  # of the CPU; each group is measured with each number
    repeats: int = 0  # turns of every case, 0 for the group's own
    gpu: torch.device | None = None


def run(name: str, setting: Setting) -> dict[str, Any]:
    """Return what one group measures, or a note that says why it cannot: other groups are still worth having.

    Args:
        name (str): One of `GROUPS`.
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`, and what else the group has.

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
    """Measure one group in this process, for bench.py.

    Args:
        name (str): One of `GROUPS`.
        file (str): Where to write what is measured.
        threads (str): Numbers of threads with commas between.
        repeats (str): A number.
        gpu (str): A device, or nothing.
    """
    chosen = Setting([int(n) for n in threads.split(",")], int(repeats), torch.device(gpu) if gpu else None)
    write_json(Path(file), run(name, chosen))


def measured(
    setting: Setting,
    what: str,
    case: Callable[[], cases.Case],
    pairs: list[tuple[str, str, float | None]],
    turns: int,
    threads: int | None = None,
    needs: Sequence[str] = (),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Return a row for each pair of a case; one that says why, if it cannot be measured here.

    Args:
        setting (Setting): What the user chose.
        what (str): What is measured.
        case (Callable): Makes the callables by name.
        pairs (list[tuple[str, str, float | None]]): Names of ours and of the other, and the target of their ratio.
        turns (int): How often each is measured, if the user did not choose.
        threads (int, optional): Threads of the CPU.
        needs (Sequence[str]): Packages without which it cannot run.
        device (str): "cpu", or the setting's GPU.

    Returns:
        (list[dict[str, Any]]): `what`, `device`, `threads`, `ours`, `other`, `ratio`, `low`, `high`, `ours_ms`,
            `other_ms`, `repeats`, `target`, `met`, and `why` where there is no ratio.

    Examples:
        >>> case = lambda: {"a": lambda: sum(range(9999)), "b": lambda: sum(range(9999))}
        >>> (row,) = measured(Setting(), "a sum", case, [("a", "b", 1000.0)], turns=4)
        >>> row["met"], row["repeats"]
        (True, 4)
    """
    turns = setting.repeats or turns
    about = {"what": what, "device": device, "threads": threads}
    gpu = setting.gpu if device != "cpu" else None
    try:
        _require(needs)
        with timing.threads(threads):
            wait = partial(torch.cuda.synchronize, gpu) if gpu and gpu.type == "cuda" else None
            compared = {name for ours, other, _ in pairs for name in (ours, other)}
            runners = {name: run for name, run in case().items() if name in compared}
            times = timing.interleaved(runners, turns, timing.WARMUP if turns >= 20 else 1, wait)
    except Exception as e:  # out of memory, an export that fails: the other rows are still worth having
        return [_row(about, ours, other, target, why=_reason(e)) for ours, other, target in pairs]
    rows = []
    for ours, other, target in pairs:
        ms = {"ours_ms": statistics.median(times[ours]), "other_ms": statistics.median(times[other])}
        rows.append(_row(about, ours, other, target, *timing.ratio(times[ours], times[other]), repeats=turns, **ms))
    return rows


def core(setting: Setting) -> dict[str, Any]:
    """Measure attention alone, on the CPU in float32.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`.
    """
    rows = []
    for threads in setting.threads:
        for sizes, backward in ((CORE, False), (BACKWARD, True)):
            for tokens, (turns, plain, slow) in sizes.items():
                what = f"core, forward{' and backward' * backward}, N = {tokens:,}"
                pairs = [("ours", "plain", plain)]
                if not backward:
                    pairs += [("ours", "published", slow), ("flash", "plain", None), ("formula", "plain", None)]
                case = partial(cases.core, tokens, backward=backward)
                rows += measured(setting, what, case, pairs, turns, threads)
                case = partial(cases.modules, tokens, backward=backward)
                rows += measured(setting, what, case, [("ours", "timm", slow)], turns, threads, ["timm"])
    return {"rows": rows}


def memory(setting: Setting) -> dict[str, Any]:
    """Measure how peak memory, forward and backward, and the time forward grow with the number of tokens.

    Args:
        setting (Setting): What the user chose; the last number of threads counts.

    Returns:
        (dict[str, Any]): `rows`; `curves`, for each name a list of `tokens`, `ms` and `mb` (or `why`).
    """
    threads = setting.threads[-1]
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in CURVES}
    for tokens in sorted({tokens for sizes in CURVES.values() for tokens in sizes}):
        for name, sizes in CURVES.items():
            if tokens in sizes:
                LOGGER.info(f"{name}, N = {tokens:,}")
                curves[name].append(
                    {"tokens": tokens, **_point(name, tokens, setting.repeats or sizes[tokens], threads)}
                )
    peaks = {(name, p["tokens"]): p for name, points in curves.items() for p in points}
    about = {"device": "cpu", "threads": threads}
    rows = []
    for tokens in sorted(CURVES["ours"])[-2:]:
        more, less = (peaks["ours", n] for n in (tokens, tokens // 4))
        names = (f"ours, N = {p['tokens']:,}" for p in (more, less))
        rows.append(_memory_row({"what": "memory", **about}, names, more, less, LINEAR))
    for other, target in MEMORY.items():
        tokens = max(CURVES[other])
        points = peaks["ours", tokens], peaks[other, tokens]
        rows.append(_memory_row({"what": f"memory, N = {tokens:,}", **about}, ("ours", other), *points, target))
    return {"rows": rows, "curves": curves}


def _point(name: str, tokens: int, turns: int, threads: int) -> dict[str, Any]:
    """Return `ms` and `mb` of one way to compute attention, or `why` there are none."""
    case = cases.modules if name == "timm" else cases.core
    try:
        _require([name] if name == "timm" else [])
        with timing.threads(threads):
            times = timing.interleaved({name: case(tokens)[name]}, turns, warmup=1)
            run = case(tokens, backward=True)[name]
            run()  # what the first run keeps for later ones is not part of the peak
            return {"ms": statistics.median(times[name]), "mb": timing.peak_memory(run) / 1e6}
    except Exception as e:
        return {"why": _reason(e)}


def _memory_row(about: dict, names: Iterable[str], ours: dict, other: dict, target: float | None) -> dict[str, Any]:
    if "why" in ours or "why" in other:
        return _row(about, *names, target, why=ours.get("why") or other["why"])
    mb = {"ours_mb": ours["mb"], "other_mb": other["mb"]}
    return _row(about, *names, target, ours["mb"] / other["mb"], repeats=1, **mb)


def block(setting: Setting) -> dict[str, Any]:
    """Measure layer 10 of the fused models.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`.
    """
    return _beside_stock(setting, "C2PSA_Diff, {0} x {0} positions", cases.block, BLOCK)


def model(setting: Setting) -> dict[str, Any]:
    """Measure the whole fused model.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`.
    """
    return _beside_stock(setting, "model, {} px", cases.whole, MODEL)


def train(setting: Setting) -> dict[str, Any]:
    """Measure a training step.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`.
    """
    return _beside_stock(setting, f"training step, {{}} px, batch {BATCH}", partial(cases.step, batch=BATCH), TRAIN)


def _beside_stock(setting: Setting, what: str, case: Callable[[int], cases.Case], sizes: dict) -> dict[str, Any]:
    rows = []
    for threads in setting.threads:
        for size, (turns, target) in sizes.items():
            pairs = [("ours", "stock", target), CONTROL]
            rows += measured(setting, what.format(size), partial(case, size), pairs, turns, threads)
    return {"rows": rows}


def export(setting: Setting) -> dict[str, Any]:
    """Measure the whole model exported, and count the nodes of its graph.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`; `nodes` of ours and of stock's ONNX graph, if there are both.
    """
    rows, nodes = [], {}
    for kind, (runtime, needs) in RUNTIMES.items():
        for imgsz, (turns, target) in EXPORT.items():
            with tempfile.TemporaryDirectory() as room:
                files = functools.cache(partial(cases.export, Path(room), kind, imgsz))  # once for all threads
                for threads in setting.threads:
                    what = f"model exported, {runtime}, {imgsz} px"
                    case = partial(cases.exported, files, kind, imgsz)
                    rows += measured(setting, what, case, [("ours", "stock", target), CONTROL], turns, threads, needs)
                if kind == "onnx" and rows[-1]["ratio"] is not None:
                    nodes = {label: cases.nodes(files()[label]) for label in ("ours", "stock")}
    return {"rows": rows, "nodes": nodes}


def start(setting: Setting) -> dict[str, Any]:
    """Measure fresh interpreters with the line that the installed package adds to each start, and without.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`; `at_start` with `ms`, `low` and `high` of our import, and the `modules` it loads.
    """
    rows = []
    for what, (code, turns) in START.items():
        rows += measured(setting, what, partial(startup.start, code), [("with", "without", None)], turns)
    try:
        turns = setting.repeats or max(turns for _, turns in START.values())
        seen = [startup.at_start() for _ in range(max(2, turns))]  # of one there are no quartiles
    except Exception as e:
        return {"rows": rows, "note": _reason(e)}
    low, median, high = statistics.quantiles([s["ms"] for s in seen], n=4, method="inclusive")
    at_start = {"ms": median, "low": low, "high": high, "repeats": len(seen), "modules": seen[0]["modules"]}
    return {"rows": rows, "at_start": at_start}


def cuda(setting: Setting) -> dict[str, Any]:
    """Measure attention and the whole model on a CUDA GPU.

    Args:
        setting (Setting): What the user chose.

    Returns:
        (dict[str, Any]): `rows`, or a `note` where there is no GPU.
    """
    gpu = setting.gpu
    if gpu is None:
        reason = "left out by device=cpu" if torch.cuda.is_available() else "no CUDA GPU on this machine"
        return {"rows": [], "note": f"{reason}: not measured"}
    device = torch.cuda.get_device_name(gpu) if gpu.type == "cuda" else str(gpu)
    rows = []
    for dtype in CUDA_DTYPES:
        for tokens, (turns, plain, timm) in CUDA_CORE.items():
            for batch in CUDA_BATCHES:
                what = f"core, forward, {str(dtype).removeprefix('torch.')}, batch {batch}, N = {tokens:,}"
                given = tokens, batch, gpu, dtype
                for case, other, target, needs in (
                    (cases.kernels, "plain", plain, []),
                    (cases.modules, "timm", timm, ["timm"]),
                ):
                    pairs = [("ours", other, target)]
                    rows += measured(setting, what, partial(case, *given), pairs, turns, needs=needs, device=device)
    for imgsz, (turns, target) in CUDA_MODEL.items():
        for batch in CUDA_BATCHES:
            for mode in CUDA_MODES:
                what = f"model, {imgsz} px, float16, batch {batch}, {mode}"
                case = partial(cases.whole, imgsz, batch, gpu, torch.float16, mode)
                rows += measured(setting, what, case, [("ours", "stock", target)], turns, device=device)
    return {"rows": rows}


GROUPS = {f.__name__: f for f in (core, memory, block, model, train, export, start, cuda)}


def _row(
    about: dict[str, Any],
    ours: str,
    other: str,
    target: float | None,
    ratio: float | None = None,
    low: float | None = None,
    high: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a row, and log it: a complete run takes minutes."""
    met = None if ratio is None or target is None else ratio <= target
    on = f", threads {about['threads']}" if about["threads"] else ""
    value = f"not measured: {more.get('why')}" if ratio is None else f"{ratio:.3f}"
    LOGGER.info(f"{about['what']}{on}: {ours} over {other} {value}")
    row = {**about, "ours": ours, "other": other, "ratio": ratio, "low": low, "high": high}
    return {**row, "ours_ms": None, "other_ms": None, "repeats": 0, "target": target, "met": met, **more}


def _require(packages: Sequence[str]) -> None:
    for name in packages:
        if not find_spec(name):  # ultralytics would install some of them unasked
            raise ModuleNotFoundError(f"{name} is not installed")


def _reason(error: Exception) -> str:
    """Return an error in one line."""
    text = str(error).strip().splitlines()
    return (
        text[0] if isinstance(error, ModuleNotFoundError) and text else f"{type(error).__name__}: {(text or ['-'])[0]}"
    )


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
