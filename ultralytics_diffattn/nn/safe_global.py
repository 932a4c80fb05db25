# Ultralytics DiffAttn - AGPL-3.0 License
"""The classes that torch may load with `weights_only`, as ultralytics does with ULTRALYTICS_SAFE_LOAD=1."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=type[nn.Module])


def safe_global(cls: Module) -> Module:
    """Return `cls`, allowed from now on in checkpoints that are loaded with `weights_only`.

    A decorator, so that the class is allowed wherever it is defined: `plugin/attach.py` cannot do it, since it may run
    while the file of the class is half loaded (`nn.blocks` imports ultralytics, whose import attaches the plugin).

    Args:
        cls (type[nn.Module]): A class of which models hold instances.

    Returns:
        (type[nn.Module]): The same class.

    Examples:
        >>> @safe_global
        ... class Scale(nn.Module):
        ...     pass
        >>> Scale in torch.serialization.get_safe_globals()
        True
    """
    torch.serialization.add_safe_globals([cls])
    return cls
