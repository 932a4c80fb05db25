# Ultralytics DiffAttn - AGPL-3.0 License
"""RT-DETR's encoder layer with differential attention inside, kind `paired`: it starts as stock's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.transformer import AIFI

from ultralytics_diffattn.nn.arguments import ArgumentError, check_count, check_divides, check_switch
from ultralytics_diffattn.nn.functional import diff_attention
from ultralytics_diffattn.nn.lambdas import PairedLambdaMixin
from ultralytics_diffattn.nn.protocol import QueriesAndKeys
from ultralytics_diffattn.nn.safe_global import safe_global

__all__ = "AIFI_Diff", "MultiheadAttention_Diff"


@safe_global
class MultiheadAttention_Diff(PairedLambdaMixin, nn.MultiheadAttention):
    """PyTorch's `MultiheadAttention` with a second query that shares its keys and values: kind `paired`.

    PyTorch's tensors have PyTorch's names, and lambda starts as that of `PairedAttention_Diff`.

    Args:
        dim (int): Width of a token, a multiple of `num_heads`.
        num_heads (int): Number of heads.
        dropout (float): Dropout on each attention map while training, in [0, 1).
        lambda_init (float | str): Initial lambda, or "schedule" for that of a first block.

    Raises:
        ValueError: If `dim` does not divide into heads, or `lambda_init` is no such value.
        TypeError: If `dim` or `num_heads` is not an integer.

    Examples:
        >>> x = torch.randn(2, 9, 64)
        >>> MultiheadAttention_Diff(64, num_heads=8)(x, x, x)[0].shape
        torch.Size([2, 9, 64])

    References:
        Differential Transformer V2, which pairs queries on shared keys and values and has no head norm;
        `torch.nn.MultiheadAttention`.
    """

    scaled = "in_proj_weight", "in_proj_bias"

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0, lambda_init: float | str = 0.0):
        """Create PyTorch's projections, the second query and a lambda for each head."""
        check_divides(dim, num_heads)
        super().__init__(dim, num_heads, dropout, batch_first=True)
        with torch.random.fork_rng(devices=[]):  # the same seed gives the rest of the model the weights that stock gets
            self.q2 = nn.Linear(dim, dim)
        self.add_lambda(num_heads, lambda_init)

    def reset_parameters(self) -> None:
        """Draw PyTorch's own projections anew, and set lambda to its start; its submodules reset themselves."""
        self._reset_parameters()
        super().reset_parameters()

    def forward(  # type: ignore[override]  # only what `AIFI` passes: weights are never returned, no key is padded
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: None = None,
        *,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend from each query to all keys.

        Args:
            query (Tensor): Tokens, (B, N, dim), of any floating dtype.
            key (Tensor): Tokens, (B, M, dim).
            value (Tensor): Tokens, (B, M, dim).
            key_padding_mask (None): Present because `AIFI` passes it; one map for all images cannot apply it.
            attn_mask (Tensor, optional): (N, M), floating, added to the logits; `-inf` hides a key.

        Returns:
            (tuple): The output, shaped as `query`, and None instead of the weights.

        Raises:
            ValueError: If `key_padding_mask` is not None.
        """
        if key_padding_mask is not None:
            raise ValueError("key_padding_mask must be None: this attention hides keys by attn_mask alone.")
        q1, k, q2, v = self._project(query, key, value)
        dropout_p = self.dropout if self.training else 0.0
        y = diff_attention(q1, k, q2, k, v, self.compute_lambda(), attn_mask, dropout_p)  # (B, heads, N, head_dim)
        return self.out_proj(y.transpose(1, 2).reshape(query.shape)), None

    @property
    def scale(self) -> float:
        """Return the factor on the logits."""
        return float(self.head_dim**-0.5)

    def queries_and_keys(self, x: Tensor) -> QueriesAndKeys:
        """Return `((q1, k), (q2, k))` of tokens, (B, N, dim), each (B, heads, N, head_dim)."""
        q1, k, q2, _ = self._project(x, x, x)
        return (q1, k), (q2, k)

    def _share_first_map(self, rest: Tensor) -> None:
        for second, joint in ((self.q2.weight, self.in_proj_weight), (self.q2.bias, self.in_proj_bias)):
            q, _, v = joint.chunk(3)
            second.copy_(q)
            v.view(self.num_heads, self.head_dim, -1).div_(rest.view(-1, 1, 1))

    def _shrink_values(self, factor: float) -> None:
        for joint in (self.in_proj_weight, self.in_proj_bias):
            joint.chunk(3)[2].div_(factor)  # a tensor of its own in `_project`
        self.out_proj.weight.mul_(factor)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q1, the shared k, q2 and v of tokens, (B, N, dim), each (B, heads, N, head_dim)."""
        projections = zip((query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q1, k, v = (self._heads(F.linear(x, weight, bias)) for x, weight, bias in projections)
        return q1, k, self._heads(self.q2(query)), v

    def _heads(self, x: Tensor) -> Tensor:
        """Return tokens, (B, N, dim), by heads, (B, heads, N, head_dim)."""
        B, N, _ = x.shape
        return x.reshape(B, N, self.num_heads, self.head_dim).transpose(1, 2)


@safe_global
class AIFI_Diff(AIFI):
    """RT-DETR's `AIFI`, one encoder layer over the positions of a feature map, with differential attention.

    Args:
        c1 (int): Channels, a multiple of `num_heads` and of 4.
        cm (int): Hidden width of the feed-forward network.
        num_heads (int): Number of heads.
        dropout (float): Dropout on maps and outputs while training, in [0, 1).
        act (nn.Module, optional): Activation function, `nn.GELU()` by default.
        normalize_before (bool): Whether to normalize before attention and feed-forward network, not behind them.
        lambda_init (float | str): As for `C2PSA_Diff`.

    Raises:
        ValueError: If `c1` does not divide into heads and by 4, or a number is outside its range.
        TypeError: If `c1` or `num_heads` is not an integer, `act` no module, or `normalize_before` not a bool.

    Examples:
        >>> AIFI_Diff(64, cm=128, num_heads=8)(torch.randn(1, 64, 20, 20)).shape
        torch.Size([1, 64, 20, 20])

    References:
        `AIFI` in ultralytics/nn/modules/transformer.py; RT-DETR, https://arxiv.org/abs/2304.08069, section 4.2.
    """

    def __init__(
        self,
        c1: int,
        cm: int = 2048,
        num_heads: int = 8,
        dropout: float = 0,
        act: nn.Module | None = None,
        normalize_before: bool = False,
        lambda_init: float | str = 0.0,
    ):
        """Create stock's layer, then replace its attention by ours, with the same tensors."""
        check_divides(c1, num_heads)
        if c1 % 4:
            raise ArgumentError(
                f"c1={c1} must be a multiple of 4: a sine and a cosine for each axis tell the position."
            )
        check_count("cm", cm)
        check_switch("normalize_before", normalize_before)
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise ArgumentError(f"dropout={dropout!r} must be a number in [0, 1); there is no argument for the kind.")
        if act is not None and not isinstance(act, nn.Module):
            raise ArgumentError(f"act={act!r} must be a module; there is no argument for the kind.")
        act = nn.GELU() if act is None else act  # which ultralytics before 8.4 does not do itself
        super().__init__(c1, cm, num_heads, dropout, act, normalize_before)
        with torch.random.fork_rng(devices=[]):  # stock's has drawn its random numbers already
            ma = MultiheadAttention_Diff(c1, num_heads, dropout, lambda_init)
        ma.load_state_dict(self.ma.state_dict(), strict=False)
        self.ma = ma
