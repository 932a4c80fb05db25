# Ultralytics DiffAttn - AGPL-3.0 License
"""A user's module run once on the meta device, without memory or arithmetic, to see what it gives where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.plugin import needs
from ultralytics_diffattn.plugin.row_context import RowContext
from ultralytics_diffattn.plugin.signatures import SEVERAL
from ultralytics_diffattn.plugin.versions import ADVICE, VersionError
from ultralytics_diffattn.plugin.warning import warn

SIZE = 256  # pixels, as in the pass by which ultralytics finds a model's strides
BATCH = 2  # one image alone has no variance where a map is one pixel
KEEPS_THE_MAP = "(c1, *args)", "(*args)"
ALONE = 32  # pixels of an input of which only the channels are known


def check(module: nn.Module, name: str, context: RowContext, signature: str) -> None:
    """Raise unless a module gives a tensor with the channels that the rows behind it expect.

    For a module over several inputs the parser is told how many channels come out. Another height or width is logged
    where the signature has no place for a stride as stock's has: only rows that join two maps fail of it.

    Args:
        module (nn.Module): Just built for a row.
        name (str): Its name in the YAML.
        context (RowContext): The row.
        signature (str): Where its rows have a plain one.

    Raises:
        UserError: With the row and both shapes, or with the module's own error.
    """
    several = signature == SEVERAL
    if context.frame is None or bool(context.inputs) != several:
        return  # built by hand; or a head, which no row stands behind
    inputs = _inputs(context)
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    try:
        output = _run(module, inputs if several else inputs[0])
    except Exception as error:
        raise UserError(f"{name} fails on an input of {shapes}: {error}{context}.") from error
    if not isinstance(output, Tensor) or output.ndim < 2:
        kind = f"a tensor of {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(f"{name} gives {kind} for an input of {shapes}; it must be one tensor (B, C, H, W){context}.")
    channels = int(output.shape[1])
    if several:
        if not context.set_channels(channels):
            raise VersionError(f"this ultralytics does not say how many channels {name} has{context}. {ADVICE}")
    elif context.local("c2") not in {None, channels}:
        raise UserError(
            f"{name} gives {tuple(output.shape)} for an input of {shapes}, but the rows behind it expect "
            f"{(BATCH, context.local('c2'), *output.shape[2:])}{context}. Its class must give as many channels as its "
            "row says: the first argument, scaled by the width, or those of its input."
        )
    elif signature in KEEPS_THE_MAP and output.shape[2:] != inputs[0].shape[2:]:
        warn(
            f"{name} gives {tuple(output.shape)} for an input of {shapes}: another height or width{context}. Where "
            "that is meant, rows that join it with another map have to fit."
        )


def _inputs(context: RowContext) -> list[Tensor]:
    """Return what the row gets: the shapes that the rows before it give, or if these do not run, small maps."""
    assert context.frame is not None
    names = context.frame.f_locals
    channels = context.inputs or (context.c1 or 0,)
    try:
        outputs = _outputs(names["layers"], names["d"].get("channels", 3))
        of = names["f"] if context.inputs else [names["f"]]
        found = [outputs[i] for i in of]
        if tuple(x.shape[1] for x in found) == channels:
            return found
    except Exception:  # a stock module that the meta device does not know
        pass
    return [torch.empty(BATCH, c, ALONE, ALONE, device="meta") for c in channels]


def _outputs(layers: Sequence[Any], channels: int) -> list[Tensor]:
    """Return what each of the rows so far gives for images."""
    x: Any = torch.empty(BATCH, channels, SIZE, SIZE, device="meta")
    outputs: list[Tensor] = []
    if not layers:
        return [x]  # of the first row, whose input -1 is
    for layer in layers:
        f = layer.f
        if isinstance(f, list):
            x = [outputs[i] for i in f]
        elif f != -1:
            x = outputs[f]
        is_users = any(needs.ATTRIBUTE in vars(module) for module in layer.modules())
        x = _on_meta(deepcopy(layer) if is_users else layer, x)
        outputs.append(x)
    return outputs


def _run(module: nn.Module, x: Any) -> Any:
    """Return the output of a copy, which may keep what it computes: on the meta device, or, failing that, of zeros."""
    try:
        return _on_meta(deepcopy(module), x)
    except Exception:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        zeros = [torch.zeros(t.shape, device=device) for t in (x if isinstance(x, list) else [x])]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return deepcopy(module)(zeros if isinstance(x, list) else zeros[0])


@torch.no_grad()
def _on_meta(module: nn.Module, x: Any) -> Any:
    """Return the output of a module, whose own tensors stay as they are, on the meta device."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return functional_call(module, {name: torch.empty_like(t, device="meta") for name, t in state.items()}, (x,))
