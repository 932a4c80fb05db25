# Ultralytics DiffAttn - AGPL-3.0 License
"""The ways to compute differential attention, and the rule that chooses one: `formula`, `flash`, and tiled.py's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics_diffattn.nn.arguments import is_traced

BACKENDS = "formula", "flash", "tiled"
SMALL = 2**19  # elements of one map of all heads: up to here both maps nearly fit into a cache, and tiles cost calls
OVERFLOWS = torch.__version__.startswith("2.4.")  # its flash kernel for CPUs keeps logits in float16
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
    if is_exported() or _is_transformed() or 0 in (*q1.shape, *v.shape):
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
    attn1, attn2 = (_attention_map(q, k, attn_mask, dropout_p, scale) for q, k in ((q1, k1), (q2, k2)))
    if is_exported() or torch.compiler.is_compiling() or _is_transformed() or not isinstance(lam, Tensor):
        attn = attn1 - lam * attn2  # (..., heads, N, M)
    else:  # the same in one pass over the maps, which is what costs
        out = None if torch.is_grad_enabled() else attn1
        attn = torch.addcmul(attn1, attn2, lam.to(attn1.dtype), value=-1, out=out)
    return attn.to(v.dtype) @ v


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

    dtype = torch.float32 if OVERFLOWS and v.dtype == torch.float16 and v.device.type == "cpu" else v.dtype

    def padded(x: Tensor) -> Tensor:
        x = x.to(dtype).expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:])
        return F.pad(x, (0, width - x.shape[-1])).contiguous()  # (L, tokens, width), with L heads of all batches

    q, k = torch.stack((padded(q1), padded(q2))), torch.stack((padded(k1), padded(k2)))  # (2, L, tokens, width)
    values = padded(v)
    if attn_mask is not None:
        attn_mask = attn_mask.to(dtype)
    out = F.scaled_dot_product_attention(q, k, values.expand(2, *values.shape), attn_mask, dropout_p, scale=scale)
    narrow = out.dtype if dtype == v.dtype else v.dtype
    out1, out2 = widen(out[..., : v.shape[-1]]).unflatten(1, lead or (1,)).unbind()  # each (..., heads, N, dv)
    difference: Tensor = out1 - lam * out2
    return difference.to(narrow).reshape(*lead, q1.shape[-2], v.shape[-1])


def widen(x: Tensor) -> Tensor:
    """Return `x` in float32 if its type is narrower, else as it is."""
    return x.float() if x.dtype in {torch.float16, torch.bfloat16} else x


def _attention_map(q: Tensor, k: Tensor, attn_mask: Tensor | None, dropout_p: float, scale: float) -> Tensor:
    """Return one softmax map, (..., heads, N, M), in float32 or wider."""
    if not is_exported():  # there, a GPU's runtime is to keep its fast float16 products
        q, k = widen(q), widen(k)
    logits = (q if scale == 1 else q * scale) @ k.transpose(-2, -1)  # (..., heads, N, M)
    if logits.dtype == torch.float16:  # large activations overflow to inf, and inf - inf in the softmax is nan
        logits = logits.clamp(torch.finfo(torch.float16).min, torch.finfo(torch.float16).max)
    logits = widen(logits)
    if attn_mask is not None:
        logits = logits + attn_mask
    attn = logits.softmax(dim=-1)
    return F.dropout(attn, dropout_p) if dropout_p else attn


def is_exported() -> bool:
    """Return whether a graph for another runtime is being made; an older torch cannot tell that from compiling."""
    return is_traced() or bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def _is_transformed() -> bool:
    """Return whether a transform of `torch.func` is at work, such as vmap or jvp."""
    return bool(getattr(torch._C, "_are_functorch_transforms_active", bool)())
