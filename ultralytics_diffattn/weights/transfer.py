# Ultralytics DiffAttn - AGPL-3.0 License
"""The transfer of a trained model's weights into a model with other modules, row by row of their YAMLs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from ultralytics.utils import LOGGER

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.nn.arguments import ArgumentError
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
from ultralytics_diffattn.nn.protocol import DifferentialAttention
from ultralytics_diffattn.weights.checkpoints import load
from ultralytics_diffattn.weights.rows import class_name, is_users, match_rows, replaces, stock_name

SHOWN = 8  # mismatches in a message


class TransferredTensor(NamedTuple):
    """The outcome of a transfer for one tensor."""

    # kept: copied; split: copied and read as two halves; scaled: copied, what makes v divided by 1 - lambda; folded: a
    # bias, now in the mean of the BatchNorm behind it; added: new; dropped: unused by the new model
    status: str
    name: str  # in the new model, of a dropped one in the old
    shape: tuple[int, ...]


def transfer(source: Any, target: Any) -> list[TransferredTensor]:
    """Copy the weights of a trained model into a model with other modules, row by row of their YAMLs.

    Rows that only the target has, such as attention at another index, are skipped, so that the rows behind them keep
    their weights.

    Args:
        source (BaseModel): A trained model of ultralytics.
        target (BaseModel): A model that differs from it in modules of ours or of a user's, or in further rows.

    Returns:
        (list[TransferredTensor]): The status of each tensor, in the target's order.

    Raises:
        UserError: If a tensor outside these modules is missing in one of the models or differs in shape, the target
            being unchanged then, or a lambda of 1 cannot start as stock.

    Examples:
        >>> from ultralytics.nn.tasks import DetectionModel
        >>> stock, ours = (DetectionModel(f"yolo11n{x}.yaml", verbose=False) for x in ("", "-diffattn"))
        >>> sorted(Counter(t.status for t in transfer(stock, ours)).items())
        [('added', 5), ('kept', 493), ('split', 6)]
    """
    tensors: list[TransferredTensor] = []
    errors: list[str] = []
    copies: list[tuple[nn.Module, dict[str, Tensor]]] = []
    rows: list[tuple[str, nn.Module, nn.Module]] = []  # those that share tensors
    for j, i in enumerate(match_rows(source.model, target.model)):
        new, old = target.model[j], None if i is None else source.model[i]
        before: dict[str, Tensor] = {} if old is None else old.state_dict()
        folded = _fold_biases(before, new.state_dict())
        row_tensors, row_errors = _compare_row(new, old, before, f"model.{j}.", f"model.{i}.")
        tensors += [*row_tensors, *(TransferredTensor("folded", f"model.{i}.{n}", tuple(b.shape)) for n, b in folded)]
        errors += row_errors
        shapes = {name: value.shape for name, value in new.state_dict().items()}
        copies.append((new, {name: value for name, value in before.items() if shapes.get(name) == value.shape}))
        if old is not None and not _is_whole(new, old):
            rows.append((f"model.{j}.", new, old))
    if errors:
        raise UserError(f"{len(errors)} tensors do not fit:\n  {_first(errors)}")
    for module, values in copies:
        module.load_state_dict(values, strict=False)
    alive = [(row + start, module) for row, new, old in rows for start, module in _alive(new, old)]
    with as_user_errors(ArgumentError):  # a lambda of 1
        for _, attention in alive:
            attention.start_as_stock()
    scaled = {start + name for start, attention in alive for name in attention.scaled}
    return [t._replace(status="scaled") if t.name in scaled else t for t in tensors]


def _alive(new: nn.Module, old: nn.Module) -> Iterator[tuple[str, PairedLambdaMixin]]:
    """Yield the attentions of kind `paired` that start from stock's with a lambda that is not zero."""
    for start, module in attentions(new):
        new_here = not isinstance(old.get_submodule(start.rstrip(".")), DifferentialAttention)
        if isinstance(module, PairedLambdaMixin) and module.lambda_init and new_here:
            yield start, module


def _is_whole(new: nn.Module, old: nn.Module) -> bool:
    """Return whether a row is replaced by one that shares no tensor with it."""
    return class_name(old) not in {class_name(new), stock_name(new)}


