# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention as a function of tensors.

Differential Transformer, https://arxiv.org/abs/2410.05258, equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ultralytics_diffattn.nn.arguments import check_dropout, check_inputs, is_traced
from ultralytics_diffattn.nn.backends import choose
from ultralytics_diffattn.nn.flash import flash
from ultralytics_diffattn.nn.formula import blind, formula
from ultralytics_diffattn.nn.tiled import tiled

__all__ = ("diff_attention",)


def diff_attention(
    q1: Tensor,
    k1: Tensor,
    q2: Tensor,
    k2: Tensor,
    v: Tensor,
    lam: Tensor | float,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Return `(softmax(q1 @ k1.T * scale) - lam * softmax(q2 @ k2.T * scale)) @ v`.

    Args:
        q1 (Tensor): Queries of the first map, (..., heads, N, d), any floating dtype.
        k1 (Tensor): Keys of the first map, (..., heads, M, d).
        q2 (Tensor): Queries of the second map, shaped as `q1`.
        k2 (Tensor): Keys of the second map, shaped as `k1`.
        v (Tensor): Values, (..., heads, M, dv).
        lam (Tensor | float): Weight of the second map: one number, or (heads,) for one per head.
        attn_mask (Tensor, optional): (N, M), floating, added to the logits of both maps; `-inf` hides a key. A query
            that all keys are hidden from gets zeros, whatever the backend.
        dropout_p (float): Share of attention weights dropped from each map, in [0, 1).
        scale (float, optional): Factor on the logits, `d ** -0.5` by default.
        backend (str): "formula", "flash" or "tiled" to force one way of computing it; "auto" takes the one that
            `backends.choose` names. "flash" has no second derivatives, and only "formula" the transforms of
            `torch.func` and forward mode.

    Returns:
        (Tensor): (..., heads, N, dv) in the dtype of `v` (under autocast, in autocast's). In float16, what is too large
            for it is its largest number: two maps may pick values of opposite sign, and so reach beyond both.

    Raises:
        ValueError: If the shapes do not fit each other, `lam` or `scale` is not finite, `dropout_p` not in [0, 1), or
            `backend` cannot be used.
        TypeError: If one of the tensors is none, or not floating.

    Examples:
        >>> q1, k1, q2, k2 = torch.randn(4, 1, 2, 9, 16)
        >>> diff_attention(q1, k1, q2, k2, torch.randn(1, 2, 9, 64), lam=0.8).shape
        torch.Size([1, 2, 9, 64])

    References:
        Differential Transformer, equation 1.
    """
    if not is_traced():
        check_inputs(q1, k1, q2, k2, v, lam, attn_mask, scale)
        dropout_p = check_dropout("dropout_p", dropout_p)
    if scale is None:
        scale = q1.shape[-1] ** -0.5
    if isinstance(lam, Tensor) and lam.ndim == 1:
        lam = lam[:, None, None]  # (heads, 1, 1)
    run = {"formula": formula, "flash": flash, "tiled": tiled}
    if not isinstance(backend, str) or backend not in {"auto", *run}:
        raise ValueError(f"backend={backend!r} must be 'auto' or one of {', '.join(map(repr, run))}.")
    if backend == "auto" or 0 in (*q1.shape, *v.shape):  # of nothing, the formula makes nothing
        backend = choose(q1, k1, v, attn_mask, dropout_p)
    out = run[backend](q1, k1, q2, k2, v, lam, attn_mask, dropout_p, scale)
    if attn_mask is not None:
        out = out.masked_fill(blind(attn_mask), 0.0)
    return within_float16(out)


def within_float16(x: Tensor) -> Tensor:
    """Return `x`, in float16 with its largest number in place of infinity; other types are as they are.

    Args:
        x (Tensor): Of any shape and type.

    Returns:
        (Tensor): Shaped as `x`.

    Examples:
        >>> within_float16(torch.tensor([1.0, float("inf")]).half())
        tensor([1.0000e+00, 6.5504e+04], dtype=torch.float16)
    """
    if x.dtype != torch.float16:
        return x
    return x.clamp(torch.finfo(torch.float16).min, torch.finfo(torch.float16).max)
