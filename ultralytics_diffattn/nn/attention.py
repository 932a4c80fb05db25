# Ultralytics DiffAttn - AGPL-3.0 License
"""Differential attention in plain PyTorch: the published module, and the norm of its heads.

Differential Transformer, https://arxiv.org/abs/2410.05258, equations 1 to 3; DiffCLIP, https://arxiv.org/abs/2503.06626,
section 3 and its reference file `diff_attention.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ultralytics_diffattn.nn.arguments import ArgumentError, check_divides, check_dropout, is_traced
from ultralytics_diffattn.nn.formula import widen
from ultralytics_diffattn.nn.functional import diff_attention
from ultralytics_diffattn.nn.lambdas import LambdaMixin
from ultralytics_diffattn.nn.protocol import QueriesAndKeys
from ultralytics_diffattn.nn.safe_global import safe_global

__all__ = "DiffAttention", "DiffRMSNorm"


@safe_global
class DiffRMSNorm(nn.RMSNorm):
    """RMSNorm over the value width of one head, with statistics in float32 or wider.

    As an `nn.RMSNorm`, ultralytics' trainer counts it among the norms, whose gains it does not decay.

    Args:
        width (int): Value width of a head.
        eps (float): Added to the mean square.

    Examples:
        >>> DiffRMSNorm(64)(torch.randn(1, 2, 9, 64)).shape
        torch.Size([1, 2, 9, 64])

    References:
        Differential Transformer, equation 3; RMSNorm, https://arxiv.org/abs/1910.07467.
    """

    normalized_shape: tuple[int, ...] = ()  # on the class, since checkpoints of earlier versions do not know them
    elementwise_affine = True

    def __init__(self, width: int, eps: float = 1e-5):
        """Create a gain of ones."""
        super().__init__(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, (..., width), divided by its root mean square and multiplied by the gain, in the dtype of `x`."""
        wide = widen(x)
        eps: float = self.eps  # type: ignore[assignment]  # None only where nobody gives one
        wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + eps)  # X2Paddle knows no square
        return (wide * self.weight).to(x.dtype)

    def reset_parameters(self) -> None:
        """Set the gain to ones."""
        nn.init.ones_(self.weight)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows; a checkpoint of earlier versions has no more attributes."""
        return f"{self.weight.numel()}, eps={self.eps}"


@safe_global
class DiffAttention(LambdaMixin, nn.Module):
    """Multi-head differential self-attention, weight-compatible with DiffCLIP's `DiffAttention`.

    `num_heads` counts as published: pairs of heads make one differential head, so `num_heads // 2` of them run, each
    with two maps of query width `dim // num_heads` and a value of twice that width.

    Args:
        dim (int): Width of a token (channels of a feature map); a multiple of `num_heads`.
        num_heads (int): Even number of heads.
        qkv_bias (bool): Whether the query, key and value projections have a bias.
        attn_drop (float): Dropout on each attention map, in [0, 1).
        proj_drop (float): Dropout on the output, in [0, 1).
        lambda_init (float | str): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`.
        lambda_per_head (bool): One lambda per differential head instead of the published one for all.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If a number is outside its range or `dim` does not divide evenly.
        TypeError: If `dim` or `num_heads` is not an integer, or a switch not a bool.

    Examples:
        >>> attention = DiffAttention(dim=64, num_heads=4)
        >>> attention(torch.randn(2, 49, 64)).shape  # tokens
        torch.Size([2, 49, 64])
        >>> attention(torch.randn(2, 64, 7, 7)).shape  # a feature map
        torch.Size([2, 64, 7, 7])

    References:
        DiffCLIP, section 3 and `diff_attention.py`; Differential Transformer, equations 1 to 3.
    """

    added = ("",)  # all of its tensors are its own

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        lambda_init: float | str = 0.8,
        lambda_per_head: bool = False,
        depth: int = 1,
    ):
        """Create the projections, lambda and the head norm."""
        super().__init__()
        check_divides(dim, num_heads)
        if num_heads % 2:
            raise ArgumentError(f"num_heads={num_heads} must be even: two heads make one differential head.")
        for name, value in (("qkv_bias", qkv_bias), ("lambda_per_head", lambda_per_head)):
            if not isinstance(value, bool):  # a number here is an argument at the wrong index of a YAML row
                raise ArgumentError(f"{name}={value!r} must be True or False, not {type(value).__name__}.")
        self.num_heads = num_heads // 2
        self.head_dim = dim // num_heads
        self.attn_drop = check_dropout("attn_drop", attn_drop)
        self.q_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.k_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.v_proj = nn.Linear(dim, dim, bias=qkv_bias)
        self.out_proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(check_dropout("proj_drop", proj_drop))
        self.diff_norm = DiffRMSNorm(2 * self.head_dim)
        self.add_lambda(self.head_dim, self.num_heads if lambda_per_head else None, lambda_init, depth)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the lambda vectors anew (the projections keep PyTorch's own initialisation)."""
        self.reset_lambda()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Attend among all tokens.

        Args:
            x (Tensor): Tokens, (B, N, dim), or a feature map, (B, dim, H, W), of any floating dtype.
            attn_mask (Tensor, optional): (N, N), floating, added to the logits; `-inf` hides a token.

        Returns:
            (Tensor): Shaped as `x`.

        Raises:
            ValueError: If `x` has another rank or width, or the mask another shape.
            TypeError: If the mask is not a floating tensor.
        """
        if x.ndim == 4:
            B, C, H, W = x.shape
            y = self.forward(x.flatten(2).transpose(1, 2), attn_mask)  # (B, H * W, C)
            return y.transpose(1, 2).reshape(B, C, H, W)
        if x.ndim != 3:
            raise ValueError(
                f"x of shape {tuple(x.shape)} has rank {x.ndim}; give tokens (B, N, C) or a feature map (B, C, H, W)."
            )
        if not is_traced() and x.shape[-1] != self.q_proj.in_features:
            raise ValueError(
                f"x has {x.shape[-1]} channels; this DiffAttention was built with dim={self.q_proj.in_features}."
            )
        y, _ = self._attend(x, attn_mask)
        out: Tensor = self.proj_drop(self.out_proj(y))
        return out

    def _attend(self, x: Tensor, attn_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the normalized output of the heads, (B, N, dim), of tokens of that shape, and v, (B, heads, N, 2d)."""
        B, N, C = x.shape
        (q1, k1), (q2, k2) = self.queries_and_keys(x)
        v = self.v_proj(x).reshape(B, N, self.num_heads, 2 * self.head_dim).transpose(1, 2)  # (B, heads, N, 2d)
        dropout_p = self.attn_drop if self.training else 0.0
        y = diff_attention(q1, k1, q2, k2, v, self.compute_lambda(), attn_mask, dropout_p, self.scale)
        return self.normalize(y).transpose(1, 2).reshape(B, N, C), v

    @property
    def scale(self) -> float:
        """Return the factor on the logits."""
        return 1.0 if self.folded else self.head_dim**-0.5

    def queries_and_keys(self, x: Tensor) -> QueriesAndKeys:
        """Return `((q1, k1), (q2, k2))`, each (B, heads, N, d), of tokens, (B, N, dim), or of (B, dim, H, W)."""
        if x.ndim == 4:
            x = x.flatten(2).transpose(1, 2)  # (B, H * W, dim)
        q1, q2 = self._split_maps(self.q_proj(x))
        k1, k2 = self._split_maps(self.k_proj(x))
        return (q1, k1), (q2, k2)

    def _fold_scale(self) -> None:
        """Multiply the query projection by the scale of the logits."""
        for parameter in self.q_proj.parameters():
            parameter.mul_(self.head_dim**-0.5)

    def _split_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the queries (or keys) of the first and of the second map, each (B, heads, N, d), from (B, N, C)."""
        B, N, _ = x.shape
        x = x.reshape(B, N, self.num_heads, 2, self.head_dim)  # the two maps of a head lie side by side
        return tuple(one.squeeze(0) for one in x.permute(3, 0, 2, 1, 4).split(1))  # X2Paddle knows no unbind

    def extra_repr(self) -> str:
        """Return what `print(model)` shows beside the submodules."""
        return f"differential_heads={self.num_heads}, head_dim={self.head_dim}, lambda_init={self.lambda_init}"
