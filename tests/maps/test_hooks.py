"""heads.py: the maps of every kind of attention, put into its formula again, give what the module returns."""

from contextlib import suppress

import pytest
import torch
from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.nn.modules.block import AAttn, Attention
from ultralytics.nn.modules.transformer import AIFI

from ultralytics_diffattn import DiffAttention
from ultralytics_diffattn.maps import hooks
from ultralytics_diffattn.nn.aifi import AIFI_Diff
from ultralytics_diffattn.nn.area import AAttn_Diff
from ultralytics_diffattn.nn.blocks import Attention_Diff, PairedAttention_Diff

KINDS = {
    "stock": lambda: Attention(128, num_heads=2),
    "split": lambda: Attention_Diff(128, num_heads=2),
    "split, a lambda for each head": lambda: Attention_Diff(128, num_heads=2, lambda_per_head=True),
    "paired": lambda: PairedAttention_Diff(128, num_heads=2),
    "token": lambda: DiffAttention(128, num_heads=4),
    "stock's area attention": lambda: AAttn(128, num_heads=4, area=1),
    "stock's in four areas": lambda: AAttn(128, num_heads=4, area=4),
    "ours in four areas": lambda: AAttn_Diff(128, num_heads=4, area=4),
    "stock's RT-DETR": lambda: AIFI(128, 64, 8, act=nn.GELU()),
    "RT-DETR": lambda: AIFI_Diff(128, 64, 8),
}


def weighed(module, maps, x):
    """Return what a module makes of weights, (heads, N, N), and its values, written out for each kind."""
    _, C, H, W = x.shape
    if isinstance(module, nn.MultiheadAttention):
        raise AssertionError("AIFI is compared by its own forward")
    if isinstance(module, DiffAttention):
        v = module.v_proj(x.flatten(2).transpose(1, 2)).view(H * W, module.num_heads, -1).transpose(0, 1)
        return (
            module.out_proj(module.normalize(maps @ v).transpose(0, 1).reshape(1, H * W, C))
            .transpose(1, 2)
            .view(x.shape)
        )
    channels = module.qkv(x).view(module.num_heads, -1, H * W)
    v = channels[:, -module.head_dim :]  # (heads, head_dim, N)
    y = maps @ v.transpose(1, 2)
    y = module.normalize(y) if isinstance(module, Attention_Diff) else y
    return module.proj(y.transpose(1, 2).reshape(x.shape) + module.pe(v.reshape(x.shape)))


FOLDED = [kind for kind in KINDS if kind.startswith(("split", "token"))]


@pytest.mark.parametrize(("kind", "fused"), [*((k, False) for k in KINDS), *((k, True) for k in FOLDED)])
@torch.no_grad()
def test_maps_weigh_the_values(kind, fused):
    torch.manual_seed(0)
    block = KINDS[kind]().double().eval()
    ma = isinstance(block, AIFI)
    module = block.ma if ma else block
    if hasattr(module, "lam"):
        module.lam.copy_(torch.rand(len(module.lam)))
    if fused:
        module.fold()
    x = torch.randn(1, 128, 4, 6, dtype=torch.float64)
    called = []
    hook = module.register_forward_hook(lambda m, args, output: called.append((args, output)))
    expected = block(x)
    hook.remove()
    read = hooks.read(module, called[0][0], (128, 192))
    assert read.grid == (4, 6)
    points = torch.tensor([[c + 0.5, r + 0.5] * 2 for r in range(4) for c in range(6)])
    a1, a2 = hooks.object_maps(read, 0, points)  # (tokens, heads, h, w): the whole map, row by row
    assert a1.dtype == torch.float64
    torch.testing.assert_close(a1.sum((2, 3)), torch.ones(24, a1.shape[1], dtype=torch.float64))
    weights = a1 if a2 is None else a1 - read.lam.expand(a1.shape[1])[:, None, None] * a2
    assert (a2 is None) == kind.startswith("stock")
    weights = weights.flatten(2).transpose(0, 1)
    if ma:  # PyTorch's own, but for the weights
        value = called[0][0][0] if len(called[0][0]) > 2 else x.flatten(2).permute(0, 2, 1)
        v = nn.functional.linear(value, module.in_proj_weight[256:], module.in_proj_bias[256:])
        y = weights @ v.view(24, 8, 16).transpose(0, 1)
        torch.testing.assert_close(module.out_proj(y.transpose(0, 1).reshape(1, 24, 128)), called[0][1][0])
    else:
        torch.testing.assert_close(weighed(module, weights, x), expected)


