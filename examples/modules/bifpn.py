"""BiFPN's fast normalized fusion, in front of a concatenation: a module over several inputs.

Tan, Pang, Le: EfficientDet, https://arxiv.org/abs/1911.09070, section 3.3. There the weighted inputs, all of one width,
are added; here, as YOLO's neck has it, they stand one behind another.
"""

import torch
from torch import nn

from ultralytics_diffattn import register


@register(like="(channels, *args)")
class BiFPNConcat(nn.Module):
    """`[w1 x1, w2 x2, ...]`, weights positive with a sum of 1; a row is `[[-1, 6], 1, BiFPNConcat, []]`."""

    def __init__(self, channels, eps=1e-4):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(len(channels)))
        self.eps = eps

    def forward(self, xs):
        weights = self.weights.relu()
        weights = weights / (weights.sum() + self.eps)
        return torch.cat([weights[i] * x for i, x in enumerate(xs)], 1)
