# Ultralytics DiffAttn - AGPL-3.0 License
"""What the arguments of our modules must be: in a YAML they go by position, and are easily mixed up."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor


class ArgumentError(ValueError, TypeError):
    """An argument of a constructor that the module refuses: a value, or a type, that it cannot be built with.

    It is both a ValueError and a TypeError, as numpy's AxisError is both a ValueError and an IndexError: in a YAML row
    an argument at the wrong position is often wrong in either way.

    Examples:
        >>> check_count("n", 0)
        Traceback (most recent call last):
        ...
        ultralytics_diffattn.nn.arguments.ArgumentError: n=0 must be an integer >= 1.
    """


def check_divides(dim: int, num_heads: int) -> None:
    """Raise unless `dim` and `num_heads` are positive integers and the first is a multiple of the second."""
    for name, value in (("dim", dim), ("num_heads", num_heads)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ArgumentError(f"{name}={value!r} must be an integer, not {type(value).__name__}.")
        if value < 1:
            raise ArgumentError(f"{name}={value} must be at least 1.")
    if dim % num_heads:
        raise ArgumentError(f"dim={dim} must be a multiple of num_heads={num_heads}.")


def key_width(dim: int, num_heads: int, attn_ratio: float) -> int:
    """Return the width of a key of YOLO's `Attention`, or raise where its arguments have no sense."""
    check_divides(dim, num_heads)
    check_ratio("attn_ratio", attn_ratio)
    return int(dim // num_heads * attn_ratio)


def check_count(name: str, value: int) -> None:
    """Raise unless `value` is an integer from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name}={value!r} must be an integer >= 1.")


def check_ratio(name: str, value: float) -> None:
    """Raise unless `value` is a finite number from 0 on; what 0 leaves without channels, the caller finds."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < math.inf:  # which nan is not
        raise ArgumentError(f"{name}={value!r} must be a number >= 0, for example 0.5.")


def check_switch(name: str, value: bool) -> None:
    """Raise unless `value` is a bool: anything else is an argument at the wrong index of a YAML row."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name}={value!r} must be True or False, not {type(value).__name__}.")


def is_traced() -> bool:
    """Return whether `torch.jit.trace` is at work: it would turn a look at a shape into a node and a warning."""
    return bool(torch.jit.is_tracing())


def is_finite(value: Any) -> bool:
    """Return whether `value` is a real number that float32 can hold."""
    if not isinstance(value, Real):
        return False
    number: Any = value  # `Real` alone promises no comparison
    return bool(abs(number) <= torch.finfo(torch.float32).max)  # which nan is not


def check_dropout(name: str, p: float) -> float:
    """Return `p` as a float, or raise unless it is a number in [0, 1)."""
    if not isinstance(p, Real) or not 0 <= p < 1:  # which nan is not
        raise ArgumentError(f"{name}={p!r} must be a number in [0, 1).")
    return float(p)  # PyTorch takes no Fraction


def check_inputs(
    q1: Tensor, k1: Tensor, q2: Tensor, k2: Tensor, v: Tensor, lam: object, mask: Tensor | None, scale: object
) -> None:
    """Raise unless the arguments of `diff_attention` fit each other."""
    if not all(isinstance(x, Tensor) and x.is_floating_point() for x in (q1, k1, q2, k2, v)):
        received = ", ".join(str(x.dtype) if isinstance(x, Tensor) else type(x).__name__ for x in (q1, k1, q2, k2, v))
        raise TypeError(f"q1, k1, q2, k2 and v of {received} must be floating tensors.")
    if q1.ndim < 2 or q1.shape != q2.shape or k1.shape != k2.shape:
        raise ValueError(
            f"q1 {tuple(q1.shape)} and q2 {tuple(q2.shape)}, k1 {tuple(k1.shape)} and k2 {tuple(k2.shape)} must agree "
            "in pairs and have at least two dimensions, (..., tokens, width)."
        )
    if min(k1.ndim, v.ndim) < 2 or q1.shape[-1] != k1.shape[-1] or k1.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"q {tuple(q1.shape)}, k {tuple(k1.shape)} and v {tuple(v.shape)} do not fit: q and k share their last "
            "dimension (width), k and v their last but one (tokens)."
        )
    if not q1.shape[:-2] == k1.shape[:-2] == v.shape[:-2]:  # as it is nearly always; the look costs more
        try:
            torch.broadcast_shapes(q1.shape[:-2], k1.shape[:-2], v.shape[:-2])
        except RuntimeError as error:
            raise ValueError(
                f"q {tuple(q1.shape)}, k {tuple(k1.shape)} and v {tuple(v.shape)} do not fit: the batches and heads "
                "before the last two dimensions must be the same or 1."
            ) from error
    if not isinstance(lam, Tensor) and not is_finite(lam):
        raise ValueError(f"lam={lam!r} must be a finite number, or a tensor of one for each head.")
    if scale is not None and (isinstance(scale, bool) or not is_finite(scale)):
        raise ValueError(f"scale={scale!r} must be a finite number, or None for q's width ** -0.5.")
    if isinstance(lam, Tensor) and (lam.ndim > 1 or (lam.ndim == 1 and (q1.ndim < 3 or len(lam) != q1.shape[-3]))):
        raise ValueError(f"lam {tuple(lam.shape)} must be one number, or (heads,) beside q {tuple(q1.shape)}.")
    if mask is not None:
        if not isinstance(mask, Tensor) or not mask.is_floating_point():
            received = str(mask.dtype) if isinstance(mask, Tensor) else f"type {type(mask).__name__}"
            raise TypeError(
                f"attn_mask of {received} must be a floating tensor: it is added to the logits, and -inf hides a key."
            )
        if mask.shape != (q1.shape[-2], k1.shape[-2]):
            raise ValueError(
                f"attn_mask {tuple(mask.shape)} must have shape (queries, keys) = {(q1.shape[-2], k1.shape[-2])}."
            )