def test_area_attention_stays_in_its_stripe():
    module = AAttn(64, num_heads=2, area=4).eval()
    read = hooks.read(module, (torch.randn(1, 64, 4, 4),), (128, 128))
    a1, _ = hooks.object_maps(read, 0, torch.tensor([[0.0, 2.0, 4.0, 3.0]]))
    assert (a1[0, :, 2] > 0).all()
    assert (a1[0, :, [0, 1, 3]] == 0).all()


BOXES = [  # a box in cells of a grid of 3 x 4, the tokens whose mean it takes
    ((0.0, 0.0, 4.0, 3.0), list(range(12)), "all"),
    ((0.0, 0.0, 1.0, 1.0), [0], "one cell"),
    ((0.4, 0.4, 1.6, 1.6), [0, 1, 4, 5], "centres decide"),
    ((0.6, 0.6, 1.4, 1.4), [5], "no centre inside: the token below the box's centre"),
    ((3.0, 2.0, 3.0, 2.0), [11], "a point"),
    ((0.6, 0.0, 1.4, 3.0), [1, 5, 9], "narrow"),
    ((4.0, 3.0, 4.0, 3.0), [11], "on the far edge"),
    ((-1.0, -1.0, -1.0, -1.0), [0], "beside the grid"),
]


@pytest.mark.parametrize(("box", "tokens"), [pytest.param(b, t, id=i) for b, t, i in BOXES])
def test_a_box_is_the_mean_of_its_tokens(box, tokens):
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 2, 12, 8)
    a1, _ = hooks.object_maps(hooks.QueriesKeys([(q, k)], 0.3, (3, 4)), 0, torch.tensor([box]))
    expected = (q[0] @ k[0].mT * 0.3).softmax(-1)[:, tokens].mean(1)
    torch.testing.assert_close(a1[0], expected.view(2, 3, 4))


def test_many_tokens_come_in_parts(monkeypatch):
    q, k = torch.randn(2, 1, 2, 30, 8)
    read = hooks.QueriesKeys([(q, k), (k, q)], 1.0, (5, 6))
    whole = hooks.object_maps(read, 0, torch.tensor([[0.0, 0.0, 6.0, 5.0]]))
    monkeypatch.setattr(hooks, "ROWS", 7)
    torch.testing.assert_close(hooks.object_maps(read, 0, torch.tensor([[0.0, 0.0, 6.0, 5.0]])), whole)


def test_no_object_gives_no_map():
    q, k = torch.randn(2, 1, 2, 12, 8)
    a1, a2 = hooks.object_maps(hooks.QueriesKeys([(q, k), (q, k)], 1.0, (3, 4)), 0, torch.zeros(0, 4))
    assert a1.shape == a2.shape == (0, 2, 3, 4)


FAMILY = [
    (YOLO, "yolo11n-diffattn.yaml", ["model.10.m.0.attn"]),
    (YOLO, "yolo11l.yaml", ["model.10.m.0.attn", "model.10.m.1.attn"]),
    (YOLO, "yolo11n-cls.yaml", ["model.9.m.0.attn"]),
    (YOLO, "yolov8n.yaml", []),
    (RTDETR, "rtdetr-l-diffattn-paired.yaml", ["model.11.ma"]),  # not those of the decoder, which has no positions
]


@pytest.mark.parametrize(("kind", "name", "blocks"), FAMILY, ids=[name for _, name, _ in FAMILY])
def test_attention_blocks_of(kind, name, blocks):
    assert list(hooks.attentions(kind(name).model)) == blocks


def test_hooks_are_gone_afterwards():
    model = YOLO("yolo11n-diffattn.yaml").model.eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = model(x)[0]
        with hooks.watch(model) as seen:
            torch.testing.assert_close(model(x)[0], before, rtol=0, atol=0)
        assert (seen.size, list(seen.heads)) == ((64, 96), ["model.10.m.0.attn"])
        with suppress(KeyboardInterrupt), hooks.watch(model):
            raise KeyboardInterrupt
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
