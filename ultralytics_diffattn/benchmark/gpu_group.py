# Ultralytics DiffAttn - AGPL-3.0 License
"""The group that measures attention and the whole model on a CUDA GPU."""

from __future__ import annotations

from functools import partial

import torch

from ultralytics_diffattn.benchmark import attention_cases, model_cases, targets
from ultralytics_diffattn.benchmark.results import Group, Row
from ultralytics_diffattn.benchmark.rows import Pair, Setting, measured


def cuda(setting: Setting) -> Group:
    """Return the time of attention and of the whole model on a CUDA GPU.

    Args:
        setting (Setting): The user's choices.

    Returns:
        (Group): `rows`, or a `note` where there is no GPU.
    """
    gpu = setting.gpu
    if gpu is None:
        reason = "left out by device=cpu" if torch.cuda.is_available() else "no CUDA GPU on this machine"
        return {"rows": [], "note": f"{reason}: not measured"}
    device = torch.cuda.get_device_name(gpu) if gpu.type == "cuda" else str(gpu)
    return {"rows": [*_attention(setting, gpu, device), *_models(setting, gpu, device)]}


def _attention(setting: Setting, gpu: torch.device, device: str) -> list[Row]:
    """Return the rows of attention alone, beside plain attention and timm's."""
    rows: list[Row] = []
    for dtype in targets.CUDA_DTYPES:
        for tokens, (turns, plain, slow) in targets.CUDA_CORE.items():
            for batch in targets.CUDA_BATCHES:
                what = f"core, forward, {str(dtype).removeprefix('torch.')}, batch {batch}, N = {tokens:,}"
                case = partial(attention_cases.kernels, tokens, batch, gpu, dtype)
                rows += measured(setting, what, case, [("ours", "plain", plain)], turns, device=device)
                case = partial(attention_cases.modules, tokens, batch, gpu, dtype)
                rows += measured(setting, what, case, [("ours", "timm", slow)], turns, needs=["timm"], device=device)
    return rows


def _models(setting: Setting, gpu: torch.device, device: str) -> list[Row]:
    """Return the rows of the whole model in float16."""
    rows: list[Row] = []
    for imgsz, (turns, target) in targets.CUDA_MODEL.items():
        for batch in targets.CUDA_BATCHES:
            for mode in targets.CUDA_MODES:
                what = f"model, {imgsz} px, float16, batch {batch}, {mode}"
                case = partial(model_cases.whole, imgsz, batch, gpu, torch.float16, mode)
                pairs: list[Pair] = [("ours", "stock", target)]
                rows += measured(setting, what, case, pairs, turns, device=device)
    return rows
