# Ultralytics DiffAttn - AGPL-3.0 License
"""Cost of models: parameters, GFLOPs, and latency measured side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.evaluation.timing import interleaved

REPEATS = 30


class Size(TypedDict):
    """Size of a model: the number of its parameters, and GFLOPs for one image."""

    parameters: int
    gflops: float


class Latency(TypedDict):
    """Median time for one image, in milliseconds; None where it could not be measured."""

    pytorch: float | None
    onnxruntime: float | None


def size(checkpoint: Path, imgsz: int) -> Size:
    """Return parameters and GFLOPs of a checkpoint, as ultralytics counts them.

    Args:
        checkpoint (Path): A `.pt` file of ultralytics.
        imgsz (int): Height and width of the image, in pixels.

    Returns:
        (Size): Both figures.
    """
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import get_flops

    model: Any = YOLO(checkpoint).model
    return {"parameters": sum(p.numel() for p in model.parameters()), "gflops": get_flops(model, imgsz)}


def latency(checkpoints: dict[str, Path], imgsz: int, device: str | None = None) -> dict[str, Latency]:
    """Return the time that each model takes for one image, in PyTorch and in ONNX Runtime on the CPU.

    The models take turns, so that what else the machine does falls on all of them; the median of 30 turns counts.
    Only the model runs, fused and in float32, without loading, resizing or non-maximum suppression.

    Args:
        checkpoints (dict[str, Path]): By name of the model; an ONNX file is measured in ONNX Runtime alone.
        imgsz (int): Height and width of the image, in pixels.
        device (str, optional): Where PyTorch runs, as ultralytics' `device=`.

    Returns:
        (dict[str, Latency]): By name of the model; `onnxruntime` is None where onnx or onnxruntime is not installed, or
            the export fails.
    """
    image = torch.rand(1, 3, imgsz, imgsz)
    runners = {name: _pytorch(file, image, device) for name, file in checkpoints.items() if file.suffix == ".pt"}
    pytorch = {**dict.fromkeys(checkpoints), **_medians(runners)}
    onnx: dict[str, float | None] = dict.fromkeys(checkpoints)
    if find_spec("onnx") and find_spec("onnxruntime"):  # else ultralytics would install them unasked
        try:
            onnx = {**_medians({name: _onnx(file, image) for name, file in checkpoints.items()})}
        except Exception as e:  # of ultralytics' or torch's export; hours of training are not to fail for it
            LOGGER.warning(f"the latency in ONNX Runtime could not be measured: {type(e).__name__}: {e}")
    return {name: {"pytorch": pytorch[name], "onnxruntime": onnx[name]} for name in checkpoints}


def _pytorch(file: Path, image: torch.Tensor, device: str | None) -> Callable[[], None]:
    """Return a callable that runs the fused model once in PyTorch."""
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import select_device

    where = select_device(str(device or "").split(",")[0], verbose=False)
    network: Any = YOLO(file).model
    model, image = network.to(where).float().fuse(verbose=False).eval(), image.to(where)

    def run() -> None:
        with torch.inference_mode():
            model(image)
        if where.type == "cuda":
            torch.cuda.synchronize(where)

    return run


def _onnx(file: Path, image: torch.Tensor) -> Callable[[], None]:
    """Return a callable that runs the exported model once in ONNX Runtime."""
    if file.suffix != ".onnx":
        # Not simplified, which takes seconds: ONNX Runtime folds the same when it loads the graph.
        file = Path(exported(file, "onnx", image.shape[-1], simplify=False))
    return onnx_runner(str(file), image)


def exported(file: Path, kind: str, imgsz: int, **options: Any) -> str:
    """Return the path of an exported checkpoint, without output and without installing a missing package.

    Args:
        file (Path): A `.pt` file of ultralytics.
        kind (str): Ultralytics' name of the format; its packages have to be installed.
        imgsz (int): Height and width of the image, in pixels.
        **options (Any): More of ultralytics' arguments; without a `device` it is made on the CPU.

    Returns:
        (str): The file or folder, beside the checkpoint.
    """
    from ultralytics import YOLO

    level = LOGGER.level
    LOGGER.setLevel("WARNING")  # else a page of log for each model
    try:
        # Without onnxslim ultralytics would install it unasked; for other formats it refuses the argument.
        plain = {"simplify": False} if kind == "onnx" and not find_spec("onnxslim") else {}
        arguments = {"format": kind, "imgsz": imgsz, "device": "cpu", "verbose": False, **plain, **options}
        return str(YOLO(file).export(**arguments))
    finally:
        LOGGER.setLevel(level)


def onnx_runner(file: str, image: torch.Tensor) -> Callable[[], Any]:
    """Return a callable that runs an ONNX file in ONNX Runtime on the CPU, with as many threads as PyTorch has now.

    Args:
        file (str): The file.
        image (torch.Tensor): The input of each run, (B, 3, imgsz, imgsz), float32.

    Returns:
        (Callable): Runs the model once and returns its outputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, feed)


def _medians(runners: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median time of each in milliseconds, the runners taking turns."""
    return {name: statistics.median(times) for name, times in interleaved(runners, REPEATS).items()}
