# Ultralytics DiffAttn - AGPL-3.0 License
"""The published differential attention inside YOLO's blocks, with stock's positional encoding: kind `token`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv

from ultralytics_diffattn.nn.attention import DiffAttention
from ultralytics_diffattn.nn.safe_global import safe_global

__all__ = ("TokenAttention_Diff",)


@safe_global
class TokenAttention_Diff(DiffAttention):
    """`DiffAttention` on a feature map, with the positional encoding of YOLO's `Attention`: kind `token`.

    The published module does not know where a token stands. Stock's adds `pe(v)`, a depthwise convolution of the
    values, to the output of the heads, and its weights load into ours.

    Args:
        dim (int): Channels, a multiple of `num_heads`.
        num_heads (int): Even number of heads, of which two make one differential head.
        lambda_init (float | str): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If a number is outside its range or `dim` does not divide evenly.
        TypeError: If `dim` or `num_heads` is not an integer.

    Examples:
        >>> TokenAttention_Diff(128, num_heads=2)(torch.randn(1, 128, 20, 20)).shape
        torch.Size([1, 128, 20, 20])

    References:
        DiffCLIP, section 3 and `diff_attention.py`; `Attention` in ultralytics/nn/modules/block.py.
    """

    def __init__(self, dim: int, num_heads: int = 8, lambda_init: float | str = "schedule", depth: int = 1):
        """Create the published module, then stock's convolution."""
        super().__init__(dim, num_heads, lambda_init=lambda_init, depth=depth)
        with torch.random.fork_rng(devices=[]):  # the rest of the model gets the weights that it gets without `pe`
            self.pe = Conv(dim, dim, 3, 1, g=dim, act=False)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Attend among all positions.

        Args:
            x (Tensor): Feature map, (B, dim, H, W), of any floating dtype.
            attn_mask (Tensor, optional): (N, N), floating, added to the logits; `-inf` hides a position.

        Returns:
            (Tensor): Shaped as `x`.
        """
        y, v = self._attend(x.flatten(2).transpose(1, 2), attn_mask)  # (B, N, C) and (B, heads, N, C / heads)
        y = y.transpose(1, 2).reshape(x.shape) + self.pe(v.transpose(-2, -1).reshape(x.shape))
        # Not as tokens: for a gradient laid out as they are, PyTorch's BatchNorm in `pe` is wrong for a single image.
        weight, bias = self.out_proj.weight, self.out_proj.bias
        y = self.out_proj(y) if self.folded else F.conv2d(y, weight[:, :, None, None], bias)
        out: Tensor = self.proj_drop(y)
        return out

    def _fold_scale(self) -> None:
        """Make the output projection the convolution that it is, too: X2Paddle loses sight of a reshaped weight."""
        super()._fold_scale()
        linear = self.out_proj
        self.out_proj = nn.Conv2d(linear.in_features, linear.out_features, 1, device="meta")  # type: ignore[assignment]
        self.out_proj.weight = nn.Parameter(linear.weight[:, :, None, None])
        self.out_proj.bias = linear.bias
