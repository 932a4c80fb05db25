# Ultralytics DiffAttn - AGPL-3.0 License
"""A model with other modules for the classes, task and scale of a trained one, and how far two outputs differ."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics_diffattn.errors import UserError, as_user_errors


def build(model: str, source: Any, weights: str) -> nn.Module:
    """Return a new model of a YAML with the classes, the task and the scale of a trained one.

    Args:
        model (str): The YAML.
        source (BaseModel): The trained model, of ultralytics.
        weights (str): Its file, for messages.

    Returns:
        (nn.Module): The new model, with the other's names and arguments.

    Raises:
        MissingFileError: If the YAML does not exist.
        UserError: If `model` is empty or no YAML, or its scale or task differs from the trained model's.
    """
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load

    if not model:
        raise UserError("model= is missing; give a model YAML, such as model=yolo11-diffattn-paired.yaml.")
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise UserError(f"model={model!r} must be a model YAML, such as model=yolo11n-diffattn-paired.yaml.")
    with as_user_errors():
        d = yaml_model_load(model)
    old = source.yaml
    scale, task = old.get("scale"), guess_model_task(source)
    if d.get("scales") and not d["scale"] and scale in d["scales"]:
        d["scale"] = scale
    if scale and d["scale"] and d["scale"] != scale:
        raise UserError(
            f"{weights} is of scale {scale!r}, model={model} of {d['scale']!r}: give both in one scale, or the YAML "
            "without one."
        )
    if guess_model_task(d) not in {task, None}:  # it does not know RT-DETR's YAMLs
        raise UserError(f"{weights} is for {task}, model={model} for {guess_model_task(d)}: give both for one task.")
    d |= {"kpt_shape": old["kpt_shape"]} if "kpt_shape" in old else {}
    d["nc"] = getattr(source.model[-1], "nc", len(source.names))  # a published checkpoint's own YAML may say another
    target = type(source)(d, ch=old.get("channels", 3), verbose=False)
    _widen_class_branches(target.model[-1], source.model[-1])
    for name in ("names", "args", "task", "pe", "kpt_shape"):
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))
    built: nn.Module = target.eval()
    return built


def _widen_class_branches(head: Any, old: Any) -> None:
    """Give a head the class branches of another: fine-tuned on other classes, they keep the width of the first ones."""
    shapes = ([p.shape for p in h.cv2.parameters()] if hasattr(h, "cv2") else None for h in (head, old))
    if type(head) is type(old) and len({str(s) for s in shapes}) == 1:
        for name in ("cv3", "one2one_cv3"):
            if getattr(old, name, None) is not None:
                setattr(head, name, deepcopy(getattr(old, name)))


@torch.no_grad()
def difference(source: Any, target: Any, size: int = 128) -> float:
    """Return the largest relative difference between the raw outputs of two models on a random image.

    Args:
        source (nn.Module): One model, in evaluation mode.
        target (nn.Module): The other.
        size (int): Height and width of the image in pixels.

    Returns:
        (float): The largest difference, as a part of the largest output.
    """
    ch = source.yaml.get("channels", 3)
    x = torch.rand(1, ch, size, size, generator=torch.Generator().manual_seed(0))
    a, b = (_first(model(x)) for model in (source, target))
    return float((a - b).abs().max() / a.abs().max())


def _first(y: Any) -> torch.Tensor:
    """Return the first tensor in the nested outputs of a model."""
    return y if isinstance(y, torch.Tensor) else _first(next(iter(y.values())) if isinstance(y, dict) else y[0])
