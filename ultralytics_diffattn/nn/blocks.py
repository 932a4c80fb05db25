# Ultralytics DiffAttn - AGPL-3.0 License
"""YOLO11's and YOLO26's attention blocks with differential attention inside, named as in ultralytics' block.py."""

from __future__ import annotations

import reprlib
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.block import C2PSA, Attention, Bottleneck, C3k2, PSABlock
from ultralytics.nn.modules.conv import Conv

from ultralytics_diffattn.nn.arguments import ArgumentError, check_count, check_divides, check_switch, key_width
from ultralytics_diffattn.nn.attention import DiffAttention, DiffRMSNorm
from ultralytics_diffattn.nn.functional import diff_attention
from ultralytics_diffattn.nn.lambdas import LambdaMixin
from ultralytics_diffattn.nn.paired import PairedAttention_Diff
from ultralytics_diffattn.nn.protocol import QueriesAndKeys
from ultralytics_diffattn.nn.safe_global import safe_global
from ultralytics_diffattn.nn.token import TokenAttention_Diff

__all__ = "Attention_Diff", "C2PSA_Diff", "C3k2_Diff", "PSABlock_Diff", "PairedAttention_Diff"


@safe_global
class Attention_Diff(LambdaMixin, Attention):
    """YOLO's `Attention` with the query and key of each head split in halves: kind `split`.

    Every tensor of the stock module keeps its name and shape, so stock weights load; lambda and the gain of the head
    norm come on top.

    Args:
        dim (int): Channels, a multiple of `num_heads`.
        num_heads (int): Number of heads.
        attn_ratio (float): Key width over head width; the key width has to be even.
        lambda_init (float | str): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`.
        lambda_per_head (bool): One lambda per head instead of one that all heads share.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If `dim` does not divide into heads, or a key not into halves.
        TypeError: If `dim` or `num_heads` is not an integer, or `lambda_per_head` not a bool.

    Examples:
        >>> Attention_Diff(128, num_heads=2)(torch.randn(1, 128, 20, 20)).shape
        torch.Size([1, 128, 20, 20])

    References:
        Differential Transformer, equations 1 to 3; `Attention` in ultralytics/nn/modules/block.py.
    """

    halved = ("qkv.",)

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        attn_ratio: float = 0.5,
        lambda_init: float | str = "schedule",
        lambda_per_head: bool = False,
        depth: int = 1,
    ):
        """Create stock's convolutions, then lambda and the head norm."""
        key_dim = key_width(dim, num_heads, attn_ratio)
        check_switch("lambda_per_head", lambda_per_head)
        if key_dim < 2 or key_dim % 2:
            raise ArgumentError(
                f"dim={dim}, num_heads={num_heads}, attn_ratio={attn_ratio} give keys of width {key_dim}, which do not "
                "split into two halves: choose values that make int(dim / num_heads * attn_ratio) even."
            )
        super().__init__(dim, num_heads, attn_ratio)
        self.scale = (key_dim // 2) ** -0.5
        self.add_lambda(key_dim // 2, num_heads if lambda_per_head else None, lambda_init, depth)
        self.diff_norm = DiffRMSNorm(self.head_dim)
        with torch.random.fork_rng(devices=[]):  # the same seed gives the rest of the model the weights that stock gets
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the lambda vectors anew; its submodules reset themselves."""
        self.reset_lambda()

    def forward(self, x: Tensor) -> Tensor:
        """Attend among all positions.

        Args:
            x (Tensor): Feature map, (B, dim, H, W), of any floating dtype.

        Returns:
            (Tensor): Shaped as `x`.
        """
        (q1, k1), (q2, k2), v = self._project(x)
        tokens = v.transpose(-2, -1)  # (B, heads, N, head_dim)
        y = diff_attention(q1, k1, q2, k2, tokens, self.compute_lambda(), scale=self.scale)  # (B, heads, N, head_dim)
        y = self.normalize(y).transpose(-2, -1).reshape(x.shape)
        out: Tensor = self.proj(y + self.pe(v.reshape(x.shape)))
        return out

    def queries_and_keys(self, x: Tensor) -> QueriesAndKeys:
        """Return `((q1, k1), (q2, k2))` of a feature map, (B, dim, H, W), each (B, heads, N, key_dim // 2)."""
        first, second, _ = self._project(x)
        return first, second

    def _project(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
        """Return (q1, k1) and (q2, k2), (B, heads, N, width), and v as stock has it, (B, heads, head_dim, N)."""
        B, _, H, W = x.shape
        qkv = self.qkv(x).view(B, self.num_heads, self.key_dim * 2 + self.head_dim, H * W)
        half = self.key_dim // 2
        *queries_and_keys, v = qkv.split([half, half, half, half, self.head_dim], dim=2)  # each (B, heads, width, N)
        q1, q2, k1, k2 = (t.transpose(-2, -1) for t in queries_and_keys)
        return (q1, k1), (q2, k2), v

    def _fold_scale(self) -> None:
        """Multiply queries, keys and values by the root of the logits' scale; what follows v makes up for it."""
        factor = self.scale**-0.5
        last: Any = self.qkv.bn if hasattr(self.qkv, "bn") else self.qkv.conv  # fuse() has folded one into the other
        last.weight /= factor  # all of it: in int8 it has one range, and queries alone would use a part of that
        last.bias /= factor
        weight: Any = self.pe.conv.weight
        weight *= factor
        self.diff_norm.eps /= factor**2
        self.scale = 1.0


def _attention(
    kind: str, c: int, num_heads: int, attn_ratio: float, lambda_init: float | str | None, depth: int
) -> Any:
    """Return the attention of one PSA block; what its kind has no use for is passed over."""
    check_divides(c, num_heads)
    if lambda_init is None:
        lambda_init = 0.0 if kind == "paired" else "schedule"
    if kind == "split":
        return Attention_Diff(c, num_heads, attn_ratio, lambda_init, depth=depth)
    if kind == "paired":
        return PairedAttention_Diff(c, num_heads, attn_ratio, lambda_init, depth)
    if kind == "token":
        if num_heads % 2:
            raise ArgumentError(
                f"kind='token' makes one differential head of two, and {c} channels give num_heads={num_heads} (one "
                "for each 64): use hidden channels (c1 * e) with an even number of heads, such as 128, or kind='split'."
            )
        return TokenAttention_Diff(c, num_heads, lambda_init, depth)
    raise ArgumentError(
        f"kind={kind!r} is unknown; it must be 'paired' (starts as stock), 'split' (stock weights load) or 'token' (as "
        "published, with stock's positional encoding)."
    )


@safe_global
class PSABlock_Diff(PSABlock):
    """YOLO's `PSABlock`, attention and feed-forward network with shortcuts, with differential attention.

    Args:
        c (int): Channels.
        attn_ratio (float): Key width over head width, kinds "split" and "paired" only.
        num_heads (int): Number of heads; even for kind "token", where two make one differential head.
        shortcut (bool): Whether to add the input to the output of each half.
        kind (str): "split", `Attention_Diff`, "paired", `PairedAttention_Diff`, or "token", `TokenAttention_Diff`.
        lambda_init (float | str, optional): Initial lambda, or "schedule" for `lambda_init_schedule(depth)`; by default
            0 for kind "paired", "schedule" for the others.
        depth (int): 1-based index of this attention block, used by `lambda_init="schedule"`.

    Raises:
        ValueError: If `kind` is unknown or `c` does not divide as that kind needs.
        TypeError: If `c` or `num_heads` is not an integer, or `shortcut` not a bool.

    Examples:
        >>> PSABlock_Diff(128, num_heads=2)(torch.randn(1, 128, 20, 20)).shape
        torch.Size([1, 128, 20, 20])

    References:
        `PSABlock` in ultralytics/nn/modules/block.py.
    """

    def __init__(
        self,
        c: int,
        attn_ratio: float = 0.5,
        num_heads: int = 4,
        shortcut: bool = True,
        kind: str = "split",
        lambda_init: float | str | None = None,
        depth: int = 1,
    ):
        """Create the attention and stock's feed-forward network."""
        check_switch("shortcut", shortcut)
        super(PSABlock, self).__init__()  # PSABlock's own would build a stock attention and spend its random numbers
        self.attn = _attention(kind, c, num_heads, attn_ratio, lambda_init, depth)
        self.ffn = nn.Sequential(Conv(c, c * 2, 1), Conv(c * 2, c, 1, act=False))
        self.add = shortcut


@safe_global
class C2PSA_Diff(C2PSA):
    """YOLO11's `C2PSA` with differential attention in each of its PSA blocks.

    Args:
        c1 (int): Input channels.
        c2 (int): Output channels, equal to `c1`.
        n (int): Number of PSA blocks; in a YAML row the repeats.
        e (float): Hidden channels over `c1`, in (0, 1].
        kind (str): "split", which keeps stock's tensors, "paired", which adds to them and starts as stock, or "token",
            the published module with stock's positional encoding.
        lambda_init (float | str, optional): Initial lambda, or "schedule", which follows the index of the PSA block and
            starts at 0.2; by default 0 for kind "paired", "schedule" for the others.

    Raises:
        ValueError: If `c1` is not `c2`, a number is outside its range or `kind` is unknown.
        TypeError: If `c1` or `c2` is not an integer.

    Examples:
        >>> C2PSA_Diff(256, 256, n=1)(torch.randn(1, 256, 20, 20)).shape
        torch.Size([1, 256, 20, 20])

    References:
        `C2PSA` in ultralytics/nn/modules/block.py; Differential Transformer, equations 1 to 3.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        e: float = 0.5,
        kind: str = "split",
        lambda_init: float | str | None = None,
    ):
        """Create stock's two convolutions and `n` differential PSA blocks."""
        super(C2PSA, self).__init__()  # C2PSA's own would build stock blocks and spend their random numbers
        check_same_channels(c1, c2)
        self.c = _hidden("c1", c1, n, e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c1, 1)
        num_heads = max(self.c // 64, 1)
        self.m = nn.Sequential(
            *(
                PSABlock_Diff(self.c, num_heads=num_heads, kind=kind, lambda_init=lambda_init, depth=i + 1)
                for i in range(n)
            )
        )


@safe_global
class C3k2_Diff(C3k2):
    """YOLO26's `C3k2` with attention, bottlenecks with a PSA block behind each, with differential attention.

    Args:
        c1 (int): Input channels.
        c2 (int): Output channels.
        n (int): Number of pairs of bottleneck and PSA block; in a YAML row the repeats.
        c3k (bool): Unused with attention, as in stock's; present so that a row reads as stock's.
        e (float): Hidden channels over `c2`, in (0, 1].
        attn (bool): True; without attention there is nothing to make differential.
        kind (str): As for `C2PSA_Diff`.
        lambda_init (float | str, optional): As for `C2PSA_Diff`.

    Raises:
        ValueError: If `attn` is not True, a number is outside its range or `kind` is unknown.
        TypeError: If `c3k` is not True or False.

    Examples:
        >>> C3k2_Diff(128, 256, n=1)(torch.randn(1, 128, 20, 20)).shape
        torch.Size([1, 256, 20, 20])

    References:
        `C3k2` in ultralytics/nn/modules/block.py, since ultralytics 8.4 with `attn`.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 1,
        c3k: bool = False,
        e: float = 0.5,
        attn: bool = True,
        kind: str = "paired",
        lambda_init: float | str | None = None,
    ):
        """Create stock's two convolutions and `n` pairs of stock's bottleneck and a differential PSA block."""
        check_switch("c3k", c3k)
        if attn is not True:
            hint = "write C3k2 there" if attn is False else "it must be True; the kind comes behind it"
            raise ArgumentError(f"attn={attn!r} leaves this row without attention: {hint}.")
        check_count("c1", c1)
        check_count("c2", c2)
        _hidden("c2", c2, n, e)
        super(C3k2, self).__init__(c1, c2, n, True, 1, e)  # C2f's: that of C3k2 has no attn before ultralytics 8.4
        num_heads = max(self.c // 64, 1)
        self.m = nn.ModuleList(
            nn.Sequential(
                Bottleneck(self.c, self.c, True, 1),
                PSABlock_Diff(self.c, num_heads=num_heads, kind=kind, lambda_init=lambda_init, depth=i + 1),
            )
            for i in range(n)
        )


def _hidden(name: str, c: int, n: int, e: float) -> int:
    """Return the number of hidden channels, or raise unless there are some, and blocks."""
    check_count("n", n)
    if isinstance(e, bool) or not isinstance(e, Real) or not 0 < e <= 1:
        raise ArgumentError(f"e={reprlib.repr(e)} must be a number in (0, 1].")
    if int(c * e) < 1:
        raise ArgumentError(f"{name}={c}, e={e} give no hidden channels: choose values that make int({name} * e) >= 1.")
    return int(c * e)


def check_same_channels(c1: int, c2: int) -> None:
    """Raise unless both are the same positive integer."""
    if not all(isinstance(c, int) and not isinstance(c, bool) for c in (c1, c2)):
        raise ArgumentError(f"c1={c1!r} and c2={c2!r} must be integers.")
    if c1 != c2:
        raise ArgumentError(
            f"c1={c1} must equal c2={c2}: the block keeps the number of channels. In a YAML the row's first argument "
            "has to be that of the row it follows."
        )
    check_count("c1", c1)


def diff_attention_row(
    c1: int,
    c2: int,
    num_heads: int = 8,
    qkv_bias: bool = True,
    attn_drop: float = 0.0,
    proj_drop: float = 0.0,
    lambda_init: float | str = 0.8,
    lambda_per_head: bool = False,
    depth: int = 1,
) -> DiffAttention:
    """Return the `DiffAttention` of a YAML row `[c2, num_heads, ...]` that follows `c1` channels."""
    check_same_channels(c1, c2)
    return DiffAttention(c2, num_heads, qkv_bias, attn_drop, proj_drop, lambda_init, lambda_per_head, depth)
