# Ultralytics DiffAttn - AGPL-3.0 License
"""What models cost: parameters, GFLOPs, and latency measured side by side."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from ultralytics.utils import LOGGER

REPEATS = 30


def size(checkpoint: Path, imgsz: int) -> dict[str, float]:
    """Return parameters and GFLOPs of a checkpoint, as ultralytics counts them.

    Args:
        checkpoint (Path): A `.pt` file of ultralytics.
        imgsz (int): Height and width of the image, in pixels.

    Returns:
        (dict[str, float]): `parameters` and `gflops`.
    """
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import get_flops

    model = YOLO(checkpoint).model
    return {"parameters": sum(p.numel() for p in model.parameters()), "gflops": get_flops(model, imgsz)}


def latency(checkpoints: dict[str, Path], imgsz: int, device: str | None = None) -> dict[str, dict[str, float | None]]:
    """Return the time that each model takes for one image, of PyTorch and of ONNX Runtime on the CPU.

    The models take turns, so that what else the machine does falls on all of them; the median of 30 turns counts.
    Only the model runs, fused and in float32, without loading, resizing or non-maximum suppression.

    Args:
        checkpoints (dict[str, Path]): By name of the model.
        imgsz (int): Height and width of the image, in pixels.
        device (str, optional): Where PyTorch runs, as ultralytics' `device=`.

    Returns:
        (dict[str, dict[str, float | None]]): For each name `pytorch` and `onnxruntime` in milliseconds; None where
            onnx or onnxruntime is not installed, or the export fails.
    """
    image = torch.rand(1, 3, imgsz, imgsz)
    runners = {name: _pytorch(file, image, device) for name, file in checkpoints.items()}
    pytorch = _interleaved(runners)
    onnx = dict.fromkeys(checkpoints)
    if find_spec("onnx") and find_spec("onnxruntime"):  # else ultralytics would install them unasked
        try:
            onnx = _interleaved({name: _onnx(file, image) for name, file in checkpoints.items()})
        except Exception as e:  # of ultralytics' or torch's export; hours of training are not to fail for it
            LOGGER.warning(f"no latency of ONNX Runtime: {type(e).__name__}: {e}")
    return {name: {"pytorch": pytorch[name], "onnxruntime": onnx[name]} for name in checkpoints}


def hardware() -> dict[str, str | int]:
    """Return what the measurements depend on.

    Returns:
        (dict[str, str | int]): Processor, number of cores, GPU, system.
    """
    from ultralytics.utils.torch_utils import get_cpu_info

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": get_cpu_info(), "cores": os.cpu_count() or 0, "gpu": gpu, "system": platform.platform()}


def _pytorch(file: Path, image: torch.Tensor, device: str | None) -> Callable[[], None]:
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import select_device

    where = select_device(str(device or "").split(",")[0], verbose=False)
    model, image = YOLO(file).model.to(where).float().fuse(verbose=False).eval(), image.to(where)

    def run() -> None:
        with torch.inference_mode():
            model(image)
        if where.type == "cuda":
            torch.cuda.synchronize(where)

    return run


def _onnx(file: Path, image: torch.Tensor) -> Callable[[], None]:
    import onnxruntime
    from ultralytics import YOLO

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as PyTorch has
    level = LOGGER.level
    LOGGER.setLevel("WARNING")  # else a page for each model between the last training and the result
    try:
        exported = YOLO(file).export(format="onnx", imgsz=image.shape[-1], device="cpu", verbose=False)
    finally:
        LOGGER.setLevel(level)
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, feed)


def _interleaved(runners: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median time of each in milliseconds, the runners taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(3 + REPEATS):  # the first three warm up
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}
