# Ultralytics DiffAttn - AGPL-3.0 License
"""What ultralytics' `fuse()` does to convolutions, done to differential attention: constants become constants."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics_diffattn.plugin.replacing import replace


def attach(tasks: ModuleType) -> None:
    """Let `BaseModel.fuse` of ultralytics fold our modules, too; before prediction and export it is called anyway.

    Args:
        tasks (ModuleType): `ultralytics.nn.tasks`, loaded.
    """

    def make(stock: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def fuse(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
            model = stock(self, *args, **kwargs)
            if not tasks.__dict__.get("is_qat", lambda _: False)(model):  # its weights' ranges were trained as they are
                fold(model)
            return model

        return fuse

    replace(tasks.__dict__.get("BaseModel"), "fuse", make)


def fold(model: nn.Module) -> None:
    """Fold every differential attention in a model; see `LambdaMixin.fold` and `PairedLambdaMixin.fold`.

    Args:
        model (nn.Module): A model in which nothing needs training any more.

    Examples:
        >>> from ultralytics_diffattn import DiffAttention
        >>> model = nn.Sequential(DiffAttention(64))
        >>> fold(model)
        >>> model[0].folded
        True
    """
    from ultralytics_diffattn.nn.lambdas import LambdaMixin, PairedLambdaMixin

    for module in model.modules():
        if isinstance(module, (LambdaMixin, PairedLambdaMixin)):
            module.fold()
