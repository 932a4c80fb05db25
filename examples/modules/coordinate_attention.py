"""Coordinate attention: rows and columns weighted by what they hold on average.

Hou, Zhou, Feng: Coordinate Attention for Efficient Mobile Network Design, https://arxiv.org/abs/2103.02907, equations 4
to 9.
"""

import torch
from torch import nn

from ultralytics_diffattn import register


@register(like="(c1, *args)")
class CoordinateAttention(nn.Module):
    """`x * sigmoid(conv_h(rows)) * sigmoid(conv_w(columns))`; a row is `[-1, 1, CoordinateAttention, []]`."""

    def __init__(self, c1, reduction=32):
        super().__init__()
        hidden = max(c1 // reduction, 8)
        self.conv1 = nn.Conv2d(c1, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.act = nn.Hardswish()
        self.conv_h = nn.Conv2d(hidden, c1, 1)
        self.conv_w = nn.Conv2d(hidden, c1, 1)

    def forward(self, x):
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)  # (B, C, H, 1)
        columns = x.mean(2, keepdim=True).transpose(2, 3)  # (B, C, W, 1)
        both = self.act(self.bn1(self.conv1(torch.cat((rows, columns), 2))))
        rows, columns = both.split((height, width), 2)
        return x * self.conv_h(rows).sigmoid() * self.conv_w(columns.transpose(2, 3)).sigmoid()
