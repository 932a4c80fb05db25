# Ultralytics DiffAttn - AGPL-3.0 License
"""The rule that chooses how differential attention is computed: by formula.py, flash.py or tiled.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ultralytics_diffattn.nn.formula import is_exported, is_transformed

PLAIN = Tensor, torch.nn.Parameter
BACKENDS = "formula", "flash", "tiled"
SMALL = 2**19  # elements of one map of all heads: up to here both maps nearly fit into a cache, and tiles cost calls
LARGE = 2**20  # queries times keys: from here on compiled code is faster on a CPU with a flash kernel


def choose(q1: Tensor, k1: Tensor, v: Tensor, attn_mask: Tensor | None, dropout_p: float) -> str:
    """Return the backend that wins for these inputs on an idle CPU, by `diffattn bench`; see docs/performance.md.

    On a GPU, where nothing has been measured yet, it is flash.

    Args:
        q1 (Tensor): Queries of the first map, (..., heads, N, d).
        k1 (Tensor): Keys of the first map, (..., heads, M, d).
        v (Tensor): Values, (..., heads, M, dv).
        attn_mask (Tensor, optional): (N, M).
        dropout_p (float): Share of attention weights that is dropped.

    Returns:
        (str): One of `BACKENDS`.

    Examples:
        >>> q = k = v = torch.randn(1, 2, 1600, 16)
        >>> choose(q, k, v, None, 0.0)
        'tiled'
    """
    if any(type(x) not in PLAIN for x in (q1, k1, v)):
        return "formula"  # a FakeTensor or DTensor has no number that tiles could look at, and few kernels
    if is_exported() or is_transformed() or 0 in (*q1.shape, *v.shape):
        return "formula"  # what every runtime and transform has; without a flash kernel, padding would be work
    if attn_mask is not None and attn_mask.requires_grad and torch.is_grad_enabled():
        return "formula"  # no flash kernel and no tile gives the mask a gradient
    if v.device.type == "cuda":
        return "formula" if v.dtype == torch.float64 else "flash"  # not measured: no GPU was at hand
    if v.device.type != "cpu" or dropout_p:
        return "formula"
    N, M = q1.shape[-2], k1.shape[-2]
    if torch.compiler.is_compiling():
        return "flash" if N * M >= LARGE else "formula"
    return "tiled" if math.prod(q1.shape[:-2]) * N * M > SMALL else "formula"
