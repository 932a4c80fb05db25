# Ultralytics DiffAttn - AGPL-3.0 License
"""YOLO's attention with a second query: kind `paired`, which starts as stock's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.nn.modules.block import Attention
from ultralytics.nn.modules.conv import Conv

from ultralytics_diffattn.nn.arguments import ArgumentError, key_width
from ultralytics_diffattn.nn.formula import is_exported
from ultralytics_diffattn.nn.functional import diff_attention, within_float16
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
from ultralytics_diffattn.nn.protocol import QueriesAndKeys
from ultralytics_diffattn.nn.safe_global import safe_global

__all__ = ("PairedAttention_Diff",)


def share_first_map(qkv: Conv, q2: Conv, pe: Conv, key_dim: int, rest: Tensor) -> None:
    """Copy the query of a joint projection to the second one, and divide its v, but not for `pe`, which reads v, too.

    Args:
        qkv (Conv): Channels by heads: q and k of width `key_dim`, then v.
        q2 (Conv): Channels by heads: the second query.
        pe (Conv): A depthwise convolution of v.
        key_dim (int): Width of q and k of a head.
        rest (Tensor): (heads,), what v of each head is divided by.
    """
    heads = len(rest)
    joint, second = qkv.state_dict(), q2.state_dict()
    for name, value in second.items():  # of convolution and BatchNorm
        if value.ndim:  # all but the number of batches that the norm has seen
            by_head = joint[name].view(heads, -1, *value.shape[1:])  # (heads, key_dim * 2 + head_dim, ...)
            value.copy_(by_head[:, :key_dim].reshape(value.shape))
    for parameter in (qkv.bn.weight, qkv.bn.bias):
        parameter.view(heads, -1)[:, 2 * key_dim :] /= rest[:, None]
    weight = pe.conv.weight
    weight.view(heads, -1, *weight.shape[1:]).mul_(rest.view(-1, 1, 1, 1, 1))


def shrink_values(qkv: Conv, q2: Conv, pe: Conv, proj: Conv, factor: float) -> None:
    """Divide v by a factor, and what `pe` makes of it; `proj` multiplies both by it again.

    So are the queries and keys, that share a tensor with v: the scale of the logits has to be multiplied by the square.

    Args:
        qkv (Conv): The joint projection. Fused or not, as the others are.
        q2 (Conv): The second query.
        pe (Conv): A depthwise convolution of v.
        proj (Conv): The projection of the sum of the heads and `pe`.
        factor (float): A power of two.
    """
    for conv in (qkv, q2):
        last: Any = conv.bn if hasattr(conv, "bn") else conv.conv  # fuse() has folded the one into the other
        last.weight /= factor
        last.bias /= factor
    offsets: Any = (pe.bn.running_mean, pe.bn.bias) if hasattr(pe, "bn") else (pe.conv.bias,)
    for offset in offsets:
        offset /= factor
    proj.conv.weight *= factor


@safe_global
class PairedAttention_Diff(PairedLambdaMixin, Attention):
    """YOLO's `Attention` with a second query that shares its keys and values: kind `paired`.

    Stock's tensors have stock's names. With a lambda of zero, where it starts unless `lambda_init` says otherwise, the
    module computes what stock's does with them; `start_as_stock` lets it do so with any other lambda.

    Args:
        dim (int): Channels, a multiple of `num_heads`.
        num_heads (int): Number of heads.
        attn_ratio (float): Key width over head width; the key width has to be at least 1.
        lambda_init (float | str): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If `dim` does not divide into heads, a key has no width, or `lambda_init` is no such value.
        TypeError: If `dim` or `num_heads` is not an integer.

    Examples:
        >>> PairedAttention_Diff(128, num_heads=2)(torch.randn(1, 128, 20, 20)).shape
        torch.Size([1, 128, 20, 20])

    References:
        Differential Transformer V2, which pairs queries on shared keys and values and has no head norm; `Attention` in
        ultralytics/nn/modules/block.py.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        attn_ratio: float = 0.5,
        lambda_init: float | str = 0.0,
        depth: int = 1,
    ):
        """Create stock's convolutions, the second query and a lambda for each head."""
        if key_width(dim, num_heads, attn_ratio) < 1:
            raise ArgumentError(
                f"dim={dim}, num_heads={num_heads}, attn_ratio={attn_ratio} give keys of width 0: choose values that "
                "make int(dim / num_heads * attn_ratio) at least 1."
            )
        super().__init__(dim, num_heads, attn_ratio)
        with torch.random.fork_rng(devices=[]):  # the same seed gives the rest of the model the weights that stock gets
            self.q2 = Conv(dim, self.key_dim * num_heads, 1, act=False)
        self.add_lambda(num_heads, lambda_init, depth)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among all positions.

        Args:
            x (Tensor): Feature map, (B, dim, H, W), of any floating dtype.

        Returns:
            (Tensor): Shaped as `x`.
        """
        q1, k, q2, v = self._project(x)
        scale = self.scale
        if is_exported():  # here and not behind the transposition: Paddle's fusion of that with the product is wrong
            q1, q2, scale = q1 * scale, q2 * scale, 1.0
        q1, k, q2, tokens = (t.transpose(-2, -1) for t in (q1, k, q2, v))  # each (B, heads, N, width)
        y = diff_attention(q1, k, q2, k, tokens, self.compute_lambda(), scale=scale)  # (B, heads, N, head_dim)
        y = y.transpose(-2, -1).reshape(x.shape)
        y = y + self.pe(v.reshape(x.shape))
        out: Tensor = self.proj(y if self.folded else within_float16(y))
        return out

    def queries_and_keys(self, x: Tensor) -> QueriesAndKeys:
        """Return `((q1, k), (q2, k))` of a feature map, (B, dim, H, W), each (B, heads, N, key_dim)."""
        q1, k, q2 = (t.transpose(-2, -1) for t in self._project(x)[:3])
        return (q1, k), (q2, k)

    def _share_first_map(self, rest: Tensor) -> None:
        share_first_map(self.qkv, self.q2, self.pe, self.key_dim, rest)

    def _shrink_values(self, factor: float) -> None:
        shrink_values(self.qkv, self.q2, self.pe, self.proj, factor)
        self.scale *= factor**2

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q1, the shared k and q2, (B, heads, key_dim, N), and v, (B, heads, head_dim, N), as stock has them."""
        B, _, H, W = x.shape
        qkv = self.qkv(x).view(B, self.num_heads, self.key_dim * 2 + self.head_dim, H * W)
        q1, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
        q2 = self.q2(x).view(B, self.num_heads, self.key_dim, H * W)
        return q1, k, q2, v
