# Ultralytics DiffAttn - AGPL-3.0 License
"""What the retrieval has beside stock and our kinds: controls that subtract nothing, and ideas of later papers.

None of these is a kind that a YAML could name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.block import Attention

from ultralytics_diffattn.nn.blocks import Attention_Diff
from ultralytics_diffattn.nn.functional import diff_attention
from ultralytics_diffattn.nn.paired import PairedAttention_Diff


def added_maps(dim: int, num_heads: int) -> nn.Module:
    """Return a control: two maps as kind `paired` has them, which are added, whatever is learned."""
    attention = PairedAttention_Diff(dim, num_heads, lambda_init=-1.0)
    attention.lam.requires_grad_(False)
    return attention


class GatedAttention(nn.Module):
    """A control: stock's attention, its output multiplied by a gate, `2 * sigmoid(conv(x))`.

    References:
        Gated Attention, https://arxiv.org/abs/2505.06708.
    """

    def __init__(self, dim: int, num_heads: int):
        """Create both."""
        super().__init__()
        self.attn = Attention(dim, num_heads)
        self.gate = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a feature map, (B, dim, H, W), shaped as that."""
        out: Tensor = self.attn(x) * 2 * self.gate(x).sigmoid()
        return out


class SplitWithoutNorm(Attention_Diff):
    """Kind `split` without the norm of its heads and the factor behind it."""

    def __init__(self, dim: int, num_heads: int):
        """Create kind `split`, but for the norm."""
        super().__init__(dim, num_heads, lambda_init=0.2)
        del self.diff_norm

    def normalize(self, y: Tensor) -> Tensor:
        """Return the output of the heads as it is."""
        return y


class LambdaByToken(PairedAttention_Diff):
    """Kind `paired` whose lambda each token computes, `sigmoid(conv(x))` for each head.

    References:
        Differential Transformer V2, https://huggingface.co/blog/microsoft/diff-attn-v2.
    """

    def __init__(self, dim: int, num_heads: int):
        """Create kind `paired` and the projection."""
        super().__init__(dim, num_heads)
        self.lam.requires_grad_(False)
        self.project_lambda = nn.Conv2d(dim, num_heads, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a feature map, (B, dim, H, W), shaped as that."""
        q1, k, q2, v = self._project(x)
        q1, k, q2, tokens = (t.transpose(-2, -1) for t in (q1, k, q2, v))  # each (B, heads, N, width)
        first, second = (diff_attention(q, k, q, k, tokens, 0.0, scale=self.scale) for q in (q1, q2))
        lam = self.project_lambda(x).sigmoid().flatten(2)[..., None]  # (B, heads, N, 1)
        y = (first - lam * second).transpose(-2, -1).reshape(x.shape)
        out: Tensor = self.proj(y + self.pe(v.reshape(x.shape)))
        return out


class RenormalizedRows(PairedAttention_Diff):
    """Kind `paired` from lambda 0.5, with lambda times the mean row of the first map added: each row sums to 1 again.

    References:
        DINT Transformer, https://arxiv.org/abs/2501.17486.
    """

    def __init__(self, dim: int, num_heads: int):
        """Create kind `paired`."""
        super().__init__(dim, num_heads, lambda_init=0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a feature map, (B, dim, H, W), shaped as that."""
        q1, k, q2, v = self._project(x)
        q1, k, q2, tokens = (t.transpose(-2, -1) for t in (q1, k, q2, v))  # each (B, heads, N, width)
        first, second = (diff_attention(q, k, q, k, tokens, 0.0, scale=self.scale) for q in (q1, q2))
        lam = self.compute_lambda()[:, None, None]  # (heads, 1, 1)
        y = first - lam * (second - first.mean(-2, keepdim=True))  # the mean over the queries of A1 v
        out: Tensor = self.proj(y.transpose(-2, -1).reshape(x.shape) + self.pe(v.reshape(x.shape)))
        return out


class AnnealedLambda(PairedAttention_Diff):
    """Kind `paired` whose lambda of 0.5 comes in over the first 200 steps.

    References:
        DEX, https://arxiv.org/abs/2505.16333.
    """

    rise = 200
    steps: Tensor

    def __init__(self, dim: int, num_heads: int):
        """Create kind `paired`, and the number of steps so far."""
        super().__init__(dim, num_heads, lambda_init=0.5)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def compute_lambda(self) -> Tensor:
        """Return the present lambda, (heads,)."""
        return super().compute_lambda() * min(1.0, int(self.steps) / self.rise)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a feature map, (B, dim, H, W), shaped as that; a step further while training."""
        self.steps += int(self.training)
        return super().forward(x)
