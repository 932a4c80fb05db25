"""Squeeze-and-excitation: channels weighted by what they hold on average.

Hu, Shen, Sun: Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507, equations 2 to 4.
"""

from torch import nn

from ultralytics_diffattn import register


@register(like="(c1, *args)")
class SE(nn.Module):
    """`x * sigmoid(W2 relu(W1 mean(x)))`; a row is `[-1, 1, SE, []]` or `[-1, 1, SE, [reduction]]`."""

    def __init__(self, c1, reduction=16):
        super().__init__()
        self.fc1 = nn.Conv2d(c1, max(c1 // reduction, 1), 1)
        self.fc2 = nn.Conv2d(max(c1 // reduction, 1), c1, 1)

    def forward(self, x):
        squeezed = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.fc2(self.fc1(squeezed).relu()).sigmoid()
