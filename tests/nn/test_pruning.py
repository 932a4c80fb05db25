"""Torch-Pruning takes channels round our modules where it does round stock's."""

import pytest
import torch
from torch import nn
from ultralytics.nn.modules import Conv, block
from ultralytics.nn.modules.transformer import AIFI

from ultralytics_diffattn import A2C2f_Diff, AAttn_Diff, AIFI_Diff, C2PSA_Diff, C3k2_Diff, DiffAttention
from ultralytics_diffattn.nn.blocks import PSABlock_Diff

pruning = pytest.importorskip("torch_pruning")
KEPT = (block.Attention, block.AAttn, nn.MultiheadAttention, DiffAttention)  # the heads stay as they are
PAIRS = {  # channels, stock, ours
    "AAttn": (64, lambda: block.AAttn(64, 2, 4), lambda: AAttn_Diff(64, 2, 4)),
    "A2C2f": (64, lambda: block.A2C2f(64, 64, area=4), lambda: A2C2f_Diff(64, 64, area=4)),
    "AIFI": (64, lambda: AIFI(64, 128), lambda: AIFI_Diff(64, 128)),
    "PSABlock": (128, lambda: block.PSABlock(128, 0.5, 2), lambda: PSABlock_Diff(128, 0.5, 2)),
    "C2PSA, split": (128, lambda: block.C2PSA(128, 128), lambda: C2PSA_Diff(128, 128)),
    "C2PSA, token": (256, lambda: block.C2PSA(256, 256), lambda: C2PSA_Diff(256, 256, kind="token")),
    "C3k2": (
        128,
        lambda: block.C3k2(128, 128, 1, True, attn=True),
        lambda: C3k2_Diff(128, 128, c3k=True, attn=True),
    ),
}


def pruned(channels, module):
    """Return the width of each convolution round the attention after a quarter of the channels was pruned."""
    net = nn.Sequential(Conv(3, channels, 1), module, Conv(channels, 8, 1)).eval()
    x = torch.randn(1, 3, 8, 8)
    kept = [*(m for m in net.modules() if isinstance(m, KEPT)), net[2]]
    importance = pruning.importance.MagnitudeImportance(p=1)
    pruning.pruner.MagnitudePruner(net, x, importance=importance, pruning_ratio=0.25, ignored_layers=kept).step()
    assert net(x).isfinite().all()
    heads = [n for n, m in net.named_modules() if isinstance(m, KEPT)]
    convs = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return {n: m.weight.shape[0] for n, m in convs if not n.startswith(tuple(heads))}


@pytest.mark.filterwarnings("ignore")  # of the library
@pytest.mark.parametrize(("channels", "stock", "ours"), PAIRS.values(), ids=PAIRS)
def test_as_stock(channels, stock, ours):
    expected = pruned(channels, stock())
    assert pruned(channels, ours()) == expected
    module = {f"1.{n}": m.weight.shape[0] for n, m in stock().named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert any(width < module.get(n, channels) for n, width in expected.items())
