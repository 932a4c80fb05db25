# Ultralytics DiffAttn - AGPL-3.0 License
"""Lines in the log where weights do not fit: attention of ours that they know nothing of, rows that have shifted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics_diffattn.plugin.registry import row_of
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


def unfitting(model: nn.Module, weights: nn.Module) -> list[int]:
    """Return the rows of a model with a user's module whose tensors other weights do not fit by name and shape.

    A user's module in the place of another, or in a row that the weights do not have, is new anyway, and the head is
    sized by the classes.

    Args:
        model (nn.Module): Any model.
        weights (nn.Module): The model whose tensors it gets by name.

    Returns:
        (list[int]): Indices of rows, none for a model without a user's module.

    Examples:
        >>> unfitting(nn.Sequential(nn.Linear(2, 2)), nn.Sequential())
        []
    """
    rows, old = (getattr(m, "model", None) for m in (model, weights))
    if not isinstance(rows, nn.Sequential) or not isinstance(old, nn.Sequential):
        return []
    classes = [type(_single(row)) for row in rows]
    users = [bool((entry := row_of(cls)) and entry.source) for cls in classes]
    shapes = {name: value.shape for name, value in old.state_dict().items()}
    found = []
    for i, row in enumerate(rows[:-1] if any(users) else []):
        is_new = users[i] and (i >= len(old) or type(_single(old[i])) is not classes[i])
        fits = all(shapes.get(f"{i}.{name}") == value.shape for name, value in row.state_dict().items())
        found += [] if is_new or fits else [i]
    return found


def _single(row: nn.Module) -> nn.Module:
    """Return the module of a row, the first of them where there are several."""
    return row[0] if type(row) is nn.Sequential and len(row) else row


def _warn(model: nn.Module, weights: Any) -> None:
    """Log what the start from these weights costs, and the command that mends it."""
    from ultralytics.utils import LOGGER, RANK

    weights = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
    if RANK not in {-1, 0} or not isinstance(weights, nn.Module):
        return
    names, rows = unprepared(model, weights), unfitting(model, weights)
    yaml = getattr(model, "yaml", {}).get("yaml_file", "yolo11n-diffattn.yaml")
    file = getattr(weights, "pt_path", None) or "yolo11n.pt"
    if rows:
        LOGGER.warning(
            f"rows {rows[0]} to {rows[-1]} do not get the weights, or not all, that the checkpoint has: they go by a "
            "row's number and shape, and a further row shifts those behind it. To keep them: diffattn convert "
            f"{file} model={yaml} converted.pt, and train converted.pt"
        )
    if not names:
        return
    LOGGER.warning(
        f"{', '.join(names)}: these weights do not fit this attention, so the detector starts damaged: of "
        "yolo11n's mAP50-95 of 0.461 on COCO images at 640 px, kind split keeps 0.310, kind token 0.379. To start "
        f"where the stock model stands: diffattn train model={yaml} pretrained={file} data=... reconstruct=True"
    )
