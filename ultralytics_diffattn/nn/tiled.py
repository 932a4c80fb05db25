# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention on a CPU, in tiles of queries whose two maps stay in the cache; memory linear in the tokens.

What costs time on a CPU is less the arithmetic than maps that do not fit into the cache. A tile's maps are computed,
subtracted and multiplied with v where they lie, in buffers that are used again for the next tile; the backward pass
computes them once more (FlashAttention, https://arxiv.org/abs/2205.14135, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ultralytics_diffattn.nn.formula import blind, formula, is_exported

TILE = 2**22  # bytes of maps in a tile, for each thread: about what a core finds in its caches; fewer calls than 2**21
BOUND = 40.0  # exp(40) and exp(-40), and sums and ratios of such, are safely inside float32


def tiled(
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
    """Return what `formula` returns, in float32 or wider inside.

    Args:
        q1 (Tensor): As for `formula`, and so are all others, on the CPU.
        k1 (Tensor): Keys of the first map.
        q2 (Tensor): Queries of the second map.
        k2 (Tensor): Keys of the second map.
        v (Tensor): Values.
        lam (Tensor | float): Weight of the second map.
        attn_mask (Tensor, optional): Added to the logits; it gets no gradient.
        dropout_p (float): 0: the maps are not stored, so the backward pass could not repeat the dropout.
        scale (float): Factor on the logits.

    Returns:
        (Tensor): (..., heads, N, dv).

    Raises:
        ValueError: If there is dropout, the mask needs a gradient, the tensors are not on the CPU, or a graph is made.
    """
    learned = attn_mask is not None and attn_mask.requires_grad and torch.is_grad_enabled()
    if dropout_p or v.device.type != "cpu" or learned or is_exported():
        raise ValueError(
            "backend='tiled' is for the CPU, without dropout and gradient of attn_mask, and cannot be exported; use "
            "'auto'."
        )
    lead = torch.broadcast_shapes(q1.shape[:-2], k1.shape[:-2], v.shape[:-2])
    autocast = torch.is_autocast_enabled("cpu") and v.dtype != torch.float64
    narrow = torch.get_autocast_dtype("cpu") if autocast else v.dtype
    dtype = reduce(torch.promote_types, (x.dtype for x in (q1, k1, v)), torch.float32)

    def flat(x: Tensor) -> Tensor:
        return x.to(dtype).expand(*(lead or (1,)), *x.shape[-2:]).flatten(0, -3)  # (L, tokens, width)

    q1, k1, q2, k2, v = map(flat, (q1, k1, q2, k2, v))
    lam = flat(torch.as_tensor(lam, dtype=dtype).expand(*lead, 1, 1))  # (L, 1, 1)
    run = _Tiled.apply if torch.is_grad_enabled() else _Tiled.forward  # `apply` takes 60 us for itself
    mask = None if attn_mask is None else attn_mask.to(dtype)
    out, _ = run(torch.stack((q1, q2), 1), torch.stack((k1, k2), 1), v, lam, mask, scale)
    return out.reshape(*lead, *out.shape[1:]).to(narrow)


class _Tiled(torch.autograd.Function):
    """Forward and backward for q (L, 2, N, d), k (L, 2, M, d), v (L, M, dv), lam (L, 1, 1); L heads of all batches."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, lam: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, bool]:
        with torch.autocast("cpu", enabled=False):
            out = v.new_empty(len(v), q.shape[2], v.shape[-1])
            bounded = mask is None and _is_bounded(q, k, scale)
            for heads, rows, (maps,) in _tiles(q, k, buffers=1):
                sum1, sum2 = _exponentials(maps, q, k, mask, scale, bounded, heads, rows).unbind(1)  # each (l, n, 1)
                attn, y = maps[:, 0], out[heads, rows]
                attn.addcmul_(maps[:, 1], lam[heads] * sum1 / sum2, value=-1)
                torch.bmm(attn, v[heads], out=y)
                y.div_(sum1)  # here, where it is dv divisions for each query and not M
            return out, bounded

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, bool]) -> None:
        (*tensors, ctx.scale), (_, ctx.bounded) = inputs, output
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        q, k, v, lam, mask = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: a second derivative follows, which the formula has
            inputs = [x for x, needed in zip((q, k, v, lam), ctx.needs_input_grad, strict=False) if needed]
            (q1, q2), (k1, k2) = q.unbind(1), k.unbind(1)
            out = formula(q1, k1, q2, k2, v, lam, mask, 0.0, ctx.scale)
            grads = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
            return tuple(next(grads) if needed else None for needed in ctx.needs_input_grad)
        with torch.autocast("cpu", enabled=False):
            factor = torch.stack((torch.ones_like(lam), -lam), 1) * ctx.scale  # (L, 2, 1, 1)
            scaled = q * factor
            dq, dk, dv = q.new_empty(q.shape), k.new_zeros(k.mT.shape), v.new_zeros(v.shape)
            dlam = lam.new_empty(*dq.shape[:3:2], 1)  # (L, N, 1)
            for heads, rows, (maps, d_maps, spare) in _tiles(q, k, buffers=3):
                d_attn, y = spare[:, 0], grad[heads, rows]  # (l, n, M) and (l, n, dv)
                maps.div_(_exponentials(maps, q, k, mask, ctx.scale, ctx.bounded, heads, rows))
                attn = torch.addcmul(maps[:, 0], maps[:, 1], lam[heads], value=-1, out=d_maps[:, 0])
                dv[heads].baddbmm_(attn.mT, y)
                torch.bmm(y, v[heads].mT, out=d_attn)
                torch.mul(maps, d_attn[:, None], out=d_maps)
                sums = d_maps.sum(-1, keepdim=True)  # (l, 2, n, 1)
                d_maps.addcmul_(maps, sums, value=-1)  # of the logits, by the derivative of softmax
                torch.bmm(_batch(d_maps), _batch(k[heads]), out=_batch(dq[heads, :, rows]))
                _batch(dk[heads]).baddbmm_(_batch(scaled[heads, :, rows]).mT, _batch(d_maps))
                dlam[heads, rows] = -sums[:, 1]
            return dq.mul_(factor), dk.mT, dv, dlam.sum(1, keepdim=True), None, None


def _tiles(q: Tensor, k: Tensor, buffers: int) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Yield heads, rows and `buffers` times memory for both maps, (l, 2, n, M), until all queries are done."""
    L, _, N, _ = q.shape
    M = k.shape[2]
    fit = TILE * torch.get_num_threads() // (2 * buffers * M * q.element_size())  # rows of a tile
    rows = math.ceil(N / math.ceil(N / max(fit, 16)))  # tiles of one size
    heads = max(min(L, fit // N), 1)
    buffer = q.new_empty(buffers, 2 * heads * rows * M)
    for head in range(0, L, heads):
        for row in range(0, N, rows):
            shape = min(heads, L - head), 2, min(rows, N - row), M
            maps = [b[: math.prod(shape)].view(shape) for b in buffer]
            yield slice(head, head + heads), slice(row, row + rows), maps


def _exponentials(
    maps: Tensor, q: Tensor, k: Tensor, mask: Tensor | None, scale: float, bounded: bool, heads: slice, rows: slice
) -> Tensor:
    """Write the exponentials of both maps' logits into `maps`, (l, 2, n, M), and return their sums, (l, 2, n, 1)."""
    logits = _batch(maps)
    torch.baddbmm(logits, _batch(q[heads, :, rows]), _batch(k[heads]).mT, beta=0, alpha=scale, out=logits)
    if mask is not None:
        maps.add_(mask[rows]).masked_fill_(blind(mask[rows]), 0.0)
    if not bounded:  # softmax's usual care against overflow, two passes that a look at q and k can spare
        maps.sub_(maps.amax(-1, keepdim=True))
    return maps.exp_().sum(-1, keepdim=True)


def _batch(x: Tensor) -> Tensor:
    """Return a view of (l, 2, n, m) as a batch of matrices, (2l, n, m)."""
    return x.view(2 * len(x), *x.shape[2:])  # not `flatten`, which might copy what is to be written to


def _is_bounded(q: Tensor, k: Tensor, scale: float) -> bool:
    """Return whether no logit is beyond `BOUND`, by the lengths of the longest query and key; False for nan."""
    longest = q.square().sum(-1).amax() * k.square().sum(-1).amax()  # squared
    return longest.item() * scale**2 < BOUND**2
