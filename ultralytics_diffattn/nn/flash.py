# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention by one call of PyTorch's fused attention, in memory linear in the tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics_diffattn.nn.formula import blind, widen

TORCH_2_4 = torch.__version__.startswith("2.4.")


def flash(
    q1: Tensor,
    k1: Tensor,
    q2: Tensor,
    k2: Tensor,
    v: Tensor,
    lam: Tensor | float,
    attn_mask: Tensor | None,
    dropout_p: float,
    scale: float,
) -> Tensor:
    """Return the same by one call of PyTorch's fused attention over both maps, in memory linear in the tokens.

    PyTorch's flash kernels want q, k and v of one width and otherwise fall back to the formula without a word; zeros
    behind q and k change nothing in their product. On a CPU with dropout there is no flash kernel.

    Args:
        q1 (Tensor): As for `formula`, and so are all others.
        k1 (Tensor): Keys of the first map.
        q2 (Tensor): Queries of the second map.
        k2 (Tensor): Keys of the second map.
        v (Tensor): Values.
        lam (Tensor | float): Weight of the second map.
        attn_mask (Tensor, optional): Added to the logits.
        dropout_p (float): Share of attention weights dropped from each map.
        scale (float): Factor on the logits.

    Returns:
        (Tensor): (..., heads, N, dv).

    References:
        FlashAttention, https://arxiv.org/abs/2205.14135; `torch.nn.functional.scaled_dot_product_attention`.
    """
    lead = torch.broadcast_shapes(q1.shape[:-2], k1.shape[:-2], v.shape[:-2])
    width = max(q1.shape[-1], v.shape[-1])

    overflows = TORCH_2_4 and v.dtype == torch.float16 and v.device.type == "cpu"  # it keeps logits in float16
    dtype = torch.float32 if overflows else v.dtype

    def padded(x: Tensor) -> Tensor:
        x = x.to(dtype).expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:])
        return F.pad(x, (0, width - x.shape[-1])).contiguous()  # (L, tokens, width), with L heads of all batches

    q, k = torch.stack((padded(q1), padded(q2))), torch.stack((padded(k1), padded(k2)))  # (2, L, tokens, width)
    values = padded(v)
    if attn_mask is not None:
        attn_mask = attn_mask.to(dtype)
        if TORCH_2_4:  # which has no softmax that is safe where a query sees no key
            attn_mask = attn_mask.masked_fill(blind(attn_mask), 0.0)
    out = F.scaled_dot_product_attention(q, k, values.expand(2, *values.shape), attn_mask, dropout_p, scale=scale)
    narrow = out.dtype if dtype == v.dtype else v.dtype
    out1, out2 = widen(out[..., : v.shape[-1]]).unflatten(1, lead or (1,)).unbind()  # each (..., heads, N, dv)
    difference: Tensor = out1 - lam * out2
    return difference.to(narrow).reshape(*lead, q1.shape[-2], v.shape[-1])
