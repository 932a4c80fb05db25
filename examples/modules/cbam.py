"""CBAM: first channels, then places, weighted by their mean and their maximum.

Woo, Park, Lee, Kweon: CBAM: Convolutional Block Attention Module, https://arxiv.org/abs/1807.06521, equations 2 and 3.
"""

import torch
from torch import nn

from ultralytics_diffattn import register


class ChannelAttention(nn.Module):
    """`x * sigmoid(MLP(mean(x)) + MLP(max(x)))`, both over places."""

    def __init__(self, c1, reduction):
        super().__init__()
        self.fc1 = nn.Conv2d(c1, max(c1 // reduction, 1), 1, bias=False)
        self.fc2 = nn.Conv2d(max(c1 // reduction, 1), c1, 1, bias=False)

    def forward(self, x):
        pooled = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * sum(self.fc2(self.fc1(p).relu()) for p in pooled).sigmoid()


class SpatialAttention(nn.Module):
    """`x * sigmoid(conv([mean(x), max(x)]))`, both over channels."""

    def __init__(self, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x):
        pooled = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)  # (B, 2, H, W)
        return x * self.conv(pooled).sigmoid()


@register(like="(c1, *args)")
class CBAM(nn.Module):
    """Channel attention, then spatial attention; a row is `[-1, 1, CBAM, []]` or `[-1, 1, CBAM, [16, 7]]`."""

    def __init__(self, c1, reduction=16, kernel_size=7):
        super().__init__()
        self.channel = ChannelAttention(c1, reduction)
        self.spatial = SpatialAttention(kernel_size)

    def forward(self, x):
        return self.spatial(self.channel(x))
