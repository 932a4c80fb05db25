"""SimAM: each value weighted by how much it stands out of its channel, without a parameter.

Yang, Zhang, Li, Xie: SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks, ICML 2021,
https://proceedings.mlr.press/v139/yang21o.html, equation 5 and the code in its figure 3.
"""

from torch import nn

from ultralytics_diffattn import register


@register(like="(*args)")
class SimAM(nn.Module):
    """`x * sigmoid(d / (4 (var + lam)) + 0.5)`, d the squared distance from the mean; a row is `[-1, 1, SimAM, []]`."""

    def __init__(self, lam=1e-4):
        super().__init__()
        self.lam = lam

    def forward(self, x):
        others = max(x.shape[2] * x.shape[3] - 1, 1)
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        variance = distance.sum((2, 3), keepdim=True) / others
        return x * (distance / (4 * (variance + self.lam)) + 0.5).sigmoid()
