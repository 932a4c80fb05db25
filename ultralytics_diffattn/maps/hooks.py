# Ultralytics DiffAttn - AGPL-3.0 License
"""Queries and keys of a network's last forward pass, recorded by hooks, and the attention maps that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.block import AAttn, Attention
from ultralytics.nn.modules.transformer import AIFI

from ultralytics_diffattn.maps import plain
from ultralytics_diffattn.nn.protocol import DifferentialAttention

ROWS = 1024  # queries whose maps are in memory at a time: those of 16,000 tokens would take 1 GB


class QueriesKeys(NamedTuple):
    """The queries and keys of a block: one pair for plain attention, two for differential attention."""

    pairs: list[tuple[Tensor, Tensor]]  # each (B, heads, N, d)
    scale: float
    grid: tuple[int, int]
    lam: Tensor | None = None
    areas: int = 1  # number of stripes of the grid; a token attends only within its own


class Recording:
    """What the hooks have recorded of the last forward pass."""

    def __init__(self) -> None:
        """Create an empty recording."""
        self.size: tuple[int, int] = (0, 0)  # height and width that the network was given
        self.heads: dict[str, QueriesKeys] = {}
        self.images_used = 0  # images of the batch whose maps were computed already


def attentions(model: nn.Module) -> dict[str, nn.Module]:
    """Return the attention modules whose tokens are the positions of a feature map, in the network's order.

    Args:
        model (torch.nn.Module): Any network of ultralytics.

    Returns:
        (dict[str, torch.nn.Module]): By name.

    Examples:
        >>> from ultralytics import YOLO
        >>> list(attentions(YOLO("yolo11n.yaml").model))
        ['model.10.m.0.attn']
    """
    modules: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_plain = isinstance(module, (Attention, AAttn))
        if is_plain or isinstance(module, DifferentialAttention):
            modules[name] = module
        elif isinstance(module, AIFI):  # by its owner: other such modules, as in RT-DETR's decoder, see no feature map
            modules[f"{name}.ma"] = module.ma
    return modules


@contextmanager
def watch(model: nn.Module | None) -> Iterator[Recording]:
    """Keep the queries and keys of a network's last forward pass, by hooks that are gone at the end.

    Args:
        model (torch.nn.Module, optional): The network; nothing is kept of none.

    Yields:
        (Recording): Filled by each forward pass.
    """
    recording, hooks = Recording(), []

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        height, width = args[0].shape[-2:]
        recording.size, recording.heads, recording.images_used = (height, width), {}, 0

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            with torch.no_grad():
                recording.heads[name] = read(module, args, recording.size)

        return hook

    if model is not None:
        hooks.append(model.register_forward_pre_hook(begin))
        hooks += [module.register_forward_hook(keep(name)) for name, module in attentions(model).items()]
    try:
        yield recording
    finally:
        for hook in hooks:
            hook.remove()


def read(module: nn.Module, args: tuple[Tensor, ...], size: tuple[int, int]) -> QueriesKeys:
    """Return queries and keys of an attention module for its present input.

    Args:
        module (torch.nn.Module): One of `attentions`.
        args (tuple[Tensor, ...]): What it was called with: a feature map, (B, C, H, W), or of `AIFI` tokens.
        size (tuple[int, int]): Height and width of the network's input, of which the grid of tokens is a fraction.

    Returns:
        (QueriesKeys): Float32 or wider.
    """
    x = args[0]
    areas = getattr(module, "area", 1)
    if isinstance(module, DifferentialAttention):
        pairs = list(module.queries_and_keys(x))
        return QueriesKeys(pairs, module.scale, _grid(x, size), module.compute_lambda(), areas)
    q, k, scale = plain.queries_and_keys(module, x)
    return QueriesKeys([(q, k)], scale, _grid(x, size), areas=areas)


def _grid(x: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the feature map (B, C, H, W), or of the one that became tokens, (B, N, C)."""
    if x.ndim == 4:
        return x.shape[2], x.shape[3]
    stride = math.sqrt(size[0] * size[1] / x.shape[1])
    return round(size[0] / stride), round(size[1] / stride)


def object_maps(heads: QueriesKeys, image: int, boxes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the maps of boxes of one image of the batch, on the grid.

    Args:
        heads (QueriesKeys): Of one block.
        image (int): Index in the batch.
        boxes (Tensor): (objects, 4) left, top, right and bottom in cells of the grid.

    Returns:
        a1 (Tensor): (objects, heads, h, w); each map sums to 1.
        a2 (Tensor | None): Likewise of the second map; None for plain attention.
    """
    h, w = heads.grid
    tokens = [_tokens(box, h, w) for box in boxes.tolist()]
    maps = []
    for q, k in heads.pairs:
        q, k = (t[image].to(t.dtype if t.dtype == torch.float64 else torch.float32) for t in (q, k))
        rows = [_mean_row(q, k, heads.scale, torch.tensor(t, device=q.device), heads.areas) for t in tokens]
        stacked = torch.stack(rows) if rows else q.new_zeros(0, *q.shape[:2])  # (objects, heads, N)
        maps.append(stacked.unflatten(-1, (h, w)).cpu())  # (objects, heads, h, w)
    return maps[0], maps[1] if len(maps) > 1 else None


def _tokens(box: list[float], h: int, w: int) -> list[int]:
    """Return the tokens whose centres lie in a box in cells, at least the one below the box's centre."""
    left, top, right, bottom = box
    columns, rows = (
        [i for i in range(n) if low <= i + 0.5 <= high] for n, low, high in ((w, left, right), (h, top, bottom))
    )
    columns = columns or [min(max(int((left + right) / 2), 0), w - 1)]
    rows = rows or [min(max(int((top + bottom) / 2), 0), h - 1)]
    return [y * w + x for y in rows for x in columns]


def _mean_row(q: Tensor, k: Tensor, scale: float, tokens: Tensor, areas: int) -> Tensor:
    """Return the mean over tokens of their rows of the softmax, (heads, N), of q and k, (heads, N, d)."""
    total = q.new_zeros(len(q), k.shape[1])
    for chunk in tokens.split(ROWS):
        logits = q[:, chunk] @ k.transpose(-2, -1) * scale  # (heads, chunk, N)
        if areas > 1:
            n = k.shape[1] // areas
            other_area = chunk[:, None] // n != torch.arange(k.shape[1], device=k.device) // n
            logits = logits.masked_fill(other_area, -math.inf)
        total = total + logits.softmax(-1).sum(1)
    return total / len(tokens)
