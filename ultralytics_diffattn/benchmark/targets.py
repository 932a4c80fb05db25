# Ultralytics DiffAttn - AGPL-3.0 License
"""The sizes that `diffattn bench` measures, how often, and the largest ratio of ours to the other to accept."""

from __future__ import annotations

import torch

Forward = tuple[int, float | None, float | None]  # turns; target beside plain attention; beside the slow ones
BesideStock = tuple[int, float]  # turns; target beside stock or plain attention

# Turns are such that a complete run takes about ten minutes on two cores.
CORE: dict[int, Forward] = {
    400: (60, 1.6, 0.8),
    1600: (20, 1.0, 0.5),
    6400: (7, 0.85, 0.5),
}  # by N; slow are timm and published
CORE_EXPORT: dict[int, BesideStock] = {400: (60, 1.6)}  # by N, as an ONNX graph
BACKWARD: dict[int, Forward] = {1600: (20, None, 0.6)}  # by N; slow is timm
CURVES: dict[
    str, dict[int, int]
] = {  # turns by N; beyond, those whose maps are held whole would need tens of gigabytes
    "ours": {100: 30, 400: 20, 1600: 7, 6400: 3, 25600: 2},
    **{name: {100: 30, 400: 20, 1600: 7, 6400: 3} for name in ("timm", "published", "plain")},
}
LINEAR = 4.4  # growth of memory with four times the tokens
MEMORY: dict[str, float | None] = {
    "published": 0.1,
    "plain": None,
    "timm": None,
}  # ours beside each, at the largest number of tokens of both
BLOCK: dict[int, BesideStock] = {20: (60, 1.10), 40: (60, 1.00)}  # by side of the feature map: 640 and 1280 px
MODEL: dict[int, BesideStock] = {640: (40, 1.01), 1280: (16, 1.00)}  # by side of the image
TRAIN: dict[int, BesideStock] = {640: (12, 1.01)}
BATCH = 4  # images of a training step
EXPORT: dict[int, BesideStock] = {640: (40, 1.01)}
RUNTIMES: dict[str, tuple[str, list[str]]] = {
    "onnx": ("ONNX Runtime", ["onnx", "onnxruntime"]),
    "openvino": ("OpenVINO", ["openvino"]),
}
START: dict[str, tuple[str, int]] = {
    "python -c pass": ("pass", 15),
    "import ultralytics": ("import ultralytics", 15),
    "building yolo11n": ("from ultralytics import YOLO; YOLO('yolo11n.yaml')", 15),
}
CUDA_CORE: dict[int, Forward] = {
    1600: (30, 2.1, 0.5),
    6400: (30, 2.1, 0.5),
    25600: (10, 2.1, 0.5),
}  # by N; slow is timm
CUDA_MODEL: dict[int, BesideStock] = {640: (30, 1.02), 1280: (30, 1.02)}
CUDA_BATCHES = 1, 32
CUDA_DTYPES = torch.float16, torch.bfloat16
CUDA_MODES = "eager", "compile", "graph"

# What `retrieval` reads.
SEEDS = 5
NOISE = 0.5, 0.75, 1.0  # standard deviation in each channel, where that of a code is 1
TOKENS = 100, 400, 1600
STEPS = 260  # of a block's training
MAPS = 80  # that are read for an accuracy
