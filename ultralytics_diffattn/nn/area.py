# Ultralytics DiffAttn - AGPL-3.0 License
"""YOLO12's area attention with differential attention inside, kind `paired`: it starts as stock's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.nn.modules.block import A2C2f, AAttn
from ultralytics.nn.modules.conv import Conv

from ultralytics_diffattn.nn.arguments import ArgumentError, check_count, check_divides, check_ratio, is_traced
from ultralytics_diffattn.nn.formula import is_exported
from ultralytics_diffattn.nn.functional import diff_attention, within_float16
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
from ultralytics_diffattn.nn.paired import share_first_map, shrink_values
from ultralytics_diffattn.nn.protocol import QueriesAndKeys
from ultralytics_diffattn.nn.safe_global import safe_global

__all__ = "A2C2f_Diff", "AAttn_Diff"


@safe_global
class AAttn_Diff(PairedLambdaMixin, AAttn):
    """YOLO12's `AAttn` with a second query that shares its keys and values: kind `paired`.

    Stock's tensors have stock's names, and lambda starts as that of `PairedAttention_Diff`.

    Args:
        dim (int): Channels, a multiple of `num_heads`.
        num_heads (int): Number of heads.
        area (int): Number of stripes of equally many positions; attention stays within each.
        lambda_init (float | str): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If `dim` does not divide into heads, `area` is not an integer >= 1, or `lambda_init` no such value.
        TypeError: If `dim` or `num_heads` is not an integer.

    Examples:
        >>> AAttn_Diff(64, num_heads=2, area=4)(torch.randn(1, 64, 20, 20)).shape
        torch.Size([1, 64, 20, 20])

    References:
        YOLOv12, https://arxiv.org/abs/2502.12524, section 3.2; Differential Transformer V2, which pairs queries on
        shared keys and values and has no head norm; `AAttn` in ultralytics/nn/modules/block.py.
    """

    shrunk = 1.0  # what `fold` divides queries, keys and values by; on the class, since older checkpoints lack it

    def __init__(self, dim: int, num_heads: int, area: int = 1, lambda_init: float | str = 0.0, depth: int = 1):
        """Create stock's convolutions, the second query and a lambda for each head."""
        check_divides(dim, num_heads)
        check_count("area", area)
        super().__init__(dim, num_heads, area)
        with torch.random.fork_rng(devices=[]):  # the same seed gives the rest of the model the weights that stock gets
            self.q2 = Conv(dim, dim, 1, act=False)
        self.add_lambda(num_heads, lambda_init, depth)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the positions of each area.

        Args:
            x (Tensor): Feature map, (B, dim, H, W), of any floating dtype.

        Returns:
            (Tensor): Shaped as `x`.

        Raises:
            ValueError: If the positions do not divide into areas.
        """
        B, _, H, W = x.shape
        if not is_traced() and H * W % self.area:
            raise ValueError(f"H={H}, W={W} give {H * W} positions, which do not divide into area={self.area} areas.")
        if is_exported():
            y, v = self._attend_exported(x)
        else:
            q1, k, q2, v = self._project(x)
            y = diff_attention(q1, k, q2, k, v, self.compute_lambda(), scale=self.scale)
            y, v = (t.permute(0, 2, 4, 1, 3) for t in (y, v))  # (B, heads, head_dim, area, n)
            y, v = (t.reshape(B, self.all_head_dim, H, W) for t in (y, v))
        y = y + self.pe(v)
        out: Tensor = self.proj(y if self.folded else within_float16(y))
        return out

    @property
    def scale(self) -> float:
        """Return the factor on the logits."""
        return float(self.head_dim**-0.5 * self.shrunk**2)

    def queries_and_keys(self, x: Tensor) -> QueriesAndKeys:
        """Return `((q1, k), (q2, k))` of a feature map, (B, dim, H, W), each (B, heads, N, head_dim), area by area."""
        q1, k, q2, _ = self._project(x)
        q1, k, q2 = (t.transpose(1, 2).flatten(2, 3) for t in (q1, k, q2))  # (B, heads, area * n, head_dim)
        return (q1, k), (q2, k)

    def _share_first_map(self, rest: Tensor) -> None:
        share_first_map(self.qkv, self.q2, self.pe, self.head_dim, rest)

    def _shrink_values(self, factor: float) -> None:
        shrink_values(self.qkv, self.q2, self.pe, self.proj, factor)
        self.shrunk = factor

    def _attend_exported(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the heads' output and v of a feature map, shaped as it, with at most four dimensions.

        Converters know few operators with five; and the scale stands before a transposition for the reason that
        `PairedAttention_Diff` gives.
        """
        B, _, H, W = x.shape
        qkv, q2 = self.qkv(x), self.q2(x)
        if self.area == 1:
            qkv, q2 = (t.reshape(B, self.num_heads, -1, H * W) for t in (qkv, q2))  # each (B, heads, width, n)
        else:
            qkv, q2 = (t.flatten(2).transpose(1, 2) for t in (qkv, q2))  # each (B, positions, channels)
            width = 3 * self.head_dim, self.head_dim
            shapes = ((B * self.area, H * W // self.area, self.num_heads, w) for w in width)
            qkv, q2 = (t.reshape(shape).permute(0, 2, 3, 1) for t, shape in zip((qkv, q2), shapes, strict=True))
        q1, k, v = qkv.split(self.head_dim, dim=2)
        q1, k, q2, tokens = (t.transpose(-2, -1) for t in (q1 * self.scale, k, q2 * self.scale, v))
        y = diff_attention(q1, k, q2, k, tokens, self.compute_lambda(), scale=1.0)
        y = y.transpose(-2, -1)  # (B * area, heads, head_dim, n), as v
        if self.area > 1:
            y, v = (t.permute(0, 3, 1, 2).reshape(B, H * W, self.all_head_dim).transpose(1, 2) for t in (y, v))
        return y.reshape(B, self.all_head_dim, H, W), v.reshape(B, self.all_head_dim, H, W)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q1, the shared k, q2 and v of a feature map, (B, dim, H, W), each (B, area, heads, n, head_dim)."""
        qkv, q2 = (self._areas(conv(x)) for conv in (self.qkv, self.q2))
        q1, k, v = qkv.split(self.head_dim, dim=-1)
        return q1, k, q2, v

    def _areas(self, x: Tensor) -> Tensor:
        """Return the tokens of each area, (B, area, heads, n, width), of a feature map, (B, heads * width, H, W)."""
        B, C, H, W = x.shape
        x = x.reshape(B, self.num_heads, C // self.num_heads, self.area, H * W // self.area)
        return x.permute(0, 3, 1, 4, 2)


@safe_global
class A2C2f_Diff(A2C2f):
    """YOLO12's `A2C2f` with differential attention in each of its area-attention blocks.

    Args:
        c1 (int): Input channels.
        c2 (int): Output channels.
        n (int): Number of pairs of attention blocks; in a YAML row the repeats.
        a2 (bool): True; without area attention there is nothing to make differential.
        area (int): Number of areas that attention stays within.
        residual (bool): Whether to add the input to the output; needs `c1` equal to `c2`.
        mlp_ratio (float): Hidden over input channels of the feed-forward networks.
        e (float): Hidden channels over `c2`; the hidden channels are a multiple of 32, the width of a head.
        g (int): Unused here; present so that a row reads as stock's.
        shortcut (bool): Unused here, likewise.
        lambda_init (float | str): As for `C2PSA_Diff`, by the index of the attention block.

    Raises:
        ValueError: If `a2` is not True, a number is outside its range, the hidden channels do not divide into heads, or
            `c1` is not `c2` where `residual` adds the one to the other.
        TypeError: If a switch is not a bool, or `g` no integer.

    Examples:
        >>> A2C2f_Diff(64, 64, n=1, area=4)(torch.randn(1, 64, 20, 20)).shape
        torch.Size([1, 64, 20, 20])

    References:
        `A2C2f` in ultralytics/nn/modules/block.py; YOLOv12, https://arxiv.org/abs/2502.12524.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        a2: bool = True,
        area: int = 1,
        residual: bool = False,
        mlp_ratio: float = 2.0,
        e: float = 0.5,
        g: int = 1,
        shortcut: bool = True,
        lambda_init: float | str = 0.0,
    ):
        """Create stock's block, then replace its attention by ours, with the same tensors."""
        _check_switches(a2, residual, shortcut, g)
        for name, count in (("c1", c1), ("c2", c2), ("n", n), ("area", area)):
            check_count(name, count)
        _check_widths(c1, c2, residual, mlp_ratio, e)
        super().__init__(c1, c2, n, a2, area, residual, mlp_ratio, e, g, shortcut)
        pairs: Any = self.m  # of two blocks each
        for depth, block in enumerate((block for pair in pairs for block in pair), 1):
            with torch.random.fork_rng(devices=[]):  # stock's has drawn its random numbers already
                attn = AAttn_Diff(int(c2 * e), block.attn.num_heads, area, lambda_init, depth)
            attn.load_state_dict(block.attn.state_dict(), strict=False)
            block.attn = attn


def _check_switches(a2: bool, residual: bool, shortcut: bool, g: int) -> None:
    """Raise unless attention is on and the switches and `g` are of their types."""
    if a2 is not True:
        raise ArgumentError(f"a2={a2!r} leaves this row without attention: write A2C2f there.")
    for name, switch in (("residual", residual), ("shortcut", shortcut)):
        if not isinstance(switch, bool):  # another kind or a number here is an argument at the wrong index
            raise ArgumentError(f"{name}={switch!r} must be True or False; there is no argument for the kind.")
    if not isinstance(g, int):
        raise ArgumentError(f"g={g!r} must be an integer; there is no argument for the kind.")


def _check_widths(c1: int, c2: int, residual: bool, mlp_ratio: float, e: float) -> None:
    """Raise unless the channels divide into heads, the feed-forward networks have some, and a residual fits."""
    for name, ratio in (("mlp_ratio", mlp_ratio), ("e", e)):
        check_ratio(name, ratio)
    if int(c2 * e) % 32 or int(c2 * e) < 32:
        raise ArgumentError(f"c2={c2}, e={e} give {int(c2 * e)} hidden channels, which must be a multiple of 32.")
    if int(int(c2 * e) * mlp_ratio) < 1:
        raise ArgumentError(f"mlp_ratio={mlp_ratio} leaves the feed-forward networks of c2={c2}, e={e} no channels.")
    if residual and c1 != c2:
        raise ArgumentError(
            f"residual=True, which scales l and x set, adds the input to the output: c1={c1} must equal c2={c2}."
        )
