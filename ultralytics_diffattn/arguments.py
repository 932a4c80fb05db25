# Ultralytics DiffAttn - AGPL-3.0 License
"""What the arguments of our modules must be: in a YAML they go by position, and are easily mixed up."""

from __future__ import annotations

import math
from numbers import Real


def check_divides(dim: int, num_heads: int) -> None:
    """Raise unless `dim` and `num_heads` are positive integers and the first is a multiple of the second."""
    for name, value in (("dim", dim), ("num_heads", num_heads)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} must be an integer, not {type(value).__name__}.")
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1.")
    if dim % num_heads:
        raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}.")


def key_width(dim: int, num_heads: int, attn_ratio: float) -> int:
    """Return the width of a key of YOLO's `Attention`, or raise where its arguments have no sense."""
    check_divides(dim, num_heads)
    check_ratio("attn_ratio", attn_ratio)
    return int(dim // num_heads * attn_ratio)


def check_count(name: str, value: int) -> None:
    """Raise unless `value` is an integer from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer >= 1.")


def check_ratio(name: str, value: float) -> None:
    """Raise unless `value` is a finite number from 0 on; what 0 leaves without channels, the caller finds."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < math.inf:  # which nan is not
        raise ValueError(f"{name}={value!r} must be a number >= 0, for example 0.5.")


def check_switch(name: str, value: bool) -> None:
    """Raise unless `value` is a bool: anything else is an argument at the wrong place of a YAML row."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be True or False, not {type(value).__name__}.")
