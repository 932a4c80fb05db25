# Ultralytics DiffAttn - AGPL-3.0 License
"""The block and the whole model beside stock's: fused, compiled, in training, and exported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics_diffattn.benchmark.case import Case, random_tensor, runner
from ultralytics_diffattn.evaluation import cost

MODELS = {"ours": "yolo11n-diffattn.yaml", "stock": "yolo11n.yaml", "again": "yolo11n.yaml"}  # the last as a control


def block(side: int) -> Case:
    """Return layer 10 of both models, `C2PSA_Diff` and `C2PSA`, fused for inference.

    Args:
        side (int): Height and width of the feature map; 20 for an image of 640 px.

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of its output.
    """
    x = random_tensor(1, 256, side, side)
    return {label: runner(partial(build(name).model[10], x)) for label, name in MODELS.items()}


def whole(
    imgsz: int,
    batch: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    mode: str = "eager",
) -> Case:
    """Return both models, fused for inference.

    Args:
        imgsz (int): Height and width of the images, in pixels.
        batch (int): Number of images.
        device (torch.device | str): The device.
        dtype (torch.dtype): Of weights and images.
        mode (str): "eager", "compile" (`torch.compile` with its own options) or "graph" (a CUDA graph is replayed).

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of its output.
    """
    images = random_tensor(batch, 3, imgsz, imgsz).sigmoid().to(device, dtype)
    if mode == "compile":
        torch.compiler.reset()  # the models share their code, and of one code only eight variants are compiled
    case = {}
    for label, name in MODELS.items():
        model = build(name, device, dtype)
        run = runner(partial(torch.compile(model, dynamic=False) if mode == "compile" else model, images))
        case[label] = _graph(run, images.device) if mode == "graph" else run
    return case


def _graph(run: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return a replay of `run` on a GPU, captured after the warm-up on a side stream that PyTorch requires."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()
    return _Replay(graph, output)


class _Replay:
    """A captured graph with its output, whose memory each replay overwrites."""

    def __init__(self, graph: torch.cuda.CUDAGraph, output: Any) -> None:
        self.graph, self.output = graph, output

    def __call__(self) -> None:
        self.graph.replay()


def build(name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """Return a model, fused and ready for inference, with the weights that seed 0 gives.

    Args:
        name (str): A model YAML.
        device (torch.device | str): The device.
        dtype (torch.dtype): Type of its weights.

    Returns:
        (ultralytics.nn.tasks.BaseModel): The model.
    """
    return _settled(_seeded(name)).model.fuse(verbose=False).eval().to(device, dtype)


def _seeded(name: str) -> Any:
    """Return ultralytics' `YOLO` with the weights that seed 0 gives."""
    from ultralytics import YOLO

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return YOLO(name)


def _settled(yolo: Any) -> Any:
    """Return the model with BatchNorm statistics from images, as training leaves them.

    Without them, the inputs of a new model's attention are about 1e-9, and a CPU is slow with such numbers.
    """
    norms = [m for m in yolo.model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        yolo.model.train()(random_tensor(2, 3, 320, 320).sigmoid())
    yolo.model.eval()
    return yolo


def step(imgsz: int, batch: int) -> Case:
    """Return a training step of both models on the same random images: loss and gradients, without an optimizer.

    Args:
        imgsz (int): Height and width of the images, in pixels.
        batch (int): Number of images, with eight boxes each.

    Returns:
        (dict[str, Callable]): `ours` and `stock`, each returns a list of the loss.
    """
    boxes = 8 * batch
    centre, size = random_tensor(2, boxes, 2).sigmoid()
    labelled = {
        "img": random_tensor(batch, 3, imgsz, imgsz).sigmoid(),
        "cls": torch.arange(boxes)[:, None] % 80.0,
        "bboxes": torch.cat([centre, size / 4], dim=1),  # centre, width and height, as shares of the image
        "batch_idx": torch.arange(boxes) // 8.0,
    }

    return {label: _step(name, labelled) for label, name in MODELS.items()}


def _step(name: str, labelled: dict[str, Tensor]) -> Callable[[], list[Tensor]]:
    """Return a training step of a model on a batch."""
    from ultralytics.cfg import get_cfg

    model = _seeded(name).model.train()
    model.args = get_cfg()  # the gains of the losses, which a trainer would set

    def run() -> list[Tensor]:
        model.zero_grad(set_to_none=True)
        loss = model.loss(labelled)[0].sum()
        loss.backward()
        return [loss.detach()]

    return run


def export(folder: Path, kind: str, imgsz: int) -> dict[str, str]:
    """Return the files of both models, exported.

    Args:
        folder (Path): An empty folder, in which the files are written.
        kind (str): "onnx" or "openvino".
        imgsz (int): Height and width of the image, in pixels.

    Returns:
        (dict[str, str]): The file or folder of each label in `MODELS`.
    """
    files = {}
    for name in dict.fromkeys(MODELS.values()):  # stock's and its control's are one
        checkpoint = folder / f"{kind}-{Path(name).stem}.pt"
        _settled(_seeded(name)).save(checkpoint)
        files[name] = cost.exported(checkpoint, kind, imgsz)
    return {label: files[name] for label, name in MODELS.items()}


def exported(files: Callable[[], dict[str, str]], kind: str, imgsz: int) -> Case:
    """Return the exported models, on the CPU with as many threads as PyTorch has now.

    Args:
        files (Callable): Returns the files by name, as `export` does.
        kind (str): "onnx" or "openvino".
        imgsz (int): Height and width of the image, in pixels.

    Returns:
        (dict[str, Callable]): `ours` and `stock`.
    """
    image = random_tensor(1, 3, imgsz, imgsz).sigmoid()
    load = cost.onnx_runner if kind == "onnx" else _openvino_runner
    return {label: load(file, image) for label, file in files().items()}


def _openvino_runner(file: str, image: Tensor) -> Callable[[], Any]:
    """Return a callable that runs an exported model in OpenVINO, in the precision that it chooses."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(next(Path(file).glob("*.xml")), "CPU", options).create_infer_request()
    return lambda: request.infer([image.numpy()])


def nodes(file: str) -> int:
    """Return the number of nodes of an ONNX graph.

    Args:
        file (str): The ONNX file.

    Returns:
        (int): Number of nodes.
    """
    import onnx

    return len(onnx.load(file).graph.node)
