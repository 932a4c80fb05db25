# Ultralytics DiffAttn - AGPL-3.0 License
"""Lambda, how much of the second map is subtracted: the published vectors, and the plain parameter of kind `paired`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ultralytics_diffattn.nn.arguments import ArgumentError, is_finite
from ultralytics_diffattn.nn.formula import widen

if TYPE_CHECKING:  # the mixins stand beside a class of PyTorch or ultralytics, and before it
    _Module = nn.Module
else:
    _Module = object

LAMBDA = "lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"


def lambda_init_schedule(depth: int) -> float:
    """Return the initial lambda of the `depth`-th attention block, `0.8 - 0.6 * exp(-0.3 * (depth - 1))`.

    Args:
        depth (int): 1-based index of the attention block, counting attention blocks only, not the rows of a YAML.

    Returns:
        (float): 0.2 for the first block, rising towards 0.8.

    Raises:
        ValueError: If `depth` is not an integer >= 1.

    Examples:
        >>> round(lambda_init_schedule(1), 3), round(lambda_init_schedule(2), 3)
        (0.2, 0.356)

    References:
        Differential Transformer, section 2.1.
    """
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise ArgumentError(f"depth={depth!r} must be an integer >= 1: attention blocks are counted from 1.")
    return 0.8 - 0.6 * math.exp(-0.3 * (min(depth, 1000) - 1))


def initial_lambda(lambda_init: float | str, depth: int) -> float:
    """Return the initial lambda that an argument asks for.

    Args:
        lambda_init (float | str): A finite number, or "schedule" for `lambda_init_schedule(depth)`.
        depth (int): 1-based index of the attention block; read by "schedule" only.

    Returns:
        (float): The number.

    Raises:
        ValueError: If `lambda_init` is neither.

    Examples:
        >>> initial_lambda("schedule", depth=1), initial_lambda(1, depth=1)
        (0.20000000000000007, 1.0)
    """
    if lambda_init == "schedule":
        return lambda_init_schedule(depth)
    if isinstance(lambda_init, (bool, str)) or not is_finite(lambda_init):
        raise ArgumentError(f"lambda_init={lambda_init!r} must be a finite number, for example 0.8, or 'schedule'.")
    return float(lambda_init)


class LambdaMixin(_Module):
    """The reparameterized lambda of an attention module, `exp(lq1 . lk1) - exp(lq2 . lk2) + lambda_init`.

    References:
        Differential Transformer, equation 2.
    """

    added: ClassVar[tuple[str, ...]] = "lam", "diff_norm."  # lambda_q1 and so on; folded, lam
    halved: ClassVar[tuple[str, ...]] = ()
    lam: Tensor  # of a folded module
    folded = False  # on the class, since checkpoints of earlier versions do not know it
    lambda_init: float
    diff_norm: nn.RMSNorm
    lambda_q1: nn.Parameter
    lambda_k1: nn.Parameter
    lambda_q2: nn.Parameter
    lambda_k2: nn.Parameter

    def add_lambda(self, width: int, heads: int | None, lambda_init: float | str, depth: int) -> None:
        """Create the four lambda vectors, (width,) or (heads, width), and set `lambda_init`.

        Args:
            width (int): Width of the query of one map.
            heads (int, optional): Number of heads, for one lambda per head; None for one that all heads share.
            lambda_init (float | str): A finite number, or "schedule" for `lambda_init_schedule(depth)`.
            depth (int): 1-based index of the attention block; read by "schedule" only.

        Raises:
            ValueError: If `lambda_init` is neither.
        """
        self.lambda_init = initial_lambda(lambda_init, depth)
        shape = (width,) if heads is None else (heads, width)
        for name in LAMBDA:
            setattr(self, name, nn.Parameter(torch.zeros(shape, dtype=torch.float32)))

    def reset_lambda(self) -> None:
        """Draw the four lambda vectors from N(0, 0.1)."""
        for name in LAMBDA:
            nn.init.normal_(getattr(self, name), std=0.1)

    def compute_lambda(self) -> Tensor:
        """Return the present lambda, () or (heads,), in float32 or wider."""
        if self.folded:
            return widen(self.lam)
        q1, k1, q2, k2 = map(widen, (self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2))
        return (q1 * k1).sum(-1).exp() - (q2 * k2).sum(-1).exp() + self.lambda_init

    def normalize(self, y: Tensor) -> Tensor:
        """Return the output of the heads, (..., dv), normalized and multiplied by `1 - lambda_init`."""
        y = self.diff_norm(y)
        return y if self.folded else y * (1 - self.lambda_init)

    @torch.no_grad()
    def fold(self) -> None:
        """Make lambda a constant, and one vector of the norm's gain and `1 - lambda_init`: for inference only.

        ultralytics' `fuse()` ends with it. Like a fused convolution, a folded module cannot be trained any more.

        Examples:
            >>> from ultralytics_diffattn import DiffAttention
            >>> attention = DiffAttention(dim=64, num_heads=4)
            >>> attention.fold()
            >>> sorted(dict(attention.named_buffers())), "lambda_q1" in dict(attention.named_parameters())
            (['lam'], False)
        """
        if self.folded:
            return
        lam = self.compute_lambda()
        for name in LAMBDA:
            delattr(self, name)
        self.register_buffer("lam", lam)
        self.diff_norm.weight.mul_(1 - self.lambda_init)
        self._fold_scale()
        for p in self.parameters():  # old releases of ultralytics fuse with a graph behind the weights
            p.requires_grad_(False) if p.is_leaf else p.detach_()
        self.folded = True

    def _fold_scale(self) -> None:
        """Multiply the weights that make the queries by the scale of the logits."""
        raise NotImplementedError


class PairedLambdaMixin:
    """The lambda of kind `paired`: a plain parameter of each head, zero unless another start is asked for.

    One for all heads, and one that each token computes, as in Differential Transformer V2, were measured beside it and
    were no better.

    References:
        Differential Transformer V2, https://huggingface.co/blog/microsoft/diff-attn-v2.
    """

    added: ClassVar[tuple[str, ...]] = "lam", "q2."
    halved: ClassVar[tuple[str, ...]] = ()
    scaled: ClassVar[tuple[str, ...]] = "qkv.bn.weight", "qkv.bn.bias", "pe.conv.weight"  # by `start_as_stock`
    lambda_init = 0.0  # on the class, since checkpoints of earlier versions do not know it
    folded = False  # likewise
    lam: nn.Parameter

    def add_lambda(self, heads: int, lambda_init: float | str, depth: int = 1) -> None:
        """Create lambda, (heads,), in float32.

        Args:
            heads (int): Number of heads.
            lambda_init (float | str): Its start, a finite number, or "schedule" for `lambda_init_schedule(depth)`.
            depth (int): 1-based index of the attention block; read by "schedule" only.

        Raises:
            ValueError: If `lambda_init` is neither.
        """
        self.lambda_init = initial_lambda(lambda_init, depth)
        self.lam = nn.Parameter(torch.full((heads,), self.lambda_init, dtype=torch.float32))

    def reset_parameters(self) -> None:
        """Set lambda to its start; its submodules reset themselves."""
        nn.init.constant_(self.lam, self.lambda_init)

    @torch.no_grad()
    def start_as_stock(self) -> None:
        """Make the second map the first one, and v larger by `1 / (1 - lambda)`: the output is then what stock's is.

        That is `(A - lambda A) v / (1 - lambda) = A v`, with a lambda that is alive: the gradients of the two queries
        have opposite signs, so the maps part with the first step.

        Raises:
            ValueError: If lambda is 1, where nothing would be left.

        Examples:
            >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
            >>> attention = PairedAttention_Diff(64, num_heads=1, lambda_init=0.5)
            >>> attention.start_as_stock()
            >>> torch.equal(attention.q2.conv.weight, attention.qkv.conv.weight[:32])
            True
        """
        rest = 1 - self.compute_lambda()  # (heads,)
        if (rest == 0).any():
            raise ArgumentError(f"lambda={self.compute_lambda().tolist()} subtracts all of equal maps: choose another.")
        self._share_first_map(rest)

    def _share_first_map(self, rest: Tensor) -> None:
        """Copy the first query to the second, and divide v by `rest`, (heads,), but not for `pe`, which reads it."""
        raise NotImplementedError

    @torch.no_grad()
    def fold(self) -> None:
        """Make v smaller and what follows the heads larger, so that the difference fits wherever v fits.

        The maps may pick values of opposite sign: the difference is then `1 + |lambda|` times as large as what plain
        attention gives, and overflows in float16 where that does not, also where a runtime makes float16 of a graph in
        float32. The factor is a power of two, so no result changes by a bit. What shares a tensor with v is divided by
        it, too: in int8 the tensor has one range, of which v alone would then use a part.

        ultralytics' `fuse()` ends with it.

        Examples:
            >>> from ultralytics_diffattn.nn.paired import PairedAttention_Diff
            >>> attention = PairedAttention_Diff(64, num_heads=1, lambda_init=0.5).eval()
            >>> x = torch.randn(1, 64, 4, 4)
            >>> before = attention(x)
            >>> attention.fold()
            >>> torch.equal(attention(x), before)
            True
        """
        if not self.folded:
            self._shrink_values(_power_of_two(1 + float(self.compute_lambda().abs().max())))
            self.folded = True

    def _shrink_values(self, factor: float) -> None:
        """Divide v by `factor`, and multiply the output projection by it."""
        raise NotImplementedError

    def compute_lambda(self) -> Tensor:
        """Return the present lambda, (heads,), in float32 or wider."""
        return widen(self.lam)


def _power_of_two(x: float) -> float:
    """Return the smallest power of two from `x` on; 1 for nan, of a model that diverged."""
    mantissa, exponent = math.frexp(x)  # x = mantissa * 2 ** exponent, 0.5 <= mantissa < 1
    return math.ldexp(1.0, exponent - (mantissa == 0.5))
