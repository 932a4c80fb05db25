"""Efficient channel attention: each channel weighted by its neighbours' means.

Wang, Wu, Zhu, Li, Zuo, Hu: ECA-Net, https://arxiv.org/abs/1910.03151, equations 5 and 12.
"""

import math

from torch import nn

from ultralytics_diffattn import register


@register(like="(c1, *args)")
class ECA(nn.Module):
    """`x * sigmoid(conv1d(mean(x)))`, a kernel of |log2(C)/gamma + b/gamma|, made odd; a row is `[-1, 1, ECA, []]`."""

    def __init__(self, c1, gamma=2, b=1):
        super().__init__()
        k = int(abs(math.log2(c1) + b) / gamma)
        k = max(k if k % 2 else k + 1, 3)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x):
        mean = x.mean((2, 3))[:, None]  # (B, 1, C)
        return x * self.conv(mean).sigmoid().transpose(1, 2)[..., None]
