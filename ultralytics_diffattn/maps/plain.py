# Ultralytics DiffAttn - AGPL-3.0 License
"""Queries and keys of ultralytics' own attention modules, which do not hand them out themselves."""

from __future__ import annotations

from functools import singledispatch

import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.block import AAttn, Attention


@singledispatch
def queries_and_keys(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return queries and keys of a plain attention module for an input, and the factor on its logits.

    Args:
        module (nn.Module): YOLO's `Attention` or `AAttn`, or PyTorch's `MultiheadAttention` with one width for all.
        x (Tensor): A feature map, (B, C, H, W); of `MultiheadAttention` tokens, (B, N, C).

    Returns:
        q (Tensor): (B, heads, N, d).
        k (Tensor): Likewise.
        scale (float): The factor.

    Raises:
        NotImplementedError: If the module is of another kind.

    Examples:
        >>> import torch
        >>> q, k, scale = queries_and_keys(Attention(128, num_heads=2), torch.randn(1, 128, 4, 4))
        >>> q.shape, k.shape
        (torch.Size([1, 2, 16, 32]), torch.Size([1, 2, 16, 32]))
    """
    raise NotImplementedError(f"{type(module).__name__} is no attention module whose queries and keys are known.")


@queries_and_keys.register(Attention)
def _attention(module: Attention, x: Tensor) -> tuple[Tensor, Tensor, float]:
    q, k = _side_by_side(module.qkv(x), module.num_heads, module.key_dim)
    return q, k, module.scale


@queries_and_keys.register(AAttn)
def _area_attention(module: AAttn, x: Tensor) -> tuple[Tensor, Tensor, float]:
    q, k = _side_by_side(module.qkv(x), module.num_heads, module.head_dim)
    return q, k, module.head_dim**-0.5


@queries_and_keys.register(nn.MultiheadAttention)
def _multihead_attention(module: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor, float]:
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q, k = (
        F.linear(x, weights[i], biases[i]).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        for i in (0, 1)
    )
    return q, k, module.head_dim**-0.5


def _side_by_side(qkv: Tensor, heads: int, width: int) -> tuple[Tensor, Tensor]:
    """Return q and k, (B, heads, N, width), of channels in which each head's q, k and v lie side by side."""
    tokens = qkv.flatten(2).unflatten(1, (heads, -1)).transpose(-2, -1)  # (B, heads, N, 2 * width + value width)
    return tokens[..., :width], tokens[..., width : 2 * width]
