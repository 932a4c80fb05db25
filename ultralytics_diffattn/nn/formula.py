# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention as it is read, `(softmax(q1 k1.T) - lambda * softmax(q2 k2.T)) v`, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics_diffattn.nn.arguments import is_traced


def formula(
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
    """Return `(softmax(q1 @ k1.T * scale) - lam * softmax(q2 @ k2.T * scale)) @ v`, written as it is read.

    Both softmaxes and their difference are taken in float32 when the inputs are float16 or bfloat16: what the two maps
    share cancels, and so would the last bits of a narrow type.

    Args:
        q1 (Tensor): Queries of the first map, (..., heads, N, d).
        k1 (Tensor): Keys of the first map, (..., heads, M, d).
        q2 (Tensor): Queries of the second map.
        k2 (Tensor): Keys of the second map.
        v (Tensor): Values, (..., heads, M, dv).
        lam (Tensor | float): Weight of the second map, of a shape that broadcasts with the maps.
        attn_mask (Tensor, optional): (N, M), added to the logits.
        dropout_p (float): Share of attention weights dropped from each map.
        scale (float): Factor on the logits.

    Returns:
        (Tensor): (..., heads, N, dv).

    References:
        Differential Transformer, equation 1.
    """
    if attn_mask is not None:
        attn_mask = attn_mask.masked_fill(blind(attn_mask), 0.0)
    eager = not (is_exported() or torch.compiler.is_compiling() or is_transformed())
    reuse = eager and not torch.is_grad_enabled()  # memory of the maps: passes over fresh memory are what costs
    attn1, attn2 = (_attention_map(q, k, attn_mask, dropout_p, scale, reuse) for q, k in ((q1, k1), (q2, k2)))
    if eager and isinstance(lam, Tensor):  # in one pass
        attn = torch.addcmul(attn1, attn2, lam.to(attn1.dtype), value=-1, out=attn1 if reuse else None)
    else:
        attn = attn1 - lam * attn2  # (..., heads, N, M)
    attn = attn.to(v.dtype)
    if eager and v.stride(-2) == 1:  # channels before tokens, as YOLO's blocks have them and take them back: no copy
        return (v.transpose(-2, -1) @ attn.transpose(-2, -1)).transpose(-2, -1)
    return attn @ v


def _attention_map(
    q: Tensor, k: Tensor, attn_mask: Tensor | None, dropout_p: float, scale: float, reuse: bool
) -> Tensor:
    """Return one softmax map, (..., heads, N, M), in float32 or wider, which overwrites its logits if asked to."""
    if not is_exported():  # there, a GPU's runtime is to keep its fast float16 products
        q, k = widen(q), widen(k)
    logits = (q if scale == 1 else q * scale) @ k.transpose(-2, -1)  # (..., heads, N, M)
    if logits.dtype == torch.float16:  # large activations overflow to inf, and inf - inf in the softmax is nan
        logits = logits.clamp(torch.finfo(torch.float16).min, torch.finfo(torch.float16).max)
    logits = widen(logits)
    if attn_mask is not None:
        logits = logits + attn_mask
    attn = torch.softmax(logits, dim=-1, out=logits) if reuse else logits.softmax(dim=-1)
    return F.dropout(attn, dropout_p) if dropout_p else attn


def blind(attn_mask: Tensor) -> Tensor:
    """Return which queries all keys are hidden from, (N, 1): softmax would make nan of them, and of their gradients."""
    return attn_mask.detach().amax(-1, keepdim=True) == -torch.inf


def widen(x: Tensor) -> Tensor:
    """Return `x` in float32 if its type is narrower, else as it is."""
    return x.float() if x.dtype in {torch.float16, torch.bfloat16} else x


def is_exported() -> bool:
    """Return whether a graph for another runtime is being made; an older torch cannot tell that from compiling."""
    return is_traced() or bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def is_transformed() -> bool:
    """Return whether a transform of `torch.func` is at work, such as vmap or jvp."""
    return bool(getattr(torch._C, "_are_functorch_transforms_active", bool)())