def _fold_biases(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Move the bias of each convolution that the model has without one into the mean of the BatchNorm behind it.

    Official YOLO12 weights have such biases in `pe.conv`: https://github.com/ultralytics/ultralytics/issues/21046.

    Args:
        before (dict[str, Tensor]): Tensors of a row of the trained model; changed in place.
        after (dict[str, Tensor]): Those of the new row.

    Returns:
        (list): Names and values of the biases.
    """
    folded = []
    for name in [n for n in before if n.endswith("conv.bias") and n not in after]:
        mean = name.removesuffix("conv.bias") + "bn.running_mean"
        if mean in before and mean in after:
            folded.append((name, before.pop(name)))
            before[mean] = before[mean] - folded[-1][1]  # conv + bias - mean
    return folded


def _compare_row(
    new: nn.Module, old: nn.Module | None, before: dict[str, Tensor], new_prefix: str, old_prefix: str
) -> tuple[list[TransferredTensor], list[str]]:
    """Return the status of each tensor of a row, and an error for each that does not fit."""
    tensors: list[TransferredTensor] = []
    errors: list[str] = []
    after = new.state_dict()
    is_free = old is not None and replaces(new, old)  # then what fits by name and shape is kept, and the rest is new
    replaced = ("",) if old is None or is_free or _is_whole(new, old) else _replaced(new)
    ours = (*replaced, *_added(new))
    halves = _halved(new)
    for name, value in after.items():
        full_name, shape = new_prefix + name, tuple(value.shape)
        if name not in before:
            tensors.append(TransferredTensor("added", full_name, shape))
            if not name.startswith(ours):
                errors.append(f"{full_name} {shape} is not in the checkpoint")
        elif before[name].shape != value.shape and is_free:
            tensors.append(TransferredTensor("added", full_name, shape))
            tensors.append(TransferredTensor("dropped", old_prefix + name, tuple(before[name].shape)))
        elif before[name].shape != value.shape:
            errors.append(f"{full_name} has shape {tuple(before[name].shape)} in the checkpoint, {shape} in the model")
        else:
            status = "split" if name.startswith(halves) else "kept"
            tensors.append(TransferredTensor(status, full_name, shape))
    for name in (name for name in before if name not in after):
        tensors.append(TransferredTensor("dropped", old_prefix + name, tuple(before[name].shape)))
        if not name.startswith(replaced):
            errors.append(f"{old_prefix}{name} of the checkpoint has no place in the model")
    return tensors, errors


def check_pretrained(weights: str, model: Any) -> None:
    """Refuse weights of which ultralytics, that goes by name and shape, would load only a part, or leave a part over.

    The head is left out, which is sized by task and classes, and so are tensors that only our modules have.

    Args:
        weights (str): A checkpoint; what is no file here ultralytics will download, and is not checked.
        model (BaseModel): What it is to be loaded into.

    Raises:
        UserError: If a tensor would be left as it is, or left over, or the checkpoint cannot be read.
    """
    if not Path(weights).is_file():
        return
    source: Any = load(weights)[0]
    known, present, head = source.state_dict(), model.state_dict(), source.model[-1]
    old = [*source.model[: len(model.model)], *[None] * (len(model.model) - len(source.model))]
    rows = (
        (j, ("",) if is_users(m) and (o is None or replaces(m, o)) else (*_replaced(m), *_added(m)))
        for j, (m, o) in enumerate(zip(model.model, old, strict=True))
    )
    free = (*(f"model.{j}.{name}" for j, names in rows for name in names), f"model.{len(model.model) - 1}.")
    wrong = []
    for name, value in present.items():
        shape, stored = tuple(value.shape), tuple(known[name].shape) if name in known else None
        if shape != stored and not name.startswith(free):
            wrong.append(
                f"{name} {shape} is {stored} in the checkpoint"
                if stored
                else f"{name} {shape} is not in the checkpoint"
            )
    if wrong:
        raise UserError(
            f"pretrained={weights} does not fit: {len(wrong)} tensors of the model would get no weights:\n  "
            f"{_first(wrong)}\n"
            "Give weights of the same architecture and scale; if only rows have shifted, `diffattn convert` finds them."
        )
    heads = (*free, f"model.{len(source.model) - 1}.")
    left = [f"{n} {tuple(v.shape)}" for n, v in known.items() if n not in present and not n.startswith(heads)]
    if left:
        raise UserError(
            f"pretrained={weights} has {len(left)} tensors that the model has no place for:\n  {_first(left)}\n"
            f"Make a checkpoint of this model with `diffattn convert {weights} model=<YAML>`, which moves biases of "
            "official YOLO12 weights into the norms behind them, and train that."
        )
    LOGGER.info(
        f"pretrained={weights}: all but the head fits, and of the head, which is {class_name(head)} for "
        f"{len(source.names)} classes there and {class_name(model.model[-1])} here, what fits."
    )


def summary(tensors: Iterable[TransferredTensor]) -> str:
    """Return a line for each tensor that is not simply copied, and the number of tensors of each status.

    Args:
        tensors (Iterable[TransferredTensor]): What `transfer` returned.

    Returns:
        (str): Lines.

    Examples:
        >>> print(summary([TransferredTensor("kept", "0.w", (1,)), TransferredTensor("added", "10.lam", (2,))]))
        added   10.lam (2)
        1 kept, 1 added
    """
    tensors = list(tensors)
    lines = [f"{t.status:<7} {t.name} ({', '.join(map(str, t.shape))})" for t in tensors if t.status != "kept"]
    count = Counter(t.status for t in tensors)
    return "\n".join([*lines, ", ".join(f"{n} {status}" for status, n in count.items())])


def attentions(layer: nn.Module) -> Iterator[tuple[str, DifferentialAttention]]:
    """Yield the differential attentions in a row, each with the beginning of its tensors' names there."""
    for name, module in layer.named_modules():
        if isinstance(module, DifferentialAttention):
            yield f"{name}." if name else "", module


def _replaced(layer: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names, within a row, of modules that share no tensor with stock's."""
    return tuple(start for start, module in attentions(layer) if "" in module.added)


def _added(layer: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names, within a row, of what our modules add to stock's tensors."""
    return tuple(start + name for start, module in attentions(layer) for name in module.added)


def _halved(layer: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names, within a row, of stock's tensors that ours read as two halves."""
    return tuple(start + name for start, module in attentions(layer) for name in module.halved)


def _first(lines: list[str]) -> str:
    """Return the first lines of a list, and how many there are besides."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join(lines[:SHOWN] + more)
