# Ultralytics DiffAttn - AGPL-3.0 License
"""Which row of a trained model each row of another continues, by the classes of their modules."""

from __future__ import annotations

import functools

from torch import nn

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin.module_table import MODULES
from ultralytics_diffattn.plugin.registry import row_of


def match_rows(source: nn.Sequential, target: nn.Sequential) -> list[int | None]:
    """Return the row of the source that each row of the target continues.

    A user's module is taken for a further row where the others match without it, and else for the replacement of the
    row that it stands at.

    Args:
        source (nn.Sequential): Layers of a trained model.
        target (nn.Sequential): Layers of another, which may have more.

    Returns:
        (list[int | None]): Indices, None for a row that the source does not have.

    Raises:
        UserError: If the rows do not match, with the first at which they part.
    """

    @functools.cache
    def best(i: int, j: int) -> tuple[int, tuple[int | None, ...]] | None:
        """Return how many rows from `i` and `j` on users' modules replace, at the least, and the matches."""
        if len(source) - i > len(target) - j:
            return None
        if j == len(target):
            return 0, ()
        further = best(i, j + 1)
        price = _price(source[i], target[j], len(source) - i == len(target) - j) if i < len(source) else None
        behind = best(i + 1, j + 1) if price is not None else None
        if behind is not None and price is not None and (further is None or price + behind[0] <= further[0]):
            return price + behind[0], (i, *behind[1])
        return None if further is None else (further[0], (None, *further[1]))

    found = best(0, 0)
    if found is None:
        raise UserError(
            f"the layers differ: {_where_they_part(source, target)}, and rows of the checkpoint have no place (it has "
            f"{len(source)}, the model {len(target)}). Give a model of the same family, such as "
            "yolo11-diffattn-paired.yaml for a yolo11."
        )
    return list(found[1])


def _price(old: nn.Module, new: nn.Module, is_last_chance: bool) -> int | None:
    """Return what it costs to take a row for the continuation of another, None where it cannot be."""
    if class_name(old) == class_name(new) or (not is_users(new) and class_name(old) == stock_name(new)):
        return 0
    if is_users(new):
        return 1 if class_name(old) == stock_name(new) else 2
    return 0 if is_last_chance and _is_ours(new) else None  # DiffAttention for C2PSA


def _where_they_part(source: nn.Sequential, target: nn.Sequential) -> str:
    """Return the first row at which two models part, for a message."""
    i, spare = 0, len(target) - len(source)
    for j, layer in enumerate(target):
        if i < len(source) and _price(source[i], layer, spare == 0) is not None:
            i += 1
            continue
        other = f"{class_name(source[i])} at its row {i}" if i < len(source) else "none"
        return f"at row {j} the model has {class_name(layer)}, the checkpoint {other}"
    return f"row {i} of the checkpoint, {class_name(source[i])}, has no place"


def _class(layer: nn.Module) -> type[nn.Module]:
    """Return the class of a row's module, of which there may be several in a row."""
    return type(layer[0] if type(layer) is nn.Sequential and len(layer) else layer)


def class_name(layer: nn.Module) -> str:
    """Return the name of the class of a row's module, of which there may be several in a row."""
    return _class(layer).__name__


def stock_name(layer: nn.Module) -> str:
    """Return the name of the stock module that a row's module replaces or resembles, or its own."""
    row = row_of(_class(layer)) or MODULES.get(class_name(layer))
    return row.like if row else class_name(layer)


def is_users(layer: nn.Module) -> bool:
    """Return whether a row's module is one that a user has registered."""
    row = row_of(_class(layer))
    return row is not None and bool(row.source)


def replaces(new: nn.Module, old: nn.Module) -> bool:
    """Return whether a row with a user's module stands where the trained model has another module."""
    return is_users(new) and _class(new) is not _class(old)


def _is_ours(layer: nn.Module) -> bool:
    """Return whether a row's module is one of this package."""
    return class_name(layer) in MODULES and not is_users(layer)
