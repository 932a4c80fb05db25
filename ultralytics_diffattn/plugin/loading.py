# Ultralytics DiffAttn - AGPL-3.0 License
"""A line in the log where attention of ours starts from weights that know nothing of it, and what mends that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics_diffattn.plugin.replacing import replace


def attach(tasks: ModuleType) -> None:
    """Let `BaseModel.load` of ultralytics say which differential attention got stock's weights alone.

    Args:
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.
    """

    def make(stock: Callable[..., Any]) -> Callable[..., Any]:
        def load(self: nn.Module, weights: Any, verbose: bool = True) -> Any:
            result = stock(self, weights, verbose)
            if verbose:
                _warn(self, weights)
            return result

        return load

    replace(tasks.__dict__.get("BaseModel"), "load", make)


def unprepared(model: nn.Module, weights: nn.Module) -> list[str]:
    """Return the differential attentions that other weights know nothing of, and that do not start as stock's.

    Args:
        model (nn.Module): A model, possibly of ours.
        weights (nn.Module): The model whose tensors it gets by name.

    Returns:
        (list[str]): Names of modules.

    Examples:
        >>> from ultralytics.nn.tasks import DetectionModel
        >>> stock, split, paired = (
        ...     DetectionModel(f"yolo11n{x}.yaml", verbose=False) for x in ("", "-diffattn", "-diffattn-paired")
        ... )
        >>> unprepared(split, stock), unprepared(paired, stock), unprepared(split, split)
        (['model.10.m.0.attn'], [], [])
    """
    from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
    from ultralytics_diffattn.nn.protocol import DifferentialAttention

    known = weights.state_dict().keys()
    names = []
    for name, module in model.named_modules():
        as_stock = isinstance(module, PairedLambdaMixin) and not module.lambda_init  # it starts as stock's
        if isinstance(module, DifferentialAttention) and not as_stock:
            tensors: Iterable[str] = module.state_dict()  # type: ignore[attr-defined]  # a module, too
            names += [name] if any(f"{name}.{tensor}" not in known for tensor in tensors) else []
    return names


def _warn(model: nn.Module, weights: Any) -> None:
    """Log what the start from these weights costs, and the command that mends it."""
    from ultralytics.utils import LOGGER, RANK

    weights = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
    names = unprepared(model, weights) if RANK in {-1, 0} and isinstance(weights, nn.Module) else []
    if not names:
        return
    yaml = getattr(model, "yaml", {}).get("yaml_file", "yolo11n-diffattn.yaml")
    file = getattr(weights, "pt_path", None) or "yolo11n.pt"
    LOGGER.warning(
        f"{', '.join(names)}: these weights know nothing of such attention, and the detector starts damaged: of "
        "yolo11n's mAP50-95 of 0.461 on COCO images at 640 px, kind split keeps 0.310, kind token 0.379. To start "
        f"where the stock model stands: diffattn train model={yaml} pretrained={file} data=... reconstruct=True"
    )
